// Attention in f32, for processors whose 16-bit products are no faster. Few rows read K and V as
// they are, each load shared by all of them; for many K is transposed and V converted once, and
// scores and outputs are register-tiled products. Pages below 16 bits are always brought into that
// form. Units are multiplied into scores and probabilities. To be included by attention-inl.h
// inside its namespaces.
//
// A score is four sums, of the dimensions d = 0, 1, 2 and 3 modulo 4, added in one order by both;
// an output is a sum over positions in their order.

static_assert(kLanes == 4);
/// Up to as many rows, preparing tiles would take longer.
constexpr std::int64_t kFewRows = 20;

/// Vectors of dimensions beside fewer rows: wider, since one pass over whole rows of V is what the
/// processor's own prefetcher follows.
constexpr int vector_tile(int rows) {
  if (rows == 1) return 8;
  return rows <= 3 ? 2 * kVectorTile : kVectorTile;
}

/// Codes of K or V.
HWY_INLINE Vector load_codes(const std::int16_t* p) {
  const hn::Rebind<std::int16_t, Tag> tag;
  return hn::ConvertTo(kTag, hn::PromoteTo(IntTag(), hn::LoadU(tag, p)));
}

/// What a difference of maxima means.
HWY_INLINE Vector power(Vector x) { return exp_nonpositive(x); }

/// Turns a row's scores of the tile at `base`, still without units, into probabilities relative to
/// the row's maximum times the values' units, 0 where the row does not see the position, and
/// updates the row's maximum and sums. Returns the factor for its earlier outputs. Not inlined, so
/// that every path rounds alike.
HWY_NOINLINE float softmax_tile(const Work& work, std::int64_t row, std::int64_t base, float* s) {
  const AttentionTask& task = work.task;
  const Range tile = {base, base + kAttentionTile};
  const Range seen = intersect(tile, work.visible(row / task.heads));
  const Vector lowest = splat(kLowest);
  const Vector factor = splat(task.scale);
  const bool all = seen.begin == tile.begin && seen.end == tile.end;

  Vector x[kTileVectors];
  for (std::int64_t i = 0; i < kTileVectors; ++i)
    x[i] = hn::MulAdd(load(s + i * kLanes), hn::Mul(load(work.key_scales + i * kLanes), factor),
                      splat(work.mean_scores[row]));
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
    const Vector weight = hn::Mul(p, load(work.value_scales + i * kLanes));
    store(all ? weight : hn::IfThenElseZero(seen_lanes[i], weight), s + i * kLanes);
    sum = hn::Add(sum, p);
  }
  store(sum, row_sums);
  return correction;
}

struct FloatValues {
  using Element = float;
  static HWY_INLINE Vector load_vector(const float* p) { return load(p); }
};

struct CodeValues {
  using Element = std::int16_t;
  static HWY_INLINE Vector load_vector(const std::int16_t* p) { return load_codes(p); }
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

/// Raw scores of four positions, whose K rows are given, for kRows rows.
template <int kRows>
HWY_INLINE void dot_four(const float* const* q, std::int64_t head_dim, const std::int16_t* const* k,
                         float* scores) {
  Vector acc[kRows][4];
  PLIMSOLL_UNROLL
  for (int r = 0; r < kRows; ++r) {
    PLIMSOLL_UNROLL
    for (int i = 0; i < 4; ++i) acc[r][i] = hn::Zero(kTag);
  }
  for (std::int64_t d = 0; d < head_dim; d += kLanes) {
    Vector key[4];
    PLIMSOLL_UNROLL
    for (int i = 0; i < 4; ++i) key[i] = load_codes(k[i] + d);
    PLIMSOLL_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const Vector query = load(q[r] + d);
      PLIMSOLL_UNROLL
      for (int i = 0; i < 4; ++i) acc[r][i] = hn::MulAdd(query, key[i], acc[r][i]);
    }
  }
  PLIMSOLL_UNROLL
  for (int r = 0; r < kRows; ++r) {
    hn::StoreU(sum_lanes_of_four(acc[r][0], acc[r][1], acc[r][2], acc[r][3]), hn::Full128<float>(),
               scores + r * kAttentionTile);
  }
}

