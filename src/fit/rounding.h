// Rows in memory that are rounded on all workers, to be compared with what they were.
#pragma once

#include <cstdint>

#include "base/region.h"
#include "fit/second_moments.h"
#include "format/format.h"
#include "kernels/context.h"
#include "rows/row_rounder.h"

namespace plimsoll {

/// With error feedback, thoroughly. The moments have been factored.
ColumnWeights with_feedback(const SecondMoments& moments);

class Rounder {
 public:
  static Bytes memory_bytes(std::int64_t columns, int workers);

  /// For rows of up to `columns` columns. Throws as Region does.
  Rounder(Context& context, std::int64_t columns);

  /// Rounds `values` [rows][columns], finite, into `blocks`, row_bytes(format, columns) for each
  /// row, and returns the cost as kernels/quantise.h defines it.
  double round(const Format& format, const float* values, std::int64_t rows, std::int64_t columns,
               const ColumnWeights& weights, std::uint8_t* blocks);

 private:
  Context& context_;
  Region scratch_;
  Bytes stride_;  ///< of each worker's
};

}  // namespace plimsoll
