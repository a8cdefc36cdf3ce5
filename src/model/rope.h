// RoPE frequencies from a description.
#pragma once

#include <cstdint>
#include <vector>

#include "model/description.h"

namespace plimsoll {

struct RopeFrequencies {
  std::vector<float> radians_per_position;  ///< [rope_dim / 2]
  float magnitude;                          ///< of cos and sin
};

/// `factors` divides each frequency ([rope_dim / 2], null for ones); `context_length` is that of
/// the session.
RopeFrequencies rope_frequencies(const RopeDescription& rope, std::int64_t rope_dim,
                                 const float* factors, std::int64_t context_length);

}  // namespace plimsoll
