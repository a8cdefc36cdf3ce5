// y = x W^T for rows of f32, f16 or bf16, for every vector width.
//
// Each output is one vector of partial sums: lane j adds w[k] * x[k] over k = j, j + lanes, ... in
// order, with fused multiply-adds; then the lanes are added in a fixed order. Both paths below do
// exactly that, so that an output does not depend on how many tokens or rows are computed with it:
//   - few tokens: W is streamed from memory once, four or eight rows at a time, and converted in
//   registers;
//   - many tokens: a panel of W (kDensePanelRows x kDenseBlockColumns) is converted into scratch,
//   where it stays in the
//     first-level cache while all tokens of a block meet it; partial sums wait in scratch between
//     column blocks. This is the blocking of Goto and van de Geijn (doi:10.1145/1356052.1356053)
//     for a product of two row-major matrices.
// Where the columns do not fill the last vector, that vector is loaded so that it ends with the
// row, and the lanes that it repeats are cleared: no load leaves the row.
#include "kernels/functions-inl.h"
#include "kernels/scratch.h"
#include "kernels/vector-inl.h"

namespace plimsoll::PLIMSOLL_ISA {
namespace {

template <DenseView::Type kType>
struct Stored;

template <>
struct Stored<DenseView::Type::f32> {
  using Element = float;
  static HWY_INLINE Vector load_vector(const float* p) { return load(p); }
};

template <>
struct Stored<DenseView::Type::f16> {
  using Element = std::uint16_t;
  static HWY_INLINE Vector load_vector(const std::uint16_t* p) { return load_half(p); }
};

template <>
struct Stored<DenseView::Type::bf16> {
  using Element = std::uint16_t;
  static HWY_INLINE Vector load_vector(const std::uint16_t* p) { return load_bfloat(p); }
};

constexpr int kRowGroup = 4;  // rows whose lanes are summed together
constexpr std::int64_t kCacheLine = 64;
/// Weights are asked for at least this long before they are used: what a core reads in one memory
/// latency, with room.
constexpr std::int64_t kPrefetchBytes = 16 * 1024;
/// Tokens per register tile: with kRowGroup rows, 24 of 32 or 12 of 16 registers hold sums.
constexpr int kTokenTile = kLanes == 16 ? 6 : 3;
/// From here on, converting W once and reading it from the cache beats converting it again for
/// every tile of tokens.
constexpr std::int64_t kPackedTokens = 2 * kTokenTile;

/// Where a call's tokens come from and go to.
struct Tokens {
  const float* x;  // [tokens][x_stride]
  std::int64_t x_stride;
  float* y;  // [tokens][y_stride], by row of W
  std::int64_t y_stride;
  std::int64_t count;

  /// Those from `first` on.
  Tokens from(std::int64_t first) const {
    return {.x = x + first * x_stride,
            .x_stride = x_stride,
            .y = y + first * y_stride,
            .y_stride = y_stride,
            .count = count - first};
  }
};

/// Columns as whole vectors and a last one that overlaps them.
struct Steps {
  explicit Steps(std::int64_t columns)
      : whole(columns / kLanes), tail_offset(columns - kLanes), has_tail(columns % kLanes != 0) {
    // The last vector repeats lanes that were counted already: the first ones.
    tail_mask = hn::Not(first_lanes(kLanes - columns % kLanes));
  }

