// How quantised weights lie in memory, as the kernels see it. Plain data; planes/planes.h owns the
// memory.
//
// A matrix [rows][columns] is cut into tiles of 16 rows x 32 columns, stored tile row by tile row.
// Inside a tile the weight of row r and column c belongs to dot step j = c / 4 and byte i = 4 * r +
// c % 4 of a 64-byte line: one line holds what one 4-way integer dot product of 16 rows consumes.
// The bits of a code, leading bits first, go to six digit planes:
//
//   plane   bits of the code   lines per tile   place of a weight
//   A       1st and 2nd        2                line j % 2, bits 2 * (j / 2) and up, byte i
//   B C D E 3rd, 4th, 5th, 6th 1                bit j, byte i
//   G       7th and 8th        2                as A
//
// so that a tensor at level L (L leading bits: 2, 3, 4, 5, 6 or 8) is a prefix of its planes. In a
// field of two bits the higher one is the more significant.
//
// Codes that come as points of a grid (CodeLayout::grid) stay points, and have this one level. The
// point of row r and of the p-th columns, 8 or 4 each, has number n = 64 * (p / 4) + 4 * r + p % 4
// in its tile:
//
//   plane      of a tile
//   points     the low eight bits of each: [n]
//   high bits  the others, a bit map for each: [9th, 10th, 11th][n / 8], bit n % 8
//   marks      as one-bit plane B above; or of whole points, a bit map: [n / 8], bit n % 8
#pragma once

#include <cstdint>

#include "format/format.h"

namespace plimsoll {

constexpr int tile_rows = 16;
constexpr int tile_columns = 32;
constexpr int digit_planes = 6;

/// Bits that each digit plane holds, and bits of a code after it.
constexpr int plane_bits[digit_planes] = {2, 1, 1, 1, 1, 2};
constexpr int level_after_plane[digit_planes] = {2, 3, 4, 5, 6, 8};
/// Number of digit planes that make a level; -1 for a number of bits that is no level.
constexpr int planes_of_level(int bits) {
  for (int p = 0; p < digit_planes; ++p)
    if (level_after_plane[p] == bits) return p + 1;
  return -1;
}
/// Index of a level's last plane, and of its LevelTable.
constexpr int plane_index(int level) { return level == 8 ? digit_planes - 1 : level - 2; }

/// Points of a tile, and what a tile takes in the planes of a grid.
constexpr int points_per_tile(const PointGrid& grid) {
  return tile_rows * tile_columns / grid.coordinates;
}
constexpr int mark_bytes_per_tile(const PointGrid& grid) {
  return grid.marks_points ? points_per_tile(grid) / 8 : tile_rows * tile_columns / 8;
}
constexpr int high_bytes_per_tile(const PointGrid& grid) {
  return points_per_tile(grid) / 8 * (grid.bits - 8);
}

/// What the leading `bits` of a code stand for: unit * (centroid_of(code) - zero), before the
/// scale. The difference fits a signed byte.
struct LevelTable {
  /// By code; at 8 bits by the leading four bits of a code, to which the other four are added.
  std::uint8_t centroid[64];
  std::int32_t zero;
  float unit;
  bool identity;  ///< every code is its own centroid

  int centroid_of(int code, int level) const {
    return level == 8 ? centroid[code >> 4] + (code & 15) : centroid[code];
  }
};

struct PlaneView {
  std::int64_t rows;
  std::int64_t columns;  ///< a multiple of 32 (of 256 with super scales)
  std::int32_t bits;     ///< of the full code
  ScaleKind scale_kind;
  std::int32_t scale_width;  ///< 16, 32, or 256 (ScaleKind::none)
  bool has_min;
  bool has_super;
  const PointGrid* grid;  ///< null: codes are in digit planes

  /// Digit planes: [tile row][tile][lines][64]. Null beyond `bits`.
  const std::uint8_t* digits[digit_planes];
  /// With a grid, in place of digit planes: [tile row][tile][bytes of a tile]. No high bits where
  /// points have eight.
  const std::uint8_t* points;
  const std::uint8_t* marks;
  const std::uint8_t* high_bits;
  /// Group scales: [tile row][tile][groups per tile][16 rows], of scale_bytes each; groups per tile
  /// is 32 / scale_width. ScaleKind::odd4: a byte for each two groups, the first one's bits low.
  const std::uint8_t* scales;
  /// Group mins in the same order: f16 without super mins, one byte with; null without mins and for
  /// u4.
  const std::uint8_t* mins;
  /// f16 [tile row][columns / 256][16 rows].
  const std::uint16_t* super_scales;
  const std::uint16_t* super_mins;

  /// By number of planes present minus one.
  LevelTable tables[digit_planes];
  /// Level of tile row t, in bits: levels[t].
  const std::uint8_t* levels;

  std::int64_t tile_row_count() const { return (rows + tile_rows - 1) / tile_rows; }
  std::int64_t tiles_per_row() const { return columns / tile_columns; }
};

}  // namespace plimsoll
