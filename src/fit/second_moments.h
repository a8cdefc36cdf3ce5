// Second moments of a product's inputs, H = sum of x x^T over calibration tokens, and the factors
// of it that rounding with error feedback asks for.
#pragma once

#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "base/region.h"
#include "kernels/context.h"

namespace plimsoll {

/// Symmetric; only the upper triangle of the row-major [size][size] array is held. Memory is
/// charged to the account io.
class SecondMoments {
 public:
  static Bytes memory_bytes(std::int64_t size, int workers);

  /// Zeros. Throws as Region does.
  SecondMoments(Context& context, std::int64_t size);

  std::int64_t size() const { return size_; }
  std::int64_t tokens() const { return tokens_; }

  /// Adds the rows of x: [tokens][x_stride]. Not after factor(); nor may the readers below come
  /// between, until settle() has been called.
  void add(const float* x, std::int64_t x_stride, std::int64_t tokens);

  /// Counts what add() has gathered; call it before anything below.
  void settle();

  /// H[i][i] / tokens.
  std::vector<float> mean_squares() const;

  /// w H w^T / tokens for each row of w, [rows][size]. Not after factor().
  std::vector<double> powers(const float* w, std::int64_t rows);

  /// H / tokens += value * identity.
  void add_to_diagonal(double value);

  /// Replaces H, damped by a share of its mean diagonal, by U unit upper triangular and D with
  /// H / tokens = U diag(D) U^T (see kernels/quantise.h). Inputs that never occurred get a D of
  /// their damping alone.
  void factor(double damping);
  const float* upper() const { return matrix_.as<float>(); }  ///< U, [size][size]; after factor()
  const std::vector<float>& diagonal() const { return diagonal_; }  ///< D, [size]; after factor()

 private:
  /// H[j][i] += sign * sum over k of panel[j][k] * panel[i][k], for j <= i < rows; panel:
  /// [rows][depth].
  void add_product(const float* panel, std::int64_t depth, std::int64_t rows, float sign);
  float* row(std::int64_t i) const { return matrix_.as<float>() + i * size_; }

  Context& context_;
  std::int64_t size_;
  std::int64_t tokens_ = 0;
  Region matrix_;
  Region panel_;  ///< [size][panel_depth]: inputs not counted yet, one row for each dimension
  std::int64_t gathered_ = 0;  ///< columns of the panel in use
  Region products_;            ///< [workers][strip][size]
  std::vector<float> diagonal_;
};

}  // namespace plimsoll
