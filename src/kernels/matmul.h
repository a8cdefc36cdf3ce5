// Products of activations with one or several matrices, split over the workers.
#pragma once

#include <cstdint>
#include <span>

#include "base/bytes.h"
#include "kernels/context.h"

namespace plimsoll {

/// One matrix, in one of its two forms, and where its product goes: y[token * y_stride + row]. Owns
/// nothing.
struct MatmulOp {
  const PlaneView* planes = nullptr;  ///< this or
  const DenseView* dense = nullptr;   ///< this
  const float* bias = nullptr;        ///< [rows], added; may be null
  float* y = nullptr;
  std::int64_t y_stride = 0;

  std::int64_t rows() const { return planes ? planes->rows : dense->rows; }
};

/// Memory that products need: the quantised activations and each worker's scratch. Borrowed by
/// matmul(); 64-byte aligned.
struct MatmulWorkspace {
  std::byte* quantised = nullptr;
  std::byte* scratch = nullptr;  ///< [workers][scratch_stride]
  Bytes scratch_stride = 0;

  /// Bytes of `quantised` for up to `tokens` rows of up to `columns`, and of one worker's scratch.
  static Bytes quantised_bytes(std::int64_t tokens, std::int64_t columns);
  static constexpr Bytes scratch_bytes = plane_scratch_bytes;
};

/// Makes a token's row of x, just before it is quantised, while it is in cache.
using MakeRow = FunctionRef<void(std::int64_t token)>;

/// y = x W^T + bias for every op; all matrices have the same columns. x: [tokens][x_stride], f32,
/// each row made by `make_row` on some worker. Results for a token do not depend on the number of
/// workers.
void matmul(Context& context, std::span<const MatmulOp> ops, const float* x, std::int64_t x_stride,
            std::int64_t tokens, MakeRow make_row, const MatmulWorkspace& workspace);

}  // namespace plimsoll
