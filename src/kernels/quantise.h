// Rounding rows of f32 into the blocks of a coded file format: with the scales that cost least,
// and, where the second moments of the inputs are known, with error feedback.
#pragma once

#include <cstdint>
#include <vector>

#include "format/format.h"

namespace plimsoll {

/// Rows to be rounded. What rounding costs is the second moment of the product's error: with
/// H = E[x x^T] of the inputs x, a row w becomes the ŵ of small (w - ŵ) H (w - ŵ)^T.
///
/// Without `feedback`, H is taken for diagonal. With it, H = U diag(D) U^T with U unit upper
/// triangular, and column k is rounded after the errors of all columns before it have been charged
/// to it (LDLQ: Chee et al., arXiv:2307.13304, equal to GPTQ: Frantar et al., arXiv:2210.17323):
///
///   t_k = w_k + sum over j < k of (w_j - ŵ_j) U[j][k],   ŵ_k = round(t_k)
///
/// and then the cost is exactly the sum over k of D_k (t_k - ŵ_k)^2.
struct QuantiseTask {
  const Format* format;  ///< of Kind::coded
  const float* weights;  ///< [rows][columns], finite
  std::int64_t rows;
  std::int64_t columns;  ///< a multiple of the format's block
  /// [columns], >= 0: the diagonal of H, or D with feedback; null for ones.
  const float* importance;
  /// U, [columns][columns] row-major, of which only entries above the diagonal are read; or null.
  const float* feedback;
  /// [columns]: the diagonal of H itself, for codebook formats with feedback; null there: made from
  /// U and D, which takes as long as some rows.
  const float* diagonal = nullptr;
  bool thorough;  ///< tries more scales; three to five times slower
  /// Without feedback: scales (super scales, where the format has them) are last multiplied so that
  /// each block has <w, ŵ> = <w, w>, weighted by importance. What fits best is shorter than the
  /// weights, so that products shrink: the cost rises, but less of it is a shared factor. Formats
  /// whose scales are powers of two or eighths are left alone.
  bool unbiased = false;
  std::uint8_t* blocks;  ///< the rows as the file has them, row_bytes(*format, columns) each
  float* scratch;  ///< quantise_scratch_floats(columns) floats, 64-byte aligned, this worker's own
};

/// Rows that a task rounds together (others are padded): give tasks a multiple of it. As many as
/// let U be read seldom enough.
constexpr std::int64_t quantise_rows_together = 64;
std::int64_t quantise_scratch_floats(std::int64_t columns);

/// Diagonal of H = U diag(D) U^T: [columns].
std::vector<float> diagonal_of_moments(const float* d, const float* upper, std::int64_t columns);

/// error H error^T for one row of errors, H = U diag(D) U^T; `residual`, [columns], is overwritten.
/// Null: ones for D, the identity for U.
double cost_under_moments(const float* d, const float* upper, std::int64_t columns,
                          const float* error, float* residual);

/// Does a task and returns its cost. Codes that nest (Format::leading) are rounded to their leading
/// bits first, exactly as a format of these alone would be; then each is given the child of least
/// error, with feedback of its own, so that the cost is that of all bits. Codebook formats have no
/// codes that could be rounded one by one: they are encoded under the diagonal of H, without
/// feedback, many times slower; the cost is then that under H all the same.
struct Kernels;
double quantise_rows(const Kernels& kernels, const QuantiseTask& task);

}  // namespace plimsoll
