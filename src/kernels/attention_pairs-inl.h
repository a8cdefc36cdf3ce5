// Attention in pairs of 16-bit integers, which processors multiply and add at twice the rate of
// f32, and which what pages keep (kv_page.h) is or becomes. Queries and probabilities get
// a scale per row, and as many bits as the sums of 32 bits have room for. Such sums are exact, so
// that their order is free. To be included by attention-inl.h inside its namespaces, after
//
//   Pairs                 a register of pairs, or of sums of 32 bits; the plain type, since
//   compilers
//                         keep arrays of those in registers
//   pair_dot(sums, a, b)  sums + a.low * b.low + a.high * b.high in every lane of 32 bits
//   no_pairs(), load_pairs(p), splat_pair(p), float_sums(sums)
//
//   ValuePairs            {first, second}: 2 * kLanes dimensions of two positions as pairs, as the
//                         constructor from two rows interleaves them
//   packed_keys<tier>(p, pair)
//                         of codes below 16 bits from p on, pair number `pair` of the groups of
//                         kLanes positions
//   load_values<tier>(p), unpack_values<tier>(groups, pair)
//                         the same of 2 * kLanes dimensions, in two steps
//
// A pair of a product with K is two neighbouring dimensions, as they lie. One of a product with V
// is two neighbouring positions: their rows are interleaved, which leaves dimensions in another
// order until a part ends.

constexpr IntTag kIntTag{};
constexpr std::int64_t kTilePairs = kAttentionTile / 2;
constexpr float kLog2E = 0x1.715476p+0f;
/// Up to as many rows, dot products with K as it lies take less time than transposing it.
constexpr std::int64_t kFewRows = 24;

/// What a difference of maxima means: scores are in powers of two here.
HWY_INLINE Vector power(Vector x) { return exp2_nonpositive(x); }

HWY_INLINE void store_pairs(Ints pairs, float* p) { store(hn::BitCast(kTag, pairs), p); }

/// Two vectors of floats below 2^15, times `factor`, as neighbouring codes. Sums with 1.5 * 2^23
/// have the nearest integer in their low bits.
HWY_INLINE Ints make_codes(Vector a, Vector b, Vector factor) {
  const hn::ScalableTag<std::uint16_t> tag;
  const Vector magic = splat(12582912.0f);
  return hn::BitCast(kIntTag, hn::ConcatEven(tag, hn::BitCast(tag, hn::MulAdd(b, factor, magic)),
                                             hn::BitCast(tag, hn::MulAdd(a, factor, magic))));
}

/// Largest code of probabilities.
constexpr float kProbabilityLimit = 8191.0f;
static_assert(8191LL * 4095 * kAttentionTile < (1LL << 31) && value_code_limit == 4095);

// ---- queries, keys and values ----

/// Rows of codes, and the units of scores: what all of a row's are multiplied with is counted in.
void prepare_queries(const Work& work) {
  const AttentionTask& task = work.task;
  const float limit = key_code_limit(task.head_dim);
  const float factor = task.soft_cap > 0.0f ? task.scale : task.scale * kLog2E;
  for (std::int64_t row = 0; row < work.rows; ++row) {
    const float* const q = work.query_row(row);
    auto* const codes = reinterpret_cast<std::int16_t*>(work.queries + row * (work.padded_dim / 2));
    const float largest = largest_of(q, task.head_dim);
    round_row(q, task.head_dim, largest > 0.0f ? limit / largest : 0.0f, codes);
    for (std::int64_t d = task.head_dim; d < work.padded_dim; ++d) codes[d] = 0;
    work.query_scales[row] = factor * (largest / limit);
  }
}

/// A tile of K and V. Where head_dim is not whole vectors, their last ones reach into what follows
/// a row: products with K leave those dimensions out or meet zeros of queries there, and outputs
/// there are nobody's. Rows that nobody sees get no weight.
struct Tile {
  std::int64_t base;
  Range seen;  // relative to the tile
  TileHeads heads, next;
  // In work.keys as [pair][position], and in work.values as [pair of positions][d] interleaved;
  // else they are read where they lie.
  bool keys_prepared, values_prepared;
};

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

