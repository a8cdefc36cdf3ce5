// Attention of one KV head, for every vector width: positions are taken in tiles of kAttentionTile
// with an online softmax (Milakov and Gimelshein, arXiv:1805.02867; tiled as by Dao et al.,
// arXiv:2205.14135). A row is one query head of one query; its outputs stay in scratch, scaled by
// e^(old maximum - new maximum) whenever its maximum rises.
//
//   - one query or a few (decode, verification): K and V are read as they are, each load shared by
//   all heads; scores are dot products across
//     lanes. Bound by memory.
//   - several queries (prefill): each tile's K is transposed and its V converted in scratch, once
//   for all rows; scores are a register-tiled product with positions as lanes. Bound by arithmetic:
//   in pairs of 16-bit integers where the processor adds those twice as fast as it does f32
//   (attention_pairs-inl.h), else in f32 (attention_floats-inl.h).
//
// Tiles start at multiples of kAttentionTile whatever the task's first position, and a tile that a
// row does not see leaves the row untouched, so that splitting a prompt into other chunks of
// several queries changes no bit of a result. Positions outside the task's range are never read.
#include "kernels/functions-inl.h"
#include "kernels/scratch.h"
#include "kernels/vector-inl.h"

namespace plimsoll::PLIMSOLL_ISA {
namespace {

constexpr float kLowest = -3.402823466e+38f;
constexpr std::int64_t kTileVectors = kAttentionTile / kLanes;
/// Rows x vectors of a register tile: 24 of 32 or 12 of 16 registers hold sums.
constexpr int kRowTile = 6;
constexpr int kVectorTile = kRegisters == 32 ? 4 : 2;

/// Vectors of dimensions beside fewer rows: wider, since one pass over whole rows of V is what the
/// processor's own prefetcher follows.
constexpr int vector_tile(int rows) {
  if (rows == 1) return 8;
  return rows <= 3 ? 2 * kVectorTile : kVectorTile;
}

constexpr std::int64_t kCacheLineHalves = 32;
/// Up to as many queries go one by one: preparing tiles for them would take longer (measured: even
/// at six), and what verifies a guess should be what would have computed it.
constexpr std::int64_t kFewQueries = 5;
/// Heads of a decode tile, times four positions.
constexpr int kHeadTile = kRegisters == 32 ? 6 : 3;

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
        row(value_scales + kAttentionTile),
        maxima(row + padded_dim),
        query_scales(maxima + divide_up(rows, kWidestVector) * kWidestVector) {}

  const AttentionTask& task;
  std::int64_t rows;  // row = query * heads + head
  std::int64_t padded_dim;
  std::int64_t dim_vectors;  // that hold a real dimension
  float* keys;               // [head_dim][kAttentionTile]: transposed
  float* values;             // [kAttentionTile][padded_dim]
  float* scores;             // [kAttentionScoreRows][kAttentionTile]: scores, then probabilities
  float* outputs;            // [rows][padded_dim]
  float* sums;               // [rows][kWidestVector]: sums of e^(score - maximum), one per lane
  // Of attention_pairs-inl.h only; pairs of 16-bit integers in the place of a float.
  float* queries;       // [rows][padded_dim / 2]
  float* key_scales;    // [kAttentionTile]
  float* value_scales;  // [kAttentionTile]
  float* row;           // [padded_dim]
  float* maxima;        // [rows]
  float* query_scales;  // [rows]

  /// The positions that a query sees.
  Range visible(std::int64_t query) const {
    const std::int64_t end = task.first_position + query + 1;
    const Range all = {task.window > 0 ? max_of(end - task.window, 0) : 0, end};
    return task.part_end > 0 ? intersect(all, {task.part_begin, task.part_end}) : all;
  }

