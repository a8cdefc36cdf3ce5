// Rows of f32 that become rows of a file's format, a few at a time: the one place where weights are
// rounded.
#pragma once

#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "file/model_file.h"
#include "kernels/kernels.h"
#include "kernels/quantise.h"

namespace plimsoll {

/// What a matrix's columns weigh while it is rounded (kernels/quantise.h); the arrays live with
/// their owner. None: every number counts alike.
struct ColumnWeights {
  const float* importance = nullptr;  ///< [columns]; null for ones
  const float* feedback = nullptr;    ///< [columns][columns]; null for plain rounding
  bool thorough = false;              ///< tries more scales
  const float* diagonal = nullptr;    ///< [columns], see moments_for(); or null
};

/// What a codebook format needs as ColumnWeights::diagonal, once for all rows; empty for others.
std::vector<float> moments_for(const Format& target, const ColumnWeights& weights,
                               std::int64_t columns);

/// True if all values are finite. `format` is dense.
bool all_finite(const Format& format, const void* values, std::int64_t count);

/// Throws Error(invalid_weights) for rows [begin, end) of a tensor.
[[noreturn]] void throw_not_finite(const TensorInfo& info, std::int64_t begin, std::int64_t end);

/// One per worker; refers to its scratch.
class RowRounder {
 public:
  /// More rows at a time make nothing faster.
  static constexpr std::int64_t rows_together = quantise_rows_together;

  /// Bytes of scratch, a multiple of 64.
  static Bytes scratch_bytes(const Format& target, std::int64_t columns);

  /// `columns` is a multiple of the target's block; `scratch` has scratch_bytes(target, columns),
  /// 64-byte aligned.
  RowRounder(const Kernels& kernels, const Format& target, std::int64_t columns,
             const ColumnWeights& weights, std::byte* scratch);

  /// Rounds `values`, [rows][columns], finite, into `out`: as a file of the target has them. What
  /// is beyond F16 becomes its largest value. Returns the cost as kernels/quantise.h defines it; 0
  /// for dense targets.
  double round(const float* values, std::int64_t rows, std::uint8_t* out) const;

 private:
  const Kernels& kernels_;
  const Format& target_;
  std::int64_t columns_;
  ColumnWeights weights_;
  std::byte* scratch_;
};

}  // namespace plimsoll
