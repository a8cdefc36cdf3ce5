// A model's weights in memory: quantised matrices as planes, dense ones as the file has them,
// vectors as f32. Loading goes through bounded staging, on all workers, and never holds a weight
// twice.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/region.h"
#include "kernels/context.h"
#include "kernels/matmul.h"
#include "model/tensors.h"
#include "planes/planes.h"

namespace plimsoll {

/// How kernels see a dense format.
DenseView::Type dense_type(const Format& format);

/// One matrix. Owns its memory.
class Matrix {
 public:
  /// Bytes that a file's tensor takes in memory, as the Ledger counts them.
  static Bytes memory_bytes(const TensorInfo& info);

  Matrix() = default;
  /// Reserves memory for the tensor; its rows must be loaded before use.
  Matrix(Ledger& ledger, const TensorInfo& info);

  bool empty() const { return !coded_ && dense_.data == nullptr; }
  std::int64_t rows() const { return coded_ ? planes_.rows() : dense_.rows; }
  std::int64_t columns() const { return coded_ ? planes_.columns() : dense_.columns; }
  /// The product with this matrix, to be written to y. Valid while the Matrix stays where it is.
  MatmulOp op(float* y, std::int64_t y_stride) const;
  /// f32 values of one row: [columns].
  void dequantise_row(std::int64_t row, float* values) const;

  /// File rows that are loaded at a time, and how many bytes of staging that takes (with
  /// alignment).
  static std::int64_t chunk_rows(const TensorInfo& info);
  static Bytes staging_bytes(const TensorInfo& info);
  /// Reads rows [begin, end) from the file; begin is a multiple of chunk_rows. `staging` has
  /// staging_bytes(info), page- aligned. Throws Error(invalid_weights) naming the tensor when a
  /// value or scale is not finite.
  void load_rows(const ModelFile& file, const TensorInfo& info, std::int64_t begin,
                 std::int64_t end, std::byte* staging);

  /// Memory that a product reads.
  void append_spans(std::vector<std::span<const std::byte>>& spans) const;

  PlaneTensor* planes() { return coded_ ? &planes_ : nullptr; }

 private:
  bool coded_ = false;
  PlaneTensor planes_;
  Region memory_;  ///< dense: begins at the page that holds the tensor's first byte in the file
  DenseView dense_{};
};

class Weights {
 public:
  struct Progress {
    Bytes done, total;  ///< of the file's tensors
  };

  /// Exact bytes of all matrices and vectors, and of the staging while loading.
  static Bytes memory_bytes(const std::vector<TensorUse>& uses);
  static Bytes staging_bytes(const std::vector<TensorUse>& uses, int workers);

  /// What the tables of tensors take of the heap, besides.
  static Bytes heap_bytes(const std::vector<TensorUse>& uses, std::int64_t layers);

  /// Loads every tensor. `progress`, if given, is called now and then on this thread.
  /// Throws Error: budget_exceeded, file_*, invalid_weights; nothing stays reserved then.
  Weights(Context& context, const ModelFile& file, const Description& description,
          const std::function<void(Progress)>& progress = {});

  /// Empty Matrix or null for a tensor that the model does not have. layer -1 for the model's own.
  const Matrix& matrix(Role role, std::int64_t layer = -1) const;
  const float* vector(Role role, std::int64_t layer = -1) const;
  /// The output matrix, or the embedding matrix where they are tied.
  const Matrix& output() const;

  /// Memory that decoding one token reads: every matrix but an embedding that is only looked up.
  std::vector<std::span<const std::byte>> decode_spans() const;

 private:
  static std::size_t place(Role role, std::int64_t layer);
  std::vector<Matrix> matrices_;            ///< those that there are
  std::vector<std::int32_t> matrix_index_;  ///< by place(): into matrices_, -1 for none
  std::vector<const float*> vectors_;       ///< by place()
  Region vector_memory_;
};

}  // namespace plimsoll