/// Bytes of a group of codes, and its pairs.
template <KvTier kTier>
constexpr std::int64_t kGroupBytes = kTier == KvTier::eight ? 2 : 4;
template <KvTier kTier>
constexpr int kGroupPairs = kv_group(kTier) / 2;

// Where keys and values come from: `kPairs` is how many neighbouring pairs are to be taken in a
// row, the first of them at a multiple of it, the others by `which`.

/// Keys from some position of a tile on: pair i + which of kLanes positions of vector v.
struct PreparedKeys {
  static constexpr int kPairs = 2;
  HWY_INLINE Pairs get(std::int64_t i, int which, int v) const {
    return load_pairs(keys + (i + which) * kAttentionTile + v * kLanes);
  }
  const float* keys;
};
template <KvTier kTier>
struct PackedKeys {
  static constexpr int kPairs = kGroupPairs<kTier> == 1 ? 2 : kGroupPairs<kTier>;
  HWY_INLINE Pairs get(std::int64_t i, int which, int v) const {
    const std::int64_t group = (i + which) / kGroupPairs<kTier>;
    return packed_keys<kTier>(
        codes + (group * kAttentionTile + position + v * kLanes) * kGroupBytes<kTier>,
        which % kGroupPairs<kTier>);
  }
  const std::byte* codes;
  std::int64_t position;
};

/// Values from some dimension on, of vectors v and v + 1 of dimensions: what `open` gives for pairs
/// of positions from i on has pair i + which.
struct RowValues {
  static constexpr int kPairs = 2;
  struct Opened {
    HWY_INLINE ValuePairs get(int which) const {
      const std::int16_t* const row = low + 2 * which * head_dim;
      return {row, row + head_dim};
    }
    const std::int16_t* low;
    std::int64_t head_dim;
  };
  HWY_INLINE Opened open(std::int64_t i, int v) const {
    return {codes + 2 * i * head_dim + v * kLanes, head_dim};
  }
  HWY_INLINE RowValues from(std::int64_t d) const { return {codes + d, head_dim}; }
  const std::int16_t* codes;
  std::int64_t head_dim;
};
template <KvTier kTier>
struct PackedValues {
  static constexpr int kPairs = kGroupPairs<kTier> == 1 ? 2 : kGroupPairs<kTier>;
  struct Opened {
    HWY_INLINE ValuePairs get(int which) const {
      return unpack_values<kTier>(groups[which / kGroupPairs<kTier>], which % kGroupPairs<kTier>);
    }
    ValuePairs groups[kPairs / kGroupPairs<kTier>];
  };
  HWY_INLINE Opened open(std::int64_t i, int v) const {
    Opened opened;
    PLIMSOLL_UNROLL
    for (int n = 0; n < kPairs / kGroupPairs<kTier>; ++n) {
      const std::int64_t group = i / kGroupPairs<kTier> + n;
      opened.groups[n] =
          load_values<kTier>(codes + (group * head_dim + first + v * kLanes) * kGroupBytes<kTier>);
    }
    return opened;
  }
  HWY_INLINE PackedValues from(std::int64_t d) const { return {codes, head_dim, d}; }
  const std::byte* codes;
  std::int64_t head_dim, first;
};

void prepare_keys(const Work& work, const TileHeads& heads) {
  const std::int64_t head_dim = work.task.head_dim, pairs = work.padded_dim / 2;
  if (heads.keys.tier != KvTier::sixteen) {
    with_tier(heads.keys.tier, [&](auto tier) HWY_ATTR {
      using Source = PackedKeys<decltype(tier)::value>;
      const Source keys{heads.keys.codes, 0};
      for (std::int64_t i = 0; i < head_dim / 2; i += Source::kPairs) {
        PLIMSOLL_UNROLL
        for (int which = 0; which < Source::kPairs; ++which) {
          PLIMSOLL_UNROLL
          for (int v = 0; v < kTileVectors; ++v)
            store_pairs(Ints{keys.get(i, which, v)},
                        work.keys + (i + which) * kAttentionTile + v * kLanes);
        }
      }
    });
    return;
  }
  for (std::int64_t first = 0; first < kAttentionTile; first += kLanes) {
    const std::int16_t* rows[kLanes];
    for (std::int64_t j = 0; j < kLanes; ++j) rows[j] = heads.keys.row(first + j, head_dim);
    prefetch_piece(heads.values, first / kLanes, kTileVectors);
    for (std::int64_t i = 0; i < pairs; i += kLanes) {
      Vector square[kLanes];
      PLIMSOLL_UNROLL
      for (int j = 0; j < kLanes; ++j)
        square[j] = load(reinterpret_cast<const float*>(rows[j]) + i);
      transpose(square);
      PLIMSOLL_UNROLL
      for (int j = 0; j < kLanes; ++j)
        store(square[j], work.keys + (i + j) * kAttentionTile + first);
    }
  }
}

