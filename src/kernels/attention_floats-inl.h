// Several queries against a tile in f32: K transposed and V converted once for all rows, scores and
// outputs as register-tiled products. For processors whose 16-bit products are no faster than f32.
// To be included by attention-inl.h inside its namespaces.

constexpr float kMaximumUnit = 1.0f;

/// K of the tile at `base`, transposed: keys[d][position - base]. Columns of positions outside
/// `seen` repeat its ends; no row sees them.
void convert_keys(const Work& work, std::int64_t base, Range seen) {
  const AttentionTask& task = work.task;
  const std::int64_t head_dim = task.head_dim;
  for (std::int64_t first = 0; first < kAttentionTile; first += kLanes) {
    const std::uint16_t* k[kLanes];
    for (std::int64_t i = 0; i < kLanes; ++i) {
      const std::int64_t position = min_of(max_of(base + first + i, seen.begin), seen.end - 1);
      k[i] = task.k + position * task.kv_stride;
      prefetch_row(task.v + position * task.kv_stride, head_dim);
    }
    if (head_dim < kLanes) {
      for (std::int64_t i = 0; i < kLanes; ++i) {
        std::uint16_t padded[kLanes] = {};
        float key[kLanes];
        for (std::int64_t d = 0; d < head_dim; ++d) padded[d] = k[i][d];
        store(load_half(padded), key);
        for (std::int64_t d = 0; d < head_dim; ++d)
          work.keys[d * kAttentionTile + first + i] = key[d];
      }
      continue;
    }
    for (std::int64_t d = 0; d < head_dim; d += kLanes) {
      // The last square may overlap the one before: no load leaves the row.
      const std::int64_t from = min_of(d, head_dim - kLanes);
      Vector square[kLanes];
      PLIMSOLL_UNROLL
      for (int i = 0; i < kLanes; ++i) square[i] = load_half(k[i] + from);
      transpose(square);
      PLIMSOLL_UNROLL
      for (int i = 0; i < kLanes; ++i)
        store(square[i], work.keys + (from + i) * kAttentionTile + first);
    }
  }
}

/// V of positions `seen` of the tile at `base`: values[position - base][d], padded with zeros.
void convert_values(const Work& work, std::int64_t base, Range seen) {
  const AttentionTask& task = work.task;
  const std::int64_t head_dim = task.head_dim;
  for (std::int64_t p = seen.begin; p < seen.end; ++p) {
    const std::uint16_t* source = task.v + p * task.kv_stride;
    float* target = work.values + (p - base) * work.padded_dim;
    store(hn::Zero(kTag), target + (work.dim_vectors - 1) * kLanes);
    if (head_dim < kLanes) {
      std::uint16_t padded[kLanes] = {};
      for (std::int64_t d = 0; d < head_dim; ++d) padded[d] = source[d];
      store(load_half(padded), target);
      continue;
    }
    for (std::int64_t d = 0; d < head_dim; d += kLanes) {
      const std::int64_t from = min_of(d, head_dim - kLanes);
      store(load_half(source + from), target + from);
    }
  }
}

/// Raw scores of kRows rows and kVectorTile vectors of positions.
template <int kRows>
void score_rows(const float* const* q, std::int64_t head_dim, const float* keys, float* scores) {
  Vector acc[kRows][kVectorTile];
  PLIMSOLL_UNROLL
  for (int r = 0; r < kRows; ++r) {
    PLIMSOLL_UNROLL
    for (int v = 0; v < kVectorTile; ++v) acc[r][v] = hn::Zero(kTag);
  }
  for (std::int64_t d = 0; d < head_dim; ++d, keys += kAttentionTile) {
    Vector key[kVectorTile];
    PLIMSOLL_UNROLL
    for (int v = 0; v < kVectorTile; ++v) key[v] = load(keys + v * kLanes);
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
    for (int v = 0; v < kVectorTile; ++v)
      store(acc[r][v], scores + r * kAttentionTile + v * kLanes);
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
  const float* q[kRows];
  for (int r = 0; r < kRows; ++r) q[r] = work.query_row(row + r);
  constexpr std::int64_t kStep = kVectorTile * kLanes;
  for (std::int64_t p = (seen.begin - base) / kStep * kStep; p < seen.end - base; p += kStep)
    score_rows<kRows>(q, task.head_dim, work.keys + p, work.scores + p);
  float corrections[kRows];
  for (int r = 0; r < kRows; ++r)
    corrections[r] = softmax_tile(work, row + r, base, work.scores + r * kAttentionTile);
  add_all_values<FloatValues, kRows>(work, work.scores + (seen.begin - base), corrections,
                                     seen.end - seen.begin,
                                     work.values + (seen.begin - base) * work.padded_dim,
                                     work.padded_dim, work.outputs + row * work.padded_dim);
}

void prepare_queries(const Work&) {}

void convert_tile(const Work& work, std::int64_t base, Range seen) {
  convert_keys(work, base, seen);
  convert_values(work, base, seen);
}
