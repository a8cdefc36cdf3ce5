// Products over planes with NEON's dot products. Two ways through the same arithmetic, bit for bit:
//
//   direct  1 to 4 tokens (decode, small batches): each tile is decoded in registers and consumed
//           at once, every plane prefetched some tiles ahead.
//   panel   more tokens (prefill): a strip of tiles is decoded once into bytes in L1, then
//           multiplied with up to 5 tokens at a time.
//
// A register holds a quarter of a line: 4 rows x 4 columns. SDOT multiplies signed bytes, by one
// group of four columns of a token out of the four that a register of activations holds. Centroids
// fit signed bytes once the level's zero is taken off: tables have it off from the start, panels
// take it off while decoding, and where codes are used as they are, accumulators of the direct path
// start at -zero * (sum of the activations' codes).
#define PLIMSOLL_ISA neon
#include <arm_neon.h>

#include <type_traits>

#include "kernels/functions-inl.h"

#ifndef __ARM_FEATURE_DOTPROD
#error "the compile flags of this folder do not select dot products"
#endif

namespace plimsoll::neon {
namespace {

constexpr int direct_tokens = 4;  // at most; beyond: panel
// Times 8 rows: 10 chains of dot products, and 20 of 32 registers hold sums.
constexpr int panel_tokens = 5;
constexpr int most_tokens = direct_tokens > panel_tokens ? direct_tokens : panel_tokens;
constexpr int strip_tiles = 32;     // 16 KiB of bytes, within L1
constexpr int prefetch_tiles = 24;  // ahead, per plane

using Vector = uint8x16_t;

inline Vector load(const std::uint8_t* p) { return vld1q_u8(p); }
// Written as operators, not intrinsics: those want literals.
inline Vector left(Vector a, int bits) { return a << static_cast<std::uint8_t>(bits); }
inline Vector right(Vector a, int bits) { return a >> static_cast<std::uint8_t>(bits); }

/// Turns a level's codes into weights, signed bytes: by a table of (centroid - zero), or as they
/// are, still to be reduced by a zero.
template <int Level, bool Identity>
struct Lookup {
  static constexpr bool identity = Identity;
  static constexpr int table_bits = Level == 8 ? 4 : Level;
  // Loaded whole, by level: GCC would put a table together from its registers before every use.
  uint8x16_t table16;
  uint8x16x2_t table32;
  uint8x16x4_t table64;
  explicit Lookup(const LevelTable& t) {
    if constexpr (!Identity) {
      std::uint8_t weights[64];
      for (int code = 0; code < 64; ++code)
        weights[code] = static_cast<std::uint8_t>(t.centroid[code] - t.zero);
      if constexpr (table_bits <= 4) table16 = vld1q_u8(weights);
      if constexpr (Level == 5) table32 = vld1q_u8_x2(weights);
      if constexpr (Level == 6) table64 = vld1q_u8_x4(weights);
    }
  }
  template <int Mask>
  Vector select(Vector a, Vector b) const {
    return vbslq_u8(vdupq_n_u8(Mask), a, b);
  }
  Vector pair(Vector fields, int field) const { return (*this)(right(fields, 2 * field)); }
  Vector operator()(Vector codes) const {
    codes = vandq_u8(codes, vdupq_n_u8((1 << table_bits) - 1));
    if constexpr (Identity) return codes;
    if constexpr (table_bits <= 4) return vqtbl1q_u8(table16, codes);
    if constexpr (Level == 5) return vqtbl2q_u8(table32, codes);
    return vqtbl4q_u8(table64, codes);
  }
  Vector child(Vector leading, Vector rest) const {
    return vaddq_u8((*this)(leading), vandq_u8(rest, vdupq_n_u8(15)));
  }
};

#include "kernels/decode_tile-inl.h"

/// Asks for a tile's part of a plane, some tiles ahead.
inline void prefetch_plane(const std::uint8_t* tile, int tile_bytes) {
  const std::uint8_t* const line = tile + prefetch_tiles * tile_bytes;
  __builtin_prefetch(line);
  if (tile_bytes == 128) __builtin_prefetch(line + 64);
}

/// Where products get a tensor's codes from: the tiles from some on, in digit planes of a level.
template <int Level_, bool Identity>
class DigitTiles {
 public:
  static constexpr int Level = Level_;
  static constexpr bool identity = Identity, has_mins = true;

