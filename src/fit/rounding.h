// Matrices rounded to a file's formats on all workers, under the second moments of their inputs.
#pragma once

#include <cstdint>

#include "base/region.h"
#include "fit/second_moments.h"
#include "format/format.h"
#include "kernels/context.h"

namespace plimsoll {

/// What a matrix's columns weigh while it is rounded; the arrays live with their owner.
struct ColumnWeights {
  const float* importance = nullptr;  ///< [columns]; null for ones
  const float* feedback =
      nullptr;            ///< [columns][columns]; null for plain rounding (see kernels/quantise.h)
  bool thorough = false;  ///< tries more scales
};

/// With error feedback, thoroughly. The moments have been factored.
ColumnWeights with_feedback(const SecondMoments& moments);

class Rounder {
 public:
  static Bytes memory_bytes(std::int64_t columns, int workers);

  /// For matrices of up to `columns` columns. Throws as Region does.
  Rounder(Context& context, std::int64_t columns);

  /// Rounds `weights` [rows][columns], finite, into `blocks`, row_bytes(format, columns) for each
  /// row, and returns the cost as kernels/quantise.h defines it.
  double round(const Format& format, const float* weights, std::int64_t rows, std::int64_t columns,
               const ColumnWeights& column_weights, std::uint8_t* blocks);

 private:
  Context& context_;
  Region scratch_;
  std::int64_t scratch_floats_;
};

}  // namespace plimsoll
