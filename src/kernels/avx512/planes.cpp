// Products over planes with AVX-512 VNNI and VBMI. Two ways through the same arithmetic, bit for
// bit:
//
//   direct  1 to 4 tokens (decode, verification): each tile is decoded in registers and consumed at
//   once; what counts
//           is to keep the planes streaming, so every plane is prefetched some tiles ahead.
//   panel   more tokens (prefill): the tiles of one tile row are decoded once into bytes in cache,
//   then multiplied with
//           up to 12 tokens at a time.
//
// vpdpbusd multiplies unsigned with signed bytes. Direct: weights are unsigned centroids, and an
// accumulator starts at -zero * (sum of the activations' codes). Panel: weights are signed
// (centroid - zero) and activations offset by 128, so that an accumulator starts at -128 * (sum of
// the weights), the same for every token.
#define PLIMSOLL_ISA avx512
#include <immintrin.h>

#include "kernels/functions-inl.h"

namespace plimsoll::avx512 {
namespace {

constexpr int direct_tokens = 4;  // beyond: panel
constexpr int panel_tokens = 6;   // times two tile rows: accumulators that fit the registers
constexpr int panel_rows = 2;     // tile rows decoded together
constexpr int strip_tiles =
    64;  // tiles of a row decoded at a time: 32 KiB of bytes, within L2 twice
constexpr int prefetch_tiles = 24;  // ahead, per plane; measured in lab and bench

using Vector = __m512i;

inline __m512i load(const void* p) { return _mm512_loadu_si512(p); }
inline __m512i left(__m512i a, int bits) {
  return _mm512_slli_epi16(a, static_cast<unsigned>(bits));
}
inline __m512i right(__m512i a, int bits) {
  return _mm512_srli_epi16(a, static_cast<unsigned>(bits));
}
/// Bits of `a` where the byte mask has ones, of `b` elsewhere.
template <int Mask>
inline __m512i select(__m512i a, __m512i b) {
  return _mm512_ternarylogic_epi32(_mm512_set1_epi8(static_cast<char>(Mask)), a, b, 0xCA);
}

/// The centroid table of a level in registers, and what it takes to look codes up whose neighbours'
/// bits are still in their bytes: vpermb uses the low six bits, so shorter codes need tables that
/// repeat.
template <int Level, bool Identity>
struct Lookup {
  __m512i table[3];
  explicit Lookup(const LevelTable& t) {
    alignas(64) std::uint8_t bytes[64];
    if constexpr (Level == 2) {
      for (int place = 0; place < 3; ++place) {
        for (int i = 0; i < 64; ++i) bytes[i] = t.centroid[i >> 2 * place & 3];
        table[place] = load(bytes);
      }
    } else if constexpr (Level < 8 && !Identity) {
      for (int i = 0; i < 64; ++i) bytes[i] = t.centroid[i & ((1 << Level) - 1)];
      table[0] = load(bytes);
    }
  }
  /// Level 2: the table of field 2 serves field 3 too, moved down.
  __m512i pair(__m512i fields, int field) const {
    return _mm512_permutexvar_epi8(field == 3 ? right(fields, 2) : fields,
                                   table[field < 2 ? field : 2]);
  }
  __m512i operator()(__m512i codes) const {
    if constexpr (Level == 8) return codes;
    if constexpr (Identity) return _mm512_and_si512(codes, _mm512_set1_epi8((1 << Level) - 1));
    return _mm512_permutexvar_epi8(codes, table[0]);
  }
};

#include "kernels/decode_tile-inl.h"

template <int Planes>
inline void tile_pointers(const PlaneView& w, std::int64_t tile,
                          const std::uint8_t* (&digits)[digit_planes]) {
  for (int p = 0; p < Planes; ++p) digits[p] = w.digits[p] + tile * plane_stride[p];
}

inline __m512 half_vector(const std::uint16_t* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline __m512 byte_vector(const std::uint8_t* p) {
  return _mm512_cvtepi32_ps(
      _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}

/// Group scales of one kind as floats, 16 rows at `group` (counted over the whole tensor).
template <ScaleKind Kind>
inline __m512 group_scale(const std::uint8_t* scales, std::int64_t group) {
  if constexpr (Kind == ScaleKind::f16) {
    return half_vector(reinterpret_cast<const std::uint16_t*>(scales) + group * 16);
  } else {
    const __m128i raw = _mm_loadu_si128(reinterpret_cast<const __m128i*>(scales + group * 16));
    if constexpr (Kind == ScaleKind::i8) return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(raw));
    if constexpr (Kind == ScaleKind::u8) return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(raw));
    if constexpr (Kind == ScaleKind::u4)
      return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_and_si128(raw, _mm_set1_epi8(15))));
    if constexpr (Kind == ScaleKind::ue4m3)  // the bits of a half whose bias is larger by 8; halved
      return _mm512_mul_ps(_mm512_cvtph_ps(_mm256_slli_epi16(_mm256_cvtepu8_epi16(raw), 7)),
                           _mm512_set1_ps(0x1p7f));
    if constexpr (Kind == ScaleKind::e8m0) {
      const __m512i e = _mm512_cvtepu8_epi32(raw);
      const __m512i normal = _mm512_slli_epi32(_mm512_sub_epi32(e, _mm512_set1_epi32(1)), 23);
      const __m512i subnormal = _mm512_sllv_epi32(_mm512_set1_epi32(0x00200000), e);
      return _mm512_castsi512_ps(_mm512_mask_mov_epi32(
          normal, _mm512_cmplt_epu32_mask(e, _mm512_set1_epi32(2)), subnormal));
    }
    return _mm512_set1_ps(1.0f);
  }
}

