// Products over planes with AVX2, 8 rows in a register. One or two tokens go the direct way: half a
// tile is decoded in registers and consumed at once. More go by panels: tiles are decoded into
// bytes in cache, then multiplied with 3 or 4 tokens at a time.
//
// vpmaddubsw multiplies unsigned with signed bytes and adds neighbours into 16 bits. Small
// centroids (below 128) stay unsigned, and as many products are added in 16 bits as cannot
// overflow; an accumulator starts at -zero * (sum of the activations' codes). Larger ones become
// signed (centroid - zero), and their sign moves to the activation.
#define PLIMSOLL_ISA avx2
#include <immintrin.h>

#include <type_traits>

#include "kernels/functions-inl.h"

namespace plimsoll::avx2 {
namespace {

constexpr int token_step = 4;     // at most
constexpr int direct_tokens = 2;  // at most
constexpr int strip_tiles = 128;  // 64 KiB of bytes, within L2
static_assert(strip_tiles * (512 + 2 * 32 * 4) <= plane_scratch_bytes);
constexpr int few_tokens = 8;
constexpr int few_strip_tiles = 16;  // 8 KiB, within L1: all that few tokens gain by
constexpr int burst_tiles = 8;       // direct: scales expanded together
constexpr int prefetch_tiles = 48;

using Vector = __m256i;

/// A vector that the compiler has to keep as it is: it would reorder sums into trees, which take
/// more registers than there are.
inline __m256i kept(__m256i v) {
  __asm__("" : "+x"(v));
  return v;
}

inline __m256i load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
inline __m256i left(__m256i a, int bits) { return _mm256_slli_epi16(a, bits); }
inline __m256i right(__m256i a, int bits) { return _mm256_srli_epi16(a, bits); }
/// The centroid table of a level: vpshufb looks 16 entries up at a time; larger tables are blended
/// by the higher bits.
template <int Level, bool Identity>
struct Lookup {
  static constexpr bool identity = Identity;
  static constexpr int table_bits = Level == 8 ? 4 : Level;
  __m256i table[4];
  explicit Lookup(const LevelTable& t) {
    if constexpr (!Identity)
      for (int part = 0; part < (table_bits > 4 ? 1 << (table_bits - 4) : 1); ++part)
        table[part] = _mm256_broadcastsi128_si256(
            _mm_loadu_si128(reinterpret_cast<const __m128i*>(t.centroid + 16 * part)));
  }
  template <int Mask>
  static __m256i select(__m256i a, __m256i b) {
    const __m256i mask = _mm256_set1_epi8(static_cast<char>(Mask));
    return _mm256_or_si256(_mm256_and_si256(mask, a), _mm256_andnot_si256(mask, b));
  }
  __m256i pair(__m256i fields, int field) const { return (*this)(right(fields, 2 * field)); }
  __m256i operator()(__m256i codes) const {
    codes = _mm256_and_si256(codes, _mm256_set1_epi8((1 << table_bits) - 1));
    if constexpr (Identity) return codes;
    if constexpr (table_bits <= 4) {
      return _mm256_shuffle_epi8(table[0], codes);
    } else {
      // vpshufb uses the low four bits (bit 7 is clear); blendv chooses by the top bit of a byte.
      const __m256i bit4 = left(codes, 3);
      __m256i low = _mm256_blendv_epi8(_mm256_shuffle_epi8(table[0], codes),
                                       _mm256_shuffle_epi8(table[1], codes), bit4);
      if constexpr (Level == 5) return low;
      const __m256i high = _mm256_blendv_epi8(_mm256_shuffle_epi8(table[2], codes),
                                              _mm256_shuffle_epi8(table[3], codes), bit4);
      return _mm256_blendv_epi8(low, high, left(codes, 2));
    }
  }
  __m256i child(__m256i leading, __m256i rest) const {
    return _mm256_add_epi8((*this)(leading), _mm256_and_si256(rest, _mm256_set1_epi8(15)));
  }
};

#include "kernels/decode_tile-inl.h"

/// Asks for a tile's part of a plane, some tiles ahead.
inline void prefetch_plane(const std::uint8_t* tile, int tile_bytes) {
#pragma GCC unroll 2
  for (int line = 0; line < tile_bytes; line += 64)
    _mm_prefetch(reinterpret_cast<const char*>(tile + prefetch_tiles * tile_bytes + line),
                 _MM_HINT_T1);
}

/// Where products get a tensor's codes from: the tiles from some on, in digit planes of a level.
template <int Level_, bool Identity>
class DigitTiles {
 public:
  static constexpr int Level = Level_;
  static constexpr bool has_mins = true;

