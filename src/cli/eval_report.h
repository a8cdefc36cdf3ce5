// What an evaluation says: as a table, as JSON, as a web page.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "cli/terminal.h"
#include "engine/evaluate.h"

namespace plimsoll {

/// One model under one budget.
struct EvalResult {
  std::string path;
  std::string name;  ///< short, for tables and plots
  Bytes file_bytes = 0;
  double bits_per_weight = 0;  ///< of all weights as held in memory
  Bytes predicted_peak_bytes = 0;
  Bytes peak_bytes = 0;  ///< the kernel's
  Evaluation evaluation;
};

struct EvalReport {
  std::vector<EvalResult> results;       ///< one at least; all with a reference or none
  std::optional<std::string> reference;  ///< path
  std::string text;                      ///< path
  std::int64_t context = 0;
  Bytes budget_bytes = 0;
  Bytes peak_bytes = 0;  ///< of the whole process
};

/// What tells the files apart: their names without ".gguf" and without the words that all begin
/// with.
std::vector<std::string> short_names(const std::vector<std::string>& paths);

/// For one model a few lines, for several a table and a plot.
std::string describe_report(const EvalReport& report, const Terminal& terminal);
/// For one model its object, for several {"models": [...]} and what they have in common.
nlohmann::ordered_json report_json(const EvalReport& report);
/// A web page (page.h).
std::string report_page(const EvalReport& report);

}  // namespace plimsoll