  const float* query_row(std::int64_t r) const {
    return task.q + r / task.heads * task.q_stride + r % task.heads * task.head_dim;
  }
};

/// Turns a row's scores of the tile at `base` into probabilities relative to the row's maximum, 0
/// where the row does not see the position, and updates the row's maximum and sums. Returns the
/// factor for its earlier outputs. Not inlined, so that every path rounds alike.
HWY_NOINLINE float softmax_tile(const Work& work, std::int64_t row, std::int64_t base, float* s) {
  const AttentionTask& task = work.task;
  const Range tile = {base, base + kAttentionTile};
  const Range seen = intersect(tile, work.visible(row / task.heads));
  const Vector lowest = splat(kLowest);
  const Vector factor = splat(task.scale);
  const bool all = seen.begin == tile.begin && seen.end == tile.end;

  Vector x[kTileVectors];
  for (std::int64_t i = 0; i < kTileVectors; ++i) x[i] = hn::Mul(load(s + i * kLanes), factor);
  if (task.soft_cap > 0.0f) {
    const Vector cap = splat(task.soft_cap);
    const Vector inverse = splat(1.0f / task.soft_cap);
    for (std::int64_t i = 0; i < kTileVectors; ++i)
      x[i] = hn::Mul(cap, tanh_any(hn::Mul(x[i], inverse)));
  }
  Mask seen_lanes[kTileVectors];
  if (!all) {
    const IntTag tag;
    const auto begin = hn::Set(tag, static_cast<std::int32_t>(seen.begin - base));
    const auto end = hn::Set(tag, static_cast<std::int32_t>(seen.end - base));
    for (std::int64_t i = 0; i < kTileVectors; ++i) {
      const auto position = hn::Iota(tag, static_cast<std::int32_t>(i * kLanes));
      // begin <= position < end
      const auto lanes = hn::AndNot(hn::Lt(position, begin), hn::Lt(position, end));
      seen_lanes[i] = hn::RebindMask(kTag, lanes);
      x[i] = hn::IfThenElse(seen_lanes[i], x[i], lowest);
    }
  }

  Vector max = x[0];
  for (std::int64_t i = 1; i < kTileVectors; ++i) max = hn::Max(max, x[i]);
  const float old_max = work.maxima[row];
  const float tile_max = max_lanes(max);
  const float new_max = tile_max > old_max ? tile_max : old_max;
  float correction = 1.0f;
  if (new_max != old_max) {
    work.maxima[row] = new_max;
    correction = hn::GetLane(exp_nonpositive(splat(old_max - new_max)));
  }

  float* row_sums = work.sums + row * kWidestVector;
  const Vector shift = splat(new_max);
  Vector sum = hn::Mul(load(row_sums), splat(correction));
  for (std::int64_t i = 0; i < kTileVectors; ++i) {
    Vector p = exp_nonpositive(hn::Sub(x[i], shift));
    if (!all) p = hn::IfThenElseZero(seen_lanes[i], p);
    store(p, s + i * kLanes);
    sum = hn::Add(sum, p);
  }
  store(sum, row_sums);
  return correction;
}

struct FloatValues {
  using Element = float;
  static HWY_INLINE Vector load_vector(const float* p) { return load(p); }
};

struct HalfValues {
  using Element = std::uint16_t;
  static HWY_INLINE Vector load_vector(const std::uint16_t* p) { return load_half(p); }
};

/// outputs = outputs * correction + probabilities * values, for kRows rows and kVectors vectors of
/// dimensions, over `count` positions.
template <typename Values, int kRows, int kVectors>
void add_values(const float* probabilities, const float* corrections, std::int64_t count,
                const typename Values::Element* values, std::int64_t value_stride, float* outputs,
                std::int64_t output_stride) {
  Vector acc[kRows][kVectors];
  PLIMSOLL_UNROLL
  for (int r = 0; r < kRows; ++r) {
    const Vector correction = splat(corrections[r]);
    PLIMSOLL_UNROLL
    for (int v = 0; v < kVectors; ++v)
      acc[r][v] = hn::Mul(load(outputs + r * output_stride + v * kLanes), correction);
  }
  for (std::int64_t p = 0; p < count; ++p, values += value_stride) {
    Vector value[kVectors];
    PLIMSOLL_UNROLL
    for (int v = 0; v < kVectors; ++v) value[v] = Values::load_vector(values + v * kLanes);
    PLIMSOLL_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const Vector probability = splat(probabilities[r * kAttentionTile + p]);
      PLIMSOLL_UNROLL
      for (int v = 0; v < kVectors; ++v) acc[r][v] = hn::MulAdd(probability, value[v], acc[r][v]);
    }
  }
  PLIMSOLL_UNROLL
  for (int r = 0; r < kRows; ++r) {
    PLIMSOLL_UNROLL
    for (int v = 0; v < kVectors; ++v) store(acc[r][v], outputs + r * output_stride + v * kLanes);
  }
}

