// Products over planes with AVX-512 VNNI and VBMI. Two ways through the same arithmetic, bit for
// bit:
//
//   direct  1 to 8 tokens (decode, verification, small batches): each tile is decoded in registers
//           and consumed at once; what counts is to keep the planes streaming, so every plane is
//           prefetched some tiles ahead.
//   panel   more tokens (prefill): the tiles of two tile rows are decoded once into bytes in cache,
//           then multiplied with 6 tokens at a time.
//
// vpdpbusd multiplies unsigned with signed bytes. Direct: weights are unsigned centroids, and an
// accumulator starts at -zero * (sum of the activations' codes). Panel: weights are signed
// (centroid - zero) and activations offset by 128, so that an accumulator starts at -128 * (sum of
// the weights), the same for every token.
//
// On the two ports that do dot products, a block of 32 columns costs a register of rows and a token
// eight of them and one multiply-add of the converted sum with the block's scale: 8/9 of the limit
// at best. Full steps of activations would cost another multiplication there. So the panel keeps
// the scales times every kind of step, loads the one that a token's block wants, and adds the power
// of two to its exponent; the conversion and that addition go to other ports.
#define PLIMSOLL_ISA avx512
#include <immintrin.h>

#include "kernels/functions-inl.h"

namespace plimsoll::avx512 {
namespace {

constexpr int direct_tokens = 8;  // at most; beyond: panel
constexpr int panel_tokens = 6;   // times two tile rows: accumulators that fit the registers
constexpr int panel_rows = 2;     // tile rows decoded together
constexpr int strip_tiles =
    64;  // tiles of a row decoded at a time: 32 KiB of bytes, within L2 twice
constexpr int prefetch_tiles = 48;  // ahead, into L2: the few buffers of L1 would be the limit
constexpr int burst_tiles = 8;  // direct: scales expanded together; short, so that reading goes on
constexpr int direct_tiles = 1024;  // of a row, whose starts fit the scratch
/// Steps of activations over their powers of two: 1, 1.25, 1.5 and 1.75.
constexpr int step_kinds = 4;
constexpr int super_tiles = 8;  // tiles of a super block's 256 columns
static_assert(burst_tiles % super_tiles == 0 && strip_tiles % super_tiles == 0 &&
              direct_tiles % super_tiles == 0);

using Vector = __m512i;

inline __m512i load(const void* p) { return _mm512_loadu_si512(p); }
inline __m512i left(__m512i a, int bits) {
  return _mm512_slli_epi16(a, static_cast<unsigned>(bits));
}
inline __m512i right(__m512i a, int bits) {
  return _mm512_srli_epi16(a, static_cast<unsigned>(bits));
}
/// A vector that the compiler has to keep: it would rather make constants anew in every round.
inline __m512i kept(__m512i v) {
  __asm__("" : "+v"(v));
  return v;
}

/// The centroid table of a level in registers, and what it takes to look codes up whose neighbours'
/// bits are still in their bytes: vpermb uses the low six bits, so shorter codes need tables that
/// repeat.
template <int Level, bool Identity>
struct Lookup {
  static constexpr bool identity = Identity;
  static constexpr int table_bits = Level == 8 ? 4 : Level;
  __m512i table[3];
  __m512i aa = kept(_mm512_set1_epi8(static_cast<char>(0xAA)));
  __m512i cc = kept(_mm512_set1_epi8(static_cast<char>(0xCC)));
  __m512i code_mask = kept(_mm512_set1_epi8(static_cast<char>((1 << table_bits) - 1)));

