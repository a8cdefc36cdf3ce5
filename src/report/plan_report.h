// A plan as people read it: in a terminal, and as a web page.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "engine/engine.h"
#include "plan/plan.h"
#include "probe/loading_time.h"
#include "terminal/terminal.h"

namespace plimsoll {

/// What there is to show. Refers to all of it.
struct PlanReport {
  const OpenModel& model;
  const Plan& plan;
  std::span<const Plan> frontier;  ///< as plan_frontier() gives it
  bool context_given;              ///< by the user
  std::optional<LoadingTime> loading;
};

std::string describe_plan(const PlanReport& report, const Terminal& terminal);
std::string plan_page(const PlanReport& report);

}  // namespace plimsoll
