// A plan with all that is said of it beforehand: what other budgets buy, how fast it is, how long
// it loads.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "app/host.h"
#include "app/planning.h"
#include "probe/loading_time.h"

namespace plimsoll {

struct ForecastRequest {
  std::optional<std::int64_t> context;
  std::int64_t sessions = 1;
  std::optional<KvTiers> kv;
  bool converses = false;  ///< see PlanRequest
  double speed = 0;        ///< that decoding must reach, tokens per second; 0: none asked for
  /// The frontier's speeds are wanted too: to know all of its formats may take seconds.
  bool all_speeds = false;
  bool probe = false;  ///< measure this machine anew, for every format
};

struct Forecast {
  Plan plan;
  std::vector<Plan> frontier;      ///< as plan_frontier() gives it
  std::optional<Machine> machine;  ///< empty where there was no room to measure it, or no need
  std::optional<LoadingTime> loading;
};

/// The plan may not fit. Throws as plan_request and machine_for_floor do.
Forecast forecast(Host& host, const OpenModel& model, const ForecastRequest& request);

}  // namespace plimsoll