template <class Source>
HWY_INLINE void prepare_values(const Work& work, const Source& values) {
  for (std::int64_t i = 0; i < kTilePairs; i += Source::kPairs) {
    for (int v = 0; v < work.padded_dim / kLanes; v += 2) {
      const auto opened = values.open(i, v);
      PLIMSOLL_UNROLL
      for (int which = 0; which < Source::kPairs; ++which) {
        float* const target = work.values + (i + which) * work.padded_dim + v * kLanes;
        const ValuePairs both = opened.get(which);
        store_pairs(Ints{both.first}, target);
        store_pairs(Ints{both.second}, target + kLanes);
      }
    }
  }
}

Tile prepare_tile(const Work& work, std::int64_t base, Range seen, std::int64_t last_position) {
  const AttentionTask& task = work.task;
  const std::int64_t next = base + kAttentionTile <= last_position ? base + kAttentionTile : base;
  // Every few rows unpack what lies packed.
  const auto prepared = [&](const Head& head) HWY_ATTR {
    return work.rows > (head.tier == KvTier::sixteen ? kFewRows : kRowTile);
  };
  Tile tile = {base,
               {seen.begin - base, seen.end - base},
               TileHeads(task, base),
               TileHeads(task, next),
               false,
               false};
  const Head &keys = tile.heads.keys, &values = tile.heads.values;
  load_units(keys.units, tile.seen, work.key_scales);
  load_units(values.units, tile.seen, work.value_scales);
  tile.keys_prepared = prepared(keys);
  tile.values_prepared = prepared(values);
  if (tile.keys_prepared) prepare_keys(work, tile.heads);
  if (!tile.values_prepared) return tile;
  if (values.tier == KvTier::sixteen) {
    prepare_values(work, RowValues{values.row(0, task.head_dim), task.head_dim});
  } else {
    with_tier(values.tier, [&](auto tier) HWY_ATTR {
      prepare_values(work, PackedValues<decltype(tier)::value>{values.codes, task.head_dim, 0});
    });
  }
  return tile;
}

/// Puts the rows' dimensions back in order.
void finish_part(const Work& work) {
  for (std::int64_t i = 0; i < work.rows * work.padded_dim; i += 2 * kLanes) {
    float* const outputs = work.outputs + i;
    float ordered[2 * kLanes];
    for (std::int64_t block = 0; block < kLanes; block += 4) {
      for (std::int64_t j = 0; j < 4; ++j) {
        ordered[2 * block + j] = outputs[block + j];
        ordered[2 * block + 4 + j] = outputs[kLanes + block + j];
      }
    }
    for (std::int64_t j = 0; j < 2 * kLanes; ++j) outputs[j] = ordered[j];
  }
}

// ---- scores ----

HWY_INLINE hn::Vec<hn::Full128<std::int32_t>> sum_int_blocks(hn::Vec<hn::Full256<std::int32_t>> v) {
  return hn::Add(hn::LowerHalf(v), hn::UpperHalf(hn::Full128<std::int32_t>(), v));
}
#if HWY_MAX_BYTES == 64
HWY_INLINE hn::Vec<hn::Full128<std::int32_t>> sum_int_blocks(hn::Vec<hn::Full512<std::int32_t>> v) {
  return sum_int_blocks(hn::Add(hn::LowerHalf(v), hn::UpperHalf(hn::Full256<std::int32_t>(), v)));
}
#endif

/// The sum of each one's lanes.
HWY_INLINE hn::Vec<hn::Full128<std::int32_t>> sums_of_four(const Pairs (&x)[4]) {
  const auto add_neighbours = [](Ints a, Ints b) HWY_ATTR {
    return hn::Add(hn::InterleaveLower(kIntTag, a, b), hn::InterleaveUpper(kIntTag, a, b));
  };
  return sum_int_blocks(add_neighbours(add_neighbours(Ints{x[0]}, Ints{x[2]}),
                                       add_neighbours(Ints{x[1]}, Ints{x[3]})));
}

