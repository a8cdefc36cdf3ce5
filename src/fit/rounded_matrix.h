// A matrix as a format would hold it, to see what a model with it says.
#pragma once

#include <cstdint>

#include "base/region.h"
#include "kernels/context.h"
#include "model/transformer.h"
#include "model/weights.h"
#include "rows/row_rounder.h"

namespace plimsoll {

/// Rounded and decoded again, as halves: what that loses is far below what the rounding does.
class RoundedMatrix {
 public:
  /// Its peak, while it is made of a matrix with so many numbers and columns.
  static Bytes memory_bytes(std::int64_t numbers, std::int64_t columns, int workers);

  /// `format` is coded. Charged to the account io; throws as Region does.
  RoundedMatrix(Context& context, const Matrix& source, const Format& format,
                const ColumnWeights& weights);

  const Matrix& matrix() const { return matrix_; }

 private:
  Region halves_;
  Matrix matrix_;
};

/// Puts another matrix in a product's place.
class Replacement : public ProductObserver {
 public:
  Replacement(const TensorId& id, const Matrix& by) : id_(id), by_(by) {}
  void observe(const ObservedProduct&) override {}
  const Matrix* replace(const TensorId& id, const Matrix* matrix) override {
    return id == id_ ? &by_ : matrix;
  }

 private:
  TensorId id_;
  const Matrix& by_;
};

}  // namespace plimsoll