  explicit Lookup(const LevelTable& t) {
    alignas(64) std::uint8_t bytes[64];
    if constexpr (Level == 2) {
      for (int place = 0; place < 3; ++place) {
        for (int i = 0; i < 64; ++i) bytes[i] = t.centroid[i >> 2 * place & 3];
        table[place] = load(bytes);
      }
    } else if constexpr (!Identity) {
      for (int i = 0; i < 64; ++i) bytes[i] = t.centroid[i & ((1 << table_bits) - 1)];
      table[0] = load(bytes);
    }
  }
  template <int Mask>
  __m512i select(__m512i a, __m512i b) const {
    const __m512i mask = Mask == 0xAA   ? aa
                         : Mask == 0xCC ? cc
                                        : _mm512_set1_epi8(static_cast<char>(Mask));
    return _mm512_ternarylogic_epi32(a, b, mask, 0xE4);  // mask ? a : b
  }
  /// Level 2: the table of field 2 serves field 3 too, moved down.
  __m512i pair(__m512i fields, int field) const {
    return _mm512_permutexvar_epi8(field == 3 ? right(fields, 2) : fields,
                                   table[field < 2 ? field : 2]);
  }
  __m512i operator()(__m512i codes) const {
    if constexpr (Identity) return _mm512_and_si512(codes, code_mask);
    return _mm512_permutexvar_epi8(codes, table[0]);
  }
  __m512i child(__m512i leading, __m512i rest) const {
    return _mm512_add_epi8((*this)(leading), _mm512_and_si512(rest, code_mask));
  }
};

#include "kernels/decode_tile-inl.h"

/// The cache that something is asked for; compilers differ in the type of what _mm_prefetch takes.
enum class Into { level1, level2 };

template <Into Cache>
inline void prefetch_lines(const std::uint8_t* p, int bytes) {
#pragma GCC unroll 2
  for (int line = 0; line < bytes; line += 64) {
    const char* const at = reinterpret_cast<const char*>(p + line);
    if constexpr (Cache == Into::level1)
      _mm_prefetch(at, _MM_HINT_T0);
    else
      _mm_prefetch(at, _MM_HINT_T1);
  }
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
  /// Centroids of the t-th tile.
  void decode(std::int64_t t, __m512i (&step)[8]) const {
    decode_tile<Level>(digits_, t, 0, lookup_, step);
  }
  /// Asks for what the t-th tile takes.
  template <Into Cache>
  void prefetch(std::int64_t t) const {
#pragma GCC unroll 8
    for (int p = 0; p < planes; ++p)
      prefetch_lines<Cache>(digits_[p] + t * plane_stride[p], plane_stride[p]);
  }

 private:
  static constexpr int planes = planes_of_level(Level);
  Lookup<Level, Identity> lookup_;
  const std::uint8_t* digits_[digit_planes];
};

#include "kernels/avx512/grid_tiles-inl.h"

inline __m512 half_vector(const std::uint16_t* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}

/// Group scales of one kind as floats, 16 rows at `group` (counted over the whole tensor).
template <ScaleKind Kind>
inline __m512 group_scale(const std::uint8_t* scales, std::int64_t group) {
  if constexpr (Kind == ScaleKind::f16) {
    return half_vector(reinterpret_cast<const std::uint16_t*>(scales) + group * 16);
  } else if constexpr (Kind == ScaleKind::odd4) {
    const __m128i both = _mm_loadu_si128(reinterpret_cast<const __m128i*>(scales + group / 2 * 16));
    const __m512i bits = _mm512_srli_epi32(_mm512_cvtepu8_epi32(both), group % 2 * 4);
    return _mm512_cvtepi32_ps(_mm512_add_epi32(
        _mm512_slli_epi32(_mm512_and_si512(bits, _mm512_set1_epi32(15)), 1), _mm512_set1_epi32(1)));
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

/// Mins of the same, of super blocks.
template <ScaleKind Kind>
inline __m512 group_min(const PlaneView& w, std::int64_t group) {
  const std::uint8_t* const at = (Kind == ScaleKind::u4 ? w.scales : w.mins) + group * 16;
  __m128i raw = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
  if constexpr (Kind == ScaleKind::u4)
    raw = _mm_and_si128(_mm_srli_epi16(raw, 4), _mm_set1_epi8(15));
  return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(raw));
}

/// Scales (and mins) of tiles [first, first + count) of a tile row as floats: [tile][groups][16],
/// unit included. `first` is a super block's.
template <ScaleKind Kind>
void expand_scales(const PlaneView& w, std::int64_t tile_row, std::int64_t first, int count,
                   float unit, float* scales, float* mins) {
  const int groups = w.scale_width == 16 ? 2 : 1;
  const std::int64_t base = (tile_row * w.tiles_per_row() + first) * groups;
  const std::int64_t supers = tile_row * (w.columns / 256) + first / super_tiles;
  const int end = count * groups;
  for (int begin = 0; begin < end; begin += super_tiles * groups) {
    const int stop = end - begin < super_tiles * groups ? end : begin + super_tiles * groups;
    const std::int64_t super = (supers + begin / groups / super_tiles) * 16;
    __m512 factor = _mm512_set1_ps(unit);
    if (w.has_super) factor = _mm512_mul_ps(factor, half_vector(w.super_scales + super));
    for (int g = begin; g < stop; ++g) {
      __m512 scale = factor;
      if constexpr (Kind != ScaleKind::none)
        scale = _mm512_mul_ps(group_scale<Kind>(w.scales, base + g), factor);
      _mm512_store_ps(scales + g * 16, scale);
    }
    if (!w.has_min) continue;
    if (w.has_super) {
      const __m512 min_factor =
          _mm512_sub_ps(_mm512_setzero_ps(), half_vector(w.super_mins + super));
      for (int g = begin; g < stop; ++g)
        _mm512_store_ps(mins + g * 16, _mm512_mul_ps(group_min<Kind>(w, base + g), min_factor));
    } else {
      const auto* const halves = reinterpret_cast<const std::uint16_t*>(w.mins);
      for (int g = begin; g < stop; ++g)
        _mm512_store_ps(mins + g * 16, half_vector(halves + (base + g) * 16));
    }
  }
}

/// Asks for the scales of burst_tiles tiles that come up in a while: too little at a time for the
/// processor's own prefetcher.
class ScalePrefetch {
 public:
  ScalePrefetch(const PlaneView& w, std::int64_t tile_row, std::int64_t tile) {
    const int groups = w.scale_width == 16 ? 2 : 1;
    tile += tile_row * w.tiles_per_row() + prefetch_tiles;
    if (w.scale_kind != ScaleKind::none)
      add(w.scales, tile,
          groups * (w.scale_kind == ScaleKind::f16    ? 32
                    : w.scale_kind == ScaleKind::odd4 ? 8
                                                      : 16));
    if (w.mins) add(w.mins, tile, groups * (w.has_super ? 16 : 32));
    if (w.has_super) add(w.super_scales, tile, 4);
    if (w.super_mins) add(w.super_mins, tile, 4);
  }
  void next_burst() {
    for (int i = 0; i < count_; ++i) {
      for (int line = 0; line < burst_tiles * tile_bytes_[i]; line += 64)
        _mm_prefetch(at_[i] + line, _MM_HINT_T1);
      at_[i] += burst_tiles * tile_bytes_[i];
    }
  }

 private:
  void add(const void* data, std::int64_t tile, int tile_bytes) {
    at_[count_] = static_cast<const char*>(data) + tile * tile_bytes;
    tile_bytes_[count_++] = tile_bytes;
  }

  int count_ = 0;
  const char* at_[4];
  int tile_bytes_[4];
};

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
    case ScaleKind::odd4:
      return expand_scales<ScaleKind::odd4>;
  }
  return nullptr;
}

/// Tokens are multiplied in groups: all of them in the direct path, by panel_tokens in the other.
/// What belongs to the tokens of a group lies side by side, so that a tile needs one address for
/// all of them (but for the panel's codes: few rows would not be worth scattering them):
///
///   codes, of 4 columns each   direct: [tile][step][width]; panel: [token][tile][step]
///   steps, in parts            [tile][width]
///   sums32                     [tile][width]
///   sums, sums16               [tile][half][width]
///
/// `width` is the group's number of tokens; direct: the next number that there is code for. What
/// stands for tokens beyond the last is computed and thrown away.
inline int direct_width(std::int64_t tokens) {
  return tokens <= 2 ? static_cast<int>(tokens) : static_cast<int>((tokens + 1) / 2 * 2);
}
inline bool is_direct(std::int64_t tokens) { return tokens <= direct_tokens; }

/// What scale expansion and decoding of one tile row's stretch of tiles leave behind, 64-byte
/// aligned.
struct DecodedStrip {
  float scales[strip_tiles * 32 * step_kinds];  // panel: [tile][groups][step_kinds][16]
  float mins[strip_tiles * 32];                 // [tile][groups][16]
  std::int32_t starts[strip_tiles * 32];  // panel only: [tile][groups][16], -128 * sum of weights
  std::uint8_t bytes[strip_tiles * 512];  // panel only: [tile][8][64]
};
using PanelScratch = DecodedStrip[panel_rows];
/// Direct: -zero * (sum of codes), [tile][groups][direct_width].
using DirectScratch = std::int32_t[direct_tokens * direct_tiles * 2];
static_assert(sizeof(PanelScratch) <= plane_scratch_bytes);
static_assert(sizeof(DirectScratch) <= plane_scratch_bytes);

/// One stretch of tiles of one tile row (or of panel_rows of them) against some tokens.
struct Strip {
  const PlaneView* w;
  const QuantisedActivations* x;
  std::int64_t tile_row;
  std::int64_t first;           // tile within the row
  int count;                    // tiles
  std::int64_t token;           // first token
  const DecodedStrip* decoded;  // panel: of the first tile row; the others follow
  const std::int32_t* starts;   // direct: of the first tile
  ExpandScales expand;          // direct
  float* y;                     // of the first token, at the tile row's first row
  std::int64_t y_stride;
  __mmask16 rows;  // that exist in the last tile row

