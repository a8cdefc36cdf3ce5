#include "plan/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/bounded.h"
#include "base/error.h"
#include "base/region.h"
#include "cache/kv_shape.h"
#include "model/transformer.h"
#include "plan/costs.h"
#include "plan/decisions.h"
#include "plan/format_choices.h"
#include "plan/speed.h"
#include "text/tokenizer.h"

namespace plimsoll {
namespace {

/// One pass has a token of each session.
std::int64_t smallest_chunk(const PlanRequest& request) {
  constexpr std::uint64_t worthwhile = 16;
  return static_cast<std::int64_t>(
      std::bit_ceil(std::max(worthwhile, static_cast<std::uint64_t>(request.sessions))));
}

std::int64_t largest_chunk(const PlanRequest& request) {
  return std::max(request.chunk_tokens, smallest_chunk(request));
}

/// Page tables take eight bytes for each 4 KiB (or a page kept in reserve for each 2 MiB): charged
/// to a control group, though no part of the resident set.
Bytes page_table_bytes(Bytes resident) { return resident / 512; }

/// The most that may be resident inside a budget.
Bytes resident_limit(Bytes budget) {
  const Bytes pages = round_down(budget, page_bytes);
  return pages - page_table_bytes(pages);
}

/// On the heap for each session beside the first, for which the request's runtime_bytes have it:
/// the logits and ids that it draws from.
Bytes drawing_bytes(const Description& d) {
  return bounded_product({static_cast<Bytes>(d.vocabulary), sizeof(float) + sizeof(TokenId)});
}

/// Workers that stage rows while loading.
Bytes staging_workers(const PlanRequest& request) {
  return static_cast<Bytes>(std::min(request.threads, request.processors.value_or(request.threads)));
}

/// Fills in the sizes for one context and chunk.
Plan sized(const ModelFacts& facts, const PlanRequest& request, const HeldWeights& weights,
           std::int64_t context, std::int64_t chunk) {
  const Description& d = facts.description;
  Plan plan;
  plan.budget_bytes = request.budget;
  plan.process_bytes = request.runtime_bytes;
  plan.rounding_bytes = request.of_rounding;
  plan.counts_process = request.counts_process;
  plan.slack_bytes = request.runtime_slack;
  plan.context = context;
  plan.sessions = request.sessions;
  plan.branches = request.branches;
  plan.chunk_tokens = std::min(chunk, context * request.sessions);
  plan.logit_rows = std::min(std::max(request.logit_rows, request.sessions), plan.chunk_tokens);
  plan.threads = request.threads;
  plan.bits_per_weight = facts.parameters ? 8.0 * static_cast<double>(weights.bytes) /
                                                static_cast<double>(facts.parameters)
                                          : 0;
  const auto sessions = static_cast<Bytes>(request.sessions);
  plan.kv = request.kv;
  const KvShape shape = kv_shape(d, plan.kv);
  const Bytes conversation = request.converses ? conversation_bytes(context) : 0;
  const Bytes runtime = bounded_sum(
      {request.runtime_bytes, weights.formats.empty() ? 0 : request.of_rounding,
       bounded_product({sessions, bounded_sum({sequence_bytes(context), conversation,
                                               kv_table_bytes(shape, context)})}),
       bounded_product({sessions - 1, drawing_bytes(d)})});
  const auto set = [&plan](Account a, Bytes bytes) {
    plan.accounts[static_cast<std::size_t>(a)] = bytes;
  };
  plan.formats = weights.formats;
  plan.kl_nats = weights.kl_nats;
  set(Account::weights, weights.bytes);
  set(Account::kv, KvNeeds(shape, {request.sessions, request.branches, context, plan.chunk_tokens})
                       .bytes);
  set(Account::activations,
      ActivationLayout(d, context, plan.chunk_tokens, plan.logit_rows, request.threads,
                       request.sessions * request.branches)
          .total);
  const Bytes text = bounded_sum({facts.text_bytes, request.held_text});
  set(Account::text, text);
  set(Account::runtime, runtime);
  for (const Bytes bytes : plan.accounts)
    plan.running_bytes = bounded_sum({plan.running_bytes, bytes});
  plan.loading_runtime_bytes = runtime - std::min(runtime, request.after_loading);
  // Staging lives only while loading, before the KV cache and the activations exist.
  plan.loading_bytes = bounded_sum(
      {plan.loading_runtime_bytes, text, weights.bytes,
       bounded_product({weights.staging_bytes_per_worker, staging_workers(request)})});
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

/// The largest number from 1 to `most` that fits; 0 for none. Larger ones take more bytes.
template <class Fits>
std::int64_t largest_that(std::int64_t most, const Fits& fits) {
  std::int64_t found = 0, above = most + 1;
  while (above - found > 1) {
    const std::int64_t middle = found + (above - found) / 2;
    (fits(middle) ? found : above) = middle;
  }
  return found;
}

/// The same request of other workers, with their stacks.
PlanRequest with_threads(PlanRequest request, int threads) {
  const auto stacks = [](int workers) {
    return stack_bytes_per_thread * static_cast<Bytes>(workers);
  };
  request.runtime_bytes += stacks(threads);
  request.runtime_bytes -= std::min(request.runtime_bytes, stacks(request.threads));
  request.threads = threads;
  return request;
}

/// What would do with fewer workers or sessions, for a plan that does not fit.
void offer_less(const ModelFacts& facts, const PlanRequest& request, const HeldWeights& weights,
                std::int64_t context, Plan& plan) {
  const auto fits = [&](const PlanRequest& fewer) {
    return sized(facts, fewer, weights, context, smallest_chunk(fewer)).fits;
  };
  plan.offered_threads = static_cast<int>(largest_that(
      request.threads - 1, [&](std::int64_t threads) { return fits(with_threads(request, static_cast<int>(threads))); }));
  if (plan.offered_threads == 0 && request.threads > 1) {
    const PlanRequest one = with_threads(request, 1);
    plan.context_of_one_thread = longest_context(facts, one, weights, smallest_chunk(one), context);
  }
  plan.offered_sessions = largest_that(request.sessions - 1, [&](std::int64_t sessions) {
    PlanRequest fewer = request;
    fewer.sessions = sessions;
    return fits(fewer);
  });
}

/// Context and chunk for weights that are what they are: the largest chunk, and without a wanted
/// context the largest up to `most_context` (and what the model was trained for).
Plan plan_around(const ModelFacts& facts, const PlanRequest& request, const HeldWeights& weights,
                 std::int64_t most_context) {
  const std::int64_t trained = facts.description.trained_context;
  const std::int64_t wanted = request.context.value_or(std::min(trained, most_context));
  Plan plan;
  const std::int64_t least_chunk = smallest_chunk(request);
  for (std::int64_t chunk = largest_chunk(request); chunk >= least_chunk; chunk /= 2) {
    plan = sized(facts, request, weights, wanted, chunk);
    if (plan.fits) break;
  }
  const std::int64_t most = std::max(trained, request.context.value_or(0));
  const std::int64_t largest = longest_context(facts, request, weights, least_chunk, most);
  if (!plan.fits && !request.context && largest > 0) {
    // A shorter context is better than none; half of what could be is left to chunks of a decent
    // size.
    for (std::int64_t chunk = largest_chunk(request); chunk >= least_chunk && !plan.fits;
         chunk /= 2) {
      const std::int64_t context = longest_context(facts, request, weights, chunk, wanted);
      if (context >= largest / 2 && context > 0)
        plan = sized(facts, request, weights, context, chunk);
    }
  }
  plan.largest_context = largest;
  PlanRequest again = request;
  again.runtime_bytes += request.runtime_slack;
  plan.offered_context = longest_context(facts, again, weights, least_chunk, largest);
  if (!plan.fits)
    offer_less(facts, again, weights, request.context.value_or(std::min(trained, short_context)),
               plan);
  const Plan least = sized(facts, request, weights, std::min(trained, short_context), least_chunk);
  plan.least_context = least.context;
  plan.least_bytes = least.peak_bytes;
  plan.least_kl_nats = weights.kl_nats;
  return plan;
}

/// Parts of the budget, as divisors.
constexpr Bytes kv_share = 8;
constexpr Bytes activations_share = 32;
/// Weights are chosen for at least so many workers where they fit, so that the same weights come
/// out for fewer: each takes scratch, a stack and staging.
constexpr int usual_threads = 4;

/// Context and chunk, when the weights will get what they leave; the plan has the smallest weights.
/// Fits if anything does.
Plan plan_before_weights(const ModelFacts& facts, const PlanRequest& request,
                         const HeldWeights& smallest) {
  const std::int64_t least_chunk = smallest_chunk(request);
  const std::int64_t trained = facts.description.trained_context;
  std::int64_t context = request.context.value_or(std::min(trained, fitted_context));
  if (!request.context) {
    while (context / 2 >= short_context &&
           sized(facts, request, smallest, context, least_chunk).account(Account::kv) >
               request.budget / kv_share)
      context /= 2;
    if (!sized(facts, request, smallest, context, least_chunk).fits)
      return plan_around(facts, request, smallest, fitted_context);
  }
  Plan plan = sized(facts, request, smallest, context, least_chunk);
  const PlanRequest usual = with_threads(request, std::max(request.threads, usual_threads));
  for (std::int64_t chunk = largest_chunk(request); chunk > least_chunk; chunk /= 2) {
    const Plan larger = sized(facts, request, smallest, context, chunk);
    const Bytes activations =
        sized(facts, usual, smallest, context, chunk).account(Account::activations);
    if (!larger.fits || activations > request.budget / activations_share) continue;
    plan = larger;
    break;
  }
  return plan;
}

/// Where a floor asks for it.
void set_speeds(const ModelFacts& facts, const PlanRequest& request, Plan& plan) {
  if (!request.speed) return;
  plan.speed_floor = request.speed->decode_tokens_per_second;
  predict_speeds(request.speed->machine->cautious(), facts, plan);
  plan.promised_tokens_per_second = plan.decode_tokens_per_second;
  predict_speeds(*request.speed->machine, facts, plan);
}

double promised_rate(const ModelFacts& facts, const PlanRequest& request,
                     const HeldWeights& weights, std::int64_t depth) {
  const std::vector<const Format*> formats = formats_held(facts, weights.formats);
  return 1 / decode_seconds(request.speed->machine->cautious(),
                            {facts.description, facts.tensors, formats}, depth, request.sessions,
                            request.threads);
}

/// The weights of least loss with at most `limit` bytes that keep the floor; the fastest where none
/// do.
HeldWeights keep_speed(const ModelFacts& facts, const PlanRequest& request,
                       const FormatChoices& choices, Bytes limit, std::int64_t depth) {
  const Machine machine = request.speed->machine->cautious();
  const double most_seconds = 1 / request.speed->decode_tokens_per_second;
  std::optional<HeldWeights> best, fastest;
  for (const WeightPlace place : {WeightPlace::memory, WeightPlace::cache}) {
    const Bytes room = place == WeightPlace::cache ? std::min(limit, machine.cache_bytes) : limit;
    const DecodeClock clock{machine, request.threads, request.sessions, place};
    const double fixed = decode_seconds_without_products(
        machine, facts.description, depth, request.sessions, request.threads, place);
    std::optional<HeldWeights> found = choices.best(room, clock, most_seconds - fixed);
    if (found && (!best || found->kl_nats < best->kl_nats)) best = std::move(found);
    if (best) continue;
    found = choices.fastest(room, clock);
    if (found && (!fastest || promised_rate(facts, request, *found, depth) >
                                  promised_rate(facts, request, *fastest, depth)))
      fastest = std::move(found);
  }
  return best ? *best : fastest ? *fastest : choices.smallest();
}

/// The frame's context and chunk with the best weights that they leave room for.
Plan plan_fitted(const ModelFacts& facts, const PlanRequest& request, const FormatChoices& choices,
                 const Plan& frame) {
  if (!frame.fits) return frame;
  const auto left_for_weights = [&](const PlanRequest& workers, const Plan& with) {
    const Bytes staging = choices.most_staging_bytes_per_worker() * staging_workers(workers);
    const Bytes others =
        with.account(Account::runtime) + with.account(Account::text) +
        std::max(staging - std::min(staging, workers.after_loading),
                 with.account(Account::kv) + with.account(Account::activations));
    const Bytes resident = resident_limit(request.budget);
    return resident - std::min(resident, others);
  };
  Bytes limit = left_for_weights(request, frame);
  if (request.threads < usual_threads) {
    const PlanRequest usual = with_threads(request, usual_threads);
    const Plan with = sized(facts, usual, choices.smallest(), frame.context, frame.chunk_tokens);
    const Bytes of_usual = left_for_weights(usual, with);
    // What the fewer workers leave besides counts only until the usual ones have as much to spare:
    // so that more memory is never worth less, whatever the number of workers.
    const Bytes besides = limit - std::min(limit, of_usual);
    limit = std::max(of_usual, std::min(limit, choices.smallest().bytes + besides));
  }
  const HeldWeights weights = request.speed ? keep_speed(facts, request, choices, limit,
                                                         std::min(usual_prompt, frame.context))
                                            : choices.best(limit);
  return sized(facts, request, weights, frame.context, frame.chunk_tokens);
}

HeldWeights weights_of_file(const ModelFacts& facts) {
  return {{}, facts.weight_bytes, facts.staging_bytes_per_worker, 0};
}

QualityModel quality_for(const ModelFacts& facts, const PlanRequest& request) {
  return request.quality ? *request.quality : prior_quality(facts.description, facts.tensors);
}

/// What a refusal may offer: the same whatever was decided.
void set_offers(const Plan& least, bool is_rounded, Plan& plan) {
  if (is_rounded) {
    plan.largest_context = least.largest_context;
    plan.offered_context = least.offered_context;
    plan.offered_threads = least.offered_threads;
    plan.context_of_one_thread = least.context_of_one_thread;
    plan.offered_sessions = least.offered_sessions;
  }
  plan.least_context = least.least_context;
  plan.least_bytes = least.least_bytes;
  plan.least_kl_nats = least.least_kl_nats;
}

}  // namespace

Bytes sequence_bytes(std::int64_t context) {
  // Of a token: its id in the session, and in the prompt or the answer; 4 bytes of text.
  constexpr Bytes of_token = 2 * sizeof(TokenId) + 4;
  return bounded_product({static_cast<Bytes>(context), of_token});
}

Bytes conversation_bytes(std::int64_t context) {
  constexpr Bytes of_token = 64;
  return bounded_product({static_cast<Bytes>(context), of_token});
}

Plan plan_move(const ModelFacts& facts, const PlanRequest& asked, const Plan& now, Bytes budget) {
  PlanRequest request = asked;
  request.budget = budget;
  request.policy = WeightPolicy::fit;
  request.sessions = now.sessions;
  request.branches = now.branches;
  request.threads = now.threads;
  request.logit_rows = now.logit_rows;
  request.kv = now.kv;
  Decisions decisions = decisions_of(now);
  decisions.budget_bytes = budget;
  const auto fits = [&](const Plan& plan, Bytes staging) {
    const Bytes moving = bounded_sum({plan.running_bytes, staging});
    return bounded_sum({moving, page_table_bytes(moving)}) <= budget;
  };
  decisions.formats = {};
  Plan whole = forecast_plan(facts, request, decisions);
  if (facts.tensors.empty() || fits(whole, facts.staging_bytes_per_worker)) {
    whole.fits = fits(whole, facts.staging_bytes_per_worker);
    return whole;
  }
  const QualityModel quality = quality_for(facts, request);
  const FormatChoices choices(facts, quality, request.rounding);
  const Bytes staging = choices.most_staging_bytes_per_worker();
  const Plan frame = sized(facts, request, choices.smallest(), now.context, now.chunk_tokens);
  const Bytes others = frame.running_bytes - frame.account(Account::weights) + staging;
  const Bytes resident = resident_limit(budget);
  const HeldWeights held = choices.best(resident - std::min(resident, others));
  decisions.formats = held.formats;
  Plan plan = forecast_plan(facts, request, decisions);
  plan.fits = fits(plan, staging);
  const Bytes least = bounded_sum({frame.running_bytes, staging});
  if (!plan.fits) plan.peak_bytes = round_up(least + page_table_bytes(least), page_bytes);
  return plan;
}

Plan forecast_plan(const ModelFacts& facts, const PlanRequest& asked, const Decisions& decisions) {
  PlanRequest request = asked;
  request.budget = decisions.budget_bytes;
  request.sessions = decisions.sessions;
  request.threads = decisions.threads;
  request.logit_rows = decisions.logit_rows;
  request.branches = decisions.branches;
  request.kv = decisions.kv;
  const bool rounds = !decisions.formats.empty();
  const HeldWeights as_file = weights_of_file(facts);
  if (!rounds && (request.policy == WeightPolicy::exact || facts.tensors.empty())) {
    const Plan offers = plan_around(facts, request, as_file, default_context);
    Plan plan = sized(facts, request, as_file, decisions.context, decisions.chunk_tokens);
    set_offers(offers, true, plan);
    plan.shares = format_shares(facts.tensors, plan.formats);
    return plan;
  }
  const QualityModel quality = quality_for(facts, request);
  const FormatChoices choices(facts, quality, request.rounding);
  const std::optional<HeldWeights> held =
      rounds ? choices.weigh(decisions.formats) : std::optional(as_file);
  if (!held)
    throw Error(ErrorCode::unsupported_format,
                "the plan holds tensors in formats that this model's cannot be rounded to",
                "write it again with plimsoll plan --json");
  Plan plan = sized(facts, request, *held, decisions.context, decisions.chunk_tokens);
  if (rounds) {
    plan.quality = quality.source;
    plan.uncodable_tensors = count_uncodable(facts.tensors);
  } else {
    set_offers(plan_around(facts, request, as_file, default_context), true, plan);
  }
  set_offers(plan_around(facts, request, choices.smallest(), fitted_context), rounds, plan);
  plan.shares = format_shares(facts.tensors, plan.formats);
  return plan;
}

Plan make_plan(const ModelFacts& facts, const PlanRequest& request) {
  const HeldWeights as_file = weights_of_file(facts);
  Plan plan = plan_around(facts, request, as_file, default_context);
  if (request.policy == WeightPolicy::fit && !facts.tensors.empty()) {
    const QualityModel quality = quality_for(facts, request);
    const FormatChoices choices(facts, quality, request.rounding);
    const Plan least = plan_around(facts, request, choices.smallest(), fitted_context);
    const std::int64_t enough =
        request.context.value_or(std::min(facts.description.trained_context, fitted_context));
    const bool roomy = plan.fits && plan.context >= enough;
    const bool slow = request.speed && roomy &&
                      promised_rate(facts, request, as_file, std::min(usual_prompt, plan.context)) <
                          request.speed->decode_tokens_per_second;
    if (!roomy || slow) {
      const auto fitted = [&](const FormatChoices& among) {
        // What is only too slow keeps its context and chunk.
        const HeldWeights smallest = among.smallest();
        Plan frame;
        if (slow) frame = sized(facts, request, smallest, plan.context, plan.chunk_tokens);
        if (!frame.fits) frame = plan_before_weights(facts, request, smallest);
        Plan result = plan_fitted(facts, request, among, frame);
        set_speeds(facts, request, result);
        return result;
      };
      Plan of_levels;
      if (FormatChoices::has_levels(facts))
        of_levels = fitted(FormatChoices(facts, quality, request.rounding, Lowering::levels_only));
      plan = of_levels.fits && of_levels.keeps_speed() ? of_levels : fitted(choices);
      plan.quality = quality.source;
      plan.uncodable_tensors = count_uncodable(facts.tensors);
    }
    set_offers(least, !roomy || slow, plan);
  }
  plan.shares = format_shares(facts.tensors, plan.formats);
  set_speeds(facts, request, plan);
  return plan;
}

bool Plan::keeps_speed() const {
  // The prediction and the solver's sums round differently.
  constexpr double rounding = 1e-9;
  return !speed_floor || *promised_tokens_per_second >= *speed_floor * (1 - rounding);
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
          {"sessions", plan.sessions},
          {"kv", describe(plan.kv)},
          {"largest_context", plan.largest_context},
          {"least_bytes", plan.least_bytes},
          {"least_context", plan.least_context},
          {"chunk_tokens", plan.chunk_tokens},
          {"threads", plan.threads},
          {"bits_per_weight", plan.bits_per_weight},
          {"kl_nats", plan.kl_nats},
          {"least_kl_nats", plan.least_kl_nats},
          {"quality", plan.formats.empty() ? "exact" : name(plan.quality)},
          {"formats", formats},
          {"kept_tensors", plan.uncodable_tensors},
          {"prefill_tokens_per_second", speed(plan.prefill_tokens_per_second)},
          {"decode_tokens_per_second", speed(plan.decode_tokens_per_second)},
          {"speed_floor", speed(plan.speed_floor)},
          {"promised_tokens_per_second", speed(plan.promised_tokens_per_second)}};
}

}  // namespace plimsoll