  DigitTiles(const PlaneView& w, std::int64_t tile) : lookup_(w.tables[planes - 1]) {
    for (int p = 0; p < planes; ++p) digits_[p] = w.digits[p] + tile * plane_stride[p];
  }
  /// Centroids of the t-th tile, of its lines from `offset` on.
  void decode(std::int64_t t, int offset, __m256i (&step)[8]) const {
    decode_tile<Level>(digits_, t, offset, lookup_, step);
  }
  /// Asks for what is decoded some tiles after the t-th.
  void prefetch(std::int64_t t) const {
#pragma GCC unroll 8
    for (int p = 0; p < planes; ++p)
      prefetch_plane(digits_[p] + t * plane_stride[p], plane_stride[p]);
  }

 private:
  static constexpr int planes = planes_of_level(Level);
  Lookup<Level, Identity> lookup_;
  const std::uint8_t* digits_[digit_planes];
};

// What decode_grid-inl.h wants: 8 rows.

inline __m256i ones_of_map(const std::uint8_t* map) {
  std::int32_t bits;
  __builtin_memcpy(&bits, map, 4);
  const __m256i bytes = _mm256_shuffle_epi8(
      _mm256_set1_epi32(bits),
      _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303));
  const __m256i bit = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201));
  return _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), bit);
}
inline __m256i byte_of_four(__m256i v, int p) {
  const __m256i first = _mm256_setr_epi32(0, 0x04040404, 0x08080808, 0x0C0C0C0C, 0, 0x04040404,
                                          0x08080808, 0x0C0C0C0C);
  return _mm256_shuffle_epi8(v, _mm256_add_epi8(first, _mm256_set1_epi8(static_cast<char>(p))));
}
inline void store_indices(__m256i low, __m256i high, std::uint16_t* to) {
  // Interleaving works in halves.
  const __m256i even = _mm256_unpacklo_epi8(low, high), odd = _mm256_unpackhi_epi8(low, high);
  auto* const quarter = reinterpret_cast<__m128i*>(to);
  _mm_storeu_si128(quarter, _mm256_castsi256_si128(even));
  _mm_storeu_si128(quarter + 1, _mm256_castsi256_si128(odd));
  _mm_storeu_si128(quarter + 2, _mm256_extracti128_si256(even, 1));
  _mm_storeu_si128(quarter + 3, _mm256_extracti128_si256(odd, 1));
}
template <class Index>
inline __m256i levels_of_quads(const std::uint8_t* levels, const Index* indices) {
  const auto rows = [levels](const Index* i) {
    const auto* four = reinterpret_cast<const std::int32_t*>(levels);
    return _mm_setr_epi32(four[i[0]], four[i[4]], four[i[8]], four[i[12]]);
  };
  return _mm256_setr_m128i(rows(indices), rows(indices + 16));
}
template <class Index>
inline void levels_of_octets(const std::uint8_t* levels, const Index* indices, __m256i& first,
                             __m256i& last) {
  // Two rows, and those four below them in the upper half.
  const auto rows = [levels](const Index* i) {
    const auto* eight = reinterpret_cast<const long long*>(levels);
    return _mm256_castsi256_ps(_mm256_setr_m128i(_mm_set_epi64x(eight[i[4]], eight[i[0]]),
                                                 _mm_set_epi64x(eight[i[20]], eight[i[16]])));
  };
  const __m256 a = rows(indices), b = rows(indices + 8);
  first = _mm256_castps_si256(_mm256_shuffle_ps(a, b, 0x88));
  last = _mm256_castps_si256(_mm256_shuffle_ps(a, b, 0xDD));
}

#include "kernels/decode_grid-inl.h"

/// Decodes tiles into bytes [tile][step][64], less `offset`.
template <class Tiles>
void decode_panel(const PlaneView& w, std::int64_t first_tile, int count, int offset,
                  std::uint8_t* panel) {
  const Tiles tiles(w, first_tile);
  const __m256i subtract = _mm256_set1_epi8(static_cast<char>(offset));
  for (int t = 0; t < count; ++t) {
    tiles.prefetch(t);
    for (int half = 0; half < 2; ++half) {
      __m256i step[8];
      tiles.decode(t, 32 * half, step);
      for (int j = 0; j < 8; ++j)
        _mm256_store_si256(reinterpret_cast<__m256i*>(panel + t * 512 + j * 64 + 32 * half),
                           _mm256_sub_epi8(step[j], subtract));
    }
  }
}