/// Raw scores of kRows rows, K read as it is, for positions `seen` of a tile.
template <int kRows>
void dot_rows(const Work& work, const float* const* q, const Head& keys, Range seen) {
  const AttentionTask& task = work.task;
  for (std::int64_t p = seen.begin / 4 * 4; p < seen.end; p += 4) {
    const std::int16_t* k[4];
    for (int i = 0; i < 4; ++i) k[i] = keys.row(p + i, task.head_dim);
    dot_four<kRows>(q, task.head_dim, k, work.scores + p);
  }
}

/// kLanes neighbouring positions or dimensions of groups of codes below 16 bits, from p on: what
/// the codes of each group's member `member` stand for.
template <KvTier kTier>
HWY_INLINE Vector unpack(const std::byte* p, int member) {
  const hn::Full128<std::int8_t> tag;
  if constexpr (kTier == KvTier::eight) {
    const hn::Rebind<std::int16_t, Tag> pairs;
    const auto both =
        hn::PromoteTo(IntTag(), hn::LoadU(pairs, reinterpret_cast<const std::int16_t*>(p)));
    const Ints high = member == 0 ? hn::ShiftLeft<24>(both) : hn::ShiftLeft<16>(both);
    return hn::ConvertTo(kTag, hn::ShiftRight<24>(high));
  } else {
    constexpr int kBits = kv_bits(kTier);
    alignas(16) std::int8_t table[16];
    for (int i = 0; i < 16; ++i)
      table[i] = kTier == KvTier::four ? kv_levels_four[i] : kv_levels_two[i % 4];
    const auto groups = hn::LoadU(UintTag(), reinterpret_cast<const std::uint32_t*>(p));
    // Into the highest byte of a lane, beside which the table has levels nobody wants.
    const auto codes = hn::And(hn::ShiftLeft<24>(hn::ShiftRightSame(groups, member * kBits)),
                               hn::Set(UintTag(), ((1u << kBits) - 1) << 24));
    const auto levels = hn::TableLookupBytes(hn::Load(tag, table), hn::BitCast(tag, codes));
    return hn::ConvertTo(kTag, hn::ShiftRight<24>(hn::BitCast(IntTag(), levels)));
  }
}

/// Calls f(Tier<...>()) for a tier below 16 bits.
template <KvTier kTier>
struct Tier {
  static constexpr KvTier value = kTier;
};
template <typename Function>
HWY_INLINE void with_tier(KvTier tier, const Function& f) {
  if (tier == KvTier::eight) f(Tier<KvTier::eight>());
  if (tier == KvTier::four) f(Tier<KvTier::four>());
  if (tier == KvTier::two) f(Tier<KvTier::two>());
}
template <KvTier kTier>
constexpr std::int64_t kGroupBytes = kTier == KvTier::eight ? 2 : 4;

/// K of a tile, by dimension: keys[d][position]. No row sees what nobody has written.
void convert_keys(const Work& work, const TileHeads& tile) {
  const AttentionTask& task = work.task;
  if (tile.keys.tier != KvTier::sixteen) {
    with_tier(tile.keys.tier, [&](auto tier) HWY_ATTR {
      constexpr KvTier kTier = decltype(tier)::value;
      for (std::int64_t d = 0; d < task.head_dim; ++d) {
        const std::byte* const groups =
            tile.keys.codes + d / kv_group(kTier) * kAttentionTile * kGroupBytes<kTier>;
        const int member = static_cast<int>(d % kv_group(kTier));
        for (std::int64_t p = 0; p < kAttentionTile; p += kLanes)
          store(unpack<kTier>(groups + p * kGroupBytes<kTier>, member),
                work.keys + d * kAttentionTile + p);
      }
    });
    return;
  }
  for (std::int64_t first = 0; first < kAttentionTile; first += kLanes) {
    const std::int16_t* k[kLanes];
    for (std::int64_t i = 0; i < kLanes; ++i) k[i] = tile.keys.row(first + i, task.head_dim);
    prefetch_piece(tile.values, first / kLanes, kAttentionTile / kLanes);
    for (std::int64_t d = 0; d < task.head_dim; d += kLanes) {
      Vector square[kLanes];
      PLIMSOLL_UNROLL
      for (int i = 0; i < kLanes; ++i) square[i] = load_codes(k[i] + d);
      transpose(square);
      PLIMSOLL_UNROLL
      for (int i = 0; i < kLanes; ++i)
        store(square[i], work.keys + (d + i) * kAttentionTile + first);
    }
  }
}