/// Scales (and mins) of tiles [tile, tile + count) of a tile row as floats: [tile][groups][16],
/// unit included.
template <ScaleKind Kind>
void expand_scales(const PlaneView& w, std::int64_t tile_row, std::int64_t first, int count,
                   float unit, float* scales, float* mins) {
  const int groups = w.scale_width == 16 ? 2 : 1;
  const __m512 unit_vector = _mm512_set1_ps(unit);
  const std::int64_t base = tile_row * w.tiles_per_row() + first;
  for (int t = 0; t < count; ++t) {
    const std::int64_t super = (tile_row * (w.columns / 256) + (first + t) / 8) * 16;
    for (int g = 0; g < groups; ++g) {
      const std::int64_t group = (base + t) * groups + g;
      __m512 scale = unit_vector;
      if constexpr (Kind != ScaleKind::none)
        scale = _mm512_mul_ps(group_scale<Kind>(w.scales, group), unit_vector);
      if (w.has_super) scale = _mm512_mul_ps(scale, half_vector(w.super_scales + super));
      _mm512_store_ps(scales + (t * groups + g) * 16, scale);
      if (!w.has_min) continue;
      __m512 min;
      if (!w.has_super) {
        min = half_vector(reinterpret_cast<const std::uint16_t*>(w.mins) + group * 16);
      } else {
        if constexpr (Kind == ScaleKind::u4) {
          const __m128i raw =
              _mm_loadu_si128(reinterpret_cast<const __m128i*>(w.scales + group * 16));
          min = _mm512_cvtepi32_ps(
              _mm512_cvtepu8_epi32(_mm_and_si128(_mm_srli_epi16(raw, 4), _mm_set1_epi8(15))));
        } else {
          min = byte_vector(w.mins + group * 16);
        }
        min = _mm512_mul_ps(min, half_vector(w.super_mins + super));
        min = _mm512_sub_ps(_mm512_setzero_ps(), min);
      }
      _mm512_store_ps(mins + (t * groups + g) * 16, min);
    }
  }
}

using ExpandScales = void (*)(const PlaneView&, std::int64_t, std::int64_t, int, float, float*,
                              float*);
ExpandScales expander(ScaleKind kind) {
  switch (kind) {
    case ScaleKind::none:
      return expand_scales<ScaleKind::none>;
    case ScaleKind::f16:
      return expand_scales<ScaleKind::f16>;
    case ScaleKind::e8m0:
      return expand_scales<ScaleKind::e8m0>;
    case ScaleKind::ue4m3:
      return expand_scales<ScaleKind::ue4m3>;
    case ScaleKind::i8:
      return expand_scales<ScaleKind::i8>;
    case ScaleKind::u8:
      return expand_scales<ScaleKind::u8>;
    case ScaleKind::u4:
      return expand_scales<ScaleKind::u4>;
  }
  return nullptr;
}

