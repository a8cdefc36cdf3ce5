#include "plan/plan_frontier.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/region.h"

namespace plimsoll {

std::vector<Plan> plan_frontier(const ModelFacts& facts, PlanRequest request, int most_points) {
  request.speed.reset();
  if (!request.quality && !facts.tensors.empty())
    request.quality = prior_quality(facts.description, facts.tensors);
  const auto plan_with = [&](Bytes budget, WeightPolicy policy) {
    request.budget = budget;
    request.policy = policy;
    return make_plan(facts, request);
  };
  const Bytes least = plan_with(1, WeightPolicy::fit).peak_bytes;
  const Bytes most = plan_with(1, WeightPolicy::exact).peak_bytes;
  if (least >= most) return {plan_with(most, WeightPolicy::fit)};
  std::vector<Plan> plans;
  for (int i = 0; i < most_points; ++i) {
    const Bytes part = (most - least) * static_cast<Bytes>(i) / static_cast<Bytes>(most_points - 1);
    Plan plan = plan_with(round_up(least + part, page_bytes), WeightPolicy::fit);
    if (!plan.fits || (!plans.empty() && plan.kl_nats >= plans.back().kl_nats)) continue;
    // Weights as the file has them may take less than almost as many bytes that are rounded.
    while (!plans.empty() && plans.back().peak_bytes >= plan.peak_bytes) plans.pop_back();
    plans.push_back(std::move(plan));
  }
  return plans;
}

nlohmann::json frontier_json(std::span<const Plan> plans) {
  nlohmann::json points = nlohmann::json::array();
  for (const Plan& plan : plans) {
    nlohmann::json point;
    const nlohmann::json values = to_json(plan);
    for (const char* key : {"budget_bytes", "peak_bytes", "bits_per_weight", "kl_nats",
                            "decode_tokens_per_second", "prefill_tokens_per_second"})
      point[key] = values[key];
    point["weight_bytes"] = plan.account(Account::weights);
    points.push_back(std::move(point));
  }
  return points;
}

}  // namespace plimsoll
