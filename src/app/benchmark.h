// What a benchmark times: passes of one engine at several depths and batch sizes, each beside
// the machine's limits taken at the same moment.
#pragma once

#include <cstdint>
#include <vector>

#include "app/host.h"
#include "engine/engine.h"
#include "plan/speed.h"

namespace plimsoll {

/// One quantity over all repeats.
struct Spread {
  std::vector<double> values;

  double median() const;
  double least() const;
  double most() const;
};

struct BenchRequest {
  std::int64_t prompt = usual_prompt;  ///< tokens of prefill
  std::int64_t tokens = 64;            ///< decoded behind it
  std::int64_t repeats = 5;
  std::vector<std::int64_t> depths;   ///< tokens that are in the cache before
  std::vector<std::int64_t> batches;  ///< tokens in one pass

  /// Tokens of KV cache that each of a batch's sequences takes, and that all of this takes.
  std::int64_t batch_context(std::int64_t batch) const;
  std::int64_t context() const;
};

/// Prefill and decode behind `depth` tokens.
struct DepthTimings {
  std::int64_t depth = 0;
  Spread prefill, decode, mixed;  ///< tokens per second; mixed: both together
  Spread first_token;             ///< seconds from the prompt to its first token
  /// Of the limits that were measured beside each repeat.
  Spread bandwidth_fraction, compute_fraction;
};

/// Passes of a few tokens.
struct BatchTimings {
  std::int64_t batch = 0;
  Spread sequences;  ///< tokens per second of all together, one for each of `batch` sequences
  Spread verify;     ///< seconds of a pass of `batch` tokens of one sequence, with all their logits
};

struct BenchResult {
  std::vector<DepthTimings> depths;
  std::vector<BatchTimings> batches;
  Spread bytes_per_second;  ///< of the weights that a token reads, by all workers
  Spread integer_operations_per_second, float_operations_per_second;
  Bytes weight_bytes = 0;  ///< read to decode one token
};

/// What one token of a prompt takes in the matrices, whatever the speed.
struct PromptWork {
  double integer_operations = 0;  ///< products and sums with quantised weights
  double float_operations = 0;    ///< with dense ones
};
PromptWork prompt_work(const OpenModel& model, const Plan& plan);

/// Throws Error(budget_refused), with what would do, where `plan` (of `request`) has no room for
/// what is asked for, or for passes of as many tokens.
void check_room(const OpenModel& model, const PlanRequest& request, const Plan& plan,
                const BenchRequest& bench);

/// The engine's plan has request.context() tokens and logits for the largest batch. Throws
/// Error(interrupted) when the watch says so.
BenchResult measure(const Engine& engine, const PromptWork& work, const BenchRequest& request,
                    const Watch& watch);

}  // namespace plimsoll