/// What scale expansion and decoding of one tile row's stretch of tiles leave behind, 64-byte
/// aligned.
struct DecodedStrip {
  float scales[strip_tiles * 32];         // [tile][groups][16]
  float mins[strip_tiles * 32];           // [tile][groups][16]
  std::uint8_t bytes[strip_tiles * 512];  // [tile][8][64], panel only
};
struct Scratch {
  DecodedStrip strips[panel_rows];
  std::int32_t
      starts[direct_tokens * strip_tiles * 2];  // direct only: -zero * sum of codes per 16 columns
};
static_assert(sizeof(Scratch) <= plane_scratch_bytes);

/// One stretch of tiles of one tile row (or of panel_rows of them) against some tokens.
struct Strip {
  const PlaneView* w;
  const QuantisedActivations* x;
  std::int64_t tile_row;
  std::int64_t first;           // tile within the row
  int count;                    // tiles
  std::int64_t token;           // first token
  const DecodedStrip* decoded;  // of the first tile row; the others follow
  const std::int32_t* starts;   // of the first token
  float* y;                     // of the first token, at the tile row's first row
  std::int64_t y_stride;
  __mmask16 rows;  // that exist in the last tile row
};

inline __m512 scaled(__m512 out, __m512i acc, __m512 scale, float unit) {
  return _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc), _mm512_mul_ps(scale, _mm512_set1_ps(unit)), out);
}

template <int Level, bool Identity, int Tokens, bool Narrow, bool Min>
void direct(const Strip& s) {
  constexpr int planes = planes_of_level(Level);
  const PlaneView& w = *s.w;
  const QuantisedActivations& x = *s.x;
  const Lookup<Level, Identity> lookup(w.tables[planes - 1]);
  __m512 out[Tokens];
  for (int n = 0; n < Tokens; ++n) out[n] = _mm512_maskz_loadu_ps(s.rows, s.y + n * s.y_stride);
  const std::uint8_t* digits[digit_planes];
  tile_pointers<planes>(w, s.tile_row * w.tiles_per_row() + s.first, digits);
  const std::int64_t blocks = x.columns / 32;
  for (int t = 0; t < s.count; ++t) {
    for (int p = 0; p < planes; ++p)
      for (int line = 0; line < plane_stride[p]; line += 64)
        _mm_prefetch(
            reinterpret_cast<const char*>(digits[p] + prefetch_tiles * plane_stride[p] + line),
            _MM_HINT_T0);
    __m512i step[8];
    decode_tile<Level>(digits, 0, lookup, step);
    for (int p = 0; p < planes; ++p) digits[p] += plane_stride[p];
    for (int n = 0; n < Tokens; ++n) {
      const std::int64_t token = s.token + n;
      const auto* codes =
          reinterpret_cast<const std::int32_t*>(x.codes + token * x.columns) + (s.first + t) * 8;
      const std::int32_t* start = s.starts + n * strip_tiles * 2 + t * 2;
      const float unit = x.scales[token * blocks + s.first + t];
      if constexpr (Narrow) {
        for (int g = 0; g < 2; ++g) {
          __m512i acc = _mm512_set1_epi32(start[g]);
          for (int j = 4 * g; j < 4 * g + 4; ++j)
            acc = _mm512_dpbusd_epi32(acc, step[j], _mm512_set1_epi32(codes[j]));
          out[n] = scaled(out[n], acc, _mm512_load_ps(s.decoded->scales + (t * 2 + g) * 16), unit);
          if constexpr (Min)
            out[n] = _mm512_fmadd_ps(
                _mm512_load_ps(s.decoded->mins + (t * 2 + g) * 16),
                _mm512_set1_ps(x.weighted_sums16[(token * blocks + s.first + t) * 2 + g]), out[n]);
        }
      } else {
        __m512i acc = _mm512_set1_epi32(start[0]);
        for (int j = 0; j < 8; ++j)
          acc = _mm512_dpbusd_epi32(acc, step[j], _mm512_set1_epi32(codes[j]));
        out[n] = scaled(out[n], acc, _mm512_load_ps(s.decoded->scales + t * 16), unit);
        if constexpr (Min)
          out[n] = _mm512_fmadd_ps(_mm512_load_ps(s.decoded->mins + t * 16),
                                   _mm512_set1_ps(x.weighted_sums32[token * blocks + s.first + t]),
                                   out[n]);
      }
    }
  }
  for (int n = 0; n < Tokens; ++n) _mm512_mask_storeu_ps(s.y + n * s.y_stride, s.rows, out[n]);
}