  std::int64_t whole;
  std::int64_t tail_offset;
  bool has_tail;
  Mask tail_mask;
};

HWY_INLINE void store_rows(Four sums, std::int64_t count, float* y) {
  const hn::Full128<float> tag;
  if (count >= kRowGroup) {
    hn::StoreU(sums, tag, y);
    return;
  }
  float all[kRowGroup];
  hn::StoreU(sums, tag, all);
  for (std::int64_t i = 0; i < count; ++i) y[i] = all[i];
}

/// One step of `kRows` x `kTokens` sums from weights and tokens in memory.
template <int kRows, int kTokens, typename LoadWeights, typename LoadTokens>
HWY_INLINE void accumulate(const LoadWeights& load_weights, const LoadTokens& load_tokens,
                           Vector (&sums)[kRows][kTokens]) {
  if constexpr (kLanes == 16 || kTokens == 1) {
    Vector w[kRows];
    PLIMSOLL_UNROLL
    for (int r = 0; r < kRows; ++r) w[r] = load_weights(r);
    PLIMSOLL_UNROLL
    for (int t = 0; t < kTokens; ++t) {
      const Vector v = load_tokens(t);
      PLIMSOLL_UNROLL
      for (int r = 0; r < kRows; ++r) sums[r][t] = hn::MulAdd(w[r], v, sums[r][t]);
    }
  } else {
    // 16 registers: the tokens stay, the rows come one at a time.
    Vector v[kTokens];
    PLIMSOLL_UNROLL
    for (int t = 0; t < kTokens; ++t) v[t] = load_tokens(t);
    PLIMSOLL_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const Vector w = load_weights(r);
      PLIMSOLL_UNROLL
      for (int t = 0; t < kTokens; ++t) sums[r][t] = hn::MulAdd(w, v[t], sums[r][t]);
    }
  }
}

// ---- few tokens ----

/// Rows [row, row + kRows) of W, those from `row_end` on computed but not stored, times kTokens
/// tokens.
template <DenseView::Type kType, int kRows, int kTokens>
void stream_rows(const DenseView& w, const Steps& steps, const Tokens& tokens, std::int64_t row,
                 std::int64_t row_end) {
  using Element = typename Stored<kType>::Element;
  constexpr std::int64_t kStepsPerLine =
      kCacheLine / (kLanes * static_cast<std::int64_t>(sizeof(Element)));
  const Element* data = static_cast<const Element*>(w.data);
  constexpr std::int64_t kElementBytes = sizeof(Element);
  const std::int64_t group_bytes = kRows * w.columns * kElementBytes;
  const std::int64_t rows_ahead = (kPrefetchBytes + group_bytes - 1) / group_bytes * kRows;
  const Element* rows[kRows];
  const Element* later_rows[kRows];  // read by a later call: asked for now
  for (int r = 0; r < kRows; ++r) {
    const std::int64_t last = row_end - 1;
    const std::int64_t later = row + rows_ahead + r;
    rows[r] = data + (row + r < last ? row + r : last) * w.columns;
    later_rows[r] = data + (later < last ? later : last) * w.columns;
  }

  Vector sums[kRows][kTokens];
  PLIMSOLL_UNROLL
  for (int r = 0; r < kRows; ++r) {
    PLIMSOLL_UNROLL
    for (int t = 0; t < kTokens; ++t) sums[r][t] = hn::Zero(kTag);
  }
  const auto step = [&](std::int64_t k) HWY_ATTR {
    accumulate<kRows, kTokens>(
        [&](int r) HWY_ATTR { return Stored<kType>::load_vector(rows[r] + k); },
        [&](int t) HWY_ATTR { return load(tokens.x + t * tokens.x_stride + k); }, sums);
  };
  std::int64_t s = 0;
  for (; s + kStepsPerLine <= steps.whole; s += kStepsPerLine) {
    PLIMSOLL_UNROLL
    for (int r = 0; r < kRows; ++r) prefetch_to_l2(later_rows[r] + s * kLanes);
    PLIMSOLL_UNROLL
    for (std::int64_t i = 0; i < kStepsPerLine; ++i) step((s + i) * kLanes);
  }
  for (; s < steps.whole; ++s) step(s * kLanes);
  if (steps.has_tail) {
    const std::int64_t k = steps.tail_offset;
    accumulate<kRows, kTokens>(
        [&](int r) HWY_ATTR {
          return hn::IfThenElseZero(steps.tail_mask, Stored<kType>::load_vector(rows[r] + k));
        },
        [&](int t) HWY_ATTR {
          return hn::IfThenElseZero(steps.tail_mask, load(tokens.x + t * tokens.x_stride + k));
        },
        sums);
  }
  PLIMSOLL_UNROLL
  for (int t = 0; t < kTokens; ++t) {
    PLIMSOLL_UNROLL
    for (int r = 0; r < kRows; r += kRowGroup) {
      if (row + r >= row_end) break;
      store_rows(sum_lanes_of_four(sums[r][t], sums[r + 1][t], sums[r + 2][t], sums[r + 3][t]),
                 row_end - (row + r), tokens.y + t * tokens.y_stride + row + r);
    }
  }
}

template <DenseView::Type kType>
void multiply_streamed(const DenseView& w, const Steps& steps, const Tokens& tokens,
                       std::int64_t row_begin, std::int64_t row_end) {
  if (tokens.count == 1) {
    // One token leaves registers for more rows, whose sums do not wait for each other.
    constexpr int kRows = 2 * kRowGroup;
    for (std::int64_t row = row_begin; row < row_end; row += kRows)
      stream_rows<kType, kRows, 1>(w, steps, tokens, row, row_end);
    return;
  }
  for (std::int64_t row = row_begin; row < row_end; row += kRowGroup) {
    for (std::int64_t t = 0; t < tokens.count; t += kTokenTile) {
      with_constant<kTokenTile>(tokens.count - t, [&](auto tile) HWY_ATTR {
        stream_rows<kType, kRowGroup, decltype(tile)::value>(w, steps, tokens.from(t), row,
                                                             row_end);
      });
    }
  }
}

// ---- many tokens ----

constexpr std::int64_t kStepFloats = kRowGroup * kLanes;  // of the panel, per step
constexpr std::int64_t kBlockSteps = kDenseBlockColumns / kLanes;

/// A block of columns of a row group: steps [begin, end) of whole vectors, and the tail after them
/// if there is one.
struct Block {
  std::int64_t begin;
  std::int64_t end;
  bool tail;
};

/// Converts one row group's block: [step][row of the group][lane]. Rows past the last repeat it.
template <DenseView::Type kType>
void pack_group(const DenseView& w, const Steps& steps, const Block& block, std::int64_t row,
                std::int64_t row_end, float* panel) {
  using Element = typename Stored<kType>::Element;
  const Element* data = static_cast<const Element*>(w.data);
  for (std::int64_t r = 0; r < kRowGroup; ++r) {
    const Element* source = data + (row + r < row_end ? row + r : row_end - 1) * w.columns;
    float* target = panel + r * kLanes;
    for (std::int64_t s = block.begin; s < block.end; ++s, target += kStepFloats)
      store(Stored<kType>::load_vector(source + s * kLanes), target);
    if (block.tail) {
      const Vector last = Stored<kType>::load_vector(source + steps.tail_offset);
      store(hn::IfThenElseZero(steps.tail_mask, last), target);
    }
  }
}

/// One row group's block times kTokens tokens. Sums start at `sums` ([token][row of the
/// group][lane]) unless the block is the first, and end there unless it is the last, which writes
/// `count` rows of y.
template <int kTokens>
void multiply_block(const float* panel, const Steps& steps, const Block& block, bool last,
                    const Tokens& tokens, std::int64_t row, std::int64_t count, float* sums) {
  Vector acc[kRowGroup][kTokens];
  PLIMSOLL_UNROLL
  for (int r = 0; r < kRowGroup; ++r) {
    PLIMSOLL_UNROLL
    for (int t = 0; t < kTokens; ++t)
      acc[r][t] = block.begin == 0 ? hn::Zero(kTag) : load(sums + t * kStepFloats + r * kLanes);
  }
  const float* x = tokens.x + block.begin * kLanes;
  for (std::int64_t s = block.begin; s < block.end; ++s, x += kLanes, panel += kStepFloats) {
    accumulate<kRowGroup, kTokens>([&](int r) HWY_ATTR { return load(panel + r * kLanes); },
                                   [&](int t) HWY_ATTR { return load(x + t * tokens.x_stride); },
                                   acc);
  }
  if (block.tail) {
    const float* x_tail = tokens.x + steps.tail_offset;
    accumulate<kRowGroup, kTokens>([&](int r) HWY_ATTR { return load(panel + r * kLanes); },
                                   [&](int t) HWY_ATTR {
                                     return hn::IfThenElseZero(steps.tail_mask,
                                                               load(x_tail + t * tokens.x_stride));
                                   },
                                   acc);
  }
  PLIMSOLL_UNROLL
  for (int t = 0; t < kTokens; ++t) {
    if (last) {
      store_rows(sum_lanes_of_four(acc[0][t], acc[1][t], acc[2][t], acc[3][t]), count,
                 tokens.y + t * tokens.y_stride + row);
    } else {
      PLIMSOLL_UNROLL
      for (int r = 0; r < kRowGroup; ++r) store(acc[r][t], sums + t * kStepFloats + r * kLanes);
    }
  }
}

/// At most kDenseBlockTokens tokens times all rows. Scratch: the panel, then the sums of its rows
/// and all tokens.
template <DenseView::Type kType>
void multiply_packed(const DenseView& w, const Steps& steps, const Tokens& tokens,
                     std::int64_t row_begin, std::int64_t row_end, float* scratch) {
  const std::int64_t all_steps = steps.whole + (steps.has_tail ? 1 : 0);
  const std::int64_t block_steps = all_steps < kBlockSteps ? all_steps : kBlockSteps;
  const std::int64_t group_floats = block_steps * kStepFloats;
  float* sums = scratch + kDensePanelRows / kRowGroup * group_floats;
  for (std::int64_t row = row_begin; row < row_end; row += kDensePanelRows) {
    const std::int64_t rows = row_end - row < kDensePanelRows ? row_end - row : kDensePanelRows;
    const std::int64_t groups = (rows + kRowGroup - 1) / kRowGroup;
    for (std::int64_t begin = 0; begin < all_steps; begin += block_steps) {
      const bool last = begin + block_steps >= all_steps;
      const Block block = {.begin = begin,
                           .end = last ? steps.whole : begin + block_steps,
                           .tail = last && steps.has_tail};
      for (std::int64_t g = 0; g < groups; ++g) {
        pack_group<kType>(w, steps, block, row + g * kRowGroup, row_end,
                          scratch + g * group_floats);
      }
      for (std::int64_t t = 0; t < tokens.count; t += kTokenTile) {
        with_constant<kTokenTile>(tokens.count - t, [&](auto tile) HWY_ATTR {
          for (std::int64_t g = 0; g < groups; ++g) {
            multiply_block<decltype(tile)::value>(
                scratch + g * group_floats, steps, block, last, tokens.from(t), row + g * kRowGroup,
                rows - g * kRowGroup, sums + (g * kDenseBlockTokens + t) * kStepFloats);
          }
        });
      }
    }
  }
}

// ---- fewer columns than lanes ----

/// Rows and tokens are padded with zeros to one vector.
template <DenseView::Type kType>
void multiply_narrow(const DenseView& w, const Tokens& tokens, std::int64_t row_begin,
                     std::int64_t row_end) {
  using Element = typename Stored<kType>::Element;
  const Mask mask = first_lanes(w.columns);
  for (std::int64_t row = row_begin; row < row_end; ++row) {
    Element padded[kLanes] = {};
    for (std::int64_t k = 0; k < w.columns; ++k)
      padded[k] = static_cast<const Element*>(w.data)[row * w.columns + k];
    const Vector weights = Stored<kType>::load_vector(padded);
    for (std::int64_t t = 0; t < tokens.count; ++t) {
      const Vector v = hn::MaskedLoad(mask, kTag, tokens.x + t * tokens.x_stride);
      tokens.y[t * tokens.y_stride + row] = sum_lanes(hn::Mul(weights, v));
    }
  }
}

template <DenseView::Type kType>
void multiply(const DenseView& w, Tokens tokens, std::int64_t row_begin, std::int64_t row_end,
              float* scratch) {
  if (w.columns < kLanes) {
    multiply_narrow<kType>(w, tokens, row_begin, row_end);
    return;
  }
  const Steps steps(w.columns);
  while (tokens.count > 0) {
    Tokens block = tokens;
    if (block.count > kDenseBlockTokens) block.count = kDenseBlockTokens;
    if (block.count < kPackedTokens) {
      multiply_streamed<kType>(w, steps, block, row_begin, row_end);
    } else {
      multiply_packed<kType>(w, steps, block, row_begin, row_end, scratch);
    }
    tokens = tokens.from(block.count);
  }
}

}  // namespace

void matmul_dense(const DenseView& w, const float* x, std::int64_t x_stride, std::int64_t tokens,
                  std::int64_t row_begin, std::int64_t row_end, float* y, std::int64_t y_stride,
                  float* scratch) {
  const Tokens all = {.x = x, .x_stride = x_stride, .y = y, .y_stride = y_stride, .count = tokens};
  switch (w.type) {
    case DenseView::Type::f32:
      return multiply<DenseView::Type::f32>(w, all, row_begin, row_end, scratch);
    case DenseView::Type::f16:
      return multiply<DenseView::Type::f16>(w, all, row_begin, row_end, scratch);
    case DenseView::Type::bf16:
      return multiply<DenseView::Type::bf16>(w, all, row_begin, row_end, scratch);
  }
}

}  // namespace plimsoll::PLIMSOLL_ISA
