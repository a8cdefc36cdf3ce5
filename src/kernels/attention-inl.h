// Attention of one KV head, for every vector width: positions are taken in tiles of kAttentionTile
// with an online softmax (Milakov and Gimelshein, arXiv:1805.02867; tiled as by Dao et al.,
// arXiv:2205.14135). A row is one query head of one query; its outputs stay in scratch, scaled by
// e^(old maximum - new maximum) whenever its maximum rises.
//
//   - few rows (decode, verification): scores are dot products across lanes. Bound by memory.
//   - many rows (prefill): each tile's K is transposed in scratch, once for all rows; scores are a
//   register-tiled product with positions as lanes. Bound by arithmetic.
//
// The arithmetic is pairs of 16-bit integers where the processor adds those twice as fast as it
// does f32 (attention_pairs-inl.h), else f32 (attention_floats-inl.h).
//
// What a page has below 16 bits is brought into the same form: its codes stand for small integers,
// its keys' mean is one more key whose score all get.
//
// A row's bits depend on its query and on what it sees, never on the rows beside it, nor on which
// of the two ways was taken: tiles and parts start at multiples of their lengths whatever the
// task's first position, each part is summed for itself and then added to those before it, and what
// a row does not see leaves it untouched, whatever is there. A tile is a page.
#include "kernels/functions-inl.h"
#include "kernels/kv_codes.h"
#include "kernels/scratch.h"
#include "kernels/vector-inl.h"

namespace plimsoll::PLIMSOLL_ISA {
namespace {

constexpr float kLowest = -3.402823466e+38f;
constexpr std::int64_t kTileVectors = kAttentionTile / kLanes;
/// Rows x vectors of a register tile: 24 of 32 or 12 of 16 registers hold sums.
constexpr int kRowTile = 6;
constexpr int kVectorTile = kRegisters == 32 ? 4 : 2;
/// Rows of a tile of dot products, times four positions.
constexpr int kDotRows = kRegisters == 32 ? 6 : 3;

constexpr std::int64_t kCacheLineBytes = 64;
static_assert(kAttentionTile == kv_page_positions);

struct Range {
  std::int64_t begin;
  std::int64_t end;
};

HWY_INLINE std::int64_t min_of(std::int64_t a, std::int64_t b) { return a < b ? a : b; }
HWY_INLINE std::int64_t max_of(std::int64_t a, std::int64_t b) { return a > b ? a : b; }
HWY_INLINE std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
HWY_INLINE Range intersect(Range a, Range b) {
  return {max_of(a.begin, b.begin), min_of(a.end, b.end)};
}

/// The scratch of a task, and what follows from its shape. Dimensions are padded to whole pairs of
/// vectors of the widest folder.
struct Work {
  explicit Work(const AttentionTask& t)
      : task(t),
        rows(t.queries * t.heads),
        padded_dim(divide_up(t.head_dim, kAttentionPadding) * kAttentionPadding),
        dim_vectors(divide_up(t.head_dim, kLanes)),
        keys(t.scratch),
        values(keys + kAttentionTile * padded_dim),
        scores(values + kAttentionTile * padded_dim),
        outputs(scores + kAttentionScoreRows * kAttentionTile),
        sums(outputs + rows * padded_dim),
        queries(sums + rows * kWidestVector),
        key_scales(queries + rows * (padded_dim / 2)),
        value_scales(key_scales + kAttentionTile),
        maxima(value_scales + kAttentionTile),
        query_scales(maxima + divide_up(rows, kWidestVector) * kWidestVector),
        mean_scores(query_scales + divide_up(rows, kWidestVector) * kWidestVector),
        total_maxima(mean_scores + divide_up(rows, kWidestVector) * kWidestVector),
        total_sums(total_maxima + divide_up(rows, kWidestVector) * kWidestVector) {}

  const AttentionTask& task;
  std::int64_t rows;  // row = query * heads + head
  std::int64_t padded_dim;
  std::int64_t dim_vectors;  // that hold a real dimension
  float* keys;               // [head_dim][kAttentionTile]: by dimension
  float* values;             // [kAttentionTile][padded_dim]
  float* scores;             // [kAttentionScoreRows][kAttentionTile]: scores, then probabilities
  float* outputs;            // [rows][padded_dim]
  float* sums;               // [rows][kWidestVector]: sums of e^(score - maximum), one per lane
  // Of attention_pairs-inl.h only; pairs of 16-bit integers in the place of a float.
  float* queries;       // [rows][padded_dim / 2]
  float* key_scales;    // [kAttentionTile]
  float* value_scales;  // [kAttentionTile]
  float* maxima;        // [rows]
  float* query_scales;  // [rows]; of attention_pairs-inl.h
  float* mean_scores;   // [rows]: what a tile's keys share; zeros in 16 bits
  // Of the parts before this one; the outputs are where the task's are.
  float* total_maxima;  // [rows]
  float* total_sums;    // [rows]
  Range part = {0, 0};  // that the rows' outputs, sums and maxima are about

