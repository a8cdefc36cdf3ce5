// Several queries against a tile in pairs of 16-bit integers, which processors multiply and add at
// twice the rate of f32. Queries, keys, values and probabilities each get a scale per row and as
// many bits as the sums of 32 bits have room for: 12.5 for heads of 64, more than the 11 that K and
// V have in f16. To be included by attention-inl.h inside its namespaces, after
//
//   Pairs                 a register of pairs, or of sums of 32 bits; the plain type, since
//   compilers
//                         keep arrays of those in registers
//   pair_dot(sums, a, b)  sums + a.low * b.low + a.high * b.high in every lane of 32 bits
//   no_pairs(), load_pairs(p), splat_pair(p), float_sums(sums)
//
// Which two dimensions or positions make a pair is free, as long as both factors agree: a pair's
// partners are a vector apart, so that nothing needs to be shuffled.

constexpr IntTag kIntTag{};
constexpr std::int64_t kTilePairs = kAttentionTile / 2;
constexpr float kLog2E = 0x1.715476p+0f;
constexpr float kMaximumUnit = 0x1.62e430p-1f;  // scores are in powers of two here

HWY_INLINE void store_pairs(Ints pairs, float* p) { store(hn::BitCast(kTag, pairs), p); }

/// The pairs low * factor and high * factor, rounded; below 2^15. Sums with 1.5 * 2^23 have the
/// nearest integer in their low bits.
HWY_INLINE Ints make_pairs(Vector low, Vector high, Vector factor) {
  const Vector magic = splat(12582912.0f);
  const Ints a = hn::BitCast(kIntTag, hn::MulAdd(low, factor, magic));
  const Ints b = hn::BitCast(kIntTag, hn::MulAdd(high, factor, magic));
  return hn::OrAnd(hn::ShiftLeft<16>(b), a, hn::Set(kIntTag, 0xffff));
}

/// Largest code of two factors such that the sum of `terms` products fits 31 bits.
HWY_INLINE float code_limit(std::int64_t terms) {
  const float limit = __builtin_floorf(__builtin_sqrtf(2147483000.0f / static_cast<float>(terms)));
  return limit < 32767.0f ? limit : 32767.0f;
}
/// Of probabilities and values in a tile.
constexpr float kProbabilityLimit = 8191.0f;
constexpr float kValueLimit = 4095.0f;
static_assert(8191LL * 4095 * kAttentionTile < (1LL << 31));

/// Rows of halves as floats: of whole vectors, converted as they are read; others are padded with
/// zeros in work.row first.
struct HalfRow {
  const std::uint16_t* halves;
  HWY_INLINE Vector operator()(std::int64_t d) const { return load_half(halves + d); }
};
struct FloatRow {
  const float* floats;
  HWY_INLINE Vector operator()(std::int64_t d) const { return load(floats + d); }
};
HWY_INLINE FloatRow widen_row(const Work& work, const std::uint16_t* source) {
  const std::int64_t head_dim = work.task.head_dim;
  std::int64_t d = 0;
  for (; d + kLanes <= head_dim; d += kLanes) store(load_half(source + d), work.row + d);
  if (d < work.padded_dim) {
    std::uint16_t rest[kLanes] = {};
    for (std::int64_t i = d; i < head_dim; ++i) rest[i - d] = source[i];
    store(load_half(rest), work.row + d);
    for (d += kLanes; d < work.padded_dim; d += kLanes) store(hn::Zero(kTag), work.row + d);
  }
  return {work.row};
}

/// The largest magnitude; NaN if there is a NaN or an infinity, which no code could stand for. As
/// bits, magnitudes have the order of integers, and those two are the largest.
template <class Row>
HWY_INLINE float largest_of(const Row& row, std::int64_t n) {
  Ints max = hn::Zero(kIntTag);
  for (std::int64_t d = 0; d < n; d += kLanes)
    max = hn::Max(max, hn::BitCast(kIntTag, hn::Abs(row(d))));
  const std::int32_t bits = hn::GetLane(hn::MaxOfLanes(kIntTag, max));
  return bits < 0x7f800000 ? __builtin_bit_cast(float, bits) : __builtin_nanf("");
}

/// A padded row as pairs of dimensions d and d + kLanes; returns the unit of its codes.
template <class Row>
HWY_INLINE float pair_row(const Row& row, std::int64_t padded_dim, float limit, float* pairs) {
  const float largest = largest_of(row, padded_dim);
  const Vector inverse = splat(largest > 0.0f ? limit / largest : 0.0f);
  for (std::int64_t d = 0; d < padded_dim; d += 2 * kLanes)
    store_pairs(make_pairs(row(d), row(d + kLanes), inverse), pairs + d / 2);
  return largest / limit;
}

