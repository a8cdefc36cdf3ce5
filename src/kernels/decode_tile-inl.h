// Puts the digit planes of a tile together: the same shifts and selects for every vector width. To
// be included inside a folder's anonymous namespace, after
//
//   Vector                  the register type
//   load(p)                 unaligned
//   left(a, n), right(a, n) shifts of 16-bit lanes; what crosses into a neighbouring byte is never
//   selected
//
// A line of a plane holds 64 bytes; narrower vectors decode it in parts, at `offset` bytes into
// every line of tile `t`. step[j] gets the centroids of dot step j (plane_view.h). `lookup(codes)`
// turns codes in the low bits of bytes into centroids, whatever stands above them; `lookup.pair(a,
// s)` the two-bit codes in field s; `lookup.select<Mask>(a, b)` gives bits of `a` where the byte
// mask has ones, of `b` elsewhere. At 8 bits `lookup.identity` says that codes are used as they
// are; otherwise `lookup.child(a, b)` turns their leading four bits, in the low bits of `a`, and
// the other four, in those of `b`, into centroids. No include guard: once per folder.

constexpr int plane_stride[digit_planes] = {128, 64, 64, 64, 64, 128};  // bytes per tile

template <int Level, class Lookup>
inline void decode_tile(const std::uint8_t* const* digits, std::int64_t t, int offset,
                        const Lookup& lookup, Vector (&step)[8]) {
  const auto line = [digits, t, offset](int plane, int h = 0) {
    return load(digits[plane] + t * plane_stride[plane] + 64 * h + offset);
  };
  if constexpr (Level == 2) {
    for (int h = 0; h < 2; ++h) {
      const Vector a = line(0, h);
      for (int s = 0; s < 4; ++s) step[2 * s + h] = lookup.pair(a, s);
    }
    return;
  }
  const Vector b = line(1);
  if constexpr (Level == 3) {
    for (int h = 0; h < 2; ++h) {
      const Vector a = line(0, h), e = h ? right(b, 1) : b;
      const Vector even =
          lookup.template select<0x66>(left(a, 1), e);  // fields 0 and 2 in the nibbles
      const Vector odd = lookup.template select<0x66>(right(a, 1), right(e, 2));  // fields 1 and 3
      step[h] = lookup(even);
      step[2 + h] = lookup(odd);
      step[4 + h] = lookup(right(even, 4));
      step[6 + h] = lookup(right(odd, 4));
    }
    return;
  }
  // Neighbouring one-bit planes become two-bit fields: of the even steps, then of the odd ones.
  const Vector c = line(2);
  const Vector bc[2] = {lookup.template select<0xAA>(left(b, 1), c),
                        lookup.template select<0xAA>(b, right(c, 1))};
  Vector d, e, de[2];
  if constexpr (Level >= 5) d = line(3);
  if constexpr (Level >= 6) {
    e = line(4);
    de[0] = lookup.template select<0xAA>(left(d, 1), e);
    de[1] = lookup.template select<0xAA>(d, right(e, 1));
  }
  for (int h = 0; h < 2; ++h) {
    const Vector a = line(0, h);
    // The leading four bits of fields 0 and 2, and of 1 and 3, in low and high nibbles.
    const Vector even = lookup.template select<0xCC>(left(a, 2), bc[h]);
    const Vector odd = lookup.template select<0xCC>(a, right(bc[h], 2));
    if constexpr (Level == 4) {
      step[h] = lookup(even);
      step[2 + h] = lookup(odd);
      step[4 + h] = lookup(right(even, 4));
      step[6 + h] = lookup(right(odd, 4));
    } else if constexpr (Level == 5) {
      step[h] = lookup(lookup.template select<0x1E>(left(even, 1), right(d, h)));
      step[2 + h] = lookup(lookup.template select<0x1E>(left(odd, 1), right(d, 2 + h)));
      step[4 + h] = lookup(lookup.template select<0x1E>(right(even, 3), right(d, 4 + h)));
      step[6 + h] = lookup(lookup.template select<0x1E>(right(odd, 3), right(d, 6 + h)));
    } else if constexpr (Level == 6) {
      step[h] = lookup(lookup.template select<0x3C>(left(even, 2), de[h]));
      step[2 + h] = lookup(lookup.template select<0x3C>(left(odd, 2), right(de[h], 2)));
      step[4 + h] = lookup(lookup.template select<0x3C>(right(even, 2), right(de[h], 4)));
      step[6 + h] = lookup(lookup.template select<0x3C>(right(odd, 2), right(de[h], 6)));
    } else {
      const Vector g = line(5, h);
      const Vector low_even = lookup.template select<0xCC>(left(de[h], 2), g);
      const Vector low_odd = lookup.template select<0xCC>(de[h], right(g, 2));
      if constexpr (!Lookup::identity) {
        step[h] = lookup.child(even, low_even);
        step[2 + h] = lookup.child(odd, low_odd);
        step[4 + h] = lookup.child(right(even, 4), right(low_even, 4));
        step[6 + h] = lookup.child(right(odd, 4), right(low_odd, 4));
        continue;
      }
      step[h] = lookup.template select<0xF0>(left(even, 4), low_even);
      step[2 + h] = lookup.template select<0xF0>(left(odd, 4), low_odd);
      step[4 + h] = lookup.template select<0xF0>(even, right(low_even, 4));
      step[6 + h] = lookup.template select<0xF0>(odd, right(low_odd, 4));
    }
  }
}