  /// The positions that a query sees, of all and of the part.
  Range visible_of_all(std::int64_t query) const {
    const std::int64_t end = task.first_position + query + 1;
    return {task.window > 0 ? max_of(end - task.window, 0) : 0, end};
  }
  Range visible(std::int64_t query) const { return intersect(visible_of_all(query), part); }

  const float* query_row(std::int64_t r) const {
    return task.q + r / task.heads * task.q_stride + r % task.heads * task.head_dim;
  }
  float* out_row(std::int64_t r) const {
    return task.out + r / task.heads * task.out_stride + r % task.heads * task.head_dim;
  }
};

/// The page that begins at position `base`.
HWY_INLINE const KvPageView& page_at(const AttentionTask& task, std::int64_t base) {
  const bool newest = base / kv_page_positions == task.first_position / kv_page_positions;
  return newest ? task.newest : task.pages[base / kv_page_positions];
}

/// The task's head in one half of a page.
struct Head {
  HWY_INLINE Head(const AttentionTask& task, const KvHalfPage& half, KvSide side)
      : tier(half.tier) {
    const KvHeadLayout layout(tier, side, task.head_dim);
    bytes = layout.bytes;
    codes = half.heads + task.kv_head * bytes;
    units = reinterpret_cast<const std::uint16_t*>(codes + layout.units);
    mean = reinterpret_cast<const std::int16_t*>(codes + layout.mean);
  }
  /// In 16 bits.
  HWY_INLINE const std::int16_t* row(std::int64_t position, std::int64_t head_dim) const {
    return reinterpret_cast<const std::int16_t*>(codes) + position * head_dim;
  }