/// V of positions `seen` of a tile: values[position][d].
void convert_values(const Work& work, const Head& head, Range seen) {
  const AttentionTask& task = work.task;
  if (head.tier != KvTier::sixteen) {
    with_tier(head.tier, [&](auto tier) HWY_ATTR {
      constexpr KvTier kTier = decltype(tier)::value;
      for (std::int64_t p = seen.begin; p < seen.end; ++p) {
        const std::byte* const groups =
            head.codes + p / kv_group(kTier) * task.head_dim * kGroupBytes<kTier>;
        const int member = static_cast<int>(p % kv_group(kTier));
        for (std::int64_t d = 0; d < task.head_dim; d += kLanes)
          store(unpack<kTier>(groups + d * kGroupBytes<kTier>, member),
                work.values + p * work.padded_dim + d);
      }
    });
    return;
  }
  for (std::int64_t p = seen.begin; p < seen.end; ++p) {
    const std::int16_t* source = head.row(p, task.head_dim);
    float* target = work.values + p * work.padded_dim;
    for (std::int64_t d = 0; d < task.head_dim; d += kLanes)
      store(load_codes(source + d), target + d);
  }
}

/// Raw scores of kRows rows and kVectorTile vectors of positions: four sums each, in the order of
/// sum_lanes_of_four, (0 + 2) + (1 + 3).
template <int kRows>
void score_rows(const float* const* q, std::int64_t head_dim, const float* keys, float* scores) {
  float halves[kRows][kVectorTile * kLanes];
  for (const int first : {0, 2, 1, 3}) {
    Vector acc[kRows][kVectorTile];
    PLIMSOLL_UNROLL
    for (int r = 0; r < kRows; ++r) {
      PLIMSOLL_UNROLL
      for (int v = 0; v < kVectorTile; ++v) acc[r][v] = hn::Zero(kTag);
    }
    for (std::int64_t d = first; d < head_dim; d += 4) {
      const float* const column = keys + d * kAttentionTile;
      Vector key[kVectorTile];
      PLIMSOLL_UNROLL
      for (int v = 0; v < kVectorTile; ++v) key[v] = load(column + v * kLanes);
      PLIMSOLL_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const Vector query = splat(q[r][d]);
        PLIMSOLL_UNROLL
        for (int v = 0; v < kVectorTile; ++v) acc[r][v] = hn::MulAdd(query, key[v], acc[r][v]);
      }
    }
    PLIMSOLL_UNROLL
    for (int r = 0; r < kRows; ++r) {
      PLIMSOLL_UNROLL
      for (int v = 0; v < kVectorTile; ++v) {
        float* const half = halves[r] + v * kLanes;
        float* const score = scores + r * kAttentionTile + v * kLanes;
        if (first == 0) store(acc[r][v], score);
        if (first == 2) store(hn::Add(load(score), acc[r][v]), score);
        if (first == 1) store(acc[r][v], half);
        if (first == 3) store(hn::Add(load(score), hn::Add(load(half), acc[r][v])), score);
      }
    }
  }
}

void prepare_queries(const Work&) {}

