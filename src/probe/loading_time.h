// How long a model will take to load, before it is loaded.
#pragma once

#include <optional>
#include <span>

#include "kernels/context.h"
#include "model/weights.h"

namespace plimsoll {

struct LoadingTime {
  double seconds = 0;                   ///< for all weights
  double storage_bytes_per_second = 0;  ///< of the file, as it is cached or stored now
};

/// Loads samples of the weights as they will be loaded (some MiB of each pair of formats, the most
/// bytes first; the rest goes by their mean), which takes some tens of milliseconds and holds at
/// most `room`, charged to the context's Ledger. Empty where that is too little, or where there is
/// nothing to load. Throws as loading does.
std::optional<LoadingTime> predict_loading(Context& context, const ModelFile& file,
                                           std::span<const TensorUse> uses,
                                           const Weights::Formats& formats, Bytes room);

}  // namespace plimsoll