  bool ends_row() const { return first + count == w->tiles_per_row(); }
};

/// Rows that exist in a tile row.
inline __mmask16 rows_of(const PlaneView& w, std::int64_t tile_row) {
  const std::int64_t rows = w.rows - tile_row * 16;
  return static_cast<__mmask16>(rows >= 16 ? 0xffff : (1 << rows) - 1);
}

/// What earlier strips of the row have added up, in the row's unit.
inline __m512 begin_output(const Strip& s, __mmask16 rows, const float* y) {
  return s.first == 0 ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(rows, y);
}
inline void end_output(const Strip& s, __mmask16 rows, int token, __m512 out, float* y) {
  if (s.ends_row()) out = _mm512_mul_ps(out, _mm512_set1_ps(s.x->row_scales[s.token + token]));
  _mm512_mask_storeu_ps(y, rows, out);
}

/// A step taken apart: its power of two, as added to the bits of a float, and the rest of it, one
/// of step_kinds. Direct: as the bits of a float. Panel: where the scales times that are, in floats
/// from the plain ones.
struct StepParts {
  std::int32_t power;
  std::int32_t rest;
};
inline const StepParts* step_parts(const QuantisedActivations& x) {
  return reinterpret_cast<const StepParts*>(x.steps);
}
/// out + acc * scale * 2^power. Scales of zero become about 2^-127, which no sum can show.
inline __m512 scaled(__m512 out, __m512i acc, __m512 scale, std::int32_t power) {
  const __m512i raised = _mm512_add_epi32(_mm512_castps_si512(scale), _mm512_set1_epi32(power));
  return _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc), _mm512_castsi512_ps(raised), out);
}