/// Sums across lanes in one order, for every row alike.
HWY_NOINLINE void score_mean(const Work& work, const Head& keys) {
  const AttentionTask& task = work.task;
  if (keys.tier == KvTier::sixteen) {
    for (std::int64_t row = 0; row < work.rows; ++row) work.mean_scores[row] = 0.0f;
    return;
  }
  const float unit = kv_float_from_bfloat(static_cast<std::uint16_t>(keys.mean[task.head_dim]));
  for (std::int64_t row = 0; row < work.rows; ++row) {
    const float* const q = work.query_row(row);
    Vector sum = hn::Zero(kTag);
    for (std::int64_t d = 0; d < task.head_dim; d += kLanes)
      sum = hn::MulAdd(load(q + d), load_codes(keys.mean + d), sum);
    work.mean_scores[row] = sum_lanes(sum) * unit * task.scale;
  }
}

struct Tile {
  std::int64_t base;
  TileHeads heads;
  // In work.keys and work.values, else they are read where they lie.
  bool keys_prepared, values_prepared;
};

Tile prepare_tile(const Work& work, std::int64_t base, Range seen, std::int64_t last_position) {
  const AttentionTask& task = work.task;
  const Range in_tile = {seen.begin - base, seen.end - base};
  const bool many = work.rows > kFewRows;
  Tile tile = {base, TileHeads(task, base), many, many};
  const Head &keys = tile.heads.keys, &values = tile.heads.values;
  tile.keys_prepared |= keys.tier != KvTier::sixteen;
  tile.values_prepared |= values.tier != KvTier::sixteen;
  load_units(keys.units, in_tile, work.key_scales);
  load_units(values.units, in_tile, work.value_scales);
  if (tile.keys_prepared) convert_keys(work, tile.heads);
  if (tile.values_prepared) convert_values(work, values, in_tile);
  if (many) return tile;
  // Where V is read in several passes or rows are apart, the processor's prefetcher loses its way
  // (measured: half the speed of memory, against nearly all of it in one pass); where it does not,
  // asking as well costs it a third.
  const std::int64_t row_tile = divide_up(work.rows, divide_up(work.rows, kRowTile));
  if (work.dim_vectors <= vector_tile(static_cast<int>(row_tile))) return tile;
  if (base + kAttentionTile <= last_position) {
    const TileHeads next(task, base + kAttentionTile);
    prefetch_piece(next.keys, 0, 1);
    prefetch_piece(next.values, 0, 1);
  }
  return tile;
}

/// Dimensions are in order.
void finish_part(const Work&) {}

/// kRows rows from `row` on meet a tile.
template <int kRows>
void attend_rows(const Work& work, const Tile& tile, std::int64_t row) {
  const AttentionTask& task = work.task;
  const std::int64_t base = tile.base;
  // From what the first query sees to what the last one sees.
  const Range seen = intersect(
      {work.visible(row / task.heads).begin, work.visible((row + kRows - 1) / task.heads).end},
      {base, base + kAttentionTile});
  if (seen.begin >= seen.end) return;
  const Range in_tile = {seen.begin - base, seen.end - base};
  const float* q[kRows];
  for (int r = 0; r < kRows; ++r) q[r] = work.query_row(row + r);
  if (!tile.keys_prepared) {
    dot_rows<kRows>(work, q, tile.heads.keys, in_tile);
  } else {
    constexpr std::int64_t kStep = kVectorTile * kLanes;
    for (std::int64_t p = in_tile.begin / kStep * kStep; p < in_tile.end; p += kStep)
      score_rows<kRows>(q, task.head_dim, work.keys + p, work.scores + p);
  }
  float corrections[kRows];
  for (int r = 0; r < kRows; ++r)
    corrections[r] = softmax_tile(work, row + r, base, work.scores + r * kAttentionTile);
  float* const outputs = work.outputs + row * work.padded_dim;
  if (!tile.values_prepared)
    add_all_values<CodeValues, kRows>(
        work, work.scores + in_tile.begin, corrections, seen.end - seen.begin,
        tile.heads.values.row(in_tile.begin, task.head_dim), task.head_dim, outputs);
  else
    add_all_values<FloatValues, kRows>(
        work, work.scores + in_tile.begin, corrections, seen.end - seen.begin,
        work.values + in_tile.begin * work.padded_dim, work.padded_dim, outputs);
}