void score_mean(const Work& work, const Head& keys) {
  if (keys.tier == KvTier::sixteen) {
    for (std::int64_t row = 0; row < work.rows; row += kLanes)
      store(hn::Zero(kTag), work.mean_scores + row);
    return;
  }
  const std::int64_t pairs = work.padded_dim / 2;
  const hn::Full128<float> four;
  const auto unit = hn::Set(
      four, kv_float_from_bfloat(static_cast<std::uint16_t>(keys.mean[work.task.head_dim])));
  for (std::int64_t row = 0; row < work.rows; row += 4) {
    Pairs sums[4] = {no_pairs(), no_pairs(), no_pairs(), no_pairs()};
    for (std::int64_t i = 0; i < pairs; i += kLanes) {
      const Pairs mean = load_pairs(keys.mean + 2 * i);
      PLIMSOLL_UNROLL
      for (int j = 0; j < 4; ++j)
        sums[j] = pair_dot(
            sums[j], load_pairs(work.queries + min_of(row + j, work.rows - 1) * pairs + i), mean);
    }
    const auto dots = hn::ConvertTo(four, sums_of_four(sums));
    hn::StoreU(hn::Mul(hn::LoadU(four, work.query_scales + row), hn::Mul(unit, dots)), four,
               work.mean_scores + row);
  }
}

/// Sums of products, as integers, of kRows rows and four positions.
template <int kRows>
HWY_INLINE void dot_four(const float* queries, const std::int16_t* const* keys, std::int64_t pairs,
                         float* scores) {
  Pairs acc[kRows][4];
  PLIMSOLL_UNROLL
  for (int r = 0; r < kRows; ++r) {
    PLIMSOLL_UNROLL
    for (int j = 0; j < 4; ++j) acc[r][j] = no_pairs();
  }
  for (std::int64_t i = 0; i < pairs; i += kLanes) {
    Pairs key[4];
    PLIMSOLL_UNROLL
    for (int j = 0; j < 4; ++j) key[j] = load_pairs(keys[j] + 2 * i);
    PLIMSOLL_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const Pairs query = load_pairs(queries + r * pairs + i);
      PLIMSOLL_UNROLL
      for (int j = 0; j < 4; ++j) acc[r][j] = pair_dot(acc[r][j], query, key[j]);
    }
  }
  PLIMSOLL_UNROLL
  for (int r = 0; r < kRows; ++r) {
    hn::StoreU(hn::BitCast(hn::Full128<float>(), sums_of_four(acc[r])), hn::Full128<float>(),
               scores + r * kAttentionTile);
  }
}

/// As score_rows, of all that is seen, with keys as they lie. The first rows ask for the next
/// tile's keys and values: what few rows compute takes less time than memory's latency.
template <int kRows>
HWY_NOINLINE void dot_rows(const Work& work, const Tile& tile, std::int64_t row, float* scores) {
  const AttentionTask& task = work.task;
  const std::int64_t pairs = work.padded_dim / 2;
  const float* const queries = work.queries + row * pairs;
  const Range seen = tile.seen;
  for (std::int64_t p = seen.begin / 4 * 4; p < seen.end; p += 4) {
    const std::int16_t* keys[4];
    for (int j = 0; j < 4; ++j) keys[j] = tile.heads.keys.row(p + j, task.head_dim);
    if (row == 0) {
      prefetch_piece(tile.next.keys, p / 4, kAttentionTile / 4);
      prefetch_piece(tile.next.values, p / 4, kAttentionTile / 4);
    }
    constexpr int kFirst = kRows <= kDotRows ? kRows : (kRows + 1) / 2;
    static_assert(kFirst <= kDotRows);
    dot_four<kFirst>(queries, keys, pairs, scores + p);
    if constexpr (kFirst < kRows)
      dot_four<kRows - kFirst>(queries + kFirst * pairs, keys, pairs,
                               scores + kFirst * kAttentionTile + p);
  }
  for (std::int64_t p = seen.begin / kLanes * kLanes; p < seen.end; p += kLanes) {
    const Vector key_scale = load(work.key_scales + p);
    PLIMSOLL_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const Vector scale = hn::Mul(key_scale, splat(work.query_scales[row + r]));
      float* const at = scores + r * kAttentionTile + p;
      const Vector mean = splat(work.mean_scores[row + r]);
      store(hn::MulAdd(float_sums(load_pairs(at)), scale, mean), at);
    }
  }
}

