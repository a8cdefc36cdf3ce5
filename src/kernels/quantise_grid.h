// What rounding needs of a format beyond its layout, and how hard it tries: shared by all
// instruction sets. Data only, besides one function that is compiled for every processor: the
// folders may not share code.
#pragma once

#include <cstdint>

#include "format/format.h"
#include "kernels/quantise.h"

namespace plimsoll {

/// The values of the codes that a writer uses.
struct CodeGrid {
  int count;
  bool consecutive;         ///< integers without a gap
  bool symmetric;           ///< the least is minus the greatest
  float extreme;            ///< the value of greatest magnitude
  float step;               ///< mean distance between neighbours
  float values[256];        ///< ascending, without repetition
  std::uint8_t codes[256];  ///< of each value
  /// Where they are not consecutive (then at most 16): the midpoints between neighbours as a
  /// search tree, node n having the children 2n and 2n + 1, from node 1; and value and code of each
  /// leaf 16 + i, those beyond `count` out of reach.
  float midpoints[16];
  float leaf_values[16];
  float leaf_codes[16];
};
CodeGrid code_grid(const CodeLayout& layout);

/// Columns whose targets exist at the same time: a multiple of every format's block.
constexpr std::int64_t quantise_chunk = 256;
/// Columns whose errors are charged to later ones in one pass.
constexpr std::int64_t quantise_panel = 64;
/// Floats between the rows of a panel of the feedback matrix: no power of two, whose rows would
/// fall on each other in the cache.
constexpr std::int64_t quantise_panel_stride = quantise_chunk + 16;

/// What is known of the rows' current block. A group is the columns that share a scale; where
/// values are in units, the unit is the row's own power of two (`down`), which brings the block's
/// greatest magnitude to [1, 2).
struct QuantiseState {
  static constexpr int groups = 16;
  static constexpr std::int64_t rows = quantise_rows_together;
  float up[rows];                    ///< 1 / down
  float down[rows];                  ///< a power of two
  float super_scale[rows];           ///< in units
  float super_min[rows];             ///< in units
  float wanted_scale[groups][rows];  ///< in units; the best if it needed no rounding
  float wanted_min[groups][rows];
  float scale_weight[groups][rows];  ///< cost of a scale's error squared, the min refitted
  float min_weight[groups][rows];
  float scale[groups][rows];  ///< in units, as it will be decoded
  float min[groups][rows];
  float raw_scale[groups][rows];  ///< the number in BlockParts::scales
  float raw_min[groups][rows];
  float cost[rows];  ///< of the block, in units squared
  std::uint8_t codes[quantise_chunk][rows];
  BlockParts parts[rows];
};

/// How hard a scale is searched. A candidate is the scale that spreads the codes over the extreme
/// values plus so many steps: with positive numbers some values fall outside. Each candidate's
/// scale is then fitted to its codes.
struct SearchEffort {
  const float* offsets;  ///< in steps of the codes, the first 0
  int candidates;
  bool both_signs;   ///< of every candidate, not of the best alone, where values are not symmetric
  int refits;        ///< times that the best is rounded and fitted again
  int super_rounds;  ///< times that super scales are fitted to codes, and codes to them
};
/// The best seven of a random search, on normal numbers and on such of varying size: at most 1.6 %
/// above the cost with all offsets, 0.5 % on average.
constexpr float few_offsets[] = {0.0f, -1.2f, -0.6f, 0.4f, 1.0f, 1.5f, 2.2f};
constexpr float many_offsets[] = {0.0f, -1.2f, -1.0f, -0.8f, -0.6f, -0.4f, -0.2f, 0.2f,
                                  0.4f, 0.6f,  0.8f,  1.0f,  1.2f,  1.4f,  1.6f,  1.8f,
                                  2.0f, 2.2f,  2.4f,  2.7f,  3.0f,  3.5f,  4.0f,  5.0f};
constexpr SearchEffort fast_search = {few_offsets, 7, false, 2, 0};
constexpr SearchEffort thorough_search = {many_offsets, 24, true, 3, 3};

/// Costs of a group below this, times its importance and its greatest magnitude squared, are
/// rounding errors: the first of such candidates is kept.
constexpr float search_noise = 1e-13f;

/// Scales are multiplied at most by this, or divided, where bias is removed.
constexpr float most_gain = 2;

/// Super scales tried: those that put the extreme group scale at bound * (1 - i / 32), i from -1.
constexpr int super_candidates = 16;

}  // namespace plimsoll