  DigitTiles(const PlaneView& w, std::int64_t tile) : lookup_(w.tables[planes - 1]) {
    for (int p = 0; p < planes; ++p) digits_[p] = w.digits[p] + tile * plane_stride[p];
  }
  /// Weights of the t-th tile, of its lines from `offset` on, as Lookup leaves them.
  void decode(std::int64_t t, int offset, Vector (&step)[8]) const {
    decode_tile<Level>(digits_, t, offset, lookup_, step);
  }
  /// Asks for what is decoded some tiles after the t-th.
  void prefetch(std::int64_t t) const {
#pragma GCC unroll 6
    for (int p = 0; p < planes; ++p)
      prefetch_plane(digits_[p] + t * plane_stride[p], plane_stride[p]);
  }

 private:
  static constexpr int planes = planes_of_level(Level);
  Lookup<Level, Identity> lookup_;
  const std::uint8_t* digits_[planes];
};

// What decode_grid-inl.h wants: 4 rows.

inline Vector ones_of_map(const std::uint8_t* map) {
  const uint8x16_t each = vcombine_u8(vdup_n_u8(map[0]), vdup_n_u8(map[1]));
  return vtstq_u8(each, vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201)));
}
inline Vector byte_of_four(Vector v, int p) {
  const uint8x16_t first =
      vreinterpretq_u8_u32(uint32x4_t{0x00000000, 0x04040404, 0x08080808, 0x0C0C0C0C});
  return vqtbl1q_u8(v, vaddq_u8(first, vdupq_n_u8(static_cast<std::uint8_t>(p))));
}
inline void store_indices(Vector low, Vector high, std::uint16_t* to) {
  vst2q_u8(reinterpret_cast<std::uint8_t*>(to), {{low, high}});
}
template <class Index>
inline Vector levels_of_quads(const std::uint8_t* levels, const Index* indices) {
  uint32x4_t rows = vdupq_n_u32(0);
  const auto four = [levels](Index i) {
    return reinterpret_cast<const std::uint32_t*>(levels) + i;
  };
  rows = vld1q_lane_u32(four(indices[0]), rows, 0);
  rows = vld1q_lane_u32(four(indices[4]), rows, 1);
  rows = vld1q_lane_u32(four(indices[8]), rows, 2);
  rows = vld1q_lane_u32(four(indices[12]), rows, 3);
  return vreinterpretq_u8_u32(rows);
}
template <class Index>
inline void levels_of_octets(const std::uint8_t* levels, const Index* indices, Vector& first,
                             Vector& last) {
  const auto eight = [levels](Index i) { return vld1_u8(levels + 8 * i); };
  const auto a = vreinterpretq_u32_u8(vcombine_u8(eight(indices[0]), eight(indices[4])));
  const auto b = vreinterpretq_u32_u8(vcombine_u8(eight(indices[8]), eight(indices[12])));
  first = vreinterpretq_u8_u32(vuzp1q_u32(a, b));
  last = vreinterpretq_u8_u32(vuzp2q_u32(a, b));
}

#include "kernels/decode_grid-inl.h"

// --- scales ---

/// A number for each of a tile's 16 rows.
struct RowFloats {
  float32x4_t quarter[4];
};