inline __m256 half_vector(const std::uint16_t* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline __m128i eight_bytes(const std::uint8_t* p) {
  return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
}

inline __m256 group_scale(ScaleKind kind, const std::uint8_t* scales, std::int64_t at) {
  if (kind == ScaleKind::none) return _mm256_set1_ps(1.0f);
  if (kind == ScaleKind::f16)
    return half_vector(reinterpret_cast<const std::uint16_t*>(scales) + at);
  if (kind == ScaleKind::odd4) {  // groups of 16 rows
    const std::int64_t group = at / 16;
    const __m256i both = _mm256_cvtepu8_epi32(eight_bytes(scales + group / 2 * 16 + at % 16));
    const __m256i bits = _mm256_srli_epi32(both, static_cast<int>(group % 2 * 4));
    return _mm256_cvtepi32_ps(_mm256_or_si256(
        _mm256_slli_epi32(_mm256_and_si256(bits, _mm256_set1_epi32(15)), 1), _mm256_set1_epi32(1)));
  }
  const __m128i raw = eight_bytes(scales + at);
  switch (kind) {
    case ScaleKind::i8:
      return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(raw));
    case ScaleKind::u8:
      return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(raw));
    case ScaleKind::u4:
      return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_and_si128(raw, _mm_set1_epi8(15))));
    case ScaleKind::ue4m3:  // the bits of a half whose bias is larger by 8; halved
      return _mm256_mul_ps(_mm256_cvtph_ps(_mm_slli_epi16(_mm_cvtepu8_epi16(raw), 7)),
                           _mm256_set1_ps(0x1p7f));
    default: {  // e8m0
      const __m256i e = _mm256_cvtepu8_epi32(raw);
      const __m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(e, _mm256_set1_epi32(1)), 23);
      const __m256i subnormal = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), e);
      return _mm256_castsi256_ps(
          _mm256_blendv_epi8(normal, subnormal, _mm256_cmpgt_epi32(_mm256_set1_epi32(2), e)));
    }
  }
}

/// Scales (and mins) of some tiles of a tile row as floats: [tile][groups][16], unit included.
void expand_scales(const PlaneView& w, std::int64_t tile_row, std::int64_t first, int count,
                   float unit, float* scales, float* mins) {
  const int groups = w.scale_width == 16 ? 2 : 1;
  const std::int64_t base = tile_row * w.tiles_per_row() + first;
  for (int t = 0; t < count; ++t) {
    const std::int64_t super = (tile_row * (w.columns / 256) + (first + t) / 8) * 16;
    for (int g = 0; g < groups; ++g) {
      for (int half = 0; half < 16; half += 8) {
        const std::int64_t at = ((base + t) * groups + g) * 16 + half;
        const int to = (t * groups + g) * 16 + half;
        __m256 scale = _mm256_mul_ps(group_scale(w.scale_kind, w.scales, at), _mm256_set1_ps(unit));
        if (w.has_super) scale = _mm256_mul_ps(scale, half_vector(w.super_scales + super + half));
        _mm256_store_ps(scales + to, scale);
        if (!w.has_min) continue;
        __m256 min;
        if (!w.has_super) {
          min = half_vector(reinterpret_cast<const std::uint16_t*>(w.mins) + at);
        } else {
          const __m128i raw =
              w.scale_kind == ScaleKind::u4
                  ? _mm_and_si128(_mm_srli_epi16(eight_bytes(w.scales + at), 4), _mm_set1_epi8(15))
                  : eight_bytes(w.mins + at);
          min = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(raw)),
                              half_vector(w.super_mins + super + half));
          min = _mm256_sub_ps(_mm256_setzero_ps(), min);
        }
        _mm256_store_ps(mins + to, min);
      }
    }
  }
}

/// One stretch of decoded tiles of one tile row against some tokens.
struct Strip {
  const QuantisedActivations* x;
  std::int64_t first;         // tile within the row
  int count;                  // tiles
  int zero;                   // still to be taken off unsigned centroids
  const float* scales;        // [count][groups][16]
  const float* mins;          // [count][groups][16]
  const std::uint8_t* panel;  // [count][8][64]
  std::int64_t token;         // first
  float* out;                 // [token][16], tokens out_stride apart
  std::int64_t out_stride;
};

