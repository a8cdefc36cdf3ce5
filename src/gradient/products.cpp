#include "gradient/products.h"

#include <algorithm>
#include <cassert>
#include <vector>

namespace plimsoll {

Bytes Products::memory_bytes(std::int64_t columns, std::int64_t tokens) {
  return round_up(static_cast<Bytes>((block_rows + tokens) * columns) * sizeof(float), page_bytes);
}

Products::Products(Context& context, std::int64_t columns, std::int64_t tokens)
    : context_(context),
      columns_(columns),
      memory_(context.ledger, Account::io, memory_bytes(columns, tokens)),
      block_(memory_.as<float>()),
      products_(block_ + block_rows * columns) {}

void Products::multiply(const Matrix& w, const float* x, std::int64_t x_stride,
                        std::int64_t tokens, float* y, std::int64_t y_stride) {
  const std::int64_t columns = w.columns();
  assert(columns <= columns_);
  for (std::int64_t first = 0; first < w.rows(); first += block_rows) {
    const std::int64_t rows = std::min(block_rows, w.rows() - first);
    const DenseView view = {block_, DenseView::Type::f32, rows, columns};
    context_.threads.parallel_for(rows, 16, [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t r = begin; r < end; ++r)
        w.dequantise_row(first + r, block_ + r * columns);
      context_.kernels.matmul_dense(view, x, x_stride, tokens, begin, end, y + first, y_stride);
    });
  }
}

void Products::add_transposed(const Matrix& w, const float* y_gradient, std::int64_t y_stride,
                              std::int64_t tokens, float* x_gradient, std::int64_t x_stride) {
  const std::int64_t columns = w.columns();
  assert(columns <= columns_);
  for (std::int64_t first = 0; first < w.rows(); first += block_rows) {
    const std::int64_t rows = std::min(block_rows, w.rows() - first);
    context_.threads.parallel_for(rows, 16, [&](std::int64_t begin, std::int64_t end, int) {
      std::vector<float> row(static_cast<std::size_t>(columns));
      for (std::int64_t r = begin; r < end; ++r) {
        w.dequantise_row(first + r, row.data());
        for (std::int64_t k = 0; k < columns; ++k)
          block_[k * rows + r] = row[static_cast<std::size_t>(k)];
      }
    });
    const DenseView transposed = {block_, DenseView::Type::f32, columns, rows};
    context_.threads.parallel_for(columns, 64, [&](std::int64_t begin, std::int64_t end, int) {
      context_.kernels.matmul_dense(transposed, y_gradient + first, y_stride, tokens, begin, end,
                                    products_, columns);
      for (std::int64_t t = 0; t < tokens; ++t)
        context_.kernels.add(products_ + t * columns + begin, end - begin,
                             x_gradient + t * x_stride + begin);
    });
  }
}

}  // namespace plimsoll
