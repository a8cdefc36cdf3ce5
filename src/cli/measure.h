// What is known of a model's quality, measured first where that takes no more than some seconds.
#pragma once

#include <optional>

#include "cli/common.h"
#include "plan/quality.h"

namespace plimsoll {

/// The file's own note, or what was measured before; otherwise, for models that are quickly measured
/// (fit/quick_analysis.h), it is measured now and kept. That happens in a process of its own, which
/// holds no more than `budget` leaves beside this one, so that nothing of it counts for what this
/// process holds later. Empty where there is nothing to go by: a large model, no room, no place to
/// keep it, or --no-measure.
std::optional<QualityModel> quality_of(const OpenModel& model, const CommonOptions& options,
                                       Bytes budget);

}  // namespace plimsoll
