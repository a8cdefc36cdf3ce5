// y = x W^T for rows of f32, f16 or bf16, for every vector width.
//
// Each output is one vector of partial sums: lane j adds w[k] * x[k] over k = j, j + lanes, ... in
// order, with fused multiply-adds; then the lanes are added in a fixed order. An output therefore
// does not depend on how many tokens or rows are computed with it.
//
// W is streamed from memory once, a few rows at a time, asked for well before its use, and
// converted in registers; all tokens meet those rows, a register tile at a time, while they are in
// the cache. Since the rows of W and x both run along the sum, neither needs packing: converting a
// panel of W into scratch first, as blocked matrix products do, measured 20 % slower at every
// number of tokens (f32 with AVX2 excepted: 15 % faster from two dozen tokens on).
//
// Where the columns do not fill the last vector, that vector is loaded so that it ends with the
// row, and the lanes that it repeats are cleared: no load leaves the row.
#include "kernels/functions-inl.h"
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
constexpr int kTokenTile = kRegisters == 32 ? 6 : 3;

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
  if constexpr (kRegisters == 32 || kTokens == 1) {
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

/// Rows [row, row + kRows) of W, those from `row_end` on computed but not stored, times kTokens
/// tokens.
template <DenseView::Type kType, int kRows, int kTokens>
void stream_rows(const DenseView& w, const Steps& steps, const Tokens& tokens, std::int64_t row,
                 std::int64_t row_end) {
  using Element = typename Stored<kType>::Element;
  constexpr std::int64_t kElementBytes = sizeof(Element);
  constexpr std::int64_t kStepsPerLine = kCacheLine / (kLanes * kElementBytes);
  const Element* data = static_cast<const Element*>(w.data);
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
void multiply_wide(const DenseView& w, const Tokens& tokens, std::int64_t row_begin,
                   std::int64_t row_end) {
  const Steps steps(w.columns);
  if (tokens.count == 1) {
    // One token leaves registers for more rows, whose sums do not wait for each other.
    constexpr int kRows = 2 * kRowGroup;
    for (std::int64_t row = row_begin; row < row_end; row += kRows)
      stream_rows<kType, kRows, 1>(w, steps, tokens, row, row_end);
    return;
  }
  for (std::int64_t row = row_begin; row < row_end; row += kRowGroup) {
    // Tiles of nearly equal size.
    std::int64_t tiles = (tokens.count + kTokenTile - 1) / kTokenTile;
    for (std::int64_t t = 0; t < tokens.count; --tiles) {
      const std::int64_t size = (tokens.count - t + tiles - 1) / tiles;
      with_constant<kTokenTile>(size, [&](auto tile) HWY_ATTR {
        stream_rows<kType, kRowGroup, decltype(tile)::value>(w, steps, tokens.from(t), row,
                                                             row_end);
      });
      t += size;
    }
  }
}

/// Fewer columns than lanes: rows and tokens are padded with zeros to one vector.
template <DenseView::Type kType>
void multiply_narrow(const DenseView& w, const Tokens& tokens, std::int64_t row_begin,
                     std::int64_t row_end) {
  using Element = typename Stored<kType>::Element;
  for (std::int64_t row = row_begin; row < row_end; ++row) {
    Element padded[kLanes] = {};
    for (std::int64_t k = 0; k < w.columns; ++k)
      padded[k] = static_cast<const Element*>(w.data)[row * w.columns + k];
    const Vector weights = Stored<kType>::load_vector(padded);
    for (std::int64_t t = 0; t < tokens.count; ++t) {
      const Vector v = load_first(tokens.x + t * tokens.x_stride, w.columns);
      tokens.y[t * tokens.y_stride + row] = sum_lanes(hn::Mul(weights, v));
    }
  }
}

template <DenseView::Type kType>
void multiply(const DenseView& w, const Tokens& tokens, std::int64_t row_begin,
              std::int64_t row_end) {
  if (w.columns < kLanes) {
    multiply_narrow<kType>(w, tokens, row_begin, row_end);
  } else {
    multiply_wide<kType>(w, tokens, row_begin, row_end);
  }
}

}  // namespace

void matmul_dense(const DenseView& w, const float* x, std::int64_t x_stride, std::int64_t tokens,
                  std::int64_t row_begin, std::int64_t row_end, float* y, std::int64_t y_stride) {
  const Tokens all = {.x = x, .x_stride = x_stride, .y = y, .y_stride = y_stride, .count = tokens};
  switch (w.type) {
    case DenseView::Type::f32:
      return multiply<DenseView::Type::f32>(w, all, row_begin, row_end);
    case DenseView::Type::f16:
      return multiply<DenseView::Type::f16>(w, all, row_begin, row_end);
    case DenseView::Type::bf16:
      return multiply<DenseView::Type::bf16>(w, all, row_begin, row_end);
  }
}

}  // namespace plimsoll::PLIMSOLL_ISA
