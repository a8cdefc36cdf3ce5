// Scale choice and rounding that the reference encoders share. Values are finite.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "format/half.h"

namespace plimsoll {

/// The value of greatest magnitude, with its sign; 0 for nothing but zeros.
inline float signed_extreme(const float* values, int count) {
  float extreme = 0;
  for (int i = 0; i < count; ++i)
    if (std::fabs(values[i]) > std::fabs(extreme)) extreme = values[i];
  return extreme;
}

/// Nearest integer (ties to even) inside [low, high]; 0 divided by anything is 0.
inline int nearest_quotient(float dividend, float divisor, int low, int high) {
  if (divisor == 0 || dividend == 0) return std::clamp(0, low, high);
  const float quotient = std::nearbyint(dividend / divisor);
  return static_cast<int>(std::clamp(quotient, static_cast<float>(low), static_cast<float>(high)));
}

/// The nearest finite half; never a negative zero.
inline std::uint16_t finite_half(float value) {
  const std::uint16_t half = float_to_half(std::clamp(value, -65504.0f, 65504.0f));
  return half == 0x8000 ? std::uint16_t{0} : half;
}

/// The code whose value times `scale` is nearest; the first of equals.
inline std::uint8_t nearest_code(float value, float scale, const std::int8_t* values, int codes) {
  int best = 0;
  float least = std::fabs(value - static_cast<float>(values[0]) * scale);
  for (int code = 1; code < codes; ++code) {
    const float error = std::fabs(value - static_cast<float>(values[code]) * scale);
    if (error < least) {
      least = error;
      best = code;
    }
  }
  return static_cast<std::uint8_t>(best);
}

/// Signed integer group scales under one super scale.
struct SignedScales {
  std::uint16_t super_scale;  ///< f16 bits
  std::int8_t scales[16];
  float effective(int group) const { return half_to_float(super_scale) * scales[group]; }
};

/// Rounds `groups` wanted scales so that the extreme one falls on `lowest`, the end of the integer
/// range that reaches one step further.
inline SignedScales round_signed_scales(const float* wanted, int groups, int lowest) {
  SignedScales result{};
  result.super_scale = finite_half(signed_extreme(wanted, groups) / static_cast<float>(lowest));
  const float super = half_to_float(result.super_scale);
  for (int g = 0; g < groups; ++g)
    result.scales[g] =
        static_cast<std::int8_t>(nearest_quotient(wanted[g], super, lowest, -lowest - 1));
  return result;
}

/// Unsigned integer group scales and mins, each under a super scale: value = code * scale - min,
/// min >= 0.
struct AffineScales {
  std::uint16_t super_scale;  ///< f16 bits
  std::uint16_t super_min;    ///< f16 bits
  std::uint8_t scales[16];
  std::uint8_t mins[16];
  float scale(int group) const { return half_to_float(super_scale) * scales[group]; }
  float min(int group) const { return half_to_float(super_min) * mins[group]; }
};

/// For `groups` groups of `width` values, codes 0 to `code_max`, integers 0 to `scale_max`.
inline AffineScales choose_affine_scales(const float* values, int groups, int width, int code_max,
                                         int scale_max) {
  float wanted_scale[16], wanted_min[16];
  for (int g = 0; g < groups; ++g) {
    const auto [low, high] = std::minmax_element(values + g * width, values + (g + 1) * width);
    wanted_min[g] = std::max(0.0f, -*low);
    // Divided before they are added, so that the sum cannot overflow.
    wanted_scale[g] = std::max(
        0.0f, *high / static_cast<float>(code_max) + wanted_min[g] / static_cast<float>(code_max));
  }
  AffineScales result{};
  const float steps = static_cast<float>(scale_max);
  result.super_scale = finite_half(*std::max_element(wanted_scale, wanted_scale + groups) / steps);
  result.super_min = finite_half(*std::max_element(wanted_min, wanted_min + groups) / steps);
  for (int g = 0; g < groups; ++g) {
    result.scales[g] = static_cast<std::uint8_t>(
        nearest_quotient(wanted_scale[g], half_to_float(result.super_scale), 0, scale_max));
    result.mins[g] = static_cast<std::uint8_t>(
        nearest_quotient(wanted_min[g], half_to_float(result.super_min), 0, scale_max));
  }
  return result;
}

}  // namespace plimsoll
