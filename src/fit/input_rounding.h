// What engines lose where they round the inputs of products (plan/quality.h, InputRounding).
#pragma once

#include <cstdint>

#include "plan/quality.h"

namespace plimsoll {

/// The largest magnitude among [count] numbers.
float largest_magnitude(const float* x, std::int64_t count);

/// Adds `weight` times the squared error of each of [columns] numbers, rounded so, to `sums`. They
/// are columns of a row from the border of a block on; `row_largest` is of the whole row.
void add_input_rounding_errors(InputRounding rounding, const float* x, std::int64_t columns,
                               float row_largest, float weight, float* sums);

/// Columns of a block under such rounding: blocks are rounded apart but for the row's scale.
constexpr std::int64_t rounding_block(InputRounding rounding) {
  return rounding == InputRounding::blocks_of_256 ? 256 : 32;
}

}  // namespace plimsoll
