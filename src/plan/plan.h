// The Plan: every decision about memory before anything big is loaded, as a pure value. Nothing
// decides outside it.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "base/bytes.h"
#include "base/ledger.h"
#include "model/description.h"

namespace plimsoll {

/// What a plan needs to know of a model file; read from its header alone (see model_facts).
struct ModelFacts {
  Description description;
  Bytes weight_bytes = 0;              ///< in memory, whole pages
  Bytes staging_bytes_per_worker = 0;  ///< while loading
  Bytes text_bytes = 0;                ///< tokenizer and file header
  Bytes table_bytes = 0;               ///< heap for the tables of tensors
  std::int64_t parameters = 0;         ///< numbers in all tensors
  Bytes file_tensor_bytes = 0;         ///< of all tensors in the file
};

struct PlanRequest {
  Bytes budget = 0;
  /// Tokens of KV cache, of all sequences together; without it, the most useful that fits.
  std::optional<std::int64_t> context;
  int threads = 1;
  std::int64_t logit_rows =
      1;  ///< wanted at a time (1 to generate, more to evaluate or in batches)
  std::int64_t chunk_tokens =
      256;  ///< prefill chunk wanted; smaller ones are taken when memory is short
  /// What the process holds besides the accounts: measured (see runtime_bytes), not guessed.
  Bytes runtime_bytes = 0;
};

/// One decided way to run. `fits` false: peak_bytes is the least that this request needs.
struct Plan {
  Bytes budget_bytes = 0;
  bool fits = false;
  std::array<Bytes, account_count> accounts{};  ///< while running, by Account
  Bytes loading_bytes = 0;                      ///< peak while loading
  Bytes running_bytes = 0;                      ///< peak while running: the sum of the accounts
  Bytes peak_bytes = 0;                         ///< the larger of the two, with page tables
  std::int64_t context = 0;
  std::int64_t largest_context =
      0;  ///< that would fit this budget, up to what the model was trained for; 0 for none
  Bytes least_bytes = 0;  ///< peak with the smallest chunk and short_context tokens
  std::int64_t chunk_tokens = 0;
  std::int64_t logit_rows = 1;
  int threads = 1;
  double bits_per_weight = 0;  ///< of all weights as held in memory
  double kl_nats = 0;          ///< from the file's own weights: 0, since importing is exact
  /// Filled in by the caller from a probe, when there was one.
  std::optional<double> prefill_tokens_per_second;
  std::optional<double> decode_tokens_per_second;

  Bytes account(Account a) const { return accounts[static_cast<std::size_t>(a)]; }
};

/// Context that is taken when none is asked for and the model and the budget allow more.
constexpr std::int64_t default_context = 4096;

/// Context that is still of use to most people; a refusal names what it takes.
constexpr std::int64_t short_context = 512;

/// Pure. Takes the largest chunk and, without a wanted context, the largest context up to
/// default_context that fits.
Plan make_plan(const ModelFacts& facts, const PlanRequest& request);

/// Throws Error(budget_refused) for a plan that does not fit: names the shortfall and the choices.
void refuse_unless_it_fits(const Plan& plan);

/// Keys as in the command line contract.
nlohmann::json to_json(const Plan& plan);

}  // namespace plimsoll