inline float32x4_t float_of_half(uint16x4_t bits) {
  return vcvt_f32_f16(vreinterpret_f16_u16(bits));
}
inline RowFloats row_halves(const std::uint16_t* p) {
  RowFloats result;
  for (int q = 0; q < 4; ++q) result.quarter[q] = float_of_half(vld1_u16(p + 4 * q));
  return result;
}
/// 16 unsigned bytes in 32 bits each.
struct RowWords {
  uint32x4_t quarter[4];
  explicit RowWords(uint8x16_t bytes) {
    const uint16x8_t low = vmovl_u8(vget_low_u8(bytes)), high = vmovl_u8(vget_high_u8(bytes));
    quarter[0] = vmovl_u16(vget_low_u16(low));
    quarter[1] = vmovl_u16(vget_high_u16(low));
    quarter[2] = vmovl_u16(vget_low_u16(high));
    quarter[3] = vmovl_u16(vget_high_u16(high));
  }
};
inline RowFloats row_bytes(uint8x16_t bytes) {
  const RowWords words(bytes);
  RowFloats result;
  for (int q = 0; q < 4; ++q) result.quarter[q] = vcvtq_f32_u32(words.quarter[q]);
  return result;
}
inline RowFloats row_signed_bytes(uint8x16_t bytes) {
  // Counted from -128: exact as floats too.
  RowFloats result = row_bytes(veorq_u8(bytes, vdupq_n_u8(128)));
  for (float32x4_t& quarter : result.quarter) quarter = vsubq_f32(quarter, vdupq_n_f32(128.0f));
  return result;
}
inline RowFloats row_e8m0(uint8x16_t bytes) {
  const RowWords words(bytes);
  RowFloats result;
  for (int q = 0; q < 4; ++q) {
    const uint32x4_t e = words.quarter[q];
    const uint32x4_t normal = vshlq_n_u32(vsubq_u32(e, vdupq_n_u32(1)), 23);
    const uint32x4_t subnormal = vshlq_u32(vdupq_n_u32(0x00200000), vreinterpretq_s32_u32(e));
    result.quarter[q] =
        vreinterpretq_f32_u32(vbslq_u32(vcltq_u32(e, vdupq_n_u32(2)), subnormal, normal));
  }
  return result;
}
/// The bits of a half whose bias is larger by 8; halved.
inline RowFloats row_ue4m3(uint8x16_t bytes) {
  const RowWords words(bytes);
  RowFloats result;
  for (int q = 0; q < 4; ++q)
    result.quarter[q] =
        vmulq_n_f32(float_of_half(vshl_n_u16(vmovn_u32(words.quarter[q]), 7)), 0x1p7f);
  return result;
}

/// Group scales of 16 rows, the first one the `at`th of the tensor.
inline RowFloats group_scales(ScaleKind kind, const std::uint8_t* scales, std::int64_t at) {
  if (kind == ScaleKind::f16)
    return row_halves(reinterpret_cast<const std::uint16_t*>(scales) + at);
  if (kind == ScaleKind::odd4) {
    const std::int64_t group = at / tile_rows;
    const uint8x16_t both = load(scales + group / 2 * tile_rows);
    const uint8x16_t bits = group % 2 ? vshrq_n_u8(both, 4) : vandq_u8(both, vdupq_n_u8(15));
    return row_bytes(vorrq_u8(vshlq_n_u8(bits, 1), vdupq_n_u8(1)));
  }
  const uint8x16_t raw = load(scales + at);
  switch (kind) {
    case ScaleKind::i8:
      return row_signed_bytes(raw);
    case ScaleKind::u8:
      return row_bytes(raw);
    case ScaleKind::u4:
      return row_bytes(vandq_u8(raw, vdupq_n_u8(15)));
    case ScaleKind::ue4m3:
      return row_ue4m3(raw);
    default:
      return row_e8m0(raw);
  }
}

/// Group mins of 16 rows.
inline RowFloats group_mins(const PlaneView& w, std::int64_t at, std::int64_t super) {
  if (!w.has_super) return row_halves(reinterpret_cast<const std::uint16_t*>(w.mins) + at);
  RowFloats result = row_bytes(w.scale_kind == ScaleKind::u4 ? vshrq_n_u8(load(w.scales + at), 4)
                                                             : load(w.mins + at));
  const RowFloats supers = row_halves(w.super_mins + super);
  for (int q = 0; q < 4; ++q)
    result.quarter[q] = vnegq_f32(vmulq_f32(result.quarter[q], supers.quarter[q]));
  return result;
}