/// Asks for the tile after this one, a step at a time: keys in the first half of the steps, then
/// values.
class Ahead {
 public:
  /// Within `steps` steps; null for nothing.
  HWY_INLINE Ahead(const TileHeads* heads, std::int64_t steps) {
    if (!heads) return;
    left_ = divide_up(steps, 2);
    line_ = heads->keys.codes;
    values_ = heads->values.codes;
    lines_ = divide_up(max_of(heads->keys.bytes, heads->values.bytes), left_ * kCacheLineBytes);
  }
  HWY_INLINE void step() {
    // A line too many, where they do not come out even, costs less than to ask for the end.
    for (std::int64_t i = 0; i < lines_; ++i) prefetch_to_l2(line_ + i * kCacheLineBytes);
    line_ += lines_ * kCacheLineBytes;
    if (--left_ == 0) line_ = values_;
  }

 private:
  const std::byte *line_ = nullptr, *values_ = nullptr;
  std::int64_t lines_ = 0, left_ = 0;
};

/// Scores of kRows rows, beginning with `row`, and kVectorTile vectors of positions: scaled, and
/// without a cap in powers of two.
template <int kRows, class Source>
HWY_NOINLINE void score_rows(const Work& work, std::int64_t row, std::int64_t position,
                             const Source& source, const TileHeads* next, float* scores) {
  const std::int64_t pairs = work.padded_dim / 2, used = work.task.head_dim / 2;
  const float* queries = work.queries + row * pairs;
  Ahead ahead(next, divide_up(used, Source::kPairs));
  Pairs acc[kRows][kVectorTile];
  PLIMSOLL_UNROLL
  for (int r = 0; r < kRows; ++r) {
    PLIMSOLL_UNROLL
    for (int v = 0; v < kVectorTile; ++v) acc[r][v] = no_pairs();
  }
  for (std::int64_t i = 0; i < used; i += Source::kPairs) {
    ahead.step();
    PLIMSOLL_UNROLL
    for (int which = 0; which < Source::kPairs; ++which) {
      Pairs key[kVectorTile];
      PLIMSOLL_UNROLL
      for (int v = 0; v < kVectorTile; ++v) key[v] = source.get(i, which, v);
      PLIMSOLL_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const Pairs query = splat_pair(queries + r * pairs + i + which);
        PLIMSOLL_UNROLL
        for (int v = 0; v < kVectorTile; ++v) acc[r][v] = pair_dot(acc[r][v], query, key[v]);
      }
    }
  }
  PLIMSOLL_UNROLL
  for (int v = 0; v < kVectorTile; ++v) {
    const Vector key_scale = load(work.key_scales + position + v * kLanes);
    PLIMSOLL_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const Vector scale = hn::Mul(key_scale, splat(work.query_scales[row + r]));
      const Vector mean = splat(work.mean_scores[row + r]);
      store(hn::MulAdd(float_sums(acc[r][v]), scale, mean),
            scores + r * kAttentionTile + position + v * kLanes);
    }
  }
}

HWY_INLINE Four max_blocks(hn::Vec<hn::Full256<float>> v) {
  return hn::Max(hn::LowerHalf(v), hn::UpperHalf(hn::Full128<float>(), v));
}
#if HWY_MAX_BYTES == 64
HWY_INLINE Four max_blocks(hn::Vec<hn::Full512<float>> v) {
  return max_blocks(hn::Max(hn::LowerHalf(v), hn::UpperHalf(hn::Full256<float>(), v)));
}
#endif
HWY_INLINE Four maxima_of_four(Vector a, Vector b, Vector c, Vector d) {
  const auto max_neighbours = [](Vector x, Vector y) HWY_ATTR {
    return hn::Max(hn::InterleaveLower(kTag, x, y), hn::InterleaveUpper(kTag, x, y));
  };
  return max_blocks(max_neighbours(max_neighbours(a, c), max_neighbours(b, d)));
}

