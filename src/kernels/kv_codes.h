// What the codes of pages below 16 bits stand for, and how they are chosen. Constants and functions
// that are always inlined only, as in kv_page.h.
//
// Levels are those of Lloyd and Max for a Gaussian (Max, doi:10.1109/TIT.1960.1057548), which
// rotated rows nearly are, with the outermost at 127. A row's unit makes up for its not being quite
// one: for four bits, three scales of the row against the levels are tried; for two, three borders
// between its inner and outer levels; and the unit is the one of least squares. Each width is made
// of the next wider one alone, so that it does not matter in which steps a page was lowered.
// Squared error against the variance, on Gaussian rows of 64 (rotated keys and values of SmolLM2
// are within 3 %): 0.0072 and 0.114, where the upper bits of the 8-bit code, each standing for the
// mean of what has them, come to 0.0094 and 0.139, and the levels without choice to 0.0078 and
// 0.118 at best.
#pragma once

#include <cstdint>

#include "kernels/kv_page.h"

namespace plimsoll {

/// Largest code of 8 bits.
constexpr int kv_largest_eight = 127;

/// What a code of 4 or 2 bits means, in units of its row.
constexpr std::int8_t kv_levels_four[16] = {-127, -96, -75, -58, -44, -31, -18, -6,
                                            6,    18,  31,  44,  58,  75,  96,  127};
constexpr std::int8_t kv_levels_two[4] = {-127, -38, 38, 127};

/// To four bits: the scales that are tried, in 64ths; a level is the nearest to code * 64 / scale.
constexpr int kv_scales = 3;
constexpr int kv_scale[kv_scales] = {54, 61, 67};
/// From which magnitude of an 8-bit code on its level is the one after `level`, of magnitudes.
[[gnu::always_inline]] constexpr int kv_border(int scale, int level) {
  return ((kv_levels_four[8 + level] + kv_levels_four[9 + level]) * kv_scale[scale] + 127) / 128;
}
/// To two bits: the least magnitudes of four-bit levels that become an outer one.
constexpr int kv_borders_two = 3;
constexpr int kv_border_two[kv_borders_two] = {44, 58, 75};

/// Which of several choices is the best for a row, and the factor for its unit: the codes' products
/// with their levels, and the levels' squares, are summed over the row.
struct KvFit {
  [[gnu::always_inline]] KvFit(const std::int64_t* products, const std::int64_t* squares, int count)
      : choice(0) {
    double best = -1;
    for (int i = 0; i < count; ++i) {
      const auto product = static_cast<double>(products[i]);
      const double gain = product * product / static_cast<double>(squares[i]);
      if (gain > best) choice = i, best = gain;
    }
    factor = static_cast<float>(products[choice]) / static_cast<float>(squares[choice]);
  }
  int choice;
  float factor;
};

[[gnu::always_inline]] inline float kv_float_from_bfloat(std::uint16_t bits) {
  return __builtin_bit_cast(float, static_cast<std::uint32_t>(bits) << 16);
}
/// The nearest of a number that is finite and not negative, even where two are.
[[gnu::always_inline]] inline std::uint16_t kv_bfloat_nearest(float x) {
  const auto bits = __builtin_bit_cast(std::uint32_t, x);
  return static_cast<std::uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
/// The next one from a number up.
[[gnu::always_inline]] inline std::uint16_t kv_bfloat_above(float x) {
  return static_cast<std::uint16_t>((__builtin_bit_cast(std::uint32_t, x) + 0xffff) >> 16);
}
constexpr std::uint16_t kv_nan_unit = 0x7fc0;
[[gnu::always_inline]] inline bool kv_is_nan(std::uint16_t unit) {
  return (unit & 0x7fff) > 0x7f80;
}

/// Where a code below 16 bits lies, counted in codes from the head's first.
[[gnu::always_inline]] inline std::int64_t kv_code_at(KvTier tier, KvSide side,
                                                      std::int64_t head_dim, std::int64_t position,
                                                      std::int64_t d) {
  const int shift = tier == KvTier::eight ? 1 : tier == KvTier::four ? 3 : 4;  // groups of 2^shift
  const std::int64_t group = std::int64_t{1} << shift, rest = group - 1;
  if (side == KvSide::keys)
    return (((d >> shift) * kv_page_positions + position) << shift) + (d & rest);
  return (((position >> shift) * head_dim + d) << shift) + (position & rest);
}

/// The code at an index.
[[gnu::always_inline]] inline int kv_read_code(KvTier tier, const std::byte* codes,
                                               std::int64_t index) {
  if (tier == KvTier::eight) return static_cast<std::int8_t>(codes[index]);
  const std::int64_t bit = index * kv_bits(tier);
  return static_cast<int>(codes[bit >> 3]) >> (bit & 7) & ((1 << kv_bits(tier)) - 1);
}
/// Puts it where zeros are.
[[gnu::always_inline]] inline void kv_write_code(KvTier tier, std::byte* codes, std::int64_t index,
                                                 int code) {
  const std::int64_t bit = index * kv_bits(tier);
  codes[bit >> 3] |= static_cast<std::byte>((code & ((1 << kv_bits(tier)) - 1)) << (bit & 7));
}
/// What a code of 8 bits or less stands for, in units of its row.
[[gnu::always_inline]] inline int kv_level(KvTier tier, int code) {
  if (tier == KvTier::eight) return code;
  return tier == KvTier::four ? kv_levels_four[code] : kv_levels_two[code];
}

}  // namespace plimsoll