inline void store(const RowFloats& rows, float* to) {
  for (int q = 0; q < 4; ++q) vst1q_f32(to + 4 * q, rows.quarter[q]);
}

/// Scales (and mins) of some tiles of a tile row as floats: [tile][groups][16], unit included.
void expand_scales(const PlaneView& w, std::int64_t tile_row, std::int64_t first, int count,
                   float unit, float* scales, float* mins) {
  const int groups = w.scale_width == 16 ? 2 : 1;
  const std::int64_t base = tile_row * w.tiles_per_row() + first;
  for (int t = 0; t < count; ++t) {
    const std::int64_t super = (tile_row * (w.columns / 256) + (first + t) / 8) * tile_rows;
    RowFloats factors;
    for (float32x4_t& quarter : factors.quarter) quarter = vdupq_n_f32(unit);
    if (w.has_super) {
      const RowFloats supers = row_halves(w.super_scales + super);
      for (int q = 0; q < 4; ++q)
        factors.quarter[q] = vmulq_f32(factors.quarter[q], supers.quarter[q]);
    }
    for (int g = 0; g < groups; ++g) {
      const std::int64_t at = ((base + t) * groups + g) * tile_rows;
      RowFloats scale = factors;
      if (w.scale_kind != ScaleKind::none) {
        const RowFloats own = group_scales(w.scale_kind, w.scales, at);
        for (int q = 0; q < 4; ++q) scale.quarter[q] = vmulq_f32(scale.quarter[q], own.quarter[q]);
      }
      const int to = (t * groups + g) * tile_rows;
      store(scale, scales + to);
      if (w.has_min) store(group_mins(w, at, super), mins + to);
    }
  }
}

// --- products ---

/// What is prepared for a strip of tiles of one tile row, 64-byte aligned.
struct Scratch {
  float scales[strip_tiles * 2 * tile_rows];  // [tile][groups][16]
  float mins[strip_tiles * 2 * tile_rows];    // [tile][groups][16]
  union {
    std::uint8_t panel[2][strip_tiles * 256];  // panel: [half of the rows][tile][8][8 x 4]
    std::int32_t starts[direct_tokens][strip_tiles * 2];  // direct: [token][tile][groups]
  };
};
static_assert(sizeof(Scratch) <= plane_scratch_bytes);

/// One strip of a tile row against some tokens.
struct Strip {
  const PlaneView* w;
  const QuantisedActivations* x;
  const Scratch* scratch;
  std::int64_t tile_row;
  std::int64_t first;  // tile within the row
  int count;           // tiles
  std::int64_t token;  // first
  float* y;            // [token][16], tokens y_stride apart
  std::int64_t y_stride;

  bool begins_row() const { return first == 0; }
  bool ends_row() const { return first + count == w->tiles_per_row(); }
};

/// What earlier strips of the row have added up, in the row's unit.
inline float32x4_t begin_output(const Strip& s, const float* y) {
  return s.begins_row() ? vdupq_n_f32(0.0f) : vld1q_f32(y);
}
inline void end_output(const Strip& s, int token, float32x4_t out, float* y) {
  vst1q_f32(y, s.ends_row() ? vmulq_n_f32(out, s.x->row_scales[s.token + token]) : out);
}

/// out + acc * scale * step.
inline float32x4_t scaled(float32x4_t out, int32x4_t acc, float32x4_t scale, float step) {
  return vfmaq_f32(out, vcvtq_f32_s32(acc), vmulq_n_f32(scale, step));
}