/// The largest lane of each vector in the lane of its number; anything behind the last.
template <int kRows>
HWY_INLINE Vector maxima_of(const Vector (&x)[kRows]) {
  static_assert(kRows <= 8 && kLanes >= 8);
  constexpr int kLast = kRows - 1;
  const auto at = [&](int r) HWY_ATTR { return x[r < kLast ? r : kLast]; };
  const hn::Full256<float> eight;
  const Four first = maxima_of_four(at(0), at(1), at(2), at(3));
  const auto all = kRows <= 4
                       ? hn::ZeroExtendVector(eight, first)
                       : hn::Combine(eight, maxima_of_four(at(4), at(5), at(6), at(7)), first);
  if constexpr (kLanes == 8)
    return all;
  else
    return hn::ZeroExtendVector(kTag, all);
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
  Vector by_row[kRows];
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
    by_row[r] = max;
  }

  const Vector one = splat(1.0f);
  const Vector tile_max = maxima_of(by_row);
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
      const Vector x = load(s + i * kLanes);
      Vector p = hn::Add(exp2_nonpositive(hn::Sub(x, shift)), poison[i]);
      Vector weight = hn::Mul(p, scale[i]);
      if (!all_seen) {
        const Mask unseen = hn::Eq(x, splat(kLowest));
        p = hn::IfThenZeroElse(unseen, p);
        weight = hn::IfThenZeroElse(unseen, weight);  // whatever its scale is
      }
      store(weight, s + i * kLanes);
      sum = hn::Add(sum, p);
      max = hn::Max(max, weight);
    }
    float* const sums = work.sums + (row + r) * kWidestVector;
    store(hn::MulAdd(load(sums), splat(earlier[r]), hn::Mul(sum, splat(shares[r]))), sums);
    by_row[r] = max;
  }

  const Vector limit = splat(kProbabilityLimit);
  const Vector largest = maxima_of(by_row);
  float inverses[kLanes];
  store(hn::IfThenElseZero(hn::Gt(largest, hn::Zero(kTag)), hn::Div(limit, largest)), inverses);
  store(load(earlier), corrections);
  store(hn::Mul(load(shares), hn::Mul(largest, splat(1.0f / kProbabilityLimit))), units);
  for (int r = 0; r < kRows; ++r) {
    float* const s = work.scores + r * kAttentionTile;
    const Vector inverse = splat(inverses[r]);
    for (std::int64_t i = 0; i < kTileVectors; i += 2)
      store_pairs(make_codes(load(s + i * kLanes), load(s + (i + 1) * kLanes), inverse),
                  s + i / 2 * kLanes);
  }
}

/// outputs = outputs * correction + sums * unit, for kRows rows and kVectors vectors of dimensions.
template <int kRows, int kVectors>
HWY_INLINE void add_sums(const Pairs (&sums)[kRows][kVectors], const float* corrections,
                         const float* units, std::int64_t padded_dim, float* outputs) {
  PLIMSOLL_UNROLL
  for (int r = 0; r < kRows; ++r) {
    const Vector correction = splat(corrections[r]), unit = splat(units[r]);
    PLIMSOLL_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      float* const at = outputs + r * padded_dim + v * kLanes;
      store(hn::MulAdd(float_sums(sums[r][v]), unit, hn::Mul(load(at), correction)), at);
    }
  }
}

/// Adds probabilities * values, interleaved.
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
  add_sums<kRows, kVectors>(acc, corrections, units, padded_dim, outputs);
}

/// Pairs of vectors of dimensions beside few rows: wider, since fewer passes over V are; but where
/// groups of positions are unpacked together, the compiler would keep all their probabilities.
constexpr int value_vectors(int rows, bool groups) {
  if (rows == 1) return 4;
  const int most = rows <= 3 ? kVectorTile : kVectorTile / 2;
  return groups && most > 1 ? most / 2 : most;
}