/// Decodes a strip into signed bytes.
template <int Level, bool Identity>
void decode_panel(const Strip& s, std::uint8_t* panel) {
  constexpr int planes = planes_of_level(Level);
  const PlaneView& w = *s.w;
  const Lookup<Level, Identity> lookup(w.tables[planes - 1]);
  const __m512i zero = _mm512_set1_epi8(static_cast<char>(w.tables[planes - 1].zero));
  const std::uint8_t* digits[digit_planes];
  tile_pointers<planes>(w, s.tile_row * w.tiles_per_row() + s.first, digits);
  for (int t = 0; t < s.count; ++t) {
    __m512i step[8];
    decode_tile<Level>(digits, 0, lookup, step);
    for (int p = 0; p < planes; ++p) {
      digits[p] += plane_stride[p];
      _mm_prefetch(reinterpret_cast<const char*>(digits[p] + 8 * plane_stride[p]), _MM_HINT_T0);
    }
    for (int j = 0; j < 8; ++j)
      _mm512_store_si512(panel + t * 512 + j * 64, _mm512_sub_epi8(step[j], zero));
  }
}

template <int Rows, int Tokens, bool Narrow, bool Min>
void panel_product(const Strip& s) {
  const QuantisedActivations& x = *s.x;
  const std::int64_t blocks = x.columns / 32;
  __m512 out[Rows][Tokens];
  for (int r = 0; r < Rows; ++r)
    for (int n = 0; n < Tokens; ++n)
      out[r][n] =
          _mm512_maskz_loadu_ps(r == Rows - 1 ? s.rows : 0xffff, s.y + n * s.y_stride + 16 * r);
  const auto* codes =
      reinterpret_cast<const std::int32_t*>(x.codes + s.token * x.columns) + s.first * 8;
  const std::int64_t codes_stride = x.columns / 4;
  const float* units = x.scales + s.token * blocks + s.first;
  const float* sums32 = x.weighted_sums32 + s.token * blocks + s.first;
  const float* sums16 = x.weighted_sums16 + (s.token * blocks + s.first) * 2;
  const __m512i offset = _mm512_set1_epi8(-128);  // as unsigned: 128
  constexpr int groups = Narrow ? 2 : 1, steps = 8 / groups;
  for (int t = 0; t < s.count; ++t) {
    for (int g = 0; g < groups; ++g) {
      const std::int64_t at = t * 512 + g * steps * 64;
      __m512i acc[Rows][Tokens];
      for (int r = 0; r < Rows; ++r) {
        // 128 * (sum of weights), to be taken off every token's dot product with codes + 128.
        __m512i start = _mm512_setzero_si512();
        for (int j = 0; j < steps; ++j)
          start = _mm512_dpbusd_epi32(start, offset, load(s.decoded[r].bytes + at + j * 64));
        start = _mm512_sub_epi32(_mm512_setzero_si512(), start);
        for (int n = 0; n < Tokens; ++n) acc[r][n] = start;
      }
      for (int j = 0; j < steps; ++j) {
        __m512i line[Rows];
        for (int r = 0; r < Rows; ++r) line[r] = load(s.decoded[r].bytes + at + j * 64);
        for (int n = 0; n < Tokens; ++n) {
          const __m512i code = _mm512_set1_epi32(codes[n * codes_stride + t * 8 + g * steps + j]);
          for (int r = 0; r < Rows; ++r) acc[r][n] = _mm512_dpbusd_epi32(acc[r][n], code, line[r]);
        }
      }
      for (int r = 0; r < Rows; ++r) {
        const __m512 scale = _mm512_load_ps(s.decoded[r].scales + (t * groups + g) * 16);
        for (int n = 0; n < Tokens; ++n)
          out[r][n] = scaled(out[r][n], acc[r][n], scale, units[n * blocks + t]);
        if constexpr (Min) {
          const __m512 min = _mm512_load_ps(s.decoded[r].mins + (t * groups + g) * 16);
          for (int n = 0; n < Tokens; ++n) {
            const float sum = Narrow ? sums16[(n * blocks + t) * 2 + g] : sums32[n * blocks + t];
            out[r][n] = _mm512_fmadd_ps(min, _mm512_set1_ps(sum), out[r][n]);
          }
        }
      }
    }
  }
  for (int r = 0; r < Rows; ++r)
    for (int n = 0; n < Tokens; ++n)
      _mm512_mask_storeu_ps(s.y + n * s.y_stride + 16 * r, r == Rows - 1 ? s.rows : 0xffff,
                            out[r][n]);
}

