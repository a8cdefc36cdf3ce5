#include "fit/input_rounding.h"

#include <algorithm>
#include <cmath>

#include "kernels/kernels.h"

namespace plimsoll {
namespace {

/// The step between the values that a block of a row can take.
float rounding_step(InputRounding rounding, float block_largest, float row_largest) {
  constexpr float most = 127;
  if (rounding != InputRounding::rows) return block_largest / most;
  if (row_largest == 0) return 0;
  // The least step of three bits that holds the block (kernels/kernels.h).
  int exponent;
  const float fraction = std::frexp(block_largest / row_largest, &exponent);
  const float share = std::ldexp(std::ceil(fraction * 8), exponent - 3);
  return row_largest / most * std::max(share, least_activation_step / largest_activation_step);
}

/// Nearest integer, ties to even, of numbers below 2^22 (adding this leaves no bit for a fraction).
float nearest(float x) {
  constexpr float shift = 0x1.8p23f;
  return (x + shift) - shift;
}

}  // namespace

float largest_magnitude(const float* x, std::int64_t count) {
  float result = 0;
  for (std::int64_t i = 0; i < count; ++i) result = std::max(result, std::fabs(x[i]));
  return result;
}

void add_input_rounding_errors(InputRounding rounding, const float* x, std::int64_t columns,
                               float row_largest, float weight, float* sums) {
  const std::int64_t block = rounding_block(rounding);
  for (std::int64_t begin = 0; begin < columns; begin += block) {
    const std::int64_t end = std::min(begin + block, columns);
    const float step =
        rounding_step(rounding, largest_magnitude(x + begin, end - begin), row_largest);
    if (step == 0) continue;
    const float inverse = 1 / step;
    for (std::int64_t i = begin; i < end; ++i) {
      const float error = x[i] - nearest(x[i] * inverse) * step;
      sums[i] += weight * error * error;
    }
  }
}

}  // namespace plimsoll