/// out + acc * scale * step.
inline __m256 scaled(__m256 out, __m256i acc, __m256 scale, float step) {
  return _mm256_fmadd_ps(_mm256_cvtepi32_ps(acc), _mm256_mul_ps(scale, _mm256_set1_ps(step)), out);
}

/// Rows of 8 that a register tile holds: with small centroids both halves of a tile share every
/// load of an activation; signed weights take more registers.
constexpr int row_parts(int group) { return group == 0 ? 1 : 2; }
constexpr int most_tokens(int group) { return group == 0 ? 4 : 3; }

/// `Group`: how many products of one column step fit 16 bits together (8, 4, 2, 1); 0 for signed
/// weights.
template <int Tokens, bool Narrow, bool Min, int Group>
void product(const Strip& s) {
  constexpr int parts = row_parts(Group);
  constexpr int groups = Narrow ? 2 : 1, steps = 8 / groups;
  constexpr int add = Group == 0 ? 1 : Group < steps ? Group : steps;
  const QuantisedActivations& x = *s.x;
  const std::int64_t blocks = x.columns / 32, block = s.token * blocks + s.first;
  const __m256i ones = _mm256_set1_epi16(1);
  const auto* codes =
      reinterpret_cast<const std::int32_t*>(x.codes + s.token * x.columns) + s.first * 8;
  for (int half = 0; half < 16; half += 8 * parts) {
    __m256 out[parts][Tokens];
    for (int r = 0; r < parts; ++r)
      for (int n = 0; n < Tokens; ++n)
        out[r][n] = _mm256_loadu_ps(s.out + n * s.out_stride + half + 8 * r);
    for (int t = 0; t < s.count; ++t) {
      for (int g = 0; g < groups; ++g) {
        __m256i acc[parts][Tokens];
        for (int n = 0; n < Tokens; ++n) {
          __m256i start = _mm256_setzero_si256();
          if constexpr (Group != 0) {
            const std::int32_t* sums = x.sums + (block + n * blocks + t) * 2;
            start = _mm256_set1_epi32(-s.zero * (Narrow ? sums[g] : sums[0] + sums[1]));
          }
          for (int r = 0; r < parts; ++r) acc[r][n] = start;
        }
#pragma GCC unroll 8
        for (int j = g * steps; j < g * steps + steps; j += add) {
          __m256i wide[parts][Tokens];
#pragma GCC unroll 8
          for (int k = 0; k < add; ++k) {
            __m256i line[parts], magnitude[parts];
            for (int r = 0; r < parts; ++r) {
              line[r] = load(s.panel + t * 512 + (j + k) * 64 + (half + 8 * r) * 4);
              magnitude[r] = Group == 0 ? _mm256_abs_epi8(line[r]) : line[r];
            }
            for (int n = 0; n < Tokens; ++n) {
              const __m256i code = _mm256_set1_epi32(codes[n * blocks * 8 + t * 8 + j + k]);
              for (int r = 0; r < parts; ++r) {
                const __m256i signed_code = Group == 0 ? _mm256_sign_epi8(code, line[r]) : code;
                const __m256i products = _mm256_maddubs_epi16(magnitude[r], signed_code);
                wide[r][n] = kept(k == 0 ? products : _mm256_add_epi16(wide[r][n], products));
              }
            }
          }
          for (int r = 0; r < parts; ++r)
            for (int n = 0; n < Tokens; ++n)
              acc[r][n] = _mm256_add_epi32(acc[r][n], _mm256_madd_epi16(wide[r][n], ones));
        }
        for (int r = 0; r < parts; ++r) {
          const int at = (t * groups + g) * 16 + half + 8 * r;
          const __m256 scale = _mm256_load_ps(s.scales + at);
          for (int n = 0; n < Tokens; ++n)
            out[r][n] = scaled(out[r][n], acc[r][n], scale, x.steps[block + n * blocks + t]);
          if constexpr (Min) {
            const __m256 min = _mm256_load_ps(s.mins + at);
            for (int n = 0; n < Tokens; ++n) {
              const std::int64_t place = block + n * blocks + t;
              const float sum =
                  Narrow ? x.weighted_sums16[place * 2 + g] : x.weighted_sums32[place];
              out[r][n] = _mm256_fmadd_ps(min, _mm256_set1_ps(sum), out[r][n]);
            }
          }
        }
      }
    }
    const bool ends_row = s.first + s.count == blocks;
    for (int n = 0; n < Tokens; ++n) {
      const __m256 unit = _mm256_set1_ps(ends_row ? x.row_scales[s.token + n] : 1.0f);
      for (int r = 0; r < parts; ++r)
        _mm256_storeu_ps(s.out + n * s.out_stride + half + 8 * r, _mm256_mul_ps(out[r][n], unit));
    }
  }
}

