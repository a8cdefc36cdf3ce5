// A model's weights in memory: quantised matrices as planes, dense ones as they are, vectors as
// f32. Loading goes through bounded staging, on all workers, and never holds a weight twice; what
// is to be held in another format than the file's is rounded on the way.
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
#include "rows/pieces.h"

namespace plimsoll {

/// How kernels see a dense format.
DenseView::Type dense_type(const Format& format);

/// One matrix. Owns its memory.
class Matrix {
 public:
  /// Bytes that it takes in memory, as the Ledger counts them.
  static Bytes memory_bytes(const Conversion& source);

  Matrix() = default;
  /// Of values that somebody else holds.
  explicit Matrix(const DenseView& borrowed) : dense_(borrowed) {}
  /// Reserves memory, with addresses from `space` if there is one; the rows must be loaded before
  /// use.
  Matrix(Ledger& ledger, const Conversion& source, RegionSpace* space = nullptr);

  bool empty() const { return !is_coded() && dense_.data == nullptr; }
  std::int64_t rows() const { return is_coded() ? planes_.rows() : dense_.rows; }
  std::int64_t columns() const { return is_coded() ? planes_.columns() : dense_.columns; }
  /// The product with this matrix, to be written to y. Valid while the Matrix stays where it is.
  MatmulOp op(float* y, std::int64_t y_stride) const;
  /// f32 values of one row: [columns].
  void dequantise_row(std::int64_t row, float* values) const;

  /// Bytes of page-aligned staging that loading takes.
  static Bytes staging_bytes(const Conversion& source);
  /// Reads rows [begin, end) from the file, at most chunk_rows() (rows/pieces.h); begin is a
  /// multiple of tile_rows, `source` as at construction. Throws Error(invalid_weights) naming the
  /// tensor when a value or scale is not finite.
  void load_rows(const Kernels& kernels, const ModelFile& file, const Conversion& source,
                 std::int64_t begin, std::int64_t end, std::byte* staging);

  /// Bytes held now.
  Bytes bytes() const;
  /// At all bits of this format.
  bool is_whole(const Format& format) const;
  /// Drops leading planes until it holds at most `most` bytes or codes of `least_bits`; of codes
  /// whose bits can be dropped (see PlaneTensor::drop). Returns the bytes given back.
  Bytes drop_planes(Bytes most, int least_bits);

  /// Memory that a product reads.
  void append_spans(std::vector<std::span<const std::byte>>& spans) const;

  PlaneTensor* planes() { return is_coded() ? &planes_ : nullptr; }

 private:
  bool is_coded() const { return format_ && format_->kind == Format::Kind::coded; }
  /// Dense rows as the file has them, without staging.
  void read_in_place(const ModelFile& file, const TensorInfo& info, std::int64_t begin,
                     std::int64_t end);
  /// `rows`: as a file has the piece. False, with anything written, where a scale is not finite.
  bool put(const Piece& piece, const std::uint8_t* rows);

  const Format* format_ = nullptr;
  PlaneTensor planes_;
  Region memory_;  ///< dense as the file has it: begins with the page of the tensor's first byte
  DenseView dense_{};
};

class Weights {
 public:
  struct Progress {
    Bytes done, total;  ///< of the file's tensors
  };

  /// The format that each tensor is to have in memory, by position in find_tensors(); vectors
  /// become f32 whatever it says. Empty: as the file has them.
  using Formats = std::vector<const Format*>;

  /// Exact bytes of all matrices and vectors, and of the staging while loading.
  static Bytes memory_bytes(std::span<const TensorUse> uses, const Formats& formats = {});
  static Bytes staging_bytes(std::span<const TensorUse> uses, int workers,
                             const Formats& formats = {});

  /// What the tables of tensors take of the heap, besides.
  static Bytes heap_bytes(std::span<const TensorUse> uses, std::int64_t layers);

  /// Loads every tensor. `progress`, if given, is called now and then on this thread.
  /// Throws Error: budget_exceeded, file_*, invalid_weights; nothing stays reserved then.
  Weights(Context& context, const ModelFile& file, const Description& description,
          const Formats& formats = {}, const std::function<void(Progress)>& progress = {});

  /// Vectors only, for those who take the model layer by layer: see take_layer().
  static Weights without_matrices(Context& context, const ModelFile& file,
                                  const Description& description);

  /// Loads the matrices of one layer (-1: the model's own) as the file has them and lets go of all
  /// others. Of what without_matrices() made. Throws as loading does.
  void take_layer(Context& context, const ModelFile& file, std::int64_t layer);

  /// Bytes that the tensor at position `use` of find_tensors() holds; 0 for vectors.
  Bytes held_bytes(std::size_t use) const;
  /// Whether it is in this format, with all of its bits.
  bool is_held_as(std::size_t use, const Format& format) const;
  /// False for a tensor that hold_as() could not read.
  bool is_held(std::size_t use) const;
  /// See Matrix::drop_planes. At once.
  Bytes drop_planes(std::size_t use, Bytes most, int least_bits);
  /// What hold_as() reserves besides for a moment, on as many workers as there is room for.
  static Bytes conversion_bytes(const Conversion& source) { return Matrix::staging_bytes(source); }
  /// Holds it in another format, read anew from the model's file; what it held is given back before.
  /// Nobody may compute meanwhile. Throws as Ledger::reserve does before anything has changed, and
  /// as reading does, after which the tensor cannot be used.
  void hold_as(Context& context, const ModelFile& file, std::size_t use, const Conversion& source);

  /// Empty Matrix or null for a tensor that the model does not have.
  const Matrix& matrix(const TensorId& id) const;
  const float* vector(const TensorId& id) const;
  /// The output matrix, or the embedding matrix where they are tied.
  const Matrix& output() const;

  /// Memory that decoding one token reads: every matrix but an embedding that is only looked up.
  std::vector<std::span<const std::byte>> decode_spans() const;

 private:
  Weights() = default;
  /// Of all that share role and layer.
  static std::size_t place(const TensorId& id);
  std::size_t matrix_place(const TensorId& id) const;  ///< in matrices_, which has it
  void declare(Context& context, const ModelFile& file, const Description& description);
  /// The matrices that `wanted` is true for; their rows too.
  void load(Context& context, const ModelFile& file, const Formats& formats,
            const std::function<bool(const TensorUse&)>& wanted,
            const std::function<void(Progress)>& progress);

  std::vector<TensorUse> uses_;
  RegionSpace space_;  ///< of the matrices, where all are loaded at once
  std::vector<Matrix> matrices_;            ///< those that there are
  std::vector<std::int32_t> matrix_index_;  ///< by place(): first one in matrices_, -1 for none
  std::vector<const float*> vectors_;       ///< by place()
  Region vector_memory_;
};

}  // namespace plimsoll
