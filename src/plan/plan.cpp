#include "plan/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/region.h"
#include "cache/kv_cache.h"
#include "model/transformer.h"
#include "plan/format_choices.h"

namespace plimsoll {
namespace {

constexpr std::int64_t smallest_chunk = 16;

/// Page tables take eight bytes for each 4 KiB (or a page kept in reserve for each 2 MiB): charged
/// to a control group, though no part of the resident set.
Bytes page_table_bytes(Bytes resident) { return resident / 512; }

/// The most that may be resident inside a budget.
Bytes resident_limit(Bytes budget) {
  const Bytes pages = round_down(budget, page_bytes);
  return pages - page_table_bytes(pages);
}

/// What rounding adds to the process beyond what an exact run takes.
/// Measured; see docs/decisions/fitting.md.
constexpr Bytes rounding_runtime_bytes = 64 * KiB;

/// Fills in the sizes for one context and chunk.
Plan sized(const ModelFacts& facts, const PlanRequest& request, const HeldWeights& weights,
           std::int64_t context, std::int64_t chunk) {
  const Description& d = facts.description;
  Plan plan;
  plan.budget_bytes = request.budget;
  plan.process_bytes = request.runtime_bytes;
  plan.context = context;
  plan.chunk_tokens = std::min(chunk, context);
  plan.logit_rows = std::min(request.logit_rows, plan.chunk_tokens);
  plan.threads = request.threads;
  plan.bits_per_weight = facts.parameters ? 8.0 * static_cast<double>(weights.bytes) /
                                                static_cast<double>(facts.parameters)
                                          : 0;
  const Bytes runtime =
      request.runtime_bytes + (weights.formats.empty() ? 0 : rounding_runtime_bytes);
  const auto set = [&plan](Account a, Bytes bytes) {
    plan.accounts[static_cast<std::size_t>(a)] = bytes;
  };
  plan.formats = weights.formats;
  plan.kl_nats = weights.kl_nats;
  set(Account::weights, weights.bytes);
  set(Account::kv, KvCache::memory_bytes({d.layers, d.kv_heads, d.head_dim}, context));
  set(Account::activations,
      ActivationLayout(d, plan.chunk_tokens, plan.logit_rows, request.threads).total);
  set(Account::text, facts.text_bytes);
  set(Account::runtime, runtime);
  for (const Bytes bytes : plan.accounts) plan.running_bytes += bytes;
  // Staging lives only while loading, before the KV cache and the activations exist.
  plan.loading_bytes = runtime + facts.text_bytes + weights.bytes +
                       weights.staging_bytes_per_worker * static_cast<Bytes>(request.threads);
  const Bytes resident = std::max(plan.running_bytes, plan.loading_bytes);
  plan.peak_bytes = round_up(resident + page_table_bytes(resident), page_bytes);
  plan.fits = plan.peak_bytes <= plan.budget_bytes;
  return plan;
}

/// The longest context up to `most` whose plan fits with this chunk; 0 for none. Bytes grow with
/// the context.
std::int64_t longest_context(const ModelFacts& facts, const PlanRequest& request,
                             const HeldWeights& weights, std::int64_t chunk, std::int64_t most) {
  std::int64_t fits = 0, above = most + 1;
  while (above - fits > 1) {
    const std::int64_t middle = fits + (above - fits) / 2;
    (sized(facts, request, weights, middle, chunk).fits ? fits : above) = middle;
  }
  return fits;
}

/// Context and chunk for weights that are what they are: the largest chunk, and without a wanted
/// context the largest up to `most_context` (and what the model was trained for).
Plan plan_around(const ModelFacts& facts, const PlanRequest& request, const HeldWeights& weights,
                 std::int64_t most_context) {
  const std::int64_t trained = facts.description.trained_context;
  const std::int64_t wanted = request.context.value_or(std::min(trained, most_context));
  Plan plan;
  for (std::int64_t chunk = std::max(request.chunk_tokens, smallest_chunk); chunk >= smallest_chunk;
       chunk /= 2) {
    plan = sized(facts, request, weights, wanted, chunk);
    if (plan.fits) break;
  }
  const std::int64_t largest = longest_context(facts, request, weights, smallest_chunk, trained);
  if (!plan.fits && !request.context && largest > 0) {
    // A shorter context is better than none; half of what could be is left to chunks of a decent
    // size.
    for (std::int64_t chunk = request.chunk_tokens; chunk >= smallest_chunk && !plan.fits;
         chunk /= 2) {
      const std::int64_t context = longest_context(facts, request, weights, chunk, wanted);
      if (context >= largest / 2 && context > 0)
        plan = sized(facts, request, weights, context, chunk);
    }
  }
  plan.largest_context = largest;
  const Plan least =
      sized(facts, request, weights, std::min(trained, short_context), smallest_chunk);
  plan.least_bytes = least.peak_bytes;
  plan.least_kl_nats = weights.kl_nats;
  return plan;
}

/// Parts of the budget, as divisors.
constexpr Bytes kv_share = 8;
constexpr Bytes activations_share = 32;
/// What the process holds is counted in steps of this part.
constexpr Bytes process_step = 128;

/// Context and chunk, when the weights will get what they leave; the plan has the smallest weights.
/// Fits if anything does.
Plan plan_before_weights(const ModelFacts& facts, const PlanRequest& request,
                         const HeldWeights& smallest) {
  const std::int64_t trained = facts.description.trained_context;
  std::int64_t context = request.context.value_or(std::min(trained, fitted_context));
  if (!request.context) {
    while (context / 2 >= short_context &&
           sized(facts, request, smallest, context, smallest_chunk).account(Account::kv) >
               request.budget / kv_share)
      context /= 2;
    if (!sized(facts, request, smallest, context, smallest_chunk).fits)
      return plan_around(facts, request, smallest, fitted_context);
  }
  Plan plan = sized(facts, request, smallest, context, smallest_chunk);
  for (std::int64_t chunk = request.chunk_tokens; chunk > smallest_chunk; chunk /= 2) {
    const Plan larger = sized(facts, request, smallest, context, chunk);
    if (!larger.fits || larger.account(Account::activations) > request.budget / activations_share)
      continue;
    plan = larger;
    break;
  }
  return plan;
}

Plan plan_fitted(const ModelFacts& facts, const PlanRequest& request, const FormatChoices& choices,
                 const HeldWeights& smallest) {
  const Plan frame = plan_before_weights(facts, request, smallest);
  if (!frame.fits) return frame;
  const Bytes process = round_up(frame.account(Account::runtime) + frame.account(Account::text),
                                 round_up(request.budget / process_step, page_bytes));
  const Bytes staging =
      choices.most_staging_bytes_per_worker() * static_cast<Bytes>(request.threads);
  const Bytes besides =
      process + std::max(staging, frame.account(Account::kv) + frame.account(Account::activations));
  const Bytes limit = resident_limit(request.budget);
  return sized(facts, request, choices.best(limit - std::min(limit, besides)), frame.context,
               frame.chunk_tokens);
}

}  // namespace

Plan make_plan(const ModelFacts& facts, const PlanRequest& request) {
  const HeldWeights as_file = {{}, facts.weight_bytes, facts.staging_bytes_per_worker, 0};
  Plan plan = plan_around(facts, request, as_file, default_context);
  if (request.policy == WeightPolicy::fit && !facts.tensors.empty()) {
    const QualityModel quality =
        request.quality ? *request.quality : prior_quality(facts.description, facts.tensors);
    const FormatChoices choices(facts, quality, request.rounding);
    const HeldWeights smallest = choices.smallest();
    const Plan least = plan_around(facts, request, smallest, fitted_context);
    const std::int64_t enough =
        request.context.value_or(std::min(facts.description.trained_context, fitted_context));
    if (!plan.fits || plan.context < enough) {
      plan = plan_fitted(facts, request, choices, smallest);
      plan.quality = quality.source;
      plan.kept_tensors = choices.kept_tensors();
      plan.largest_context = least.largest_context;
    }
    plan.least_bytes = least.least_bytes;
    plan.least_kl_nats = least.least_kl_nats;
  }
  plan.shares = format_shares(facts.tensors, plan.formats);
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
  const std::string rounded =
      plan.formats.empty()
          ? ""
          : fmt::format(" with every tensor in its smallest format, a loss of {} nats",
                        format_nats(plan.kl_nats));
  throw Error(
      ErrorCode::budget_refused,
      fmt::format("needs {} ({} bytes) for a context of {} tokens{}; the budget is {}, short by {} "
                  "(weights alone take {})",
                  format_bytes(plan.peak_bytes), plan.peak_bytes, plan.context, rounded,
                  format_bytes(plan.budget_bytes), format_bytes(missing),
                  format_bytes(plan.account(Account::weights))),
      choice);
}

std::string format_nats(double nats) { return fmt::format("{:.2g}", nats); }

nlohmann::json to_json(const Plan& plan) {
  nlohmann::json formats = nlohmann::json::object();
  for (const FormatShare& share : plan.shares)
    formats[std::string(share.format->name)] = share.bytes;
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
          {"least_kl_nats", plan.least_kl_nats},
          {"quality", plan.formats.empty() ? "exact" : name(plan.quality)},
          {"formats", formats},
          {"kept_tensors", plan.kept_tensors},
          {"prefill_tokens_per_second", speed(plan.prefill_tokens_per_second)},
          {"decode_tokens_per_second", speed(plan.decode_tokens_per_second)}};
}

}  // namespace plimsoll