/// How many products of one column step fit 16 bits together where every code of the level is its
/// own centroid.
constexpr int identity_group(int level) { return level <= 4 ? 8 : level == 5 ? 4 : 2; }

/// A tile row against a few tokens. `Small`: centroids are at most those of an identity table.
template <class Tiles, int Tokens, bool Narrow, bool Min, bool Small>
void direct(const PlaneView& w, const QuantisedActivations& x, std::int64_t tile_row, float* out,
            std::int64_t out_stride) {
  constexpr int groups = Narrow ? 2 : 1, steps = 8 / groups;
  constexpr int fits = identity_group(Tiles::Level), add = !Small ? 1 : fits < steps ? fits : steps;
  const LevelTable& level_table = w.tables[plane_index(Tiles::Level)];
  const Tiles tiles(w, tile_row * w.tiles_per_row());
  const std::int64_t blocks = x.columns / 32;
  const __m256i ones = _mm256_set1_epi16(1);
  const __m256i zero = _mm256_set1_epi8(static_cast<char>(level_table.zero));
  const auto* codes = reinterpret_cast<const std::int32_t*>(x.codes);
  alignas(32) float scales[burst_tiles * 32], mins[burst_tiles * 32];
  __m256 sums[2][Tokens];
  for (int half = 0; half < 2; ++half)
    for (int n = 0; n < Tokens; ++n) sums[half][n] = _mm256_setzero_ps();
  for (std::int64_t t = 0; t < blocks; ++t) {
    const int at = static_cast<int>(t % burst_tiles);
    if (at == 0)
      expand_scales(w, tile_row, t,
                    static_cast<int>(blocks - t < burst_tiles ? blocks - t : burst_tiles),
                    level_table.unit, scales, mins);
    tiles.prefetch(t);
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      __m256i step[8];
      tiles.decode(t, 32 * half, step);
      if constexpr (!Small)
        for (int j = 0; j < 8; ++j) step[j] = _mm256_sub_epi8(step[j], zero);
      for (int n = 0; n < Tokens; ++n) {
        const std::int64_t block = n * blocks + t;
#pragma GCC unroll 2
        for (int g = 0; g < groups; ++g) {
          __m256i acc = _mm256_setzero_si256();
          if constexpr (Small) {
            const std::int32_t* s = x.sums + block * 2;
            acc = _mm256_set1_epi32(-level_table.zero * (Narrow ? s[g] : s[0] + s[1]));
          }
#pragma GCC unroll 8
          for (int j = g * steps; j < (g + 1) * steps; j += add) {
            __m256i wide = _mm256_setzero_si256();
#pragma GCC unroll 8
            for (int k = j; k < j + add; ++k) {
              const __m256i code = _mm256_set1_epi32(codes[n * blocks * 8 + t * 8 + k]);
              const __m256i products = Small
                                           ? _mm256_maddubs_epi16(step[k], code)
                                           : _mm256_maddubs_epi16(_mm256_abs_epi8(step[k]),
                                                                  _mm256_sign_epi8(code, step[k]));
              wide = kept(k == j ? products : _mm256_add_epi16(wide, products));
            }
            acc = _mm256_add_epi32(acc, _mm256_madd_epi16(wide, ones));
          }
          const int place = (at * groups + g) * 16 + 8 * half;
          sums[half][n] =
              scaled(sums[half][n], acc, _mm256_load_ps(scales + place), x.steps[block]);
          if constexpr (Min) {
            const float sum = Narrow ? x.weighted_sums16[block * 2 + g] : x.weighted_sums32[block];
            sums[half][n] =
                _mm256_fmadd_ps(_mm256_load_ps(mins + place), _mm256_set1_ps(sum), sums[half][n]);
          }
        }
      }
    }
  }
  for (int n = 0; n < Tokens; ++n)
    for (int half = 0; half < 2; ++half)
      _mm256_storeu_ps(out + n * out_stride + 8 * half,
                       _mm256_mul_ps(sums[half][n], _mm256_set1_ps(x.row_scales[n])));
}

