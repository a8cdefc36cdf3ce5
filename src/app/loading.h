// From a plan to an engine: weights as the file has them, rounded on the way, or kept from before.
#pragma once

#include <memory>
#include <optional>

#include "app/host.h"
#include "engine/engine.h"

namespace plimsoll {

/// An engine, and what of the line is its own.
struct LoadedModel {
  Reservation runtime;  ///< of a second model beside the first
  std::unique_ptr<Engine> engine;
  double seconds = 0;  ///< that loading took
};

/// Rounded weights come from a file that was kept of them, if there is one; with `keep`, one is
/// made. What cannot be kept is told, and rounded in memory instead. Throws as Engine does, and
/// Error(interrupted).
LoadedModel load_model(Host& host, Context& context, const OpenModel& model, const Plan& plan,
                       bool keep = false);

/// Of the file's bytes, what a plan holds otherwise: rounded, or with fewer bits of the same codes.
struct ChangedBytes {
  Bytes rounded = 0, lowered = 0;
};
ChangedBytes changed_bytes(const OpenModel& model, const Plan& plan);

}  // namespace plimsoll
