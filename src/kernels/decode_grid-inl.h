// Tiles whose codes are points of a grid, point by point: for instruction sets without look-ups in
// large tables of bytes. To be included inside a folder's anonymous namespace, after
// decode_tile-inl.h and what that wants, and after
//
//   Lookup<4, false>         whose select() is of the right form
//   prefetch_plane(p, bytes) asks for `bytes` of a plane some tiles ahead of those at p
//
// Decodes as decode_tile() does. No include guard: once per folder.

/// Eight bytes from eight bits: byte i is bit i of `bits`, 0 or 1.
inline std::uint64_t bytes_of_bits(std::uint8_t bits) {
  // Each byte keeps a different bit of its copy; adding 0x7f carries any set bit to the top one.
  const std::uint64_t isolated = bits * 0x0101010101010101u & 0x8040201008040201u;
  return (isolated + 0x7f7f7f7f7f7f7f7fu) >> 7 & 0x0101010101010101u;
}

template <int Coordinates, bool MarksPoints>
class GridTiles {
 public:
  static constexpr int Level = mark_bit + 1;
  static constexpr bool identity = false, has_mins = false;

  GridTiles(const PlaneView& w, std::int64_t tile)
      : lookup_(w.tables[plane_index(Level)]),
        levels_(w.grid->levels),
        upper_bits_(w.grid->bits - 8),
        high_bytes_(high_bytes_per_tile(*w.grid)),
        points_(w.points + tile * point_bytes),
        marks_(w.marks + tile * mark_bytes),
        high_bits_(w.high_bits + tile * high_bytes_) {}

  /// Centroids of the t-th tile, of its lines from `offset` on.
  void decode(std::int64_t t, int offset, Vector (&step)[8]) const {
    alignas(64) std::uint8_t codes[8][vector_bytes];  // by step
    for (int line = 0; line < lines; ++line) gather(t, line, offset, codes);
    if constexpr (MarksPoints) {
      for (int j = 0; j < 8; ++j) step[j] = lookup_(load(codes[j]));
    } else {
      const Vector marks = load(marks_ + t * mark_bytes + offset);
      for (int j = 0; j < 8; ++j)
        step[j] = lookup_(lookup_.template select<1 << mark_bit>(
            j < mark_bit ? left(marks, mark_bit - j) : right(marks, j - mark_bit), load(codes[j])));
    }
  }

  void prefetch(std::int64_t t) const {
    prefetch_plane(points_ + t * point_bytes, point_bytes);
    prefetch_plane(marks_ + t * mark_bytes, mark_bytes);
    prefetch_plane(high_bits_ + t * high_bytes_, high_bytes_);
  }

 private:
  static constexpr int vector_bytes = sizeof(Vector);
  static constexpr int lines = 8 / Coordinates, point_bytes = 64 * lines;
  static constexpr int mark_bytes = MarksPoints ? 8 * lines : 64;

  /// The levels of a line's points (and their marks, where points have them) to their steps.
  void gather(std::int64_t t, int line, int offset, std::uint8_t (&codes)[8][vector_bytes]) const {
    const std::uint8_t* const low = points_ + (t * lines + line) * 64 + offset;
    const std::uint8_t* const high = high_bits_ + t * high_bytes_ + line * 8 + offset / 8;
    std::uint8_t upper[vector_bytes], marked[vector_bytes];
    for (int i = 0; i < vector_bytes; i += 8) {
      std::uint64_t bits = 0;
      for (int bit = 0; bit < upper_bits_; ++bit)
        bits |= bytes_of_bits(high[bit * lines * 8 + i / 8]) << bit;
      __builtin_memcpy(upper + i, &bits, 8);
      if constexpr (MarksPoints) {
        bits = bytes_of_bits(marks_[t * mark_bytes + line * 8 + (offset + i) / 8]);
        __builtin_memcpy(marked + i, &bits, 8);
      }
    }
    for (int n = 0; n < vector_bytes; ++n) {  // four points of a row after the other
      const std::uint8_t* const levels = levels_ + (low[n] | upper[n] << 8) * Coordinates;
      for (int half = 0; half < Coordinates / 4; ++half) {
        std::uint32_t four;
        __builtin_memcpy(&four, levels + 4 * half, 4);
        if constexpr (MarksPoints) four |= marked[n] * 0x08080808u;
        __builtin_memcpy(codes[4 * line + n % 4 * (Coordinates / 4) + half] + n / 4 * 4, &four, 4);
      }
    }
  }

  Lookup<Level, false> lookup_;
  const std::uint8_t* levels_;
  int upper_bits_, high_bytes_;
  const std::uint8_t *points_, *marks_, *high_bits_;
};
