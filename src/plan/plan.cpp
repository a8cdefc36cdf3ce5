#include "plan/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/region.h"
#include "cache/kv_cache.h"
#include "model/transformer.h"

namespace plimsoll {
namespace {

constexpr std::int64_t smallest_chunk = 16;

/// Page tables take eight bytes for each 4 KiB (or a page kept in reserve for each 2 MiB): charged
/// to a control group, though no part of the resident set.
Bytes page_table_bytes(Bytes resident) { return resident / 512; }

/// Fills in the sizes for one context and chunk.
Plan sized(const ModelFacts& facts, const PlanRequest& request, std::int64_t context,
           std::int64_t chunk) {
  const Description& d = facts.description;
  Plan plan;
  plan.budget_bytes = request.budget;
  plan.context = context;
  plan.chunk_tokens = std::min(chunk, context);
  plan.logit_rows = std::min(request.logit_rows, plan.chunk_tokens);
  plan.threads = request.threads;
  plan.bits_per_weight = facts.parameters ? 8.0 * static_cast<double>(facts.weight_bytes) /
                                                static_cast<double>(facts.parameters)
                                          : 0;
  const auto set = [&plan](Account a, Bytes bytes) {
    plan.accounts[static_cast<std::size_t>(a)] = bytes;
  };
  set(Account::weights, facts.weight_bytes);
  set(Account::kv, KvCache::memory_bytes({d.layers, d.kv_heads, d.head_dim}, context));
  set(Account::activations,
      ActivationLayout(d, plan.chunk_tokens, plan.logit_rows, request.threads).total);
  set(Account::text, facts.text_bytes);
  set(Account::runtime, request.runtime_bytes);
  for (const Bytes bytes : plan.accounts) plan.running_bytes += bytes;
  // Staging lives only while loading, before the KV cache and the activations exist.
  plan.loading_bytes = request.runtime_bytes + facts.text_bytes + facts.weight_bytes +
                       facts.staging_bytes_per_worker * static_cast<Bytes>(request.threads);
  const Bytes resident = std::max(plan.running_bytes, plan.loading_bytes);
  plan.peak_bytes = round_up(resident + page_table_bytes(resident), page_bytes);
  plan.fits = plan.peak_bytes <= plan.budget_bytes;
  return plan;
}

/// The longest context up to `most` whose plan fits with this chunk; 0 for none. Bytes grow with
/// the context.
std::int64_t longest_context(const ModelFacts& facts, const PlanRequest& request,
                             std::int64_t chunk, std::int64_t most) {
  std::int64_t fits = 0, above = most + 1;
  while (above - fits > 1) {
    const std::int64_t middle = fits + (above - fits) / 2;
    (sized(facts, request, middle, chunk).fits ? fits : above) = middle;
  }
  return fits;
}

}  // namespace

Plan make_plan(const ModelFacts& facts, const PlanRequest& request) {
  const std::int64_t trained = facts.description.trained_context;
  const std::int64_t wanted = request.context.value_or(std::min(trained, default_context));
  Plan plan;
  for (std::int64_t chunk = std::max(request.chunk_tokens, smallest_chunk); chunk >= smallest_chunk;
       chunk /= 2) {
    plan = sized(facts, request, wanted, chunk);
    if (plan.fits) break;
  }
  const std::int64_t largest = longest_context(facts, request, smallest_chunk, trained);
  if (!plan.fits && !request.context && largest > 0) {
    // A shorter context is better than none; half of what could be is left to chunks of a decent
    // size.
    for (std::int64_t chunk = request.chunk_tokens; chunk >= smallest_chunk && !plan.fits;
         chunk /= 2) {
      const std::int64_t context = longest_context(facts, request, chunk, wanted);
      if (context >= largest / 2 && context > 0) plan = sized(facts, request, context, chunk);
    }
  }
  plan.largest_context = largest;
  plan.least_bytes =
      sized(facts, request, std::min(trained, short_context), smallest_chunk).peak_bytes;
  return plan;
}

void refuse_unless_it_fits(const Plan& plan) {
  if (plan.fits) return;
  const Bytes missing = plan.peak_bytes - plan.budget_bytes;
  std::string choice = fmt::format("give --memory {} or more", plan.peak_bytes);
  if (plan.largest_context > 0)
    choice += fmt::format(", or --context {} or less", plan.largest_context);
  else if (plan.least_bytes < plan.peak_bytes)
    choice += fmt::format(", or {} and --context {}, or a smaller model or file format",
                          plan.least_bytes, short_context);
  else
    choice += ", or a smaller model or file format";
  throw Error(
      ErrorCode::budget_refused,
      fmt::format(
          "needs {} ({} bytes) for a context of {} tokens; the budget is {}, short by {} (weights "
          "alone take {})",
          format_bytes(plan.peak_bytes), plan.peak_bytes, plan.context,
          format_bytes(plan.budget_bytes), format_bytes(missing),
          format_bytes(plan.account(Account::weights))),
      choice);
}

nlohmann::json to_json(const Plan& plan) {
  nlohmann::json accounts;
  for (const Account a : all_accounts) accounts[std::string(name(a))] = plan.account(a);
  const auto speed = [](const std::optional<double>& value) {
    return value ? nlohmann::json(*value) : nlohmann::json();
  };
  return {{"budget_bytes", plan.budget_bytes},
          {"fits", plan.fits},
          {"peak_bytes", plan.peak_bytes},
          {"loading_bytes", plan.loading_bytes},
          {"running_bytes", plan.running_bytes},
          {"accounts", accounts},
          {"context", plan.context},
          {"largest_context", plan.largest_context},
          {"least_bytes", plan.least_bytes},
          {"chunk_tokens", plan.chunk_tokens},
          {"threads", plan.threads},
          {"bits_per_weight", plan.bits_per_weight},
          {"kl_nats", plan.kl_nats},
          {"prefill_tokens_per_second", speed(plan.prefill_tokens_per_second)},
          {"decode_tokens_per_second", speed(plan.decode_tokens_per_second)}};
}

}  // namespace plimsoll
