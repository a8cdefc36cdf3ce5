#include "kernels/quantise.h"

#include <algorithm>
#include <cmath>

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