// --- choosing the instance ---

using Run = void (*)(const Strip&);
using Decode = void (*)(const Strip&, std::uint8_t*);

template <int Level, bool Identity>
Run choose_direct(int tokens, bool narrow, bool min) {
#define PLIMSOLL_SHAPE(n)                                                                         \
  (narrow                                                                                         \
       ? (min ? direct<Level, Identity, n, true, true> : direct<Level, Identity, n, true, false>) \
       : (min ? direct<Level, Identity, n, false, true>                                           \
              : direct<Level, Identity, n, false, false>))
  return tokens >= 4 ? PLIMSOLL_SHAPE(4) : tokens >= 2 ? PLIMSOLL_SHAPE(2) : PLIMSOLL_SHAPE(1);
#undef PLIMSOLL_SHAPE
}

struct LevelCode {
  Run (*direct)(int tokens, bool narrow, bool min);
  Decode decode;
};
LevelCode code_of_level(int level, bool identity) {
  switch (level) {
    case 2:
      return {choose_direct<2, false>, decode_panel<2, false>};
    case 3:
      return identity ? LevelCode{choose_direct<3, true>, decode_panel<3, true>}
                      : LevelCode{choose_direct<3, false>, decode_panel<3, false>};
    case 4:
      return identity ? LevelCode{choose_direct<4, true>, decode_panel<4, true>}
                      : LevelCode{choose_direct<4, false>, decode_panel<4, false>};
    case 5:
      return identity ? LevelCode{choose_direct<5, true>, decode_panel<5, true>}
                      : LevelCode{choose_direct<5, false>, decode_panel<5, false>};
    case 6:
      return identity ? LevelCode{choose_direct<6, true>, decode_panel<6, true>}
                      : LevelCode{choose_direct<6, false>, decode_panel<6, false>};
    default:
      return {choose_direct<8, true>, decode_panel<8, true>};
  }
}

template <int Rows, bool Narrow, bool Min>
Run choose_tokens(int tokens) {
  switch (tokens) {
    case 6:
      return panel_product<Rows, 6, Narrow, Min>;
    case 5:
      return panel_product<Rows, 5, Narrow, Min>;
    case 4:
      return panel_product<Rows, 4, Narrow, Min>;
    case 3:
      return panel_product<Rows, 3, Narrow, Min>;
    case 2:
      return panel_product<Rows, 2, Narrow, Min>;
    default:
      return panel_product<Rows, 1, Narrow, Min>;
  }
}
template <int Rows>
Run choose_panel(int tokens, bool narrow, bool min) {
  return narrow
             ? (min ? choose_tokens<Rows, true, true> : choose_tokens<Rows, true, false>)(tokens)
             : (min ? choose_tokens<Rows, false, true> : choose_tokens<Rows, false, false>)(tokens);
}
int direct_step(std::int64_t left) { return left >= 4 ? 4 : left >= 2 ? 2 : 1; }

}  // namespace

void quantise_activations(const float* x, std::int64_t x_stride, std::int64_t token_begin,
                          std::int64_t token_end, const QuantisedActivations& out) {
  const std::int64_t blocks = out.columns / 32;
  const __m128i flip = _mm_set1_epi8(out.tokens > direct_tokens ? -128 : 0);
  for (std::int64_t token = token_begin; token < token_end; ++token) {
    const float* row = x + token * x_stride;
    for (std::int64_t block = 0; block < blocks; ++block) {
      const __m512 low = _mm512_loadu_ps(row + block * 32),
                   high = _mm512_loadu_ps(row + block * 32 + 16);
      const float largest =
          _mm512_reduce_max_ps(_mm512_max_ps(_mm512_abs_ps(low), _mm512_abs_ps(high)));
      const float scale = largest / 127.0f;
      const __m512 inverse = _mm512_set1_ps(largest > 0.0f ? 127.0f / largest : 0.0f);
      const __m512i codes[2] = {_mm512_cvtps_epi32(_mm512_mul_ps(low, inverse)),
                                _mm512_cvtps_epi32(_mm512_mul_ps(high, inverse))};
      const std::int64_t at = token * blocks + block;
      out.scales[at] = scale;
      std::int32_t both = 0;
      for (int half = 0; half < 2; ++half) {
        const __m128i bytes = _mm_xor_si128(_mm512_cvtsepi32_epi8(codes[half]), flip);
        _mm_storeu_si128(
            reinterpret_cast<__m128i*>(out.codes + token * out.columns + block * 32 + half * 16),
            bytes);
        const std::int32_t sum = _mm512_reduce_add_epi32(codes[half]);
        out.sums[at * 2 + half] = sum;
        out.weighted_sums16[at * 2 + half] = scale * static_cast<float>(sum);
        both += sum;
      }
      out.weighted_sums32[at] = scale * static_cast<float>(both);
    }
  }
}