  KvTier tier;
  std::int64_t bytes;
  const std::byte* codes;
  const std::uint16_t* units;  // [position]
  const std::int16_t* mean;    // of keys below 16 bits: [head_dim], and behind them its unit
};

/// K and V of the task's head in a tile.
struct TileHeads {
  HWY_INLINE TileHeads(const AttentionTask& task, std::int64_t base)
      : keys(task, page_at(task, base).keys, KvSide::keys),
        values(task, page_at(task, base).values, KvSide::values) {}
  Head keys, values;
};

/// Asks for piece `index` of `count` of a head.
HWY_INLINE void prefetch_piece(const Head& head, std::int64_t index, std::int64_t count) {
  const std::int64_t lines = head.bytes / kCacheLineBytes;
  for (std::int64_t i = lines * index / count; i < lines * (index + 1) / count; ++i)
    prefetch_to_l2(head.codes + i * kCacheLineBytes);
}

/// The largest magnitude of n floats; NaN if there is a NaN or an infinity, which no code could
/// stand for. As bits, magnitudes have the order of integers, and those two are the largest.
HWY_INLINE float largest_of(const float* x, std::int64_t n) {
  const IntTag tag;
  Ints max = hn::Zero(tag);
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) max = hn::Max(max, hn::BitCast(tag, hn::Abs(load(x + i))));
  if (i < n) max = hn::Max(max, hn::BitCast(tag, hn::Abs(load_first(x + i, n - i))));
  const std::int32_t bits = hn::GetLane(hn::MaxOfLanes(tag, max));
  return bits < 0x7f800000 ? __builtin_bit_cast(float, bits) : __builtin_nanf("");
}

/// The codes nearest to x * inverse, which is below 2^15 everywhere; zeros where that is 0.
HWY_INLINE void round_row(const float* x, std::int64_t n, float inverse, std::int16_t* codes) {
  const hn::Rebind<std::int16_t, IntTag> tag;
  const Vector factor = splat(inverse);
  if (inverse == 0.0f) {
    for (std::int64_t i = 0; i < n; ++i) codes[i] = 0;
    return;
  }
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    hn::StoreU(hn::DemoteTo(tag, hn::NearestInt(hn::Mul(load(x + i), factor))), tag, codes + i);
  if (i < n) {
    std::int16_t rest[kLanes];
    hn::StoreU(hn::DemoteTo(tag, hn::NearestInt(hn::Mul(load_first(x + i, n - i), factor))), tag,
               rest);
    for (std::int64_t j = 0; i + j < n; ++j) codes[i + j] = rest[j];
  }
}

/// The units of positions `seen` of a tile, zeros beside them.
HWY_INLINE void load_units(const std::uint16_t* units, Range seen, float* out) {
  for (std::int64_t p = 0; p < kAttentionTile; p += kLanes) {
    if (p >= seen.begin && p + kLanes <= seen.end) {
      store(load_bfloat(units + p), out + p);
      continue;
    }
    std::uint16_t some[kLanes] = {};
    for (std::int64_t i = max_of(p, seen.begin); i < min_of(p + kLanes, seen.end); ++i)
      some[i - p] = units[i];
    store(load_bfloat(some), out + p);
  }
}

/// Transposes a square of vectors in registers.
HWY_INLINE void transpose(Vector (&m)[kLanes]) {
  const hn::Repartition<double, Tag> pairs;
  const auto low = [&](Vector a, Vector b) HWY_ATTR {
    return hn::BitCast(kTag,
                       hn::InterleaveLower(pairs, hn::BitCast(pairs, a), hn::BitCast(pairs, b)));
  };
  const auto high = [&](Vector a, Vector b) HWY_ATTR {
    return hn::BitCast(kTag,
                       hn::InterleaveUpper(pairs, hn::BitCast(pairs, a), hn::BitCast(pairs, b)));
  };
  // Within 128-bit blocks: block b of row 4i + j becomes column 4b + j of rows 4i ... 4i + 3.
  PLIMSOLL_UNROLL
  for (int i = 0; i < kLanes; i += 4) {
    const Vector ab_low = hn::InterleaveLower(kTag, m[i], m[i + 1]);
    const Vector ab_high = hn::InterleaveUpper(kTag, m[i], m[i + 1]);
    const Vector cd_low = hn::InterleaveLower(kTag, m[i + 2], m[i + 3]);
    const Vector cd_high = hn::InterleaveUpper(kTag, m[i + 2], m[i + 3]);
    m[i] = low(ab_low, cd_low);
    m[i + 1] = high(ab_low, cd_low);
    m[i + 2] = low(ab_high, cd_high);
    m[i + 3] = high(ab_high, cd_high);
  }
  // Then the blocks: halves first where there are four.
  if constexpr (kLanes == 16) {
    PLIMSOLL_UNROLL
    for (int j = 0; j < 8; ++j) {
      const Vector a = m[j];
      const Vector b = m[j + 8];
      m[j] = hn::ConcatLowerLower(kTag, b, a);
      m[j + 8] = hn::ConcatUpperUpper(kTag, b, a);
    }
  }
  if constexpr (kLanes >= 8) {
    PLIMSOLL_UNROLL
    for (int i = 0; i < kLanes; i += 8) {
      PLIMSOLL_UNROLL
      for (int j = i; j < i + 4; ++j) {
        const Vector a = m[j];
        const Vector b = m[j + 4];
        m[j] = hn::OddEvenBlocks(hn::SwapAdjacentBlocks(b), a);
        m[j + 4] = hn::OddEvenBlocks(b, hn::SwapAdjacentBlocks(a));
      }
    }
  }
}

/// Of a tile's keys: the score that their mean has with every row, in the unit of scores.
void score_mean(const Work& work, const Head& keys);

#if defined(PLIMSOLL_PAIR_DOT)
#include "kernels/attention_pairs-inl.h"
#else
#include "kernels/attention_floats-inl.h"
#endif

/// All rows meet the positions of work.part that they see.
void attend_part(const Work& work) {
  const AttentionTask& task = work.task;
  for (std::int64_t row = 0; row < work.rows; ++row) work.maxima[row] = kLowest;
  for (std::int64_t i = 0; i < work.rows * kWidestVector; i += kLanes)
    store(hn::Zero(kTag), work.sums + i);
  for (std::int64_t i = 0; i < work.rows * work.padded_dim; i += kLanes)
    store(hn::Zero(kTag), work.outputs + i);
  const Range visible = {work.visible(0).begin, work.visible(task.queries - 1).end};
  for (std::int64_t base = visible.begin / kAttentionTile * kAttentionTile; base < visible.end;
       base += kAttentionTile) {
    const Range seen = intersect(visible, {base, base + kAttentionTile});
    const Tile tile = prepare_tile(work, base, seen, visible.end - 1);
    score_mean(work, tile.heads.keys);
    std::int64_t tiles = divide_up(work.rows, kRowTile);
    for (std::int64_t row = 0; row < work.rows; --tiles) {
      const std::int64_t count = divide_up(work.rows - row, tiles);
      with_constant<kRowTile>(
          count, [&](auto rows) HWY_ATTR { attend_rows<decltype(rows)::value>(work, tile, row); });
      row += count;
    }
  }
  finish_part(work);
}

/// What a row has come to: outputs / sum are its result.
struct RowState {
  float maximum;
  float sum;
};

/// Adds a later part's row to `out` and `total`. Not inlined, so that it rounds alike wherever the
/// parts come from.
HWY_NOINLINE void add_part(const float* outputs, RowState part, std::int64_t head_dim, float* out,
                           RowState& total) {
  const float maximum = part.maximum > total.maximum ? part.maximum : total.maximum;
  const Vector earlier = power(splat(total.maximum - maximum));
  const Vector later = power(splat(part.maximum - maximum));
  const auto add = [&](Vector of_part, Vector of_total)
                       HWY_ATTR { return hn::MulAdd(of_part, later, hn::Mul(of_total, earlier)); };
  total = {maximum, hn::GetLane(add(splat(part.sum), splat(total.sum)))};
  std::int64_t d = 0;
  for (; d + kLanes <= head_dim; d += kLanes) store(add(load(outputs + d), load(out + d)), out + d);
  if (const std::int64_t rest = head_dim - d; rest > 0)
    store_first(add(load_first(outputs + d, rest), load_first(out + d, rest)), out + d, rest);
}

/// out = outputs * factor; they may be the same.
void scale_row(const float* outputs, float factor, std::int64_t head_dim, float* out) {
  const Vector f = splat(factor);
  std::int64_t d = 0;
  for (; d + kLanes <= head_dim; d += kLanes) store(hn::Mul(load(outputs + d), f), out + d);
  if (const std::int64_t rest = head_dim - d; rest > 0)
    store_first(hn::Mul(load_first(outputs + d, rest), f), out + d, rest);
}

/// After attend_part: adds what the rows saw of the part to what they saw before, and finishes
/// those that see nothing later.
void keep_part(const Work& work) {
  const AttentionTask& task = work.task;
  for (std::int64_t row = 0; row < work.rows; ++row) {
    const Range all = work.visible_of_all(row / task.heads);
    if (all.end <= work.part.begin || all.begin >= work.part.end) continue;
    const float* const outputs = work.outputs + row * work.padded_dim;
    float* const out = work.out_row(row);
    const RowState state = {work.maxima[row], sum_lanes(load(work.sums + row * kWidestVector))};
    const bool first = all.begin >= work.part.begin, last = all.end <= work.part.end;
    if (first && last) {
      scale_row(outputs, 1.0f / state.sum, task.head_dim, out);
      continue;
    }
    RowState total = state;
    if (first) {
      scale_row(outputs, 1.0f, task.head_dim, out);
    } else {
      total = {work.total_maxima[row], work.total_sums[row]};
      add_part(outputs, state, task.head_dim, out, total);
    }
    work.total_maxima[row] = total.maximum;
    work.total_sums[row] = total.sum;
    if (last) scale_row(out, 1.0f / total.sum, task.head_dim, out);
  }
}

}  // namespace