// --- choosing the instance ---

using Direct = void (*)(const PlaneView&, const QuantisedActivations&, std::int64_t, float*,
                        std::int64_t);
using Decode = void (*)(const PlaneView&, std::int64_t, int, int, std::uint8_t*);

template <class Tiles, bool Small, bool Narrow, bool Min>
Direct direct_of_tokens(int tokens) {
  return tokens == 2 ? direct<Tiles, 2, Narrow, Min, Small> : direct<Tiles, 1, Narrow, Min, Small>;
}
template <class Tiles, bool Small>
Direct direct_of_shape(int tokens, bool narrow, bool min) {
  if constexpr (Tiles::has_mins)
    if (min)
      return (narrow ? direct_of_tokens<Tiles, Small, true, true>
                     : direct_of_tokens<Tiles, Small, false, true>)(tokens);
  return (narrow ? direct_of_tokens<Tiles, Small, true, false>
                 : direct_of_tokens<Tiles, Small, false, false>)(tokens);
}

/// The instances of one kind of tiles.
struct TileCode {
  Direct (*direct)(int tokens, bool narrow, bool min);
  Decode decode;
};
template <class Tiles, bool Small>
constexpr TileCode tile_code{direct_of_shape<Tiles, Small>, decode_panel<Tiles>};

template <int Level>
const TileCode& code_of_level(bool identity, bool small) {
  if constexpr (Level == 8)
    return identity ? tile_code<DigitTiles<8, true>, false>
                    : tile_code<DigitTiles<8, false>, false>;
  if constexpr (Level > 2 && Level < 8)
    if (identity) return tile_code<DigitTiles<Level, true>, true>;
  if constexpr (Level < 8)
    return small ? tile_code<DigitTiles<Level, false>, true>
                 : tile_code<DigitTiles<Level, false>, false>;
}
const TileCode& code_of_grid(const PointGrid& grid) {
  if (grid.marks_points) return tile_code<GridTiles<8, 11, true>, false>;
  if (grid.coordinates == 4)
    return grid.bits == 8 ? tile_code<GridTiles<4, 8, false>, false>
                          : tile_code<GridTiles<4, 9, false>, false>;
  return grid.bits == 8   ? tile_code<GridTiles<8, 8, false>, false>
         : grid.bits == 9 ? tile_code<GridTiles<8, 9, false>, false>
                          : tile_code<GridTiles<8, 10, false>, false>;
}
/// `group`: how many products of one column step fit 16 bits together.
const TileCode& code_of(const PlaneView& w, int level, int group) {
  if (w.grid) return code_of_grid(*w.grid);
  const bool identity = w.tables[plane_index(level)].identity;
  const bool small = group >= identity_group(level);
  switch (level) {
    case 2:
      return code_of_level<2>(identity, small);
    case 3:
      return code_of_level<3>(identity, small);
    case 4:
      return code_of_level<4>(identity, small);
    case 5:
      return code_of_level<5>(identity, small);
    case 6:
      return code_of_level<6>(identity, small);
    default:
      return code_of_level<8>(identity, false);
  }
}

using Run = void (*)(const Strip&);

template <bool Narrow, bool Min, int Group>
Run run_of_tokens(int tokens) {
  switch (tokens) {
    case 4:
      if constexpr (most_tokens(Group) == 4) return product<4, Narrow, Min, Group>;
      [[fallthrough]];
    case 3:
      return product<3, Narrow, Min, Group>;
    case 2:
      return product<2, Narrow, Min, Group>;
    default:
      return product<1, Narrow, Min, Group>;
  }
}
template <bool Narrow, bool Min>
Run run_of_group(int group, int tokens) {
  switch (group) {
    case 8:
      return run_of_tokens<Narrow, Min, 8>(tokens);
    case 4:
      return run_of_tokens<Narrow, Min, 4>(tokens);
    case 2:
      return run_of_tokens<Narrow, Min, 2>(tokens);
    case 1:
      return run_of_tokens<Narrow, Min, 1>(tokens);
    default:
      return run_of_tokens<Narrow, Min, 0>(tokens);
  }
}
Run run_of_shape(bool narrow, bool min, int group, int tokens) {
  return (narrow ? (min ? run_of_group<true, true> : run_of_group<true, false>)
                 : (min ? run_of_group<false, true> : run_of_group<false, false>))(group, tokens);
}

