// What a model can be traded for: the plans from the smallest to the file's own weights.
#pragma once

#include <span>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "plan/plan.h"

namespace plimsoll {

constexpr int frontier_points = 20;

/// Pure. At most `most_points` plans (2 or more), budgets evenly from the least that the request's
/// context can do with to what the file's own weights take; each is what make_plan() gives for its
/// budget_bytes with WeightPolicy::fit. Budgets and bytes rise, losses fall: one that loses as much
/// as a smaller one is left out. The request's budget and speed floor have no part in it. One plan
/// where nothing can be rounded.
std::vector<Plan> plan_frontier(const ModelFacts& facts, PlanRequest request,
                                int most_points = frontier_points);

/// An array of objects, by bytes.
nlohmann::json frontier_json(std::span<const Plan> plans);

}  // namespace plimsoll