template <class Tiles, int Tokens, bool Narrow, bool Min>
void direct(const Strip& s) {
  constexpr int groups = Narrow ? 2 : 1, steps = 8 / groups;
  constexpr int chains = Tokens <= 2 ? 2 : 1;
  const PlaneView& w = *s.w;
  const QuantisedActivations& x = *s.x;
  const int tokens = static_cast<int>(x.tokens);
  const Tiles tiles(w, s.tile_row * w.tiles_per_row() + s.first);
  const float unit = w.tables[plane_index(Tiles::Level)].unit;
  __m512 out[Tokens];
  for (int n = 0; n < Tokens; ++n)
    out[n] = n < tokens ? begin_output(s, s.rows, s.y + n * s.y_stride) : _mm512_setzero_ps();
  const auto* codes = reinterpret_cast<const std::int32_t*>(x.codes) + s.first * 8 * Tokens;
  const StepParts* parts = step_parts(x) + s.first * Tokens;
  const std::int32_t* starts = s.starts;
  const float* sums =
      Narrow ? x.weighted_sums16 + s.first * 2 * Tokens : x.weighted_sums32 + s.first * Tokens;
  alignas(64) float scales[burst_tiles * 32], mins[burst_tiles * 32];
  ScalePrefetch scale_prefetch(w, s.tile_row, s.first);
  for (int first = 0; first < s.count; first += burst_tiles) {
    const int burst = s.count - first < burst_tiles ? s.count - first : burst_tiles;
    scale_prefetch.next_burst();
    s.expand(w, s.tile_row, s.first + first, burst, unit, scales, mins);
    for (int t = 0; t < burst; ++t) {
      tiles.template prefetch<Into::level2>(first + t + prefetch_tiles);
      __m512i step[8];
      tiles.decode(first + t, step);
#pragma GCC unroll 2
      for (int g = 0; g < groups; ++g) {
        // Steps outside, tokens and chains inside: neighbouring dot products do not wait for each
        // other.
        __m512i acc[Tokens][chains];
        for (int n = 0; n < Tokens; ++n) {
          acc[n][0] = _mm512_set1_epi32(starts[g * Tokens + n]);
          for (int c = 1; c < chains; ++c) acc[n][c] = _mm512_setzero_si512();
        }
#pragma GCC unroll 8
        for (int j = g * steps; j < (g + 1) * steps; ++j)
          for (int n = 0; n < Tokens; ++n)
            acc[n][j % chains] = _mm512_dpbusd_epi32(acc[n][j % chains], step[j],
                                                     _mm512_set1_epi32(codes[j * Tokens + n]));
        for (int n = 0; n < Tokens; ++n)
          for (int c = 1; c < chains; ++c) acc[n][0] = _mm512_add_epi32(acc[n][0], acc[n][c]);
        const __m512 scale = _mm512_load_ps(scales + (t * groups + g) * 16);
        for (int n = 0; n < Tokens; ++n) {
          const __m512 rest = _mm512_castsi512_ps(_mm512_set1_epi32(parts[n].rest));
          out[n] = scaled(out[n], acc[n][0], _mm512_mul_ps(scale, rest), parts[n].power);
        }
        if constexpr (Min) {
          const __m512 min = _mm512_load_ps(mins + (t * groups + g) * 16);
          for (int n = 0; n < Tokens; ++n)
            out[n] = _mm512_fmadd_ps(min, _mm512_set1_ps(sums[g * Tokens + n]), out[n]);
        }
      }
      codes += 8 * Tokens;
      parts += Tokens;
      starts += groups * Tokens;
      sums += groups * Tokens;
    }
  }
  for (int n = 0; n < Tokens; ++n)
    if (n < tokens) end_output(s, s.rows, n, out[n], s.y + n * s.y_stride);
}

/// Where accumulators of the direct path start, -zero * (sum of codes), for the strip's tiles:
/// [tile][groups][direct_width].
void direct_starts(const QuantisedActivations& x, std::int64_t first, int count, bool narrow,
                   std::int32_t zero, std::int32_t* starts) {
  const int width = direct_width(x.tokens);
  const std::int32_t* sums = x.sums + first * 2 * width;
  if (narrow) {
    for (int i = 0; i < count * 2 * width; ++i) starts[i] = -zero * sums[i];
  } else {
    for (int t = 0; t < count; ++t, sums += 2 * width, starts += width)
      for (int n = 0; n < width; ++n) starts[n] = -zero * (sums[n] + sums[width + n]);
  }
}

/// Decodes a strip into signed bytes, and their sums into starts.
template <class Tiles, bool Narrow>
void decode_panel(const Strip& s, DecodedStrip& to) {
  constexpr int groups = Narrow ? 2 : 1, steps = 8 / groups;
  const PlaneView& w = *s.w;
  const Tiles tiles(w, s.tile_row * w.tiles_per_row() + s.first);
  const __m512i zero =
      _mm512_set1_epi8(static_cast<char>(w.tables[plane_index(Tiles::Level)].zero));
  const __m512i offset = _mm512_set1_epi8(-128);  // as unsigned: 128
  for (int t = 0; t < s.count; ++t) {
    tiles.template prefetch<Into::level1>(t + 9);
    __m512i step[8];
    tiles.decode(t, step);
    for (int g = 0; g < groups; ++g) {
      __m512i sum = _mm512_setzero_si512();
      for (int j = g * steps; j < (g + 1) * steps; ++j) {
        const __m512i line = _mm512_sub_epi8(step[j], zero);
        _mm512_store_si512(to.bytes + t * 512 + j * 64, line);
        sum = _mm512_dpbusd_epi32(sum, offset, line);
      }
      _mm512_store_si512(to.starts + (t * groups + g) * 16,
                         _mm512_sub_epi32(_mm512_setzero_si512(), sum));
    }
  }
}

