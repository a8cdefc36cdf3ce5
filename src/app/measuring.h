// What rounding costs a model, by one pass back through it; kept for every later plan.
#pragma once

#include <cstdint>

#include "app/host.h"
#include "engine/engine.h"
#include "plan/quality.h"

namespace plimsoll {

/// As many tokens as `room` allows, halved from what a measuring takes until they do; 0 where too
/// few are left for the result to say much.
std::int64_t measuring_tokens(const OpenModel& model, Bytes room, int threads);

struct Measured {
  QualityModel quality;
  std::int64_t tokens = 0;
  double seconds = 0;
  Bytes predicted_peak_bytes = 0;
};

/// Measures and keeps it in cache_folder(), unless something is there that took longer. Throws
/// Error(budget_refused) where the line leaves too little room, and as analyse_quickly does.
Measured measure_model(Host& host, const OpenModel& model);

}  // namespace plimsoll
