#define PLIMSOLL_ISA reference
#include "format/half.h"
#include "kernels/functions-inl.h"

namespace plimsoll::reference {
namespace {

float weight(const DenseView& w, std::int64_t index) {
  switch (w.type) {
    case DenseView::Type::f32:
      return static_cast<const float*>(w.data)[index];
    case DenseView::Type::f16:
      return half_to_float(static_cast<const std::uint16_t*>(w.data)[index]);
    case DenseView::Type::bf16:
      break;
  }
  return bfloat_to_float(static_cast<const std::uint16_t*>(w.data)[index]);
}

}  // namespace

void matmul_dense(const DenseView& w, const float* x, std::int64_t x_stride, std::int64_t tokens,
                  std::int64_t row_begin, std::int64_t row_end, float* y, std::int64_t y_stride) {
  for (std::int64_t t = 0; t < tokens; ++t) {
    for (std::int64_t row = row_begin; row < row_end; ++row) {
      double sum = 0.0;
      for (std::int64_t k = 0; k < w.columns; ++k)
        sum += static_cast<double>(weight(w, row * w.columns + k)) * x[t * x_stride + k];
      y[t * y_stride + row] = static_cast<float>(sum);
    }
  }
}

}  // namespace plimsoll::reference