void prepare_queries(const Work& work) {
  const AttentionTask& task = work.task;
  const float limit = code_limit(task.head_dim);
  const float factor = task.soft_cap > 0.0f ? task.scale : task.scale * kLog2E;
  for (std::int64_t row = 0; row < work.rows; ++row) {
    const float* q = work.query_row(row);
    for (std::int64_t d = 0; d < work.padded_dim; ++d)
      work.row[d] = d < task.head_dim ? q[d] : 0.0f;
    work.query_scales[row] = factor * pair_row(FloatRow{work.row}, work.padded_dim, limit,
                                               work.queries + row * (work.padded_dim / 2));
  }
}

/// K of the tile at `base`, transposed: keys[pair][position - base], and key_scales; V as
/// values[pair of positions][d], and value_scales. Positions outside `seen` repeat its ends; no row
/// gives them weight. `read(row)` makes a row of halves one of floats.
template <class Read>
HWY_INLINE void convert_rows(const Work& work, std::int64_t base, Range seen, const Read& read) {
  const AttentionTask& task = work.task;
  const std::int64_t pairs = work.padded_dim / 2;
  const float limit = code_limit(task.head_dim);
  const auto clamped = [seen](std::int64_t p) {
    return min_of(max_of(p, seen.begin), seen.end - 1);
  };
  float* const rows = work.values;  // in passing: [position][pair]
  for (std::int64_t p = 0; p < kAttentionTile; ++p) {
    const std::int64_t position = clamped(base + p);
    prefetch_row(task.v + position * task.kv_stride, task.head_dim);
    work.key_scales[p] = pair_row(read(task.k + position * task.kv_stride), work.padded_dim, limit,
                                  rows + p * pairs);
  }
  for (std::int64_t first = 0; first < kAttentionTile; first += kLanes) {
    for (std::int64_t i = 0; i < pairs; i += kLanes) {
      Vector square[kLanes];
      PLIMSOLL_UNROLL
      for (int j = 0; j < kLanes; ++j) square[j] = load(rows + (first + j) * pairs + i);
      transpose(square);
      PLIMSOLL_UNROLL
      for (int j = 0; j < kLanes; ++j)
        store(square[j], work.keys + (i + j) * kAttentionTile + first);
    }
  }
  for (std::int64_t block = 0; block < kAttentionTile; block += 2 * kLanes) {
    for (std::int64_t j = 0; j < kLanes; ++j) {
      float* const target = work.values + (block / 2 + j) * work.padded_dim;
      for (int half = 0; half < 2; ++half) {
        const std::int64_t p = block + j + half * kLanes;
        const auto row = read(task.v + clamped(base + p) * task.kv_stride);
        const float largest = largest_of(row, work.padded_dim);
        work.value_scales[p] = largest / kValueLimit;
        const Vector factor = splat(largest > 0.0f ? kValueLimit / largest : 0.0f);
        for (std::int64_t d = 0; d < work.dim_vectors * kLanes; d += kLanes) {
          const Vector x = hn::Mul(row(d), factor);
          if (half == 0) {
            store(x, target + d);
          } else {
            store_pairs(make_pairs(load(target + d), x, splat(1.0f)), target + d);
          }
        }
      }
    }
  }
}

void convert_tile(const Work& work, std::int64_t base, Range seen) {
  if (work.task.head_dim == work.padded_dim) {
    convert_rows(work, base, seen, [](const std::uint16_t* row) HWY_ATTR { return HalfRow{row}; });
  } else {
    convert_rows(work, base, seen,
                 [&](const std::uint16_t* row) HWY_ATTR { return widen_row(work, row); });
  }
}

