#include "model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace plimsoll {
namespace {

/// The dimension whose wave turns `rotations` times within the original context (YaRN,
/// arXiv:2309.00071, section 3.2).
double correction_dimension(const RopeDescription& rope, std::int64_t rope_dim, double rotations) {
  return static_cast<double>(rope_dim) *
         std::log(static_cast<double>(rope.original_context) / (rotations * 2 * std::numbers::pi)) /
         (2 * std::log(rope.base));
}

}  // namespace

RopeFrequencies rope_frequencies(const RopeDescription& rope, std::int64_t rope_dim,
                                 const float* factors, std::int64_t context_length) {
  RopeFrequencies result;
  result.magnitude = static_cast<float>(rope.attention_factor);
  const auto dimensions = static_cast<double>(rope_dim);
  double base = rope.base;
  if (rope.dynamic_factor > 0 && context_length > rope.original_context && rope_dim > 2) {
    const double stretch =
        static_cast<double>(context_length) / static_cast<double>(rope.original_context);
    base *= std::pow(rope.dynamic_factor * stretch - (rope.dynamic_factor - 1),
                     dimensions / (dimensions - 2));
  }
  double low = 0, high = 0;
  if (rope.yarn) {
    low = correction_dimension(rope, rope_dim, rope.yarn_fast);
    high = correction_dimension(rope, rope_dim, rope.yarn_slow);
    if (rope.yarn_truncate) {
      low = std::floor(low);
      high = std::ceil(high);
    }
    low = std::max(0.0, low);
    high = std::min(dimensions - 1, high);
    if (rope.scale < 1) result.magnitude *= static_cast<float>(1 + 0.1 * std::log(1 / rope.scale));
  }
  for (std::int64_t i = 0; i < rope_dim / 2; ++i) {
    const double plain =
        std::pow(base, -2.0 * static_cast<double>(i) / dimensions) / (factors ? factors[i] : 1.0f);
    double frequency = plain * rope.scale;
    if (rope.yarn) {
      // Fast waves stay as they are, slow ones are interpolated, those between are blended.
      const double ramp =
          (static_cast<double>(i) - low) / (high == low ? 0.001 : high - low);
      const double keep = 1 - std::clamp(ramp, 0.0, 1.0);
      frequency = frequency * (1 - keep) + plain * keep;
    }
    result.radians_per_position.push_back(static_cast<float>(frequency));
  }
  return result;
}

}  // namespace plimsoll
