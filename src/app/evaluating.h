// How likely a text is to models, each under one or more budgets, and how far they are from a
// reference.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "app/host.h"
#include "engine/evaluate.h"
#include "file/output_path.h"
#include "plan/plan.h"

namespace plimsoll {

struct EvaluationRequest {
  std::vector<std::string> models;  ///< paths, one at least
  std::vector<Bytes> budgets;       ///< none: the line's; otherwise that is the largest of them
  std::string text;                 ///< path
  std::optional<std::string> reference;  ///< path; it is held beside each model
  /// What is found is kept there, and an interrupted evaluation goes on from there.
  std::optional<OutputPath> resume;
  std::int64_t context = 256;  ///< tokens in a chunk
  std::optional<KvTiers> kv;   ///< of the models; the reference's KV cache has 16 bits
  std::int64_t chunks = 0;     ///< 0: as many as the text has
  /// Called once all files that will be read have been opened, before anything is written.
  std::function<void()> opened;
  /// Called before a model is loaded, where it is the only one.
  std::function<void(const OpenModel& model, const Plan& plan)> planned;
};

/// One model under one budget.
struct EvaluationResult {
  std::string path;
  std::size_t model = 0, budget = 0;  ///< by position in the report's names
  Bytes budget_bytes = 0;
  Bytes file_bytes = 0;
  Bytes predicted_peak_bytes = 0;  ///< of the process, with the reference
  Bytes peak_bytes = 0;            ///< the kernel's
  Plan plan;
  Evaluation evaluation;
};

struct EvaluationReport {
  std::vector<std::string> models, budgets;  ///< names for tables and plots, one at least of each
  /// Every model under every budget, by model; all with a reference or none.
  std::vector<EvaluationResult> results;
  std::optional<std::string> reference;  ///< path
  std::string text;                      ///< path
  std::int64_t context = 0;
  Bytes budget_bytes = 0;  ///< the largest
  Bytes peak_bytes = 0;    ///< of the whole process
};

/// Everything is planned before anything big is loaded. Throws Error(budget_refused) when one of
/// the models does not fit beside the reference, Error(interrupted) when the host's watch says so,
/// and as opening, loading and evaluate() do.
EvaluationReport evaluate_models(Host& host, const EvaluationRequest& request);

}  // namespace plimsoll