/// The dot products of one step of 4 columns, the `Lane`th of those whose codes are in a register.
template <int Lane, int Rows, int Tokens>
inline void dot(const int8x16_t (&weights)[Rows], const int8x16_t (&codes)[Tokens],
                int32x4_t (&acc)[Rows][Tokens]) {
  for (int n = 0; n < Tokens; ++n)
    for (int r = 0; r < Rows; ++r)
      acc[r][n] = vdotq_laneq_s32(acc[r][n], weights[r], codes[n], Lane);
}

/// What codes that are used as they are still have to be reduced by, on top of a table's zero.
template <class Tiles>
inline std::int32_t remaining_zero(const LevelTable& level_table) {
  if constexpr (Tiles::Level == 8 && Tiles::identity)
    return level_table.zero - 128;  // the direct path takes 128 off
  return Tiles::identity ? level_table.zero : 0;
}

template <class Tiles, int Tokens, bool Narrow, bool Min>
void direct(const Strip& s) {
  constexpr int groups = Narrow ? 2 : 1;
  const PlaneView& w = *s.w;
  const QuantisedActivations& x = *s.x;
  const std::int64_t blocks = x.columns / 32, block = s.token * blocks + s.first;
  const Tiles tiles(w, s.tile_row * w.tiles_per_row() + s.first);
  float32x4_t out[4][Tokens];
  for (int q = 0; q < 4; ++q)
    for (int n = 0; n < Tokens; ++n) out[q][n] = begin_output(s, s.y + n * s.y_stride + 4 * q);
  for (int t = 0; t < s.count; ++t) {
    tiles.prefetch(t);
#pragma GCC unroll 1  // a quarter of the code; its sums wait in memory, which hides behind decoding
    for (int q = 0; q < 4; ++q) {
      Vector step[8];
      tiles.decode(t, 16 * q, step);
      int32x4_t acc[1][Tokens];
      for (int half = 0; half < 2; ++half) {  // of the columns
        int8x16_t codes[Tokens];
        for (int n = 0; n < Tokens; ++n)
          codes[n] = vld1q_s8(x.codes + (block + n * blocks + t) * 32 + 16 * half);
        int8x16_t weights[4][1];
        for (int j = 0; j < 4; ++j) {
          const Vector bytes = step[4 * half + j];
          weights[j][0] = vreinterpretq_s8_u8(
              Tiles::Level == 8 && Tiles::identity ? veorq_u8(bytes, vdupq_n_u8(128)) : bytes);
        }
        const int group = t * groups + half * (groups - 1);
        if (Narrow || half == 0)
          for (int n = 0; n < Tokens; ++n) acc[0][n] = vdupq_n_s32(s.scratch->starts[n][group]);
        dot<0>(weights[0], codes, acc);
        dot<1>(weights[1], codes, acc);
        dot<2>(weights[2], codes, acc);
        dot<3>(weights[3], codes, acc);
        if (!Narrow && half == 0) continue;
        const float32x4_t scale = vld1q_f32(s.scratch->scales + group * tile_rows + 4 * q);
        for (int n = 0; n < Tokens; ++n)
          out[q][n] = scaled(out[q][n], acc[0][n], scale, x.steps[block + n * blocks + t]);
        if constexpr (Min) {
          const float32x4_t min = vld1q_f32(s.scratch->mins + group * tile_rows + 4 * q);
          for (int n = 0; n < Tokens; ++n) {
            const std::int64_t at = block + n * blocks + t;
            out[q][n] = vfmaq_n_f32(
                out[q][n], min, Narrow ? x.weighted_sums16[at * 2 + half] : x.weighted_sums32[at]);
          }
        }
      }
    }
  }
  for (int q = 0; q < 4; ++q)
    for (int n = 0; n < Tokens; ++n) end_output(s, n, out[q][n], s.y + n * s.y_stride + 4 * q);
}