template <int Rows, int Tokens, bool Narrow, bool Min>
void panel_product(const Strip& s) {
  constexpr int groups = Narrow ? 2 : 1, steps = 8 / groups;
  const QuantisedActivations& x = *s.x;
  const std::int64_t blocks = x.columns / 32;
  const auto rows = [&s](int r) { return r == Rows - 1 ? s.rows : __mmask16{0xffff}; };
  const auto y = [&s](int r, int n) { return s.y + n * s.y_stride + 16 * r; };
  __m512 out[Rows][Tokens];
  for (int r = 0; r < Rows; ++r)
    for (int n = 0; n < Tokens; ++n) out[r][n] = begin_output(s, rows(r), y(r, n));
  const std::int64_t first = s.token * blocks + s.first * Tokens;
  const auto* codes =
      reinterpret_cast<const std::int32_t*>(x.codes) + (s.token * blocks + s.first) * 8;
  const StepParts* parts = step_parts(x) + first;
  const float* sums = Narrow ? x.weighted_sums16 + first * 2 : x.weighted_sums32 + first;
  for (int t = 0; t < s.count; ++t) {
    for (int g = 0; g < groups; ++g) {
      const int group = t * groups + g, first_step = g * steps;
      __m512i acc[Rows][Tokens];
      for (int r = 0; r < Rows; ++r) {
        const __m512i start = _mm512_load_si512(s.decoded[r].starts + group * 16);
        for (int n = 0; n < Tokens; ++n) acc[r][n] = start;
      }
#pragma GCC unroll 8
      for (int j = first_step; j < first_step + steps; ++j) {
        __m512i line[Rows];
        for (int r = 0; r < Rows; ++r) line[r] = load(s.decoded[r].bytes + t * 512 + j * 64);
        for (int n = 0; n < Tokens; ++n) {
          const __m512i code = _mm512_set1_epi32(codes[(n * blocks + t) * 8 + j]);
          for (int r = 0; r < Rows; ++r) acc[r][n] = _mm512_dpbusd_epi32(acc[r][n], code, line[r]);
        }
      }
      for (int r = 0; r < Rows; ++r) {
        const float* scales = s.decoded[r].scales + group * (step_kinds * 16);
        for (int n = 0; n < Tokens; ++n) {
          const StepParts& part = parts[n];
          out[r][n] = scaled(out[r][n], acc[r][n], _mm512_load_ps(scales + part.rest), part.power);
        }
        if constexpr (Min) {
          const __m512 min = _mm512_load_ps(s.decoded[r].mins + group * 16);
          for (int n = 0; n < Tokens; ++n)
            out[r][n] = _mm512_fmadd_ps(min, _mm512_set1_ps(sums[g * Tokens + n]), out[r][n]);
        }
      }
    }
    parts += Tokens;
    sums += groups * Tokens;
  }
  for (int r = 0; r < Rows; ++r)
    for (int n = 0; n < Tokens; ++n) end_output(s, rows(r), n, out[r][n], y(r, n));
}

// --- choosing the instance ---

using Run = void (*)(const Strip&);
using Decode = void (*)(const Strip&, DecodedStrip&);

template <class Tiles, bool Narrow, bool Min>
Run choose_direct_tokens(int width) {
  switch (width) {
    case 8:
      return direct<Tiles, 8, Narrow, Min>;
    case 6:
      return direct<Tiles, 6, Narrow, Min>;
    case 4:
      return direct<Tiles, 4, Narrow, Min>;
    case 2:
      return direct<Tiles, 2, Narrow, Min>;
    default:
      return direct<Tiles, 1, Narrow, Min>;
  }
}
template <class Tiles>
Run choose_direct(int width, bool narrow, bool min) {
  if constexpr (Tiles::has_mins)
    if (min)
      return (narrow ? choose_direct_tokens<Tiles, true, true>
                     : choose_direct_tokens<Tiles, false, true>)(width);
  return (narrow ? choose_direct_tokens<Tiles, true, false>
                 : choose_direct_tokens<Tiles, false, false>)(width);
}

/// The instances of one kind of tiles.
struct TileCode {
  Run (*direct)(int width, bool narrow, bool min);
  Decode decode[2];  ///< by narrow
};
template <class Tiles>
constexpr TileCode tile_code{choose_direct<Tiles>,
                             {decode_panel<Tiles, false>, decode_panel<Tiles, true>}};
