// Tiles whose codes are points of a grid, for instruction sets without look-ups in large tables of
// bytes: the levels of a point are loaded at once. To be included inside a folder's anonymous
// namespace, after decode_tile-inl.h and what that wants, and after
//
//   Lookup<4, false>
//   prefetch_plane(p, bytes)  asks for `bytes` of a plane some tiles ahead of those at p
//   ones_of_map(map)          all bits of those bytes whose bits of a map are set
//   byte_of_four(v, p)        the p-th byte of every four, four times
//   store_indices(low, high, to)
//       16-bit numbers from their bytes
//   levels_of_quads(levels, indices)
//       the four levels of points indices[0], indices[4], ... of all rows of a vector
//   levels_of_octets(levels, indices, first, last)
//       the first four of eight levels, and the last ones
//
// Decodes as decode_tile() does. No include guard: once per folder.

/// Of grids of 1 << Bits points.
template <int Coordinates, int Bits, bool MarksPoints>
class GridTiles {
 public:
  static constexpr int Level = mark_bit + 1;
  static constexpr bool identity = false, has_mins = false;

  GridTiles(const PlaneView& w, std::int64_t tile)
      : lookup_(w.tables[plane_index(Level)]),
        levels_(w.grid->levels),
        points_(w.points + tile * point_bytes),
        marks_(w.marks + tile * mark_bytes),
        high_bits_(w.high_bits + tile * high_bytes) {}

  /// Centroids of the t-th tile, of its lines from `offset` on.
  void decode(std::int64_t t, int offset, Vector (&step)[8]) const {
    Vector levels[8];
    for (int line = 0; line < lines; ++line) {
      Index own[vector_bytes];
      const Index* const indices = indices_of(t, line, offset, own);
#pragma GCC unroll 4
      for (int p = 0; p < 4; ++p) {
        if constexpr (Coordinates == 4)
          levels[4 * line + p] = levels_of_quads(levels_, indices + p);
        else
          levels_of_octets(levels_, indices + p, levels[2 * p], levels[2 * p + 1]);
      }
    }
    if constexpr (MarksPoints) {
      const Vector marks = ones_of_map(marks_ + t * mark_bytes + offset / 8);
#pragma GCC unroll 4
      for (int p = 0; p < 4; ++p) {
        const Vector mark = byte_of_four(marks, p);
        step[2 * p] = centroids(levels[2 * p], mark);
        step[2 * p + 1] = centroids(levels[2 * p + 1], mark);
      }
    } else {
      const Vector marks = load(marks_ + t * mark_bytes + offset);
#pragma GCC unroll 8
      for (int j = 0; j < 8; ++j)
        step[j] = centroids(levels[j],
                            j < mark_bit ? left(marks, mark_bit - j) : right(marks, j - mark_bit));
    }
  }

  void prefetch(std::int64_t t) const {
    prefetch_plane(points_ + t * point_bytes, point_bytes);
    prefetch_plane(marks_ + t * mark_bytes, mark_bytes);
    if constexpr (Bits > 8) prefetch_plane(high_bits_ + t * high_bytes, high_bytes);
  }

 private:
  static constexpr int vector_bytes = sizeof(Vector);
  static constexpr int lines = 8 / Coordinates, point_bytes = 64 * lines;
  static constexpr int mark_bytes = MarksPoints ? 8 * lines : 64;
  static constexpr int high_bytes = 8 * lines * (Bits - 8);
  using Index = std::conditional_t<Bits == 8, std::uint8_t, std::uint16_t>;

  /// Four of each row: where the plane has them, or put together in `own`.
  const Index* indices_of(std::int64_t t, int line, int offset, Index (&own)[vector_bytes]) const {
    const std::uint8_t* const low = points_ + (t * lines + line) * 64 + offset;
    if constexpr (Bits == 8) {
      return low;
    } else {
      const std::uint8_t* const maps = high_bits_ + t * high_bytes + line * 8 + offset / 8;
      Vector high{};
      high = lookup_.template select<1>(ones_of_map(maps), high);
      if constexpr (Bits > 9)
        high = lookup_.template select<2>(ones_of_map(maps + 8 * lines), high);
      if constexpr (Bits > 10)
        high = lookup_.template select<4>(ones_of_map(maps + 16 * lines), high);
      store_indices(load(low), high, own);
      return own;
    }
  }

  Vector centroids(Vector levels, Vector mark) const {
    return lookup_(lookup_.template select<1 << mark_bit>(mark, levels));
  }

  Lookup<Level, false> lookup_;
  const std::uint8_t* levels_;
  const std::uint8_t *points_, *marks_, *high_bits_;
};
