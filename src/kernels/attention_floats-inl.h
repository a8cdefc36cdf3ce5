// Attention in f32, for processors whose 16-bit products are no faster. Few rows read K and V as
// they are, each load shared by all of them; for many K is transposed and V converted once, and
// scores and outputs are register-tiled products. Units are multiplied into scores and
// probabilities. To be included by attention-inl.h inside its namespaces.
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
    x[i] = hn::Mul(load(s + i * kLanes), hn::Mul(load(work.key_scales + i * kLanes), factor));
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
void dot_rows(const Work& work, const float* const* q, const HeadRows& keys, Range seen) {
  const AttentionTask& task = work.task;
  for (std::int64_t p = seen.begin / 4 * 4; p < seen.end; p += 4) {
    const std::int16_t* k[4];
    for (int i = 0; i < 4; ++i) k[i] = keys.codes + (p + i) * task.head_dim;
    dot_four<kRows>(q, task.head_dim, k, work.scores + p);
  }
}

/// K of a tile, transposed: keys[d][position]. No row sees what nobody has written.
void convert_keys(const Work& work, const TileRows& tile) {
  const AttentionTask& task = work.task;
  for (std::int64_t first = 0; first < kAttentionTile; first += kLanes) {
    const std::int16_t* k[kLanes];
    for (std::int64_t i = 0; i < kLanes; ++i) k[i] = tile.keys.codes + (first + i) * task.head_dim;
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
void convert_values(const Work& work, const TileRows& tile, Range seen) {
  const AttentionTask& task = work.task;
  for (std::int64_t p = seen.begin; p < seen.end; ++p) {
    const std::int16_t* source = tile.values.codes + p * task.head_dim;
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

struct Tile {
  std::int64_t base;
  TileRows rows;
};

template <bool kFew>
Tile prepare_tile(const Work& work, std::int64_t base, Range seen, std::int64_t last_position) {
  const AttentionTask& task = work.task;
  const Range in_tile = {seen.begin - base, seen.end - base};
  const Tile tile = {base, TileRows(task, base)};
  load_units(tile.rows.keys.units, in_tile, work.key_scales);
  load_units(tile.rows.values.units, in_tile, work.value_scales);
  if (!kFew) {
    convert_keys(work, tile.rows);
    convert_values(work, tile.rows, in_tile);
    return tile;
  }
  // Where V is read in several passes or rows are apart, the processor's prefetcher loses its way
  // (measured: half the speed of memory, against nearly all of it in one pass); where it does not,
  // asking as well costs it a third.
  const std::int64_t row_tile = divide_up(work.rows, divide_up(work.rows, kRowTile));
  if (work.dim_vectors <= vector_tile(static_cast<int>(row_tile))) return tile;
  if (base + kAttentionTile <= last_position) {
    const TileRows next(task, base + kAttentionTile);
    prefetch_piece(next.keys, 0, 1);
    prefetch_piece(next.values, 0, 1);
  }
  return tile;
}

/// Dimensions are in order.
void finish_part(const Work&) {}

/// kRows rows from `row` on meet a tile, prepared for few or many.
template <int kRows, bool kFew>
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
  if (kFew) {
    dot_rows<kRows>(work, q, tile.rows.keys, in_tile);
  } else {
    constexpr std::int64_t kStep = kVectorTile * kLanes;
    for (std::int64_t p = in_tile.begin / kStep * kStep; p < in_tile.end; p += kStep)
      score_rows<kRows>(q, task.head_dim, work.keys + p, work.scores + p);
  }
  float corrections[kRows];
  for (int r = 0; r < kRows; ++r)
    corrections[r] = softmax_tile(work, row + r, base, work.scores + r * kAttentionTile);
  float* const outputs = work.outputs + row * work.padded_dim;
  if (kFew)
    add_all_values<CodeValues, kRows>(
        work, work.scores + in_tile.begin, corrections, seen.end - seen.begin,
        tile.rows.values.codes + in_tile.begin * task.head_dim, task.head_dim, outputs);
  else
    add_all_values<FloatValues, kRows>(
        work, work.scores + in_tile.begin, corrections, seen.end - seen.begin,
        work.values + in_tile.begin * work.padded_dim, work.padded_dim, outputs);
}