/// The same for all dimensions, in register tiles of nearly equal width.
template <typename Values, int kRows>
void add_all_values(const Work& work, const float* probabilities, const float* corrections,
                    std::int64_t count, const typename Values::Element* values,
                    std::int64_t value_stride, float* outputs) {
  std::int64_t tiles = divide_up(work.dim_vectors, vector_tile(kRows));
  for (std::int64_t first = 0; first < work.dim_vectors; --tiles) {
    const std::int64_t width = divide_up(work.dim_vectors - first, tiles);
    with_constant<vector_tile(kRows)>(width, [&](auto vectors) HWY_ATTR {
      add_values<Values, kRows, decltype(vectors)::value>(
          probabilities, corrections, count, values + first * kLanes, value_stride,
          outputs + first * kLanes, work.padded_dim);
    });
    first += width;
  }
}

// ---- one query ----

/// Raw scores of four positions, whose K rows are given, for kHeads heads.
template <int kHeads>
HWY_INLINE void score_four(const float* q, std::int64_t head_dim, const std::uint16_t* const* k,
                           float* scores) {
  Vector acc[kHeads][4];
  PLIMSOLL_UNROLL
  for (int h = 0; h < kHeads; ++h) {
    PLIMSOLL_UNROLL
    for (int i = 0; i < 4; ++i) acc[h][i] = hn::Zero(kTag);
  }
  for (std::int64_t d = 0; d < head_dim; d += kLanes) {
    Vector key[4];
    PLIMSOLL_UNROLL
    for (int i = 0; i < 4; ++i) key[i] = load_half(k[i] + d);
    PLIMSOLL_UNROLL
    for (int h = 0; h < kHeads; ++h) {
      const Vector query = load(q + h * head_dim + d);
      PLIMSOLL_UNROLL
      for (int i = 0; i < 4; ++i) acc[h][i] = hn::MulAdd(query, key[i], acc[h][i]);
    }
  }
  PLIMSOLL_UNROLL
  for (int h = 0; h < kHeads; ++h) {
    hn::StoreU(sum_lanes_of_four(acc[h][0], acc[h][1], acc[h][2], acc[h][3]), hn::Full128<float>(),
               scores + h * kAttentionTile);
  }
}

/// Asks for a row of K or V.
HWY_INLINE void prefetch_row(const std::uint16_t* row, std::int64_t head_dim) {
  for (std::int64_t d = 0; d < head_dim; d += kCacheLineHalves) prefetch_to_l2(row + d);
}

/// Raw scores of all heads for positions `seen` of the tile at `base`. With `prefetch`, asks for
/// the next tile's K and V on the way.
void score_tile(const Work& work, std::int64_t base, Range seen, std::int64_t last_position,
                bool prefetch) {
  const AttentionTask& task = work.task;
  for (std::int64_t p = base + (seen.begin - base) / 4 * 4; p < seen.end; p += 4) {
    const std::uint16_t* k[4];
    for (int i = 0; i < 4; ++i) {
      const std::int64_t position = min_of(max_of(p + i, seen.begin), seen.end - 1);
      k[i] = task.k + position * task.kv_stride;
      if (prefetch) {
        const std::int64_t next = min_of(position + kAttentionTile, last_position);
        prefetch_row(task.k + next * task.kv_stride, task.head_dim);
        prefetch_row(task.v + next * task.kv_stride, task.head_dim);
      }
    }
    float* scores = work.scores + (p - base);
    std::int64_t tiles = divide_up(task.heads, kHeadTile);
    for (std::int64_t h = 0; h < task.heads; --tiles) {
      const std::int64_t count = divide_up(task.heads - h, tiles);
      with_constant<kHeadTile>(count, [&](auto heads) HWY_ATTR {
        score_four<decltype(heads)::value>(task.q + h * task.head_dim, task.head_dim, k,
                                           scores + h * kAttentionTile);
      });
      h += count;
    }
  }
}

