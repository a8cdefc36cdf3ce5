// The grids of the codebook formats: which combinations of four or eight neighbouring magnitudes a
// block may hold. A block names points of its format's grid by index.
#pragma once

#include <bit>
#include <cstdint>

#include "format/format.h"

namespace plimsoll::codecs {

/// `count` points of `coordinates` coordinates, each at one of `levels` levels. Points are in
/// ascending order of the number that their levels make, the first coordinate least significant; so
/// all points with the same upper half are neighbours.
template <int coordinates_, int levels_, int count_>
struct Grid {
  static constexpr int coordinates = coordinates_;
  static constexpr int levels = levels_;
  static constexpr int count = count_;
  static constexpr int half = coordinates / 2;
  /// Numbers that the levels of half of the coordinates can make.
  static constexpr int half_states =
      half == 2 ? levels * levels : levels * levels * levels * levels;

  alignas(64) std::uint8_t levels_of[count][coordinates];
  alignas(64) std::uint8_t packed[2][count];  ///< PointGrid::packed
  std::uint8_t low[count];                    ///< number of the lower half of the coordinates
  std::uint8_t high[count];                   ///< and of the upper half
  std::uint16_t begin[half_states + 1];  ///< first point whose upper half's number is at least this
};

extern const Grid<8, 3, 256> iq2_xxs_grid;
extern const Grid<8, 3, 512> iq2_xs_grid;
extern const Grid<8, 3, 1024> iq2_s_grid;
extern const Grid<4, 8, 256> iq3_xxs_grid;
extern const Grid<4, 8, 512> iq3_s_grid;
extern const Grid<8, 3, 2048> iq1_grid;

/// A grid as layouts refer to it.
template <const auto& grid, bool marks_points>
inline constexpr PointGrid point_grid{.coordinates = grid.coordinates,
                                      .bits = std::bit_width(grid.count - 1u),
                                      .marks_points = marks_points,
                                      .levels = &grid.levels_of[0][0],
                                      .packed = &grid.packed[0][0]};

}  // namespace plimsoll::codecs
