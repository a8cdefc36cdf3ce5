#include "kernels/quantise.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/kernels.h"
#include "kernels/quantise_grid.h"

namespace plimsoll {

std::int64_t quantise_scratch_floats(std::int64_t columns) {
  constexpr std::int64_t rows = quantise_rows_together;
  const std::int64_t errors = columns * rows;
  const std::int64_t targets = quantise_chunk * rows;
  const std::int64_t panel = quantise_panel * quantise_panel_stride;
  const std::int64_t ones = quantise_chunk;
  const std::int64_t state = (sizeof(QuantiseState) + 63) / 64 * 16;
  return errors + targets + panel + ones + state;
}

namespace {

double encode_codebook(const QuantiseTask& task) {
  const Format& format = *task.format;
  const std::int64_t blocks = task.columns / format.block_values;
  std::vector<float> diagonal;
  const float* importance = task.importance;
  if (task.feedback && task.diagonal) {
    importance = task.diagonal;
  } else if (task.feedback) {
    diagonal = diagonal_of_moments(task.importance, task.feedback, task.columns);
    importance = diagonal.data();
  }
  std::vector<float> error(static_cast<std::size_t>(task.columns)),
      residual(static_cast<std::size_t>(task.columns));
  double cost = 0;
  for (std::int64_t r = 0; r < task.rows; ++r) {
    const float* const row = task.weights + r * task.columns;
    std::uint8_t* const out = task.blocks + r * blocks * format.block_bytes;
    format.encode_weighted(row, importance, out, blocks);
    format.decode(out, error.data(), blocks);
    for (std::int64_t k = 0; k < task.columns; ++k) error[static_cast<std::size_t>(k)] -= row[k];
    cost += cost_under_moments(task.importance, task.feedback, task.columns, error.data(),
                               residual.data());
  }
  return cost;
}

}  // namespace

std::vector<float> diagonal_of_moments(const float* d, const float* upper, std::int64_t columns) {
  std::vector<float> result(static_cast<std::size_t>(columns));
  for (std::int64_t i = 0; i < columns; ++i) {
    const float* const u = upper + i * columns;
    double sum = d[i];
    for (std::int64_t k = i + 1; k < columns; ++k) sum += static_cast<double>(u[k]) * u[k] * d[k];
    result[static_cast<std::size_t>(i)] = static_cast<float>(sum);
  }
  return result;
}

double cost_under_moments(const float* d, const float* upper, std::int64_t columns,
                          const float* error, float* residual) {
  std::copy_n(error, columns, residual);
  if (upper)
    for (std::int64_t j = 0; j < columns; ++j) {
      const float* const u = upper + j * columns;
      for (std::int64_t k = j + 1; k < columns; ++k) residual[k] += error[j] * u[k];
    }
  double sum = 0;
  for (std::int64_t k = 0; k < columns; ++k)
    sum += static_cast<double>(residual[k]) * residual[k] * (d ? d[k] : 1);
  return sum;
}

double quantise_rows(const Kernels& kernels, const QuantiseTask& task) {
  if (task.format->encode_weighted) return encode_codebook(task);
  if (!task.format->leading) return kernels.quantise(task);
  QuantiseTask leading = task, rest = task;
  leading.format = task.format->leading;
  kernels.quantise(leading);
  rest.unbiased = false;  // the scales are chosen
  return kernels.quantise(rest);
}

CodeGrid code_grid(const CodeLayout& layout) {
  CodeGrid grid{};
  std::uint8_t order[256];
  const int end = (1 << layout.bits) - layout.unused_high;
  int count = 0;
  for (int code = layout.unused_low; code < end; ++code)
    if (std::none_of(order, order + count,
                     [&](int other) { return layout.values[other] == layout.values[code]; }))
      order[count++] = static_cast<std::uint8_t>(code);
  std::sort(order, order + count,
            [&](int a, int b) { return layout.values[a] < layout.values[b]; });
  for (int i = 0; i < count; ++i) {
    grid.codes[i] = order[i];
    grid.values[i] = layout.values[order[i]];
  }
  const float low = grid.values[0], high = grid.values[count - 1];
  grid.count = count;
  grid.consecutive = high - low == static_cast<float>(count - 1);
  grid.symmetric = low == -high;
  grid.extreme = high >= -low ? high : low;
  grid.step = (high - low) / static_cast<float>(count - 1);
  if (grid.consecutive) return grid;
  for (int i = 0; i < 16; ++i) {
    const int value = std::min(i, count - 1);
    grid.leaf_values[i] = grid.values[value];
    grid.leaf_codes[i] = grid.codes[value];
  }
  // Level by level: the nodes of depth k cut every 16 / 2^k leaves in two.
  for (int depth = 0; depth < 4; ++depth)
    for (int i = 0; i < 1 << depth; ++i) {
      const int right = (2 * i + 1) * (8 >> depth);  // first leaf of the right half
      grid.midpoints[(1 << depth) + i] =
          right < count ? (grid.values[right - 1] + grid.values[right]) / 2 : HUGE_VALF;
    }
  return grid;
}

}  // namespace plimsoll
