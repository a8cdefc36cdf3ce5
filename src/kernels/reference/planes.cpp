// Products over planes, weight by weight, straight from the definition of the layout: the oracle of
// the other folders.
#define PLIMSOLL_ISA reference
#include <algorithm>
#include <cmath>

#include "format/half.h"
#include "kernels/functions-inl.h"

namespace plimsoll::reference {
namespace {

/// Scale and min of one row's group of 16 columns, beginning at `column`.
struct Group {
  float scale;
  float min;
};
Group group_of(const PlaneView& w, std::int64_t tile_row, int lane, std::int64_t column) {
  const std::int64_t tile = tile_row * w.tiles_per_row() + column / tile_columns;
  Group group{1.0f, 0.0f};
  unsigned raw = 0;
  std::int64_t place = 0;
  if (w.scale_kind != ScaleKind::none) {
    const std::int64_t groups_per_tile = tile_columns / w.scale_width;
    const std::int64_t at = tile * groups_per_tile + column % tile_columns / w.scale_width;
    place = at * tile_rows + lane;
    raw = w.scale_kind == ScaleKind::f16 ? reinterpret_cast<const std::uint16_t*>(w.scales)[place]
          : w.scale_kind == ScaleKind::odd4
              ? w.scales[at / 2 * tile_rows + lane] >> 4 * (at % 2) & 15
              : w.scales[place];
  }
  switch (w.scale_kind) {
    case ScaleKind::none:
      break;
    case ScaleKind::f16:
      group.scale = half_to_float(static_cast<std::uint16_t>(raw));
      break;
    case ScaleKind::e8m0:
      group.scale = e8m0_to_float(static_cast<std::uint8_t>(raw));
      break;
    case ScaleKind::ue4m3:
      group.scale = ue4m3_to_float(static_cast<std::uint8_t>(raw));
      break;
    case ScaleKind::i8:
      group.scale = static_cast<float>(static_cast<std::int8_t>(raw));
      break;
    case ScaleKind::u8:
      group.scale = static_cast<float>(raw);
      break;
    case ScaleKind::u4:
      group.scale = static_cast<float>(raw & 15);
      break;
    case ScaleKind::odd4:
      group.scale = static_cast<float>(2 * raw + 1);
      break;
  }
  if (w.has_super) {
    const std::int64_t super = (tile_row * (w.columns / 256) + column / 256) * tile_rows + lane;
    group.scale *= half_to_float(w.super_scales[super]);
    if (w.has_min) {
      const unsigned min = w.scale_kind == ScaleKind::u4 ? raw >> 4 : w.mins[place];
      group.min = -(static_cast<float>(min) * half_to_float(w.super_mins[super]));
    }
  } else if (w.has_min) {
    group.min = half_to_float(reinterpret_cast<const std::uint16_t*>(w.mins)[place]);
  }
  return group;
}

bool bit_of(const std::uint8_t* map, std::int64_t at) { return map[at / 8] >> at % 8 & 1; }

int code_of(const PlaneView& w, int planes, std::int64_t tile_row, int lane, std::int64_t column) {
  const std::int64_t tile = tile_row * w.tiles_per_row() + column / tile_columns;
  const int c = static_cast<int>(column % tile_columns), j = c / 4, byte = 4 * lane + c % 4;
  if (w.grid) {
    const int points = points_per_tile(*w.grid), p = c / w.grid->coordinates;
    const std::int64_t n = 64 * (p / 4) + 4 * lane + p % 4;
    int point = w.points[tile * points + n];
    for (int bit = 8; bit < w.grid->bits; ++bit) {
      const std::int64_t maps = tile * (w.grid->bits - 8) + bit - 8;
      point += bit_of(w.high_bits, maps * points + n) << bit;
    }
    const bool mark = w.grid->marks_points ? bit_of(w.marks, tile * points + n)
                                           : w.marks[tile * 64 + byte] >> j & 1;
    const std::uint8_t* levels = w.grid->levels + point * w.grid->coordinates;
    return levels[c % w.grid->coordinates] + 8 * mark;
  }
  int code = 0;
  for (int plane = 0; plane < planes; ++plane) {
    if (plane_bits[plane] == 2)
      code = code << 2 | (w.digits[plane][tile * 128 + (j & 1) * 64 + byte] >> (j & ~1) & 3);
    else
      code = code << 1 | (w.digits[plane][tile * 64 + byte] >> j & 1);
  }
  return code;
}

}  // namespace

void quantise_activations(const float* x, std::int64_t x_stride, std::int64_t token_begin,
                          std::int64_t token_end, const QuantisedActivations& out) {
  const std::int64_t blocks = out.columns / 32;
  for (std::int64_t token = token_begin; token < token_end; ++token) {
    const float* row = x + token * x_stride;
    float row_largest = 0.0f;
    for (std::int64_t i = 0; i < out.columns; ++i)
      row_largest = std::fmax(row_largest, std::fabs(row[i]));
    const bool zeros = row_largest < least_activation;
    const float row_inverse = zeros ? 0.0f : 127.0f / row_largest;
    out.row_scales[token] = zeros ? 0.0f : row_largest / 127.0f / largest_activation_step;
    for (std::int64_t block = 0; block < blocks; ++block) {
      float largest = 0.0f;
      for (int i = 0; i < 32; ++i) largest = std::fmax(largest, std::fabs(row[block * 32 + i]));
      float share = least_activation_step / largest_activation_step;
      if (!zeros && largest > 0.0f) {
        int exponent;  // ratio = fraction * 2^exponent, fraction in [0.5, 1)
        const float fraction = std::frexp(largest / row_largest, &exponent);
        share = std::fmax(share, std::ldexp(std::ceil(fraction * 8), exponent - 3));
      }
      const float step = share * largest_activation_step, inverse = row_inverse / share;
      const std::int64_t at = token * blocks + block;
      out.steps[at] = step;
      std::int32_t both = 0;
      for (int half = 0; half < 2; ++half) {
        std::int32_t sum = 0;
        for (int i = 0; i < 16; ++i) {
          const std::int64_t column = block * 32 + half * 16 + i;
          const auto code = static_cast<std::int8_t>(std::nearbyint(row[column] * inverse));
          out.codes[token * out.columns + column] = code;
          sum += code;
        }
        out.sums[at * 2 + half] = sum;
        out.weighted_sums16[at * 2 + half] = step * static_cast<float>(sum);
        both += sum;
      }
      out.weighted_sums32[at] = step * static_cast<float>(both);
    }
  }
}

void matmul_planes(const PlaneView& w, const QuantisedActivations& x, std::int64_t tile_begin,
                   std::int64_t tile_end, float* y, std::int64_t y_stride, void*) {
  for (std::int64_t tile_row = tile_begin; tile_row < tile_end; ++tile_row) {
    const int planes = planes_of_level(w.levels[tile_row]);
    const LevelTable& level_table = w.tables[planes - 1];
    for (int lane = 0; lane < tile_rows && tile_row * tile_rows + lane < w.rows; ++lane) {
      for (std::int64_t token = 0; token < x.tokens; ++token) {
        const std::int8_t* codes = x.codes + token * x.columns;
        double sum = 0;
        for (std::int64_t column = 0; column < w.columns; column += 16) {
          std::int32_t dot = 0;
          for (int i = 0; i < 16; ++i) {
            const int code = code_of(w, planes, tile_row, lane, column + i);
            const int centroid = level_table.centroid_of(code, level_after_plane[planes - 1]);
            dot += (centroid - level_table.zero) * codes[column + i];
          }
          const Group group = group_of(w, tile_row, lane, column);
          const double step = x.steps[token * (x.columns / 32) + column / 32];
          const double code_sum = x.sums[token * (x.columns / 16) + column / 16];
          sum += step *
                 (static_cast<double>(group.scale) * level_table.unit * dot + group.min * code_sum);
        }
        y[token * y_stride + tile_row * tile_rows + lane] =
            static_cast<float>(sum * x.row_scales[token]);
      }
    }
  }
}

}  // namespace plimsoll::reference