/// Where accumulators of the direct path start, -zero * (sum of codes), for the strip's tiles.
void direct_starts(const QuantisedActivations& x, std::int64_t first, int count, bool narrow,
                   std::int32_t zero, Scratch& to) {
  for (std::int64_t token = 0; token < x.tokens; ++token) {
    const std::int32_t* sums = x.sums + (token * (x.columns / 32) + first) * 2;
    std::int32_t* starts = to.starts[token];
    if (narrow) {
      for (int i = 0; i < 2 * count; ++i) starts[i] = -zero * sums[i];
    } else {
      for (int t = 0; t < count; ++t) starts[t] = -zero * (sums[2 * t] + sums[2 * t + 1]);
    }
  }
}

/// Decodes a strip into signed bytes.
template <class Tiles>
void decode_panel(const Strip& s, Scratch& to) {
  const PlaneView& w = *s.w;
  const Vector zero =
      vdupq_n_u8(static_cast<std::uint8_t>(w.tables[plane_index(Tiles::Level)].zero));
  const Tiles tiles(w, s.tile_row * w.tiles_per_row() + s.first);
  for (int t = 0; t < s.count; ++t) {
    tiles.prefetch(t);
    for (int q = 0; q < 4; ++q) {
      Vector step[8];
      tiles.decode(t, 16 * q, step);
      std::uint8_t* const bytes = to.panel[q / 2] + t * 256 + q % 2 * 16;
      for (int j = 0; j < 8; ++j) {
        if constexpr (Tiles::identity) step[j] = vsubq_u8(step[j], zero);
        vst1q_u8(bytes + 32 * j, step[j]);
      }
    }
  }
}

template <int Tokens, bool Narrow, bool Min>
void panel_product(const Strip& s) {
  constexpr int groups = Narrow ? 2 : 1;
  const QuantisedActivations& x = *s.x;
  const std::int64_t blocks = x.columns / 32, block = s.token * blocks + s.first;
  for (int rows = 0; rows < tile_rows; rows += 8) {
    float32x4_t out[2][Tokens];
    for (int r = 0; r < 2; ++r)
      for (int n = 0; n < Tokens; ++n)
        out[r][n] = begin_output(s, s.y + n * s.y_stride + rows + 4 * r);
    const auto* panel = reinterpret_cast<const std::int8_t*>(s.scratch->panel[rows / 8]);
    for (int t = 0; t < s.count; ++t) {
      int32x4_t acc[2][Tokens];
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half, panel += 128) {  // of the columns
        int8x16_t codes[Tokens];
        for (int n = 0; n < Tokens; ++n)
          codes[n] = vld1q_s8(x.codes + (block + n * blocks + t) * 32 + 16 * half);
        if (Narrow || half == 0)
          for (int r = 0; r < 2; ++r)
            for (int n = 0; n < Tokens; ++n) acc[r][n] = vdupq_n_s32(0);
        dot<0>({vld1q_s8(panel), vld1q_s8(panel + 16)}, codes, acc);
        dot<1>({vld1q_s8(panel + 32), vld1q_s8(panel + 48)}, codes, acc);
        dot<2>({vld1q_s8(panel + 64), vld1q_s8(panel + 80)}, codes, acc);
        dot<3>({vld1q_s8(panel + 96), vld1q_s8(panel + 112)}, codes, acc);
        if (!Narrow && half == 0) continue;
        const int place = (t * groups + half * (groups - 1)) * tile_rows + rows;
        for (int r = 0; r < 2; ++r) {
          const float32x4_t scale = vld1q_f32(s.scratch->scales + place + 4 * r);
          for (int n = 0; n < Tokens; ++n)
            out[r][n] = scaled(out[r][n], acc[r][n], scale, x.steps[block + n * blocks + t]);
          if constexpr (Min) {
            const float32x4_t min = vld1q_f32(s.scratch->mins + place + 4 * r);
            for (int n = 0; n < Tokens; ++n) {
              const std::int64_t at = block + n * blocks + t;
              out[r][n] =
                  vfmaq_n_f32(out[r][n], min,
                              Narrow ? x.weighted_sums16[at * 2 + half] : x.weighted_sums32[at]);
            }
          }
        }
      }
    }
    for (int r = 0; r < 2; ++r)
      for (int n = 0; n < Tokens; ++n)
        end_output(s, n, out[r][n], s.y + n * s.y_stride + rows + 4 * r);
  }
}

