// One struct per format that has a codec; format.cpp makes the table's rows of them. The meaning of
// split(), join(), decode() and encode() is in format.h; the bytes of each block are described
// where the codec is implemented.
#pragma once

#include <array>
#include <cstdint>

#include "format/codebook_grids.h"
#include "format/format.h"

namespace plimsoll::codecs {

/// 2^bits consecutive integers, the first being -zero.
template <int bits, int zero>
inline constexpr std::array<std::int8_t, 1 << bits> linear_values = [] {
  std::array<std::int8_t, 1 << bits> values{};
  for (int code = 0; code < 1 << bits; ++code)
    values[static_cast<std::size_t>(code)] = static_cast<std::int8_t>(code - zero);
  return values;
}();

template <int values, int bytes>
struct Block {
  static constexpr int block_values = values;
  static constexpr int block_bytes = bytes;
};

// Dense: dense.cpp

struct F32 : Block<1, 4> {
  static void decode(const std::uint8_t* block, float* values, std::int64_t blocks);
  static void encode(const float* values, std::uint8_t* block, std::int64_t blocks);
};
struct F16 : Block<1, 2> {
  static void decode(const std::uint8_t* block, float* values, std::int64_t blocks);
  static void encode(const float* values, std::uint8_t* block, std::int64_t blocks);
};
struct BF16 : Block<1, 2> {
  static void decode(const std::uint8_t* block, float* values, std::int64_t blocks);
  static void encode(const float* values, std::uint8_t* block, std::int64_t blocks);
};

// One half scale per 32 values: legacy.cpp

struct Q4_0 : Block<32, 18> {
  static constexpr CodeLayout layout = {
      .bits = 4, .scale_width = 32, .scale = ScaleKind::f16, .values = linear_values<4, 8>.data()};
  static void split(const std::uint8_t* block, BlockParts* parts, std::int64_t blocks);
  static void join(const BlockParts* parts, std::uint8_t* block, std::int64_t blocks);
  static void decode(const std::uint8_t* block, float* values, std::int64_t blocks);
  static void encode(const float* values, std::uint8_t* block, std::int64_t blocks);
};
struct Q4_1 : Block<32, 20> {
  static constexpr CodeLayout layout = {.bits = 4,
                                        .scale_width = 32,
                                        .scale = ScaleKind::f16,
                                        .has_min = true,
                                        .values = linear_values<4, 0>.data()};
  static void split(const std::uint8_t* block, BlockParts* parts, std::int64_t blocks);
  static void join(const BlockParts* parts, std::uint8_t* block, std::int64_t blocks);
  static void decode(const std::uint8_t* block, float* values, std::int64_t blocks);
  static void encode(const float* values, std::uint8_t* block, std::int64_t blocks);
};
struct Q5_0 : Block<32, 22> {
  static constexpr CodeLayout layout = {
      .bits = 5, .scale_width = 32, .scale = ScaleKind::f16, .values = linear_values<5, 16>.data()};
  static void split(const std::uint8_t* block, BlockParts* parts, std::int64_t blocks);
  static void join(const BlockParts* parts, std::uint8_t* block, std::int64_t blocks);
  static void decode(const std::uint8_t* block, float* values, std::int64_t blocks);
  static void encode(const float* values, std::uint8_t* block, std::int64_t blocks);
};
struct Q5_1 : Block<32, 24> {
  static constexpr CodeLayout layout = {.bits = 5,
                                        .scale_width = 32,
                                        .scale = ScaleKind::f16,
                                        .has_min = true,
                                        .values = linear_values<5, 0>.data()};
  static void split(const std::uint8_t* block, BlockParts* parts, std::int64_t blocks);
  static void join(const BlockParts* parts, std::uint8_t* block, std::int64_t blocks);
  static void decode(const std::uint8_t* block, float* values, std::int64_t blocks);
  static void encode(const float* values, std::uint8_t* block, std::int64_t blocks);
};
struct Q8_0 : Block<32, 34> {
  static constexpr CodeLayout layout = {.bits = 8,
                                        .scale_width = 32,
                                        .scale = ScaleKind::f16,
                                        .values = linear_values<8, 128>.data(),
                                        .unused_low = 1};
  static void split(const std::uint8_t* block, BlockParts* parts, std::int64_t blocks);
  static void join(const BlockParts* parts, std::uint8_t* block, std::int64_t blocks);
  static void decode(const std::uint8_t* block, float* values, std::int64_t blocks);
  static void encode(const float* values, std::uint8_t* block, std::int64_t blocks);
};

// Integer group scales under a super scale per 256 values: k_quants.cpp

struct Q2_K : Block<256, 84> {
  static constexpr CodeLayout layout = {.bits = 2,
                                        .scale_width = 16,
                                        .scale = ScaleKind::u4,
                                        .has_min = true,
                                        .has_super = true,
                                        .values = linear_values<2, 0>.data(),
                                        .scale_high = 15};
  static void split(const std::uint8_t* block, BlockParts* parts, std::int64_t blocks);
  static void join(const BlockParts* parts, std::uint8_t* block, std::int64_t blocks);
  static void decode(const std::uint8_t* block, float* values, std::int64_t blocks);
  static void encode(const float* values, std::uint8_t* block, std::int64_t blocks);
};
struct Q3_K : Block<256, 110> {
  static constexpr CodeLayout layout = {.bits = 3,
                                        .scale_width = 16,
                                        .scale = ScaleKind::i8,
                                        .has_super = true,
                                        .values = linear_values<3, 4>.data(),
                                        .scale_low = -32,
                                        .scale_high = 31};
  static void split(const std::uint8_t* block, BlockParts* parts, std::int64_t blocks);
  static void join(const BlockParts* parts, std::uint8_t* block, std::int64_t blocks);
  static void decode(const std::uint8_t* block, float* values, std::int64_t blocks);
  static void encode(const float* values, std::uint8_t* block, std::int64_t blocks);
};
struct Q4_K : Block<256, 144> {
  static constexpr CodeLayout layout = {.bits = 4,
                                        .scale_width = 32,
                                        .scale = ScaleKind::u8,
                                        .has_min = true,
                                        .has_super = true,
                                        .values = linear_values<4, 0>.data(),
                                        .scale_high = 63};
  static void split(const std::uint8_t* block, BlockParts* parts, std::int64_t blocks);
  static void join(const BlockParts* parts, std::uint8_t* block, std::int64_t blocks);
  static void decode(const std::uint8_t* block, float* values, std::int64_t blocks);
  static void encode(const float* values, std::uint8_t* block, std::int64_t blocks);
};
struct Q5_K : Block<256, 176> {
  static constexpr CodeLayout layout = {.bits = 5,
                                        .scale_width = 32,
                                        .scale = ScaleKind::u8,
                                        .has_min = true,
                                        .has_super = true,
                                        .values = linear_values<5, 0>.data(),
                                        .scale_high = 63};
  static void split(const std::uint8_t* block, BlockParts* parts, std::int64_t blocks);
  static void join(const BlockParts* parts, std::uint8_t* block, std::int64_t blocks);
  static void decode(const std::uint8_t* block, float* values, std::int64_t blocks);
  static void encode(const float* values, std::uint8_t* block, std::int64_t blocks);
};
struct Q6_K : Block<256, 210> {
  static constexpr CodeLayout layout = {.bits = 6,
                                        .scale_width = 16,
                                        .scale = ScaleKind::i8,
                                        .has_super = true,
                                        .values = linear_values<6, 32>.data(),
                                        .scale_low = -128,
                                        .scale_high = 127};
  static void split(const std::uint8_t* block, BlockParts* parts, std::int64_t blocks);
  static void join(const BlockParts* parts, std::uint8_t* block, std::int64_t blocks);
  static void decode(const std::uint8_t* block, float* values, std::int64_t blocks);
  static void encode(const float* values, std::uint8_t* block, std::int64_t blocks);
};

// Codes that index a table of uneven steps: nonlinear.cpp

/// Centroids of IQ4_NL and IQ4_XS.
inline constexpr std::array<std::int8_t, 16> uneven_values = {
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
/// Twice the sixteen values of FP4 E2M1 (OCP Microscaling Formats v1.0, section 5.3.3), the sign
/// being the top bit.
inline constexpr std::array<std::int8_t, 16> e2m1_doubled = {0, 1,  2,  3,  4,  6,  8,  12,
                                                             0, -1, -2, -3, -4, -6, -8, -12};

struct IQ4_NL : Block<32, 18> {
  static constexpr CodeLayout layout = {
      .bits = 4, .scale_width = 32, .scale = ScaleKind::f16, .values = uneven_values.data()};
  static void split(const std::uint8_t* block, BlockParts* parts, std::int64_t blocks);
  static void join(const BlockParts* parts, std::uint8_t* block, std::int64_t blocks);
  static void decode(const std::uint8_t* block, float* values, std::int64_t blocks);
  static void encode(const float* values, std::uint8_t* block, std::int64_t blocks);
};
struct IQ4_XS : Block<256, 136> {
  static constexpr CodeLayout layout = {.bits = 4,
                                        .scale_width = 32,
                                        .scale = ScaleKind::i8,
                                        .has_super = true,
                                        .values = uneven_values.data(),
                                        .scale_low = -32,
                                        .scale_high = 31};
  static void split(const std::uint8_t* block, BlockParts* parts, std::int64_t blocks);
  static void join(const BlockParts* parts, std::uint8_t* block, std::int64_t blocks);
  static void decode(const std::uint8_t* block, float* values, std::int64_t blocks);
  static void encode(const float* values, std::uint8_t* block, std::int64_t blocks);
};
struct MXFP4 : Block<32, 17> {
  static constexpr CodeLayout layout = {.bits = 4,
                                        .scale_width = 32,
                                        .scale = ScaleKind::e8m0,
                                        .values = e2m1_doubled.data(),
                                        // 12 * 2^(252 - 128) is still finite
                                        .scale_high = 252};
  static void split(const std::uint8_t* block, BlockParts* parts, std::int64_t blocks);
  static void join(const BlockParts* parts, std::uint8_t* block, std::int64_t blocks);
  static void decode(const std::uint8_t* block, float* values, std::int64_t blocks);
  static void encode(const float* values, std::uint8_t* block, std::int64_t blocks);
};
struct NVFP4 : Block<64, 36> {
  static constexpr CodeLayout layout = {.bits = 4,
                                        .scale_width = 16,
                                        .scale = ScaleKind::ue4m3,
                                        .values = e2m1_doubled.data(),
                                        .scale_high = 126};
  static void split(const std::uint8_t* block, BlockParts* parts, std::int64_t blocks);
  static void join(const BlockParts* parts, std::uint8_t* block, std::int64_t blocks);
  static void decode(const std::uint8_t* block, float* values, std::int64_t blocks);
  static void encode(const float* values, std::uint8_t* block, std::int64_t blocks);
};

// Minus one, zero and one: ternary.cpp

struct TQ1_0 : Block<256, 54> {
  static constexpr CodeLayout layout = {.bits = 2,
                                        .scale_width = 256,
                                        .scale = ScaleKind::none,
                                        .has_super = true,
                                        .values = linear_values<2, 1>.data(),
                                        .unused_high = 1};
  static void split(const std::uint8_t* block, BlockParts* parts, std::int64_t blocks);
  static void join(const BlockParts* parts, std::uint8_t* block, std::int64_t blocks);
  static void decode(const std::uint8_t* block, float* values, std::int64_t blocks);
  static void encode(const float* values, std::uint8_t* block, std::int64_t blocks);
};
struct TQ2_0 : Block<256, 66> {
  static constexpr CodeLayout layout = {.bits = 2,
                                        .scale_width = 256,
                                        .scale = ScaleKind::none,
                                        .has_super = true,
                                        .values = linear_values<2, 1>.data(),
                                        .unused_high = 1};
  static void split(const std::uint8_t* block, BlockParts* parts, std::int64_t blocks);
  static void join(const BlockParts* parts, std::uint8_t* block, std::int64_t blocks);
  static void decode(const std::uint8_t* block, float* values, std::int64_t blocks);
  static void encode(const float* values, std::uint8_t* block, std::int64_t blocks);
};

// Codes that nest: nested.cpp

/// What the leading four bits stand for: 0.7 times the centroids of IQ4_NL, so that sixteen
/// children a step apart reach about as far as rounding with error feedback strays.
inline constexpr std::array<std::int8_t, 16> nest4_values = {-89, -73, -58, -46, -34, -24, -15, -7,
                                                             1,   9,   18,  27,  37,  48,  62,  79};
/// Of so many bits: children lie from 8 below their parent to 7 above it, in the neighbours' cells
/// too; those of fewer bits are what remains of them, the means of the children that they stand
/// for, halves upwards.
template <int bits>
inline constexpr std::array<std::int8_t, 1 << bits> nested_values = [] {
  constexpr int children = 1 << (bits - 4), step = 16 / children;
  std::array<std::int8_t, 1 << bits> values{};
  for (std::size_t code = 0; code < values.size(); ++code)
    values[code] = static_cast<std::int8_t>(nest4_values[code / children] - 8 + step / 2 +
                                            step * static_cast<int>(code % children));
  return values;
}();

/// So that super scales of usual weights, divided by the greatest value and the greatest scale, are
/// halves of full precision.
inline constexpr float nested_unit = 1.0f / 1024;

/// NEST4, NEST6 and NEST8. `bytes` may be more than the block takes.
template <int bits, int bytes = 10 + 32 * bits>
struct Nested : Block<256, bytes> {
  static constexpr CodeLayout layout = {.bits = bits,
                                        .scale_width = 32,
                                        .scale = ScaleKind::i8,
                                        .has_super = true,
                                        .values = nested_values<bits>.data(),
                                        .scale_low = -128,
                                        .scale_high = 127,
                                        .unit = nested_unit};
  static void split(const std::uint8_t* block, BlockParts* parts, std::int64_t blocks);
  static void join(const BlockParts* parts, std::uint8_t* block, std::int64_t blocks);
  static void decode(const std::uint8_t* block, float* values, std::int64_t blocks);
  static void encode(const float* values, std::uint8_t* block, std::int64_t blocks);
};

// Points of a grid: codebook.cpp

template <FormatId id, int bytes>
struct Codebook : Block<256, bytes> {
  static void split(const std::uint8_t* block, BlockParts* parts, std::int64_t blocks);
  static void decode(const std::uint8_t* block, float* values, std::int64_t blocks);
  static void encode(const float* values, std::uint8_t* block, std::int64_t blocks) {
    encode_weighted(values, nullptr, block, blocks);
  }
  static void encode_weighted(const float* values, const float* importance, std::uint8_t* block,
                              std::int64_t blocks);
};

/// Values of codes with a level and a mark, by code; levels that a grid does not have repeat.
using LevelValues = std::array<std::int8_t, 16>;
/// A mark is a negative sign.
constexpr LevelValues signed_levels(const std::array<std::int8_t, 8>& magnitudes) {
  LevelValues values{};
  for (std::size_t level = 0; level < 8; ++level) {
    values[level] = magnitudes[level];
    values[level | 1 << mark_bit] = static_cast<std::int8_t>(-magnitudes[level]);
  }
  return values;
}
inline constexpr LevelValues iq2_values = signed_levels({8, 25, 43, 43, 8, 25, 43, 43});
inline constexpr LevelValues iq3_xxs_values = signed_levels({4, 12, 20, 28, 36, 44, 52, 62});
inline constexpr LevelValues iq3_s_values = signed_levels({1, 3, 5, 7, 9, 11, 13, 15});
/// Eight times minus one, zero and one, shifted up or, marked, down.
inline constexpr LevelValues iq1_values = {-7, 1, 9, 9, -7, 1, 9, 9, -9, -1, 7, 7, -9, -1, 7, 7};

constexpr CodeLayout codebook_layout(const PointGrid& grid, int scale_width,
                                     const LevelValues& values, float unit) {
  return {.bits = mark_bit + 1,
          .scale_width = scale_width,
          .scale = ScaleKind::odd4,
          .has_super = true,
          .values = values.data(),
          .unit = unit,
          .grid = &grid};
}

struct IQ2_XXS : Codebook<FormatId::IQ2_XXS, 66> {
  static constexpr CodeLayout layout =
      codebook_layout(point_grid<iq2_xxs_grid, false>, 32, iq2_values, 0x1p-3f);
};
struct IQ2_XS : Codebook<FormatId::IQ2_XS, 74> {
  static constexpr CodeLayout layout =
      codebook_layout(point_grid<iq2_xs_grid, false>, 16, iq2_values, 0x1p-3f);
};
struct IQ2_S : Codebook<FormatId::IQ2_S, 82> {
  static constexpr CodeLayout layout =
      codebook_layout(point_grid<iq2_s_grid, false>, 16, iq2_values, 0x1p-3f);
};
struct IQ3_XXS : Codebook<FormatId::IQ3_XXS, 98> {
  static constexpr CodeLayout layout =
      codebook_layout(point_grid<iq3_xxs_grid, false>, 32, iq3_xxs_values, 0x1p-2f);
};
struct IQ3_S : Codebook<FormatId::IQ3_S, 110> {
  static constexpr CodeLayout layout =
      codebook_layout(point_grid<iq3_s_grid, false>, 32, iq3_s_values, 1.0f);
};
struct IQ1_S : Codebook<FormatId::IQ1_S, 50> {
  static constexpr CodeLayout layout =
      codebook_layout(point_grid<iq1_grid, true>, 32, iq1_values, 0x1p-3f);
};
struct IQ1_M : Codebook<FormatId::IQ1_M, 56> {
  static constexpr CodeLayout layout =
      codebook_layout(point_grid<iq1_grid, true>, 16, iq1_values, 0x1p-3f);
};

}  // namespace plimsoll::codecs
