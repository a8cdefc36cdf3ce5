// Tiles whose codes are points of a grid, with AVX-512 VBMI. Included by planes.cpp inside its
// namespace, after Lookup; DigitTiles there says what its members do.
//
// The points of a line are looked up at once: in a table of their levels' low bytes and one of the
// high ones, 128 entries with a permutation, larger tables blended by the higher bits. They stand
// so that a word of eight bytes has all points that a word of a dot step's line takes levels from:
// vpmultishiftqb brings them there. What stands above a level in its byte does no harm: of octets
// the code's third bit is of no meaning, the fourth is replaced by the mark, and the look-up of
// centroids takes no others.

/// Bytes of a table of 1 << Bits entries. blends[i] holds the (8 + i)-th bits of the indices.
template <int Bits>
inline __m512i look_up(const std::uint8_t* table, __m512i indices, const __mmask64* blends) {
  if constexpr (Bits == 7)
    return _mm512_permutex2var_epi8(_mm512_load_si512(table), indices,
                                    _mm512_load_si512(table + 64));
  else
    return _mm512_mask_blend_epi8(blends[Bits - 8], look_up<Bits - 1>(table, indices, blends),
                                  look_up<Bits - 1>(table + (1 << (Bits - 1)), indices, blends));
}

/// Of grids of 1 << Bits points.
template <int Coordinates, int Bits, bool MarksPoints>
class GridTiles {
 public:
  static constexpr int Level = mark_bit + 1;
  static constexpr bool has_mins = false;

  GridTiles(const PlaneView& w, std::int64_t tile)
      : lookup_(w.tables[plane_index(Level)]),
        packed_(w.grid->packed),
        points_(w.points + tile * (64 * lines)),
        marks_(w.marks + tile * mark_bytes),
        high_bits_(w.high_bits + tile * high_bytes) {
    constexpr int bits = 16 / Coordinates, levels_per_byte = 8 / bits;
    alignas(64) std::uint8_t places[64];
    for (int p = 0; p < 4; ++p) {
      for (int i = 0; i < 64; ++i)
        places[i] = static_cast<std::uint8_t>(i % 8 / 4 * 32 + 8 * p + i % levels_per_byte * bits);
      level_places_[p] = _mm512_load_si512(places);
    }
  }

  void decode(std::int64_t t, __m512i (&step)[8]) const {
    const __m512i marks = MarksPoints ? _mm512_setzero_si512() : load(marks_ + t * mark_bytes);
    for (int line = 0; line < lines; ++line) {
      const __m512i indices = load(points_ + (t * lines + line) * 64);
      __mmask64 blends[4];
      blends[0] = _mm512_movepi8_mask(indices);
      for (int bit = 0; bit < Bits - 8; ++bit)
        blends[1 + bit] = bit_map(high_bits_ + t * high_bytes + (bit * lines + line) * 8);
      const __m512i low = look_up<Bits>(packed_, indices, blends);
      const __m512i high = look_up<Bits>(packed_ + (1 << Bits), indices, blends);
      __m512i marked = marks;  // points: all bits of their bytes
      if constexpr (MarksPoints)
        marked = _mm512_movm_epi8(bit_map(marks_ + t * mark_bytes + line * 8));
#pragma GCC unroll 4
      for (int p = 0; p < 4; ++p) {
        const __m512i levels = _mm512_multishift_epi64_epi8(level_places_[p], low);
        if constexpr (Coordinates == 4) {
          const int j = 4 * line + p;
          step[j] = centroids(
              _mm512_mask_multishift_epi64_epi8(levels, 0xCCCCCCCCCCCCCCCC, level_places_[p], high),
              mark_of_step(marked, j));
        } else {
          const __m512i upper = _mm512_multishift_epi64_epi8(level_places_[p], high);
          if constexpr (MarksPoints) {
            const __m512i mark = _mm512_shuffle_epi8(marked, point_of_row(p));
            step[2 * p] = centroids(levels, mark);
            step[2 * p + 1] = centroids(upper, mark);
          } else {
            step[2 * p] = centroids(levels, mark_of_step(marked, 2 * p));
            step[2 * p + 1] = centroids(upper, mark_of_step(marked, 2 * p + 1));
          }
        }
      }
    }
  }

  template <Into Cache>
  void prefetch(std::int64_t t) const {
    prefetch_lines<Cache>(points_ + t * (64 * lines), 64 * lines);
    prefetch_lines<Cache>(marks_ + t * mark_bytes, mark_bytes);
    prefetch_lines<Cache>(high_bits_ + t * high_bytes, high_bytes);
  }

 private:
  static constexpr int lines = 8 / Coordinates;
  static constexpr int mark_bytes = MarksPoints ? 8 * lines : 64;
  static constexpr int high_bytes = 8 * lines * (Bits - 8);

  static __mmask64 bit_map(const std::uint8_t* p) {
    __mmask64 map;
    __builtin_memcpy(&map, p, sizeof map);
    return map;
  }
  /// Bit j of every byte, moved to the mark's place.
  static __m512i mark_of_step(__m512i marks, int j) {
    return j < mark_bit ? left(marks, mark_bit - j) : right(marks, j - mark_bit);
  }
  /// Every row's p-th byte of four, four times.
  static __m512i point_of_row(int p) {
    return _mm512_add_epi8(_mm512_set4_epi32(0x0C0C0C0C, 0x08080808, 0x04040404, 0),
                           _mm512_set1_epi8(static_cast<char>(p)));
  }
  __m512i centroids(__m512i levels, __m512i mark) const {
    return lookup_(lookup_.template select<1 << mark_bit>(mark, levels));
  }

  Lookup<Level, false> lookup_;
  const std::uint8_t* packed_;
  const std::uint8_t *points_, *marks_, *high_bits_;
  __m512i level_places_[4];  ///< bits of a word where the levels of the rows' p-th points begin
};
