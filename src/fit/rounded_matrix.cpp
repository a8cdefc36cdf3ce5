#include "fit/rounded_matrix.h"

#include <algorithm>

namespace plimsoll {
namespace {

constexpr std::int64_t together = RowRounder::rows_together;

/// Of each worker: rows as f32, rounded, and what rounding takes.
struct Staging {
  Bytes values, blocks, scratch;

  Staging(const Format& format, std::int64_t columns)
      : values(round_up(static_cast<Bytes>(together * columns) * sizeof(float), 64)),
        blocks(round_up(static_cast<Bytes>(together) * row_bytes(format, columns), 64)),
        scratch(RowRounder::scratch_bytes(format, columns)) {}
  Bytes all() const { return values + blocks + scratch; }
};

Bytes half_bytes(std::int64_t numbers) {
  return round_up(static_cast<Bytes>(numbers) * sizeof(std::uint16_t), page_bytes);
}

}  // namespace

Bytes RoundedMatrix::memory_bytes(std::int64_t numbers, std::int64_t columns, int workers) {
  // A coded row takes no more than its numbers as halves.
  const Bytes each = round_up(static_cast<Bytes>(together * columns) * sizeof(float), 64) +
                     round_up(static_cast<Bytes>(together * columns) * sizeof(std::uint16_t), 64) +
                     RowRounder::scratch_bytes(format(FormatId::Q8_0), columns);
  return half_bytes(numbers) + round_up(each * static_cast<Bytes>(workers), page_bytes);
}

RoundedMatrix::RoundedMatrix(Context& context, const Matrix& source, const Format& format,
                             const ColumnWeights& weights)
    : halves_(context.ledger, Account::io, half_bytes(source.rows() * source.columns())) {
  const std::int64_t rows = source.rows(), columns = source.columns();
  auto* const halves = halves_.as<std::uint16_t>();
  matrix_ = Matrix(DenseView{halves, DenseView::Type::f16, rows, columns});
  const Staging sizes(format, columns);
  const Region staging(context.ledger, Account::io,
                       sizes.all() * static_cast<Bytes>(context.threads.size()));
  const std::int64_t groups = (rows + together - 1) / together;
  context.threads.parallel_for(groups, 1, [&](std::int64_t begin, std::int64_t end, int worker) {
    std::byte* const own = staging.data() + static_cast<Bytes>(worker) * sizes.all();
    auto* const values = reinterpret_cast<float*>(own);
    auto* const blocks = reinterpret_cast<std::uint8_t*>(own + sizes.values);
    const RowRounder rounder(context.kernels, format, columns, weights,
                             own + sizes.values + sizes.blocks);
    for (std::int64_t first = begin * together; first < std::min(end * together, rows);
         first += together) {
      const std::int64_t count = std::min(together, rows - first);
      for (std::int64_t r = 0; r < count; ++r)
        source.dequantise_row(first + r, values + r * columns);
      rounder.round(values, count, blocks);
      format.decode(blocks, values, count * columns / format.block_values);
      context.kernels.half_from_float(values, count * columns, halves + first * columns);
    }
  });
}

}  // namespace plimsoll