template <int Level>
const TileCode& code_of_digits(bool identity) {
  return identity ? tile_code<DigitTiles<Level, true>> : tile_code<DigitTiles<Level, false>>;
}
const TileCode& code_of_level(int level, bool identity) {
  switch (level) {
    case 2:
      return tile_code<DigitTiles<2, false>>;
    case 3:
      return code_of_digits<3>(identity);
    case 4:
      return code_of_digits<4>(identity);
    case 5:
      return code_of_digits<5>(identity);
    case 6:
      return code_of_digits<6>(identity);
    default:
      return code_of_digits<8>(identity);
  }
}
const TileCode& code_of_grid(const PointGrid& grid) {
  if (grid.marks_points) return tile_code<GridTiles<8, 11, true>>;
  if (grid.coordinates == 4)
    return grid.bits == 8 ? tile_code<GridTiles<4, 8, false>> : tile_code<GridTiles<4, 9, false>>;
  return grid.bits == 8   ? tile_code<GridTiles<8, 8, false>>
         : grid.bits == 9 ? tile_code<GridTiles<8, 9, false>>
                          : tile_code<GridTiles<8, 10, false>>;
}
const TileCode& code_of(const PlaneView& w, int level) {
  return w.grid ? code_of_grid(*w.grid)
                : code_of_level(level, w.tables[plane_index(level)].identity);
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

inline std::int32_t bits_of(float x) { return _mm_cvtsi128_si32(_mm_castps_si128(_mm_set_ss(x))); }

inline float block_maximum(const float* x) {
  return _mm512_reduce_max_ps(
      _mm512_max_ps(_mm512_abs_ps(_mm512_loadu_ps(x)), _mm512_abs_ps(_mm512_loadu_ps(x + 16))));
}
/// Largest magnitude of each of four blocks of 32 values.
inline __m128 block_maxima(const float* x) {
  __m512 v[4];
  for (int i = 0; i < 4; ++i)
    v[i] = _mm512_max_ps(_mm512_abs_ps(_mm512_loadu_ps(x + 32 * i)),
                         _mm512_abs_ps(_mm512_loadu_ps(x + 32 * i + 16)));
  const __m512 a = _mm512_max_ps(_mm512_unpacklo_ps(v[0], v[1]), _mm512_unpackhi_ps(v[0], v[1]));
  const __m512 b = _mm512_max_ps(_mm512_unpacklo_ps(v[2], v[3]), _mm512_unpackhi_ps(v[2], v[3]));
  // Pairs (0, 1) and (2, 3) side by side in every quarter.
  const __m512 c = _mm512_max_ps(_mm512_shuffle_ps(a, b, 0x44), _mm512_shuffle_ps(a, b, 0xEE));
  const __m256 d = _mm256_max_ps(_mm512_castps512_ps256(c), _mm512_extractf32x8_ps(c, 1));
  return _mm_max_ps(_mm256_castps256_ps128(d), _mm256_extractf128_ps(d, 1));
}

/// Where a token's codes and sums go, beside those of its group.
struct TokenPlace {
  std::int32_t* codes;  // of 4 columns each
  StepParts* steps;
  std::int32_t* sums;
  float *sums16, *sums32;
  int width;  // distance between a token's own, codes of the panel excepted
  bool direct;
};
TokenPlace place_of(const QuantisedActivations& q, std::int64_t token) {
  const bool direct = is_direct(q.tokens);
  const std::int64_t first = direct ? 0 : token / panel_tokens * panel_tokens;
  const int width = direct                            ? direct_width(q.tokens)
                    : q.tokens - first < panel_tokens ? static_cast<int>(q.tokens - first)
                                                      : panel_tokens;
  const std::int64_t before = first * (q.columns / 32), within = token - first;
  return {reinterpret_cast<std::int32_t*>(q.codes) + (direct ? token : token * q.columns / 4),
          reinterpret_cast<StepParts*>(q.steps) + before + within,
          q.sums + before * 2 + within,
          q.weighted_sums16 + before * 2 + within,
          q.weighted_sums32 + before + within,
          width,
          direct};
}

/// Quantises `count` blocks of 32 columns, 2 at most, from block `first` on.
inline void quantise_blocks(const float* x, std::int64_t first, int count, const float* factors,
                            const float* steps, const TokenPlace& to) {
  // Put together in registers: a load of what four smaller stores have just written would wait.
  __m128i quarter[4] = {};
  for (int half = 0; half < 2 * count; ++half) {
    const __m512 scaled = _mm512_mul_ps(_mm512_loadu_ps(x + (first * 2 + half) * 16),
                                        _mm512_set1_ps(factors[half / 2]));
    quarter[half] = _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(scaled));
  }
  const __m256i low = _mm256_inserti128_si256(_mm256_castsi128_si256(quarter[0]), quarter[1], 1);
  const __m256i high = _mm256_inserti128_si256(_mm256_castsi128_si256(quarter[2]), quarter[3], 1);
  const __m512i all = _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
  if (to.direct) {
    alignas(64) std::int32_t codes[16];
    _mm512_store_si512(codes, all);
    for (int j = 0; j < 8 * count; ++j) to.codes[(first * 8 + j) * to.width] = codes[j];
  } else {
    const __m512i flipped = _mm512_xor_si512(all, _mm512_set1_epi8(-128));
    _mm512_mask_storeu_epi32(to.codes + first * 8, count == 2 ? 0xffff : 0xff, flipped);
  }
  // Sums of 4, then of the 16 in every quarter.
  __m512i sum = _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_set1_epi8(1), all);
  sum = _mm512_add_epi32(sum, _mm512_shuffle_epi32(sum, _MM_PERM_BADC));
  sum = _mm512_add_epi32(sum, _mm512_shuffle_epi32(sum, _MM_PERM_CDAB));
  alignas(16) std::int32_t sums[4];
  _mm_store_si128(reinterpret_cast<__m128i*>(sums),
                  _mm512_castsi512_si128(_mm512_permutexvar_epi32(
                      _mm512_castsi128_si512(_mm_setr_epi32(0, 4, 8, 12)), sum)));
  for (int b = 0; b < count; ++b) {
    const std::int64_t block = first + b;
    for (int half = 0; half < 2; ++half) {
      const std::int32_t value = sums[2 * b + half];
      to.sums[(2 * block + half) * to.width] = value;
      to.sums16[(2 * block + half) * to.width] = steps[b] * static_cast<float>(value);
    }
    to.sums32[block * to.width] = steps[b] * static_cast<float>(sums[2 * b] + sums[2 * b + 1]);
  }
}