void cache_row(const float* x, std::int64_t n, float limit, std::int16_t* codes,
               std::uint16_t* unit) {
  const float largest = largest_of(x, n);
  float inverse = 0.0f;
  *unit = largest == largest ? 0 : 0x7fc0;
  if (largest >= least_activation) {
    // The next bf16 from largest / limit up.
    const std::uint32_t bits = (__builtin_bit_cast(std::uint32_t, largest / limit) + 0xffff) >> 16;
    *unit = static_cast<std::uint16_t>(bits);
    inverse = 1.0f / __builtin_bit_cast(float, bits << 16);
  }
  round_row(x, n, inverse, codes);
}

void attention(const AttentionTask& task) {
  Work work(task);
  prepare_queries(work);
  if (task.part_states) {
    work.part = {task.part * attention_part, (task.part + 1) * attention_part};
    attend_part(work);
    for (std::int64_t row = 0; row < work.rows; ++row) {
      scale_row(work.outputs + row * work.padded_dim, 1.0f, task.head_dim, work.out_row(row));
      float* const state =
          task.part_states + row / task.heads * task.part_state_stride + row % task.heads * 2;
      state[0] = work.maxima[row];
      state[1] = sum_lanes(load(work.sums + row * kWidestVector));
    }
    return;
  }
  const std::int64_t begin = work.visible_of_all(0).begin,
                     end = work.visible_of_all(task.queries - 1).end;
  for (std::int64_t at = begin / attention_part * attention_part; at < end; at += attention_part) {
    work.part = {at, at + attention_part};
    attend_part(work);
    keep_part(work);
  }
}

void merge_attention(const float* outputs, std::int64_t stride, const float* states,
                     std::int64_t state_stride, std::int64_t parts, std::int32_t heads,
                     std::int32_t head_dim, float* out) {
  for (std::int64_t h = 0; h < heads; ++h, outputs += head_dim, states += 2, out += head_dim) {
    RowState total = {states[0], states[1]};
    scale_row(outputs, 1.0f, head_dim, out);
    for (std::int64_t part = 1; part < parts; ++part) {
      const float* const state = states + part * state_stride;
      add_part(outputs + part * stride, {state[0], state[1]}, head_dim, out, total);
    }
    scale_row(out, 1.0f / total.sum, head_dim, out);
  }
}

}  // namespace plimsoll::PLIMSOLL_ISA