// --- choosing the instance ---

using Run = void (*)(const Strip&);
using Decode = void (*)(const Strip&, Scratch&);

template <class Tiles, bool Narrow, bool Min>
Run choose_direct_tokens(int tokens) {
  switch (tokens) {
    case 4:
      return direct<Tiles, 4, Narrow, Min>;
    case 3:
      return direct<Tiles, 3, Narrow, Min>;
    case 2:
      return direct<Tiles, 2, Narrow, Min>;
    default:
      return direct<Tiles, 1, Narrow, Min>;
  }
}
template <class Tiles>
Run choose_direct(int tokens, bool narrow, bool min) {
  if constexpr (Tiles::has_mins)
    if (min)
      return (narrow ? choose_direct_tokens<Tiles, true, true>
                     : choose_direct_tokens<Tiles, false, true>)(tokens);
  return (narrow ? choose_direct_tokens<Tiles, true, false>
                 : choose_direct_tokens<Tiles, false, false>)(tokens);
}

/// The instances of one kind of tiles.
struct TileCode {
  Run (*direct)(int tokens, bool narrow, bool min);
  Decode decode;
  std::int32_t (*remaining_zero)(const LevelTable&);  ///< of the direct path
};
template <class Tiles>
constexpr TileCode tile_code{choose_direct<Tiles>, decode_panel<Tiles>, remaining_zero<Tiles>};
template <int Level>
const TileCode& code_of_digits(bool identity) {
  return identity ? tile_code<DigitTiles<Level, true>> : tile_code<DigitTiles<Level, false>>;
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
  if (w.grid) return code_of_grid(*w.grid);
  const bool identity = w.tables[plane_index(level)].identity;
  switch (level) {
    case 2:
      return code_of_digits<2>(identity);
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

template <bool Narrow, bool Min>
Run choose_panel_tokens(int tokens) {
  switch (tokens) {
    case 5:
      return panel_product<5, Narrow, Min>;
    case 4:
      return panel_product<4, Narrow, Min>;
    case 3:
      return panel_product<3, Narrow, Min>;
    case 2:
      return panel_product<2, Narrow, Min>;
    default:
      return panel_product<1, Narrow, Min>;
  }
}
Run choose_panel(int tokens, bool narrow, bool min) {
  return (narrow ? (min ? choose_panel_tokens<true, true> : choose_panel_tokens<true, false>)
                 : (min ? choose_panel_tokens<false, true> : choose_panel_tokens<false, false>))(
      tokens);
}

/// Runs an instance where its results belong; or, if the tile row has fewer than 16 rows, so that
/// they would pass the end of y's rows, in a copy.
void run_for_rows(Run run, Strip s, int tokens, std::int64_t rows) {
  if (rows >= tile_rows) {
    run(s);
    return;
  }
  float edge[most_tokens][tile_rows] = {};
  float* const y = s.y;
  const std::int64_t y_stride = s.y_stride;
  if (!s.begins_row())
    for (int n = 0; n < tokens; ++n)
      for (std::int64_t row = 0; row < rows; ++row) edge[n][row] = y[n * y_stride + row];
  s.y = edge[0];
  s.y_stride = tile_rows;
  run(s);
  for (int n = 0; n < tokens; ++n)
    for (std::int64_t row = 0; row < rows; ++row) y[n * y_stride + row] = edge[n][row];
}

// --- activations ---

/// Largest magnitude of 32 values.
inline float largest_of(const float* x) {
  float32x4_t a = vabsq_f32(vld1q_f32(x)), b = vabsq_f32(vld1q_f32(x + 4));
  for (int i = 8; i < 32; i += 8) {
    a = vmaxq_f32(a, vabsq_f32(vld1q_f32(x + i)));
    b = vmaxq_f32(b, vabsq_f32(vld1q_f32(x + i + 4)));
  }
  return vmaxvq_f32(vmaxq_f32(a, b));
}

/// The codes of 16 values; ties to even.
inline int8x16_t codes_of(const float* x, float inverse) {
  int16x4_t quarter[4];
  for (int q = 0; q < 4; ++q)
    quarter[q] = vqmovn_s32(vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + 4 * q), inverse)));
  return vcombine_s8(vqmovn_s16(vcombine_s16(quarter[0], quarter[1])),
                     vqmovn_s16(vcombine_s16(quarter[2], quarter[3])));
}