/// The steps of 16 blocks.
struct Steps {
  alignas(64) float value[16];
  alignas(64) float factor[16];  // what the blocks' values are to be multiplied with
};

/// From the blocks' maxima and the row's. A share of the largest step is the ratio of the two,
/// rounded up to three bits.
inline Steps steps_of(__m512 maxima, float row_largest, float row_inverse) {
  const __m512i ratio = _mm512_castps_si512(_mm512_div_ps(maxima, _mm512_set1_ps(row_largest)));
  const __m512i below = _mm512_set1_epi32(0x1fffff);
  const __m512 share =
      _mm512_max_ps(_mm512_castsi512_ps(_mm512_andnot_si512(below, _mm512_add_epi32(ratio, below))),
                    _mm512_set1_ps(least_activation_step / largest_activation_step));
  Steps result;
  _mm512_store_ps(result.value, _mm512_mul_ps(share, _mm512_set1_ps(largest_activation_step)));
  _mm512_store_ps(result.factor, _mm512_div_ps(_mm512_set1_ps(row_inverse), share));
  return result;
}
inline StepParts parts_of(float step, bool direct) {
  const std::int32_t bits = bits_of(step), kind = bits >> 21 & (step_kinds - 1);
  constexpr std::int32_t one = 127 << 23;
  return {(bits & 0x7f800000) - one, direct ? one + (kind << 21) : kind * 16};
}

}  // namespace

void quantise_activations(const float* x, std::int64_t x_stride, std::int64_t token_begin,
                          std::int64_t token_end, const QuantisedActivations& out) {
  constexpr std::int64_t stretch = 16;  // blocks
  const std::int64_t blocks = out.columns / 32;
  for (std::int64_t token = token_begin; token < token_end; ++token) {
    const float* row = x + token * x_stride;
    const TokenPlace place = place_of(out, token);
    __m512 largest = _mm512_setzero_ps();
    std::int64_t i = 0;
    for (; i + 16 <= out.columns; i += 16)
      largest = _mm512_max_ps(largest, _mm512_abs_ps(_mm512_loadu_ps(row + i)));
    const float row_largest = _mm512_reduce_max_ps(largest);
    const bool zeros = row_largest < least_activation;
    const float row_inverse = zeros ? 0.0f : 127.0f / row_largest;
    out.row_scales[token] = zeros ? 0.0f : row_largest / 127.0f / largest_activation_step;
    for (std::int64_t first = 0; first < blocks; first += stretch) {
      const int count = static_cast<int>(blocks - first < stretch ? blocks - first : stretch);
      alignas(64) float maxima[stretch] = {};
      int b = 0;
      for (; b + 4 <= count; b += 4) _mm_store_ps(maxima + b, block_maxima(row + (first + b) * 32));
      for (; b < count; ++b) maxima[b] = block_maximum(row + (first + b) * 32);
      const Steps steps = steps_of(_mm512_load_ps(maxima), zeros ? 1.0f : row_largest, row_inverse);
      for (b = 0; b < count; ++b)
        place.steps[(first + b) * place.width] = parts_of(steps.value[b], place.direct);
      for (b = 0; b < count; b += 2)
        quantise_blocks(row, first + b, count - b >= 2 ? 2 : 1, steps.factor + b, steps.value + b,
                        place);
    }
  }
}