/// The same with values of positions `seen` as they lie.
template <int kRows, int kVectors, class Source>
HWY_NOINLINE void add_rows(const float* probabilities, const float* corrections, const float* units,
                           const Source& values, Range seen, std::int64_t padded_dim,
                           float* outputs) {
  Pairs acc[kRows][kVectors];
  PLIMSOLL_UNROLL
  for (int r = 0; r < kRows; ++r) {
    PLIMSOLL_UNROLL
    for (int v = 0; v < kVectors; ++v) acc[r][v] = no_pairs();
  }
  constexpr int kPositions = 2 * Source::kPairs;
  for (std::int64_t p = seen.begin / kPositions * kPositions; p < seen.end; p += kPositions) {
    PLIMSOLL_UNROLL
    for (int v = 0; v < kVectors; v += 2) {
      const auto opened = values.open(p / 2, v);
      PLIMSOLL_UNROLL
      for (int which = 0; which < Source::kPairs; ++which) {
        const ValuePairs value = opened.get(which);
        const float* const pair = probabilities + p / 2 + which;
        PLIMSOLL_UNROLL
        for (int r = 0; r < kRows; ++r) {
          const Pairs probability = splat_pair(pair + r * kAttentionTile);
          acc[r][v] = pair_dot(acc[r][v], probability, value.first);
          acc[r][v + 1] = pair_dot(acc[r][v + 1], probability, value.second);
        }
      }
    }
  }
  add_sums<kRows, kVectors>(acc, corrections, units, padded_dim, outputs);
}

/// The same for all dimensions.
template <int kRows, class Source>
HWY_INLINE void add_all_rows(const Work& work, Source source, Range seen, const float* corrections,
                             const float* units, float* outputs) {
  constexpr int kMost = value_vectors(kRows, Source::kPairs > 2);
  const std::int64_t all = divide_up(work.dim_vectors, 2);
  std::int64_t tiles = divide_up(all, kMost);
  for (std::int64_t at = 0; at < all; --tiles) {
    const std::int64_t width = divide_up(all - at, tiles), first = at * 2 * kLanes;
    with_constant<kMost>(width, [&](auto vectors) HWY_ATTR {
      add_rows<kRows, 2 * decltype(vectors)::value>(work.scores, corrections, units,
                                                    source.from(first), seen, work.padded_dim,
                                                    outputs + first);
    });
    at += width;
  }
}

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
  const Head &keys = tile.heads.keys, &values = tile.heads.values;
  if (!tile.keys_prepared && keys.tier == KvTier::sixteen) {
    dot_rows<kRows>(work, tile, row, work.scores);
  } else {
    constexpr std::int64_t kStep = kVectorTile * kLanes;
    const TileHeads* next = row == 0 && !tile.keys_prepared ? &tile.next : nullptr;
    for (std::int64_t p = (seen.begin - base) / kStep * kStep; p < seen.end - base; p += kStep) {
      if (tile.keys_prepared) {
        score_rows<kRows>(work, row, p, PreparedKeys{work.keys + p}, next, work.scores);
      } else {
        with_tier(keys.tier, [&](auto tier) HWY_ATTR {
          score_rows<kRows>(work, row, p, PackedKeys<decltype(tier)::value>{keys.codes, p}, next,
                            work.scores);
        });
      }
      next = nullptr;
    }
  }
  float corrections[kLanes], units[kLanes];
  weigh_rows<kRows>(work, row, base, corrections, units);
  float* const outputs = work.outputs + row * work.padded_dim;
  if (!tile.values_prepared) {
    const auto add = [&](const auto& source) HWY_ATTR {
      add_all_rows<kRows>(work, source, tile.seen, corrections, units, outputs);
    };
    if (values.tier == KvTier::sixteen) {
      add(RowValues{values.row(0, task.head_dim), task.head_dim});
    } else {
      with_tier(values.tier, [&](auto tier) HWY_ATTR {
        add(PackedValues<decltype(tier)::value>{values.codes, task.head_dim, 0});
      });
    }
    return;
  }
  const std::int64_t all = divide_up(work.dim_vectors, 2) * 2;
  std::int64_t tiles = divide_up(all, kVectorTile);
  for (std::int64_t first = 0; first < all; --tiles) {
    const std::int64_t width = divide_up(all - first, tiles);
    with_constant<kVectorTile>(width, [&](auto vectors) HWY_ATTR {
      add_pairs<kRows, decltype(vectors)::value>(work.scores, corrections, units,
                                                 work.values + first * kLanes, work.padded_dim,
                                                 outputs + first * kLanes);
    });
    first += width;
  }
}
