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

/// Diagonal of U diag(D) U^T.
std::vector<float> second_moments_diagonal(const float* upper, const float* d,
                                           std::int64_t columns) {
  std::vector<float> result(static_cast<std::size_t>(columns));
  for (std::int64_t i = 0; i < columns; ++i) {
    double sum = d[i];
    for (std::int64_t k = i + 1; k < columns; ++k)
      sum += static_cast<double>(upper[i * columns + k]) * upper[i * columns + k] * d[k];
    result[static_cast<std::size_t>(i)] = static_cast<float>(sum);
  }
  return result;
}

/// e H e^T for an error e of one row, H = U diag(D) U^T, or diagonal where U is null.
double cost_of(const std::vector<float>& error, const ColumnWeights& weights) {
  const auto columns = static_cast<std::int64_t>(error.size());
  if (!weights.feedback) {
    double sum = 0;
    for (std::int64_t k = 0; k < columns; ++k) {
      const double e = error[static_cast<std::size_t>(k)];
      sum += e * e * (weights.importance ? weights.importance[k] : 1);
    }
    return sum;
  }
  std::vector<float> residual = error;
  for (std::int64_t j = 0; j < columns; ++j) {
    const float e = error[static_cast<std::size_t>(j)];
    const float* const row = weights.feedback + j * columns;
    for (std::int64_t k = j + 1; k < columns; ++k) residual[static_cast<std::size_t>(k)] += e * row[k];
  }
  double sum = 0;
  for (std::int64_t k = 0; k < columns; ++k)
    sum += static_cast<double>(residual[static_cast<std::size_t>(k)]) *
           residual[static_cast<std::size_t>(k)] * weights.importance[k];
  return sum;
}

/// Codebook formats have no codes that could be rounded one by one: their rows are encoded as they are, under the
/// diagonal of the second moments.
double encode_codebook(const Format& format, const float* weights, std::int64_t rows,
                       std::int64_t columns, const ColumnWeights& column_weights,
                       const float* importance, std::uint8_t* blocks) {
  const std::int64_t count = columns / format.block_values;
  std::vector<float> error(static_cast<std::size_t>(columns));
  double cost = 0;
  for (std::int64_t r = 0; r < rows; ++r) {
    std::uint8_t* const target = blocks + static_cast<Bytes>(r) * row_bytes(format, columns);
    const float* const row = weights + r * columns;
    format.encode_weighted(row, importance, target, count);
    format.decode(target, error.data(), count);
    for (std::int64_t k = 0; k < columns; ++k) error[static_cast<std::size_t>(k)] -= row[k];
    cost += cost_of(error, column_weights);
  }
  return cost;
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
  const std::int64_t groups = (rows + quantise_rows_together - 1) / quantise_rows_together;
  std::vector<double> costs(static_cast<std::size_t>(groups));
  std::vector<float> diagonal;
  if (format.encode_weighted && column_weights.feedback)
    diagonal = second_moments_diagonal(column_weights.feedback, column_weights.importance, columns);
  const float* const importance = diagonal.empty() ? column_weights.importance : diagonal.data();
  context_.threads.parallel_for(groups, 1, [&](std::int64_t begin, std::int64_t end, int worker) {
    for (std::int64_t group = begin; group < end; ++group) {
      const std::int64_t first = group * quantise_rows_together;
      if (format.encode_weighted) {
        costs[static_cast<std::size_t>(group)] =
            encode_codebook(format, weights + first * columns,
                            std::min(quantise_rows_together, rows - first), columns, column_weights,
                            importance, blocks + static_cast<Bytes>(first) * row);
        continue;
      }
      QuantiseTask task{};
      task.format = &format;
      task.weights = weights + first * columns;
      task.rows = std::min(quantise_rows_together, rows - first);
      task.columns = columns;
      task.importance = column_weights.importance;
      task.feedback = column_weights.feedback;
      task.thorough = column_weights.thorough;
      task.blocks = blocks + static_cast<Bytes>(first) * row;
      task.scratch = scratch_.as<float>() + worker * scratch_floats_;
      costs[static_cast<std::size_t>(group)] = context_.kernels.quantise(task);
    }
  });
  return std::accumulate(costs.begin(), costs.end(), 0.0);
}

}  // namespace plimsoll
