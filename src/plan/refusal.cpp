// What is said of a plan that does not fit, and what would.
#include <fmt/format.h>

#include <cmath>

#include "base/bounded.h"
#include "base/error.h"
#include "base/limits.h"
#include "plan/plan.h"

namespace plimsoll {
namespace {

[[noreturn]] void refuse_slow(const Plan& plan) {
  const double best = std::floor(*plan.promised_tokens_per_second * 100) / 100;
  throw Error(
      ErrorCode::budget_refused,
      fmt::format("{} tokens a second are asked for; the best to be promised within {} is {:.2f} "
                  "(predicted {:.2f})",
                  *plan.speed_floor, format_bytes(plan.budget_bytes),
                  *plan.promised_tokens_per_second, *plan.decode_tokens_per_second),
      best > 0 ? fmt::format("give --speed {:.2f} or less", best)
               : std::string("leave --speed out, or take a smaller model"));
}

}  // namespace

std::string offer_remedies(const Plan& plan, const Remedies& remedies) {
  const Bytes usable = remedies.any_memory ? most_bytes : probe_limits().usable;
  std::vector<std::string> offers;
  const Bytes memory = remedies.memory.value_or(plan.peak_bytes + plan.slack_bytes);
  const Bytes least = plan.least_bytes + plan.slack_bytes;
  if (memory <= usable) offers.push_back(fmt::format("--memory {} or more", memory));
  const auto is_enough = [&](std::int64_t context) {
    return remedies.context && context > 0 && context >= remedies.least_context;
  };
  if (is_enough(plan.offered_context))
    offers.push_back(fmt::format("--context {} or less", plan.offered_context));
  if (plan.offered_threads > 0)
    offers.push_back(fmt::format("--threads {} or fewer", plan.offered_threads));
  else if (is_enough(plan.context_of_one_thread) &&
           plan.context_of_one_thread > plan.offered_context)
    offers.push_back(fmt::format("--threads 1 and --context {}", plan.context_of_one_thread));
  if (remedies.sessions && plan.offered_sessions > 0)
    offers.push_back(fmt::format("--sessions {} or fewer", plan.offered_sessions));
  offers.insert(offers.end(), remedies.more.begin(), remedies.more.end());
  const bool works_within = offers.size() > (memory <= usable ? 1 : 0);
  // Both at once, where no context fits the budget.
  if (plan.offered_context == 0 && is_enough(plan.least_context) &&
      plan.least_bytes < plan.peak_bytes && least <= usable)
    offers.push_back(fmt::format("--memory {} and --context {}", least, plan.least_context));
  if (offers.empty()) return "take a smaller model or file format, or a machine with more memory";
  if (!works_within) offers.push_back("a smaller model or file format");
  std::string text;
  for (const std::string& offer : offers) text += (text.empty() ? "give " : ", or ") + offer;
  return text;
}

void refuse_unless_it_fits(const Plan& plan, const Remedies& remedies) {
  if (plan.fits && !plan.keeps_speed()) refuse_slow(plan);
  if (plan.fits) return;
  const std::string rounded =
      plan.formats.empty()
          ? ""
          : fmt::format(" with every tensor in its smallest format, a loss of {} nats",
                        format_nats(plan.kl_nats));
  throw Error(
      ErrorCode::budget_refused,
      fmt::format(
          "needs {} ({} bytes) for {}a context of {} tokens{}; the budget is {}, short by "
          "{} (weights alone take {})",
          format_bytes(plan.peak_bytes), plan.peak_bytes,
          plan.sessions > 1 ? fmt::format("{} conversations, each with ", plan.sessions) : "",
          plan.context, rounded, format_bytes(plan.budget_bytes),
          format_bytes(plan.peak_bytes - plan.budget_bytes),
          format_bytes(plan.account(Account::weights))),
      offer_remedies(plan, remedies));
}

}  // namespace plimsoll
