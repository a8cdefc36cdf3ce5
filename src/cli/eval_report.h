// What an evaluation says: as a table, as JSON, as a web page.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "cli/terminal.h"
#include "engine/evaluate.h"
#include "plan/plan.h"

namespace plimsoll {

/// One model under one budget.
struct EvalResult {
  std::string path;
  std::size_t model = 0, budget = 0;  ///< by position in the report's names
  Bytes budget_bytes = 0;
  Bytes file_bytes = 0;
  Bytes predicted_peak_bytes = 0;  ///< of the process, with the reference
  Bytes peak_bytes = 0;            ///< the kernel's
  Plan plan;
  Evaluation evaluation;
};

struct EvalReport {
  std::vector<std::string> models, budgets;  ///< names for tables and plots, one at least of each
  /// Every model under every budget, by model; all with a reference or none.
  std::vector<EvalResult> results;
  std::optional<std::string> reference;  ///< path
  std::string text;                      ///< path
  std::int64_t context = 0;
  Bytes budget_bytes = 0;  ///< the largest
  Bytes peak_bytes = 0;    ///< of the whole process
};

/// What tells the files apart: their names without ".gguf" and without the words that all begin
/// with.
std::vector<std::string> short_names(const std::vector<std::string>& paths);

/// "24.0 MiB", or plain bytes where that would not tell them apart.
std::vector<std::string> budget_names(const std::vector<Bytes>& budgets);

/// For one result a few lines, for several a table and a plot.
std::string describe_report(const EvalReport& report, const Terminal& terminal);
/// For one result its object, for several {"models": [...]} and what they have in common.
nlohmann::ordered_json report_json(const EvalReport& report);
/// A web page (page.h).
std::string report_page(const EvalReport& report);
extern const OutputKind eval_page_kind;

}  // namespace plimsoll
