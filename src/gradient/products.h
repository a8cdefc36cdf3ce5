// Products with a matrix of any format, and with its transpose, in f32: a block of rows at a time is
// decoded, so that no second copy of a matrix is ever whole.
#pragma once

#include <cstdint>

#include "base/region.h"
#include "kernels/context.h"
#include "model/weights.h"

namespace plimsoll {

/// Working memory for matrices of up to so many columns and products of up to so many tokens. Not
/// thread-safe; uses the context's workers.
class Products {
 public:
  static Bytes memory_bytes(std::int64_t columns, std::int64_t tokens);

  /// Charged to the account io. Throws as Region does.
  Products(Context& context, std::int64_t columns, std::int64_t tokens);

  /// y[t][r] = sum over k of w[r][k] x[t][k]
  void multiply(const Matrix& w, const float* x, std::int64_t x_stride, std::int64_t tokens,
                float* y, std::int64_t y_stride);
  /// x_gradient[t][k] += sum over r of y_gradient[t][r] w[r][k]
  void add_transposed(const Matrix& w, const float* y_gradient, std::int64_t y_stride,
                      std::int64_t tokens, float* x_gradient, std::int64_t x_stride);

 private:
  static constexpr std::int64_t block_rows = 256;

  Context& context_;
  std::int64_t columns_;
  Region memory_;
  float* block_;     ///< [block_rows][columns], or its transpose
  float* products_;  ///< [tokens][columns]: of one block with all tokens
};

}  // namespace plimsoll
