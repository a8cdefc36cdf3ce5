// Tile sizes that fix how much scratch the float kernels need. Constants only: this header is
// included both by scratch.cpp and by the folders with instruction-set flags, and those may not
// share functions.
#pragma once

#include <cstdint>

namespace plimsoll {

/// Floats in the widest vector of any folder; padding to it suits the narrower ones too.
constexpr std::int64_t kWidestVector = 16;

/// Dimensions are padded to multiples of it: pairs of vectors.
constexpr std::int64_t kAttentionPadding = 2 * kWidestVector;

/// Positions of K and V that attention works on at a time, aligned to multiples of it.
constexpr std::int64_t kAttentionTile = 64;
/// Rows (query heads) whose scores exist at the same time.
constexpr std::int64_t kAttentionScoreRows = 16;

}  // namespace plimsoll
