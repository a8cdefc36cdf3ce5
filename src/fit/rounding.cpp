#include "fit/rounding.h"

#include <algorithm>
#include <numeric>
#include <vector>

namespace plimsoll {
namespace {

Bytes scratch_bytes(std::int64_t columns) {
  return RowRounder::scratch_bytes(format(FormatId::Q8_0), columns);
}

}  // namespace

ColumnWeights with_feedback(const SecondMoments& moments) {
  return {moments.diagonal().data(), moments.upper(), true};
}

Bytes Rounder::memory_bytes(std::int64_t columns, int workers) {
  return round_up(scratch_bytes(columns) * static_cast<Bytes>(workers), page_bytes);
}

Rounder::Rounder(Context& context, std::int64_t columns)
    : context_(context),
      scratch_(context.ledger, Account::io, memory_bytes(columns, context.threads.size())),
      stride_(scratch_bytes(columns)) {}

double Rounder::round(const Format& format, const float* values, std::int64_t rows,
                      std::int64_t columns, const ColumnWeights& weights, std::uint8_t* blocks) {
  const Bytes row = row_bytes(format, columns);
  // Codebooks are searched row by row: smaller groups keep all workers busy.
  const std::int64_t together = format.encode_weighted ? 4 : RowRounder::rows_together;
  const std::int64_t groups = (rows + together - 1) / together;
  std::vector<double> costs(static_cast<std::size_t>(groups));
  const std::vector<float> diagonal = moments_for(format, weights, columns);
  ColumnWeights all_weights = weights;
  if (!diagonal.empty()) all_weights.diagonal = diagonal.data();
  context_.threads.parallel_for(groups, 1, [&](std::int64_t begin, std::int64_t end, int worker) {
    const RowRounder rounder(context_.kernels, format, columns, all_weights,
                             scratch_.data() + static_cast<Bytes>(worker) * stride_);
    for (std::int64_t group = begin; group < end; ++group) {
      const std::int64_t first = group * together;
      costs[static_cast<std::size_t>(group)] =
          rounder.round(values + first * columns, std::min(together, rows - first),
                        blocks + static_cast<Bytes>(first) * row);
    }
  });
  return std::accumulate(costs.begin(), costs.end(), 0.0);
}

}  // namespace plimsoll
