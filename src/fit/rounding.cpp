#include "fit/rounding.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "kernels/quantise.h"

namespace plimsoll {
namespace {

std::int64_t aligned_scratch_floats(std::int64_t columns) {
  return (quantise_scratch_floats(columns) + 15) / 16 * 16;
}

}  // namespace

ColumnWeights with_feedback(const SecondMoments& moments) {
  return {moments.diagonal().data(), moments.upper(), true};
}

Bytes Rounder::memory_bytes(std::int64_t columns, int workers) {
  return round_up(static_cast<Bytes>(aligned_scratch_floats(columns)) * sizeof(float) *
                      static_cast<Bytes>(workers),
                  page_bytes);
}

Rounder::Rounder(Context& context, std::int64_t columns)
    : context_(context),
      scratch_(context.ledger, Account::io, memory_bytes(columns, context.threads.size())),
      scratch_floats_(aligned_scratch_floats(columns)) {}

double Rounder::round(const Format& format, const float* weights, std::int64_t rows,
                      std::int64_t columns, const ColumnWeights& column_weights,
                      std::uint8_t* blocks) {
  const Bytes row = row_bytes(format, columns);
  // Codebooks are searched row by row: smaller groups keep all workers busy.
  const std::int64_t together = format.encode_weighted ? 4 : quantise_rows_together;
  const std::int64_t groups = (rows + together - 1) / together;
  std::vector<double> costs(static_cast<std::size_t>(groups));
  std::vector<float> diagonal;
  if (format.encode_weighted && column_weights.feedback)
    diagonal = diagonal_of_moments(column_weights.importance, column_weights.feedback, columns);
  context_.threads.parallel_for(groups, 1, [&](std::int64_t begin, std::int64_t end, int worker) {
    for (std::int64_t group = begin; group < end; ++group) {
      const std::int64_t first = group * together;
      QuantiseTask task{};
      task.format = &format;
      task.weights = weights + first * columns;
      task.rows = std::min(together, rows - first);
      task.columns = columns;
      task.importance = column_weights.importance;
      task.feedback = column_weights.feedback;
      if (!diagonal.empty()) task.diagonal = diagonal.data();
      task.thorough = column_weights.thorough;
      task.unbiased = column_weights.feedback == nullptr;
      task.blocks = blocks + static_cast<Bytes>(first) * row;
      task.scratch = scratch_.as<float>() + worker * scratch_floats_;
      costs[static_cast<std::size_t>(group)] = quantise_rows(context_.kernels, task);
    }
  });
  return std::accumulate(costs.begin(), costs.end(), 0.0);
}

}  // namespace plimsoll