/// Scores of kRows rows, beginning with `row`, and kVectorTile vectors of positions: scaled, and
/// without a cap in powers of two.
template <int kRows>
HWY_NOINLINE void score_rows(const Work& work, std::int64_t row, std::int64_t position,
                             float* scores) {
  const std::int64_t pairs = work.padded_dim / 2;
  const float* queries = work.queries + row * pairs;
  const float* keys = work.keys + position;
  Pairs acc[kRows][kVectorTile];
  PLIMSOLL_UNROLL
  for (int r = 0; r < kRows; ++r) {
    PLIMSOLL_UNROLL
    for (int v = 0; v < kVectorTile; ++v) acc[r][v] = no_pairs();
  }
  for (std::int64_t i = 0; i < pairs; ++i, keys += kAttentionTile) {
    Pairs key[kVectorTile];
    PLIMSOLL_UNROLL
    for (int v = 0; v < kVectorTile; ++v) key[v] = load_pairs(keys + v * kLanes);
    PLIMSOLL_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const Pairs query = splat_pair(queries + r * pairs + i);
      PLIMSOLL_UNROLL
      for (int v = 0; v < kVectorTile; ++v) acc[r][v] = pair_dot(acc[r][v], query, key[v]);
    }
  }
  PLIMSOLL_UNROLL
  for (int v = 0; v < kVectorTile; ++v) {
    const Vector key_scale = load(work.key_scales + position + v * kLanes);
    PLIMSOLL_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const Vector scale = hn::Mul(key_scale, splat(work.query_scales[row + r]));
      store(hn::Mul(float_sums(acc[r][v]), scale),
            scores + r * kAttentionTile + position + v * kLanes);
    }
  }
}

/// Turns scores of kRows rows in powers of two into pairs of codes of the probabilities times the
/// values' scales, in their own place, and updates the rows' maxima and sums. Writes the factor for
/// a row's earlier outputs and the unit of its codes. Probabilities are relative to the row's
/// maximum in the tile, which what all rows have in common then corrects.
template <int kRows>
HWY_NOINLINE void weigh_rows(const Work& work, std::int64_t row, std::int64_t base,
                             float* corrections, float* units) {
  static_assert(kRowTile <= kLanes);
  const AttentionTask& task = work.task;
  const Range tile = {base, base + kAttentionTile};
  // Later rows see later positions.
  const bool all_seen = work.visible(row / task.heads).end >= tile.end &&
                        work.visible((row + kRows - 1) / task.heads).begin <= tile.begin;
  float by_row[kLanes] = {};
  for (int r = 0; r < kRows; ++r) {
    float* const s = work.scores + r * kAttentionTile;
    Vector x[kTileVectors];
    for (std::int64_t i = 0; i < kTileVectors; ++i) x[i] = load(s + i * kLanes);
    if (task.soft_cap > 0.0f) {
      const Vector cap = splat(task.soft_cap * kLog2E), inverse = splat(1.0f / task.soft_cap);
      for (std::int64_t i = 0; i < kTileVectors; ++i) {
        x[i] = hn::Mul(cap, tanh_any(hn::Mul(x[i], inverse)));
        store(x[i], s + i * kLanes);
      }
    }
    if (!all_seen) {
      const Range seen = intersect(tile, work.visible((row + r) / task.heads));
      const auto begin = hn::Set(kIntTag, static_cast<std::int32_t>(seen.begin - base));
      const auto end = hn::Set(kIntTag, static_cast<std::int32_t>(seen.end - base));
      for (std::int64_t i = 0; i < kTileVectors; ++i) {
        const auto position = hn::Iota(kIntTag, static_cast<std::int32_t>(i * kLanes));
        // begin <= position < end
        const auto lanes = hn::AndNot(hn::Lt(position, begin), hn::Lt(position, end));
        x[i] = hn::IfThenElse(hn::RebindMask(kTag, lanes), x[i], splat(kLowest));
        store(x[i], s + i * kLanes);
      }
    }
    Vector max = x[0];
    for (std::int64_t i = 1; i < kTileVectors; ++i) max = hn::Max(max, x[i]);
    by_row[r] = max_lanes(max);
  }

  const Vector one = splat(1.0f);
  const Vector tile_max = load(by_row);
  const Vector old_max = load_first(work.maxima + row, kRows);
  const Mask rises = hn::Gt(tile_max, old_max);
  const Vector new_max = hn::IfThenElse(rises, tile_max, old_max);
  const Vector below = exp2_nonpositive(hn::Sub(hn::Min(tile_max, old_max), new_max));
  store_first(new_max, work.maxima + row, kRows);
  // Nothing seen: 2^(lowest - half of it) is 0.
  float shifts[kLanes], earlier[kLanes], shares[kLanes];
  store(hn::Max(tile_max, splat(0.5f * kLowest)), shifts);
  store(hn::IfThenElse(rises, below, one), earlier);
  store(hn::IfThenElse(rises, one, below), shares);

  Vector scale[kTileVectors], poison[kTileVectors];
  for (std::int64_t i = 0; i < kTileVectors; ++i) {
    scale[i] = load(work.value_scales + i * kLanes);
    poison[i] = hn::Mul(scale[i], hn::Zero(kTag));  // NaN in V, where its codes say nothing
  }
  for (int r = 0; r < kRows; ++r) {
    float* const s = work.scores + r * kAttentionTile;
    const Vector shift = splat(shifts[r]);
    Vector max = hn::Zero(kTag), sum = hn::Zero(kTag);
    for (std::int64_t i = 0; i < kTileVectors; ++i) {
      const Vector p = hn::Add(exp2_nonpositive(hn::Sub(load(s + i * kLanes), shift)), poison[i]);
      const Vector weight = hn::Mul(p, scale[i]);
      store(weight, s + i * kLanes);
      sum = hn::Add(sum, p);
      max = hn::Max(max, weight);
    }
    float* const sums = work.sums + (row + r) * kWidestVector;
    store(hn::MulAdd(load(sums), splat(earlier[r]), hn::Mul(sum, splat(shares[r]))), sums);
    by_row[r] = max_lanes(max);
  }

  const Vector limit = splat(kProbabilityLimit);
  const Vector largest = load(by_row);
  float inverses[kLanes];
  store(hn::IfThenElseZero(hn::Gt(largest, hn::Zero(kTag)), hn::Div(limit, largest)), inverses);
  store(load(earlier), corrections);
  store(hn::Mul(load(shares), hn::Mul(largest, splat(1.0f / kProbabilityLimit))), units);
  for (int r = 0; r < kRows; ++r) {
    float* const s = work.scores + r * kAttentionTile;
    const Vector inverse = splat(inverses[r]);
    for (std::int64_t i = 0; i < kTileVectors; i += 2)
      store_pairs(make_pairs(load(s + i * kLanes), load(s + (i + 1) * kLanes), inverse),
                  s + i / 2 * kLanes);
  }
}

