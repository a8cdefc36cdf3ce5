// What an evaluation says: as a table, as JSON, as a web page.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "app/evaluating.h"
#include "terminal/terminal.h"

namespace plimsoll {

/// What tells the files apart: their names without ".gguf" and without the words that all begin
/// with.
std::vector<std::string> short_names(const std::vector<std::string>& paths);

/// "24.0 MiB", or plain bytes where that would not tell them apart.
std::vector<std::string> budget_names(const std::vector<Bytes>& budgets);

/// For one result a few lines, for several a table and a plot.
std::string describe_report(const EvaluationReport& report, const Terminal& terminal);
/// For one result its object, for several {"models": [...]} and what they have in common.
nlohmann::ordered_json report_json(const EvaluationReport& report);
/// A web page (page.h).
std::string report_page(const EvaluationReport& report);

}  // namespace plimsoll