/// 16 bits hold `group` sums of two products of a centroid with a code of at most 127.
int group_of(const LevelTable& level_table, int level) {
  if (level == 8) return 0;
  int largest = 0;
  for (int i = 0; i < 1 << level; ++i)
    largest = level_table.centroid[i] > largest ? level_table.centroid[i] : largest;
  for (int group = 8; group >= 1; group /= 2)
    if (largest * 127 * 2 * group <= 32767) return group;
  return 0;
}

inline std::int32_t sum_of(__m256i v) {
  const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  const __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4E));
  return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xB1)));
}

/// Largest magnitude of 32 values.
inline float largest_of(const float* x) {
  const __m256 sign_bit = _mm256_set1_ps(-0.0f);
  __m256 eight = _mm256_setzero_ps();
  for (int i = 0; i < 4; ++i)
    eight = _mm256_max_ps(eight, _mm256_andnot_ps(sign_bit, _mm256_loadu_ps(x + i * 8)));
  __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  four = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
}
inline std::int32_t bits_of(float x) { return _mm_cvtsi128_si32(_mm_castps_si128(_mm_set_ss(x))); }
inline float float_of_bits(std::int32_t bits) {
  return _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128(bits)));
}

constexpr float least_share = least_activation_step / largest_activation_step;
/// A block's step as a share of the largest, from the ratio of the maxima: rounded up to three
/// bits.
inline float share_of(float ratio) {
  const float share = float_of_bits((bits_of(ratio) + 0x1fffff) & ~0x1fffff);
  return share > least_share ? share : least_share;
}

}  // namespace

void quantise_activations(const float* x, std::int64_t x_stride, std::int64_t token_begin,
                          std::int64_t token_end, const QuantisedActivations& out) {
  const std::int64_t blocks = out.columns / 32;
  for (std::int64_t token = token_begin; token < token_end; ++token) {
    const float* row = x + token * x_stride;
    float* const maxima = out.weighted_sums32 + token * blocks;  // in passing
    float row_largest = 0.0f;
    for (std::int64_t block = 0; block < blocks; ++block) {
      maxima[block] = largest_of(row + block * 32);
      row_largest = maxima[block] > row_largest ? maxima[block] : row_largest;
    }
    const bool zeros = row_largest < least_activation;
    const float row_inverse = zeros ? 0.0f : 127.0f / row_largest;
    out.row_scales[token] = zeros ? 0.0f : row_largest / 127.0f / largest_activation_step;
    for (std::int64_t block = 0; block < blocks; ++block) {
      const std::int64_t at = token * blocks + block;
      const float share = zeros ? least_share : share_of(maxima[block] / row_largest);
      const float step = share * largest_activation_step;
      out.steps[at] = step;
      const __m256 inverse = _mm256_set1_ps(row_inverse / share);
      __m256i codes[4];
      for (int i = 0; i < 4; ++i)
        codes[i] =
            _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(row + block * 32 + i * 8), inverse));
      // Packing works per 128-bit lane; the permutation puts the quarters back in order.
      const __m256i packed =
          _mm256_permutevar8x32_epi32(_mm256_packs_epi16(_mm256_packs_epi32(codes[0], codes[1]),
                                                         _mm256_packs_epi32(codes[2], codes[3])),
                                      _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out.codes + token * out.columns + block * 32),
                          packed);
      const std::int32_t sums[2] = {sum_of(_mm256_add_epi32(codes[0], codes[1])),
                                    sum_of(_mm256_add_epi32(codes[2], codes[3]))};
      for (int half = 0; half < 2; ++half) {
        out.sums[at * 2 + half] = sums[half];
        out.weighted_sums16[at * 2 + half] = step * static_cast<float>(sums[half]);
      }
      out.weighted_sums32[at] = step * static_cast<float>(sums[0] + sums[1]);
    }
  }
}