/// outputs = outputs * correction + probabilities * values, for kRows rows and kVectors vectors of
/// dimensions.
template <int kRows, int kVectors>
HWY_NOINLINE void add_pairs(const float* probabilities, const float* corrections,
                            const float* units, const float* values, std::int64_t padded_dim,
                            float* outputs) {
  Pairs acc[kRows][kVectors];
  PLIMSOLL_UNROLL
  for (int r = 0; r < kRows; ++r) {
    PLIMSOLL_UNROLL
    for (int v = 0; v < kVectors; ++v) acc[r][v] = no_pairs();
  }
  for (std::int64_t i = 0; i < kTilePairs; ++i, values += padded_dim) {
    Pairs value[kVectors];
    PLIMSOLL_UNROLL
    for (int v = 0; v < kVectors; ++v) value[v] = load_pairs(values + v * kLanes);
    PLIMSOLL_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const Pairs probability = splat_pair(probabilities + r * kAttentionTile + i);
      PLIMSOLL_UNROLL
      for (int v = 0; v < kVectors; ++v) acc[r][v] = pair_dot(acc[r][v], probability, value[v]);
    }
  }
  PLIMSOLL_UNROLL
  for (int r = 0; r < kRows; ++r) {
    const Vector correction = splat(corrections[r]), unit = splat(units[r]);
    PLIMSOLL_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      float* const at = outputs + r * padded_dim + v * kLanes;
      store(hn::MulAdd(float_sums(acc[r][v]), unit, hn::Mul(load(at), correction)), at);
    }
  }
}

/// kRows rows from `row` on meet the tile at `base`.
template <int kRows>
void attend_rows(const Work& work, std::int64_t row, std::int64_t base) {
  const AttentionTask& task = work.task;
  // From what the first query sees to what the last one sees.
  const Range seen = intersect(
      {work.visible(row / task.heads).begin, work.visible((row + kRows - 1) / task.heads).end},
      {base, base + kAttentionTile});
  if (seen.begin >= seen.end) return;
  constexpr std::int64_t kStep = kVectorTile * kLanes;
  for (std::int64_t p = (seen.begin - base) / kStep * kStep; p < seen.end - base; p += kStep)
    score_rows<kRows>(work, row, p, work.scores);
  float corrections[kLanes], units[kLanes];
  weigh_rows<kRows>(work, row, base, corrections, units);
  std::int64_t tiles = divide_up(work.dim_vectors, kVectorTile);
  for (std::int64_t first = 0; first < work.dim_vectors; --tiles) {
    const std::int64_t width = divide_up(work.dim_vectors - first, tiles);
    with_constant<kVectorTile>(width, [&](auto vectors) HWY_ATTR {
      add_pairs<kRows, decltype(vectors)::value>(
          work.scores, corrections, units, work.values + first * kLanes, work.padded_dim,
          work.outputs + row * work.padded_dim + first * kLanes);
    });
    first += width;
  }
}