void matmul_planes(const PlaneView& w, const QuantisedActivations& x, std::int64_t tile_begin,
                   std::int64_t tile_end, float* y, std::int64_t y_stride, void* memory) {
  Scratch& scratch = *static_cast<Scratch*>(memory);
  const bool narrow = w.scale_width == 16, by_panel = x.tokens > direct_tokens;
  const ExpandScales expand = expander(w.scale_kind);
  const std::int64_t tiles = w.tiles_per_row();

  Strip s{};
  s.w = &w;
  s.x = &x;
  s.decoded = scratch.strips;
  s.y_stride = y_stride;
  int started_zero = -1;  // what scratch.starts was computed for
  std::int64_t started_strip = -1;
  for (std::int64_t tile_row = tile_begin; tile_row < tile_end;) {
    const int tile_rows_now = by_panel && tile_end - tile_row >= panel_rows ? panel_rows : 1;
    const std::int64_t rows = w.rows - (tile_row + tile_rows_now - 1) * 16;
    s.rows = static_cast<__mmask16>(rows >= 16 ? 0xffff : (1 << rows) - 1);
    float* const out = y + tile_row * 16;
    for (int r = 0; r < tile_rows_now; ++r)
      for (std::int64_t token = 0; token < x.tokens; ++token)
        _mm512_mask_storeu_ps(out + token * y_stride + 16 * r,
                              r == tile_rows_now - 1 ? s.rows : 0xffff, _mm512_setzero_ps());
    for (s.first = 0; s.first < tiles; s.first += strip_tiles) {
      s.count = static_cast<int>(tiles - s.first < strip_tiles ? tiles - s.first : strip_tiles);
      LevelCode code{};
      for (int r = 0; r < tile_rows_now; ++r) {
        s.tile_row = tile_row + r;
        const int level = w.levels[s.tile_row];
        const LevelTable& level_table = w.tables[plane_index(level)];
        code = code_of_level(level, level_table.identity);
        DecodedStrip& decoded = scratch.strips[r];
        expand(w, s.tile_row, s.first, s.count, level_table.unit, decoded.scales, decoded.mins);
        if (by_panel) {
          code.decode(s, decoded.bytes);
        } else if (started_zero != level_table.zero || started_strip != s.first) {
          for (std::int64_t n = 0; n < x.tokens; ++n)
            for (int t = 0; t < s.count; ++t) {
              const std::int32_t* sums = x.sums + (n * tiles + s.first + t) * 2;
              std::int32_t* start = scratch.starts + (n * strip_tiles + t) * 2;
              start[0] = -level_table.zero * (narrow ? sums[0] : sums[0] + sums[1]);
              start[1] = -level_table.zero * sums[1];
            }
          started_zero = level_table.zero;
          started_strip = s.first;
        }
      }
      for (s.token = 0; s.token < x.tokens;) {
        const std::int64_t left = x.tokens - s.token;
        s.y = out + s.token * y_stride;
        if (by_panel) {
          const int step = static_cast<int>(left < panel_tokens ? left : panel_tokens);
          (tile_rows_now == panel_rows ? choose_panel<panel_rows> : choose_panel<1>)(step, narrow,
                                                                                     w.has_min)(s);
          s.token += step;
        } else {
          const int step = direct_step(left);
          s.starts = scratch.starts + s.token * strip_tiles * 2;
          code.direct(step, narrow, w.has_min)(s);
          s.token += step;
        }
      }
    }
    tile_row += tile_rows_now;
  }
}

}  // namespace plimsoll::avx512