/// head_dim is whole vectors.
void attend_one(const Work& work) {
  const AttentionTask& task = work.task;
  const Range visible = work.visible(0);
  // Where V is read in several passes or rows are apart, the processor's prefetcher loses its way
  // (measured: half the speed of memory, against nearly all of it in one pass); where it does not,
  // asking as well costs it a third.
  const std::int64_t row_tile = divide_up(task.heads, divide_up(task.heads, kRowTile));
  const bool prefetch =
      work.dim_vectors > vector_tile(static_cast<int>(row_tile)) || task.kv_stride != task.head_dim;
  for (std::int64_t base = visible.begin / kAttentionTile * kAttentionTile; base < visible.end;
       base += kAttentionTile) {
    const Range seen = intersect(visible, {base, base + kAttentionTile});
    score_tile(work, base, seen, visible.end - 1, prefetch);
    float corrections[kAttentionScoreRows];
    for (std::int64_t h = 0; h < task.heads; ++h)
      corrections[h] = softmax_tile(work, h, base, work.scores + h * kAttentionTile);
    std::int64_t tiles = divide_up(task.heads, kRowTile);
    for (std::int64_t h = 0; h < task.heads; --tiles) {
      const std::int64_t count = divide_up(task.heads - h, tiles);
      with_constant<kRowTile>(count, [&](auto heads) HWY_ATTR {
        add_all_values<HalfValues, decltype(heads)::value>(
            work, work.scores + h * kAttentionTile + (seen.begin - base), corrections + h,
            seen.end - seen.begin, task.v + seen.begin * task.kv_stride, task.kv_stride,
            work.outputs + h * work.padded_dim);
      });
      h += count;
    }
  }
}

// ---- several queries ----

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

#if defined(PLIMSOLL_PAIR_DOT)
#include "kernels/attention_pairs-inl.h"
#else
#include "kernels/attention_floats-inl.h"
#endif

void attend_many(const Work& work) {
  const AttentionTask& task = work.task;
  const Range visible = {work.visible(0).begin, work.visible(task.queries - 1).end};
  prepare_queries(work);
  for (std::int64_t base = visible.begin / kAttentionTile * kAttentionTile; base < visible.end;
       base += kAttentionTile) {
    const Range seen = intersect(visible, {base, base + kAttentionTile});
    convert_tile(work, base, seen);
    std::int64_t tiles = divide_up(work.rows, kRowTile);
    for (std::int64_t row = 0; row < work.rows; --tiles) {
      const std::int64_t count = divide_up(work.rows - row, tiles);
      with_constant<kRowTile>(
          count, [&](auto rows) HWY_ATTR { attend_rows<decltype(rows)::value>(work, row, base); });
      row += count;
    }
  }
}

/// out = outputs / sum. `maximum_unit` is what the rows' maxima are counted in.
void write_outputs(const Work& work, float maximum_unit) {
  const AttentionTask& task = work.task;
  for (std::int64_t row = 0; row < work.rows; ++row) {
    float* out = task.out + row / task.heads * task.out_stride + row % task.heads * task.head_dim;
    const float* outputs = work.outputs + row * work.padded_dim;
    const float sum = sum_lanes(load(work.sums + row * kWidestVector));
    if (task.log_sums) task.log_sums[row] = work.maxima[row] * maximum_unit + __builtin_logf(sum);
    const Vector factor = splat(1.0f / sum);
    std::int64_t d = 0;
    for (; d + kLanes <= task.head_dim; d += kLanes)
      store(hn::Mul(load(outputs + d), factor), out + d);
    if (d < task.head_dim)
      store_first(hn::Mul(load(outputs + d), factor), out + d, task.head_dim - d);
  }
}

}  // namespace

void attention(const AttentionTask& task) {
  const bool one_by_one = task.queries <= kFewQueries && task.head_dim % kLanes == 0 &&
                          task.heads <= kAttentionScoreRows;
  if (one_by_one && task.queries > 1) {
    AttentionTask one = task;
    one.queries = 1;
    for (std::int64_t query = 0; query < task.queries; ++query) {
      one.q = task.q + query * task.q_stride;
      one.out = task.out + query * task.out_stride;
      one.first_position = task.first_position + query;
      attention(one);
    }
    return;
  }
  const Work work(task);
  for (std::int64_t row = 0; row < work.rows; ++row) work.maxima[row] = kLowest;
  for (std::int64_t i = 0; i < work.rows * kWidestVector; i += kLanes)
    store(hn::Zero(kTag), work.sums + i);
  for (std::int64_t i = 0; i < work.rows * work.padded_dim; i += kLanes)
    store(hn::Zero(kTag), work.outputs + i);
  if (one_by_one) {
    attend_one(work);
    write_outputs(work, 1.0f);
  } else {
    attend_many(work);
    write_outputs(work, kMaximumUnit);
  }
}

}  // namespace plimsoll::PLIMSOLL_ISA