namespace {

/// Up to 16 rows of some tokens, kept apart where 16 floats would pass the end of y's rows.
class Output {
 public:
  Output(float* y, std::int64_t y_stride, std::int64_t rows, int tokens)
      : y_(y), y_stride_(y_stride), rows_(rows), tokens_(tokens) {
    if (rows_ == 16) return;
    for (int n = 0; n < tokens_; ++n)
      for (std::int64_t row = 0; row < rows_; ++row) edge_[n][row] = y_[n * y_stride_ + row];
  }
  ~Output() {
    if (rows_ == 16) return;
    for (int n = 0; n < tokens_; ++n)
      for (std::int64_t row = 0; row < rows_; ++row) y_[n * y_stride_ + row] = edge_[n][row];
  }
  float* data() { return rows_ == 16 ? y_ : edge_[0]; }
  std::int64_t stride() const { return rows_ == 16 ? y_stride_ : 16; }

 private:
  float* y_;
  std::int64_t y_stride_, rows_;
  int tokens_;
  float edge_[token_step][16] = {};
};

inline std::int64_t rows_of(const PlaneView& w, std::int64_t tile_row) {
  return w.rows - tile_row * 16 < 16 ? w.rows - tile_row * 16 : 16;
}

void multiply_direct(const PlaneView& w, const QuantisedActivations& x, std::int64_t tile_begin,
                     std::int64_t tile_end, float* y, std::int64_t y_stride) {
  for (std::int64_t tile_row = tile_begin; tile_row < tile_end; ++tile_row) {
    const int level = w.levels[tile_row];
    const LevelTable& level_table = w.tables[plane_index(level)];
    const int tokens = static_cast<int>(x.tokens);
    Output output(y + tile_row * 16, y_stride, rows_of(w, tile_row), tokens);
    code_of(w, level, group_of(level_table, level))
        .direct(tokens, w.scale_width == 16, w.has_min)(w, x, tile_row, output.data(),
                                                        output.stride());
  }
}

void multiply_panels(const PlaneView& w, const QuantisedActivations& x, std::int64_t tile_begin,
                     std::int64_t tile_end, float* y, std::int64_t y_stride, std::uint8_t* panel) {
  auto* const scales = reinterpret_cast<float*>(panel + strip_tiles * 512);
  auto* const mins = scales + strip_tiles * 32;
  const bool narrow = w.scale_width == 16;
  const std::int64_t tiles = w.tiles_per_row();
  const int strip = x.tokens > few_tokens ? strip_tiles : few_strip_tiles;
  Strip s{};
  s.x = &x;
  s.scales = scales;
  s.mins = mins;
  s.panel = panel;
  for (std::int64_t tile_row = tile_begin; tile_row < tile_end; ++tile_row) {
    const int level = w.levels[tile_row];
    const LevelTable& level_table = w.tables[plane_index(level)];
    const int group = group_of(level_table, level);
    const Decode decode = code_of(w, level, group).decode;
    s.zero = level_table.zero;
    const std::int64_t rows = rows_of(w, tile_row);
    float* const out = y + tile_row * 16;
    for (std::int64_t token = 0; token < x.tokens; ++token)
      for (std::int64_t row = 0; row < rows; ++row) out[token * y_stride + row] = 0.0f;
    for (s.first = 0; s.first < tiles; s.first += strip) {
      s.count = static_cast<int>(tiles - s.first < strip ? tiles - s.first : strip);
      expand_scales(w, tile_row, s.first, s.count, level_table.unit, scales, mins);
      decode(w, tile_row * tiles + s.first, s.count, group == 0 ? level_table.zero : 0, panel);
      for (s.token = 0; s.token < x.tokens;) {
        const std::int64_t left_tokens = x.tokens - s.token;
        const int step =
            static_cast<int>(left_tokens < most_tokens(group) ? left_tokens : most_tokens(group));
        Output output(out + s.token * y_stride, y_stride, rows, step);
        s.out = output.data();
        s.out_stride = output.stride();
        run_of_shape(narrow, w.has_min, group, step)(s);
        s.token += step;
      }
    }
  }
}

}  // namespace

void matmul_planes(const PlaneView& w, const QuantisedActivations& x, std::int64_t tile_begin,
                   std::int64_t tile_end, float* y, std::int64_t y_stride, void* scratch) {
  if (x.tokens <= direct_tokens)
    multiply_direct(w, x, tile_begin, tile_end, y, y_stride);
  else
    multiply_panels(w, x, tile_begin, tile_end, y, y_stride, static_cast<std::uint8_t*>(scratch));
}

}  // namespace plimsoll::avx2