constexpr float least_share = least_activation_step / largest_activation_step;
/// A block's step as a share of the largest, from the ratio of the maxima: rounded up to three
/// bits.
inline float share_of(float ratio) {
  const auto bits = __builtin_bit_cast(std::int32_t, ratio);
  const auto share = __builtin_bit_cast(float, (bits + 0x1fffff) & ~0x1fffff);
  return share > least_share ? share : least_share;
}

}  // namespace

void quantise_activations(const float* x, std::int64_t x_stride, std::int64_t token_begin,
                          std::int64_t token_end, const QuantisedActivations& out) {
  const std::int64_t blocks = out.columns / 32;
  const int8x16_t ones = vdupq_n_s8(1);
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
      const float step = share * largest_activation_step, inverse = row_inverse / share;
      out.steps[at] = step;
      std::int32_t both = 0;
      for (int half = 0; half < 2; ++half) {
        const int8x16_t codes = codes_of(row + block * 32 + half * 16, inverse);
        vst1q_s8(out.codes + at * 32 + half * 16, codes);
        const std::int32_t sum = vaddvq_s32(vdotq_s32(vdupq_n_s32(0), codes, ones));
        out.sums[at * 2 + half] = sum;
        out.weighted_sums16[at * 2 + half] = step * static_cast<float>(sum);
        both += sum;
      }
      out.weighted_sums32[at] = step * static_cast<float>(both);
    }
  }
}

void matmul_planes(const PlaneView& w, const QuantisedActivations& x, std::int64_t tile_begin,
                   std::int64_t tile_end, float* y, std::int64_t y_stride, void* memory) {
  Scratch& scratch = *static_cast<Scratch*>(memory);
  const bool narrow = w.scale_width == 16, by_panel = x.tokens > direct_tokens;
  const std::int64_t tiles = w.tiles_per_row();

  Strip s{};
  s.w = &w;
  s.x = &x;
  s.scratch = &scratch;
  s.y_stride = y_stride;
  for (s.tile_row = tile_begin; s.tile_row < tile_end; ++s.tile_row) {
    const int level = w.levels[s.tile_row];
    const LevelTable& level_table = w.tables[plane_index(level)];
    const TileCode& code = code_of(w, level);
    const std::int64_t rows = w.rows - s.tile_row * tile_rows;
    for (s.first = 0; s.first < tiles; s.first += strip_tiles) {
      s.count = static_cast<int>(tiles - s.first < strip_tiles ? tiles - s.first : strip_tiles);
      expand_scales(w, s.tile_row, s.first, s.count, level_table.unit, scratch.scales,
                    scratch.mins);
      if (by_panel)
        code.decode(s, scratch);
      else
        direct_starts(x, s.first, s.count, narrow, code.remaining_zero(level_table), scratch);
      // Shares of nearly equal size.
      std::int64_t shares = by_panel ? (x.tokens + panel_tokens - 1) / panel_tokens : 1;
      for (s.token = 0; s.token < x.tokens; --shares) {
        const int count = static_cast<int>((x.tokens - s.token + shares - 1) / shares);
        s.y = y + s.token * y_stride + s.tile_row * tile_rows;
        run_for_rows(by_panel ? choose_panel(count, narrow, w.has_min)
                              : code.direct(count, narrow, w.has_min),
                     s, count, rows);
        s.token += count;
      }
    }
  }
}

}  // namespace plimsoll::neon
