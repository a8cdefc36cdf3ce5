// The table of file formats: how a GGUF file stores a block of numbers, and what the block means as codes, scales and
// mins. A new format is one row here and one codec beside it; no kernel knows a format by name.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/bytes.h"

namespace plimsoll {

/// GGUF's own numbers (ggml type ids), and beyond them those of formats that only this program
/// reads.
enum class FormatId : std::uint32_t {
  F32 = 0, F16 = 1, Q4_0 = 2, Q4_1 = 3, Q5_0 = 6, Q5_1 = 7, Q8_0 = 8, Q2_K = 10, Q3_K = 11, Q4_K = 12, Q5_K = 13,
  Q6_K = 14, IQ2_XXS = 16, IQ2_XS = 17, IQ3_XXS = 18, IQ1_S = 19, IQ4_NL = 20, IQ3_S = 21, IQ2_S = 22, IQ4_XS = 23,
  IQ1_M = 29, BF16 = 30, TQ1_0 = 34, TQ2_0 = 35, MXFP4 = 39, NVFP4 = 40,
  NEST4 = 0x10004, NEST6 = 0x10006, NEST8 = 0x10008,
};

/// False for formats that only this program reads.
constexpr bool is_standard(FormatId id) { return static_cast<std::uint32_t>(id) < 0x10000; }

/// How the multiplier of a group of columns is stored beside the codes.
enum class ScaleKind : std::uint8_t {
  none,   ///< the super scale alone (ternary formats)
  f16,    ///< IEEE half
  e8m0,   ///< 2^(e-128), the OCP MX exponent halved because the value table is doubled
  ue4m3,  ///< unsigned 4-bit exponent (bias 7), 3-bit mantissa, all 128 codes finite, halved as above
  i8,     ///< signed byte, times the super scale
  u8,     ///< unsigned byte, times the super scale
  u4,     ///< low nibble the scale, high nibble the min, each times its super
  odd4,   ///< four bits n for 2n + 1, times the super scale
};

/// Which levels neighbouring columns may have together, in codebook formats: a block names points
/// of such a grid, and marks columns or points. A code is then a level and, as its fourth bit, a
/// mark.
struct PointGrid {
  int coordinates;    ///< columns of a point: 8, of levels below 4, or 4, of levels below 8
  int bits;           ///< of a point's index: 8 to 11
  bool marks_points;  ///< all columns of a point are marked, or none
  const std::uint8_t* levels;  ///< [points][coordinates], 64-byte aligned
  /// The same in 16 bits a point, the first coordinate's lowest: all low bytes, then all high ones.
  const std::uint8_t* packed;  ///< [2][points], 64-byte aligned
};
constexpr int mark_bit = 3;  ///< of a code

/// What codes and scales of a quantised format mean:
///   value = values[code] * unit * scale + min
///   scale = group scale (times f16 super scale per 256 columns where has_super)
///   min   = -(group min * f16 super min) with super scales; the f16 group min itself without
/// Every product is exact in f32, so the only rounding is that of the final sum.
struct CodeLayout {
  int bits = 0;         ///< of a code: 2, 3, 4, 5, 6 or 8
  int scale_width = 0;  ///< columns per group scale: 16 or 32 (256 with ScaleKind::none)
  ScaleKind scale = ScaleKind::f16;
  bool has_min = false;
  bool has_super = false;
  /// Integer value of each of the 2^bits codes. At 8 bits the sixteen codes that share their leading
  /// four bits have consecutive values.
  const std::int8_t* values = nullptr;
  /// Codes at the lower and at the upper end that no writer uses, though a file may hold them.
  int unused_low = 0;
  int unused_high = 0;
  /// Least and greatest group scale that a block has room for (and that leaves every value finite), as the number that
  /// BlockParts::scales holds (signed for i8, the nibble for u4); group mins under a super min have the same range. Both
  /// 0 where the scale is a half.
  int scale_low = 0;
  int scale_high = 0;
  float unit = 1.0f;  ///< of the values: a power of two
  const PointGrid* grid = nullptr;  ///< codes come as its points; blocks have 256 columns
};

/// The parts of one file block of one row. Sized for the largest block (256 columns, 16 groups).
struct BlockParts {
  std::uint8_t codes[256];    ///< one per column, < 2^bits
  std::uint16_t points[64];   ///< with a grid, the codes' levels once more: by its coordinates
  std::uint8_t marks[32];     ///< with a grid, their marks: by 8 columns, the lowest bit for the first
  std::uint16_t scales[16];   ///< raw bits by ScaleKind (u4: scale | min << 4)
  std::uint16_t mins[16];     ///< raw: f16 bits without super, unsigned integer with
  std::uint16_t super_scale;  ///< f16 bits
  std::uint16_t super_min;    ///< f16 bits
};

struct Format {
  enum class Kind { dense, coded };

  FormatId id;
  std::string_view name;
  Kind kind;
  int block_values;   ///< columns per block
  int block_bytes;    ///< bytes per block in the file
  CodeLayout layout;  ///< for Kind::coded

  /// Takes `blocks` consecutive blocks apart. Coded formats only.
  void (*split)(const std::uint8_t* block, BlockParts* parts, std::int64_t blocks);
  /// The inverse: parts within their ranges to `blocks` consecutive blocks. Coded formats only.
  void (*join)(const BlockParts* parts, std::uint8_t* block, std::int64_t blocks);
  /// The specification's own arithmetic, block bytes to f32. Independent of split(): tests hold one against the other.
  void (*decode)(const std::uint8_t* block, float* values, std::int64_t blocks);
  /// A plain reference encoder (nearest rounding, simple scale choice). Values must be finite.
  void (*encode)(const float* values, std::uint8_t* block, std::int64_t blocks);
  /// For codebook formats, null for others: encode() with the least error sum of importance * (value
  /// - decoded)^2 that a search for scales finds. One importance, finite and >= 0, per value; null
  /// for ones.
  void (*encode_weighted)(const float* values, const float* importance, std::uint8_t* block,
                          std::int64_t blocks);
  /// For codes whose leading four bits are a code of their own, null for others: the same blocks
  /// with only these. Rounding begins with them.
  const Format* leading;
};

/// Every format that has a row, in order of id.
std::span<const Format> formats();
/// Null for an id that no row has.
const Format* find_format(std::uint32_t id);
const Format* find_format(std::string_view name);
/// The row of a known id.
const Format& format(FormatId id);

/// Formats whose codes are the leading bits of those of `f`, with the same scales: what planes of
/// it become at lower levels. Most formats have none.
std::span<const Format* const> levels_below(const Format& f);
bool is_level_of(const Format& f, const Format& level);
/// Blocks of `from` as blocks of a level below.
void lower(const Format& from, const Format& level, const std::uint8_t* blocks, std::uint8_t* lowered,
           std::int64_t count);

/// Bytes of one row of `columns` values; `columns` must be a multiple of block_values.
inline Bytes row_bytes(const Format& f, std::int64_t columns) {
  return static_cast<Bytes>(columns / f.block_values) * static_cast<Bytes>(f.block_bytes);
}

}  // namespace plimsoll