namespace {

void multiply_direct(const PlaneView& w, const QuantisedActivations& x, std::int64_t tile_begin,
                     std::int64_t tile_end, Strip s, std::int32_t* starts) {
  const bool narrow = w.scale_width == 16;
  const std::int64_t tiles = w.tiles_per_row();
  float* const y = s.y;
  s.expand = expander(w.scale_kind);
  s.starts = starts;
  int started_zero = -1;  // what starts hold
  std::int64_t started_strip = -1;
  for (s.tile_row = tile_begin; s.tile_row < tile_end; ++s.tile_row) {
    const int level = w.levels[s.tile_row];
    const LevelTable& level_table = w.tables[plane_index(level)];
    const auto run = code_of(w, level).direct(direct_width(x.tokens), narrow, w.has_min);
    s.rows = rows_of(w, s.tile_row);
    s.y = y + s.tile_row * 16;
    for (s.first = 0; s.first < tiles; s.first += direct_tiles) {
      s.count = static_cast<int>(tiles - s.first < direct_tiles ? tiles - s.first : direct_tiles);
      if (started_zero != level_table.zero || started_strip != s.first) {
        direct_starts(x, s.first, s.count, narrow, level_table.zero, starts);
        started_zero = level_table.zero;
        started_strip = s.first;
      }
      run(s);
    }
  }
}

/// Asks for what is decoded after the tiles before `tile` of `together` tile rows, so that it comes
/// while those are multiplied.
void prefetch_after(const PlaneView& w, std::int64_t tile_row, int together, std::int64_t tile,
                    std::int64_t tile_end) {
  const std::int64_t tiles = w.tiles_per_row();
  if (tile == tiles) {
    tile_row += together;
    tile = 0;
  }
  const std::int64_t count = tiles - tile < strip_tiles ? tiles - tile : strip_tiles;
  for (int r = 0; r < together && tile_row + r < tile_end; ++r) {
    const std::int64_t at = (tile_row + r) * tiles + tile;
    const auto ask = [at, count](const std::uint8_t* plane, std::int64_t stride) {
      for (std::int64_t line = 0; line < count * stride; line += 64)
        prefetch_lines<Into::level2>(plane + at * stride + line, 64);
    };
    if (w.grid) {
      ask(w.points, points_per_tile(*w.grid));
      ask(w.marks, mark_bytes_per_tile(*w.grid));
      ask(w.high_bits, high_bytes_per_tile(*w.grid));
      continue;
    }
    const int planes = planes_of_level(w.levels[tile_row + r]);
    for (int p = 0; p < planes; ++p) ask(w.digits[p], plane_stride[p]);
  }
}

/// The scales of `groups` groups of columns times every kind of step: [groups][step_kinds][16].
void multiply_by_kinds(const float* scales, int groups, float* out) {
  for (int g = 0; g < groups; ++g) {
    const __m512 scale = _mm512_load_ps(scales + g * 16);
    for (int kind = 0; kind < step_kinds; ++kind)
      _mm512_store_ps(
          out + (g * step_kinds + kind) * 16,
          _mm512_mul_ps(scale, _mm512_set1_ps(1.0f + static_cast<float>(kind) / step_kinds)));
  }
}

void multiply_panels(const PlaneView& w, const QuantisedActivations& x, std::int64_t tile_begin,
                     std::int64_t tile_end, Strip s, PanelScratch& decoded) {
  const bool narrow = w.scale_width == 16;
  const ExpandScales expand = expander(w.scale_kind);
  const std::int64_t tiles = w.tiles_per_row();
  float* const y = s.y;
  s.decoded = decoded;
  alignas(64) float plain[strip_tiles * 32];
  for (std::int64_t tile_row = tile_begin; tile_row < tile_end;) {
    const int together = tile_end - tile_row >= panel_rows ? panel_rows : 1;
    s.rows = rows_of(w, tile_row + together - 1);
    for (s.first = 0; s.first < tiles; s.first += strip_tiles) {
      s.count = static_cast<int>(tiles - s.first < strip_tiles ? tiles - s.first : strip_tiles);
      for (int r = 0; r < together; ++r) {
        s.tile_row = tile_row + r;
        const int level = w.levels[s.tile_row];
        const LevelTable& level_table = w.tables[plane_index(level)];
        expand(w, s.tile_row, s.first, s.count, level_table.unit, plain, decoded[r].mins);
        multiply_by_kinds(plain, s.count * (narrow ? 2 : 1), decoded[r].scales);
        code_of(w, level).decode[narrow](s, decoded[r]);
      }
      prefetch_after(w, tile_row, together, s.first + s.count, tile_end);
      for (s.token = 0; s.token < x.tokens;) {
        const std::int64_t left = x.tokens - s.token;
        const int step = static_cast<int>(left < panel_tokens ? left : panel_tokens);
        s.y = y + tile_row * 16 + s.token * s.y_stride;
        (together == panel_rows ? choose_panel<panel_rows> : choose_panel<1>)(step, narrow,
                                                                              w.has_min)(s);
        s.token += step;
      }
    }
    tile_row += together;
  }
}

}  // namespace

void matmul_planes(const PlaneView& w, const QuantisedActivations& x, std::int64_t tile_begin,
                   std::int64_t tile_end, float* y, std::int64_t y_stride, void* scratch) {
  Strip s{};
  s.w = &w;
  s.x = &x;
  s.y = y;
  s.y_stride = y_stride;
  if (is_direct(x.tokens))
    multiply_direct(w, x, tile_begin, tile_end, s, static_cast<std::int32_t*>(scratch));
  else
    multiply_panels(w, x, tile_begin, tile_end, s, *static_cast<PanelScratch*>(scratch));
}

}  // namespace plimsoll::avx512
