// Blocks of 256 values: small codes, integer scales (and mins) of groups of 16 or 32 values, and
// half-precision super scales d (and dmin).
//
//         bytes of a block, in order                                     value
//   Q2_K  16 x (scale | min << 4), 64 of 2-bit codes, d, dmin            d * scale * code - dmin *
//   min Q3_K  32 of third bits, 64 of 2-bit codes, 12 of 6-bit scales, d     d * (scale - 32) *
//   (code - 4) Q4_K  d, dmin, 12 of 6-bit scales and mins, 128 of nibbles           d * scale *
//   code - dmin * min Q5_K  d, dmin, 12 of 6-bit scales and mins, 32 of fifth bits,
//         128 of nibbles                                                 d * scale * code - dmin *
//         min
//   Q6_K  128 of nibbles, 64 of 2-bit upper parts, 16 signed scales, d   d * scale * (code - 32)
//
// Where the parts of value i are:
//   2-bit codes (Q2_K, Q3_K)  byte 32 * (i / 128) + i % 32, bits 2 * (i / 32 % 4) and up
//   third and fifth bits      byte i % 32, bit i / 32
//   nibbles of Q4_K, Q5_K     byte 32 * (i / 64) + i % 32, the high one where i / 32 is odd
//   nibbles of Q6_K           byte 64 * (i / 128) + i % 64, the high one where i / 64 is odd
//   upper parts of Q6_K       as 2-bit codes
// and of group g:
//   6-bit scale of Q3_K       bits 0-3: byte g % 8, nibble g / 8; bits 4-5: byte 8 + g % 4, bits 2
//   * (g / 4) and up 6-bit scale, min of       g < 4: lower six bits of bytes g and g + 4; else low
//   and high nibble of byte g + 4, with Q4_K and Q5_K             the upper two bits of bytes g - 4
//   and g on top
#include <cstring>

#include "format/bits.h"
#include "format/codecs.h"
#include "format/half.h"
#include "format/rounding.h"

namespace plimsoll::codecs {
namespace {

constexpr int width = 256;

/// 64 bytes of 2-bit fields to 256 codes.
void split_two_bits(const std::uint8_t* packed, std::uint8_t* codes) {
  for (int half = 0; half < 2; ++half, packed += 32, codes += 128)
    for (int i = 0; i < 32; ++i) {
      codes[i] = packed[i] & 3;
      codes[i + 32] = packed[i] >> 2 & 3;
      codes[i + 64] = packed[i] >> 4 & 3;
      codes[i + 96] = packed[i] >> 6;
    }
}

/// The inverse, of the lower two bits of each code after a shift.
void join_two_bits(const std::uint8_t* codes, int shift, std::uint8_t* packed) {
  for (int half = 0; half < 2; ++half, packed += 32, codes += 128)
    for (int i = 0; i < 32; ++i) {
      int byte = 0;
      for (int field = 0; field < 4; ++field)
        byte |= (codes[i + 32 * field] >> shift & 3) << 2 * field;
      packed[i] = static_cast<std::uint8_t>(byte);
    }
}

/// ORs bit g of byte i, moved to bit `to`, into code 32 * g + i.
template <int to>
void add_top_bits(const std::uint8_t* bits, std::uint8_t* codes) {
  for (int g = 0; g < 8; ++g)
    for (int i = 0; i < 32; ++i)
      codes[32 * g + i] = static_cast<std::uint8_t>(codes[32 * g + i] | (bits[i] >> g & 1) << to);
}

void join_top_bits(const std::uint8_t* codes, int from, std::uint8_t* bits) {
  for (int i = 0; i < 32; ++i) {
    int byte = 0;
    for (int g = 0; g < 8; ++g) byte |= (codes[32 * g + i] >> from & 1) << g;
    bits[i] = static_cast<std::uint8_t>(byte);
  }
}

/// The 6-bit scales and mins of Q4_K and Q5_K, four bytes at a time.
void split_scales_and_mins(const std::uint8_t* packed, std::uint16_t* scales, std::uint16_t* mins) {
  for (int g = 0; g < 4; ++g) {
    scales[g] = packed[g] & 63;
    mins[g] = packed[g + 4] & 63;
    scales[g + 4] = static_cast<std::uint16_t>((packed[g + 8] & 15) | packed[g] >> 6 << 4);
    mins[g + 4] = static_cast<std::uint16_t>(packed[g + 8] >> 4 | packed[g + 4] >> 6 << 4);
  }
}

void join_scales_and_mins(const std::uint16_t* scales, const std::uint16_t* mins,
                          std::uint8_t* packed) {
  for (int g = 0; g < 4; ++g) {
    packed[g] = static_cast<std::uint8_t>(scales[g] | scales[g + 4] >> 4 << 6);
    packed[g + 4] = static_cast<std::uint8_t>(mins[g] | mins[g + 4] >> 4 << 6);
    packed[g + 8] = static_cast<std::uint8_t>((scales[g + 4] & 15) | (mins[g + 4] & 15) << 4);
  }
}

// Decoding reads one part at a time by the positions in the table above, so that it shares nothing
// with splitting.

int two_bits(const std::uint8_t* packed, int i) {
  return packed[32 * (i / 128) + i % 32] >> 2 * (i / 32 % 4) & 3;
}
int top_bit(const std::uint8_t* bits, int i) { return bits[i % 32] >> i / 32 & 1; }
int nibble(const std::uint8_t* packed, int i) {
  return packed[32 * (i / 64) + i % 32] >> 4 * (i / 32 % 2) & 15;
}
int six_bit_scale(const std::uint8_t* p, int g) {
  return g < 4 ? p[g] & 63 : (p[g + 4] & 15) + (p[g - 4] >> 6) * 16;
}
int six_bit_min(const std::uint8_t* p, int g) {
  return g < 4 ? p[g + 4] & 63 : (p[g + 4] >> 4) + (p[g] >> 6) * 16;
}

/// Scales, mins and codes of an affine block; integer scales and mins up to `scale_max`.
void choose_affine(const float* values, int group_width, int code_max, int scale_max,
                   BlockParts* parts) {
  const int groups = width / group_width;
  const AffineScales chosen =
      choose_affine_scales(values, groups, group_width, code_max, scale_max);
  parts->super_scale = chosen.super_scale;
  parts->super_min = chosen.super_min;
  for (int g = 0; g < groups; ++g) {
    parts->scales[g] = chosen.scales[g];
    parts->mins[g] = chosen.mins[g];
    const float scale = chosen.scale(g);
    const float min = chosen.min(g);
    for (int i = g * group_width; i < (g + 1) * group_width; ++i)
      parts->codes[i] =
          static_cast<std::uint8_t>(nearest_quotient(values[i] + min, scale, 0, code_max));
  }
}

/// Scales and codes of a symmetric block with 16 groups; code = nearest + zero.
void choose_symmetric(const float* values, int zero, int lowest_scale, BlockParts* parts) {
  float wanted[16];
  for (int g = 0; g < 16; ++g)
    wanted[g] = signed_extreme(values + 16 * g, 16) / static_cast<float>(-zero);
  const SignedScales chosen = round_signed_scales(wanted, 16, lowest_scale);
  parts->super_scale = chosen.super_scale;
  for (int g = 0; g < 16; ++g) parts->scales[g] = static_cast<std::uint8_t>(chosen.scales[g]);
  for (int i = 0; i < width; ++i)
    parts->codes[i] = static_cast<std::uint8_t>(
        nearest_quotient(values[i], chosen.effective(i / 16), -zero, zero - 1) + zero);
}

}  // namespace

void Q2_K::split(const std::uint8_t* block, BlockParts* parts, std::int64_t blocks) {
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, ++parts) {
    for (int g = 0; g < 16; ++g) parts->scales[g] = block[g];
    split_two_bits(block + 16, parts->codes);
    parts->super_scale = load_u16(block + 80);
    parts->super_min = load_u16(block + 82);
  }
}

void Q2_K::join(const BlockParts* parts, std::uint8_t* block, std::int64_t blocks) {
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, ++parts) {
    for (int g = 0; g < 16; ++g) block[g] = static_cast<std::uint8_t>(parts->scales[g]);
    join_two_bits(parts->codes, 0, block + 16);
    store_u16(block + 80, parts->super_scale);
    store_u16(block + 82, parts->super_min);
  }
}

void Q2_K::decode(const std::uint8_t* block, float* values, std::int64_t blocks) {
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, values += width) {
    const float d = half_to_float(load_u16(block + 80));
    const float dmin = half_to_float(load_u16(block + 82));
    for (int i = 0; i < width; ++i) {
      const float scale = d * static_cast<float>(block[i / 16] & 15);
      const float min = dmin * static_cast<float>(block[i / 16] >> 4);
      values[i] = scale * static_cast<float>(two_bits(block + 16, i)) - min;
    }
  }
}

void Q2_K::encode(const float* values, std::uint8_t* block, std::int64_t blocks) {
  BlockParts parts;
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, values += width) {
    choose_affine(values, 16, 3, 15, &parts);
    for (int g = 0; g < 16; ++g)
      parts.scales[g] = static_cast<std::uint16_t>(parts.scales[g] | parts.mins[g] << 4);
    join(&parts, block, 1);
  }
}

void Q3_K::split(const std::uint8_t* block, BlockParts* parts, std::int64_t blocks) {
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, ++parts) {
    split_two_bits(block + 32, parts->codes);
    add_top_bits<2>(block, parts->codes);
    const std::uint8_t* packed = block + 96;
    for (int g = 0; g < 4; ++g)
      for (int quarter = 0; quarter < 4; ++quarter) {
        const int low = packed[g + 4 * (quarter % 2)] >> 4 * (quarter / 2) & 15;
        const int high = packed[8 + g] >> 2 * quarter & 3;
        parts->scales[g + 4 * quarter] = static_cast<std::uint8_t>((low | high << 4) - 32);
      }
    parts->super_scale = load_u16(block + 108);
  }
}

void Q3_K::join(const BlockParts* parts, std::uint8_t* block, std::int64_t blocks) {
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, ++parts) {
    join_top_bits(parts->codes, 2, block);
    join_two_bits(parts->codes, 0, block + 32);
    std::uint8_t* packed = block + 96;
    std::memset(packed, 0, 12);
    for (int g = 0; g < 16; ++g) {
      const int scale = static_cast<std::int8_t>(parts->scales[g]) + 32;
      packed[g % 8] |= static_cast<std::uint8_t>((scale & 15) << 4 * (g / 8));
      packed[8 + g % 4] |= static_cast<std::uint8_t>(scale >> 4 << 2 * (g / 4));
    }
    store_u16(block + 108, parts->super_scale);
  }
}

void Q3_K::decode(const std::uint8_t* block, float* values, std::int64_t blocks) {
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, values += width) {
    const float d = half_to_float(load_u16(block + 108));
    const std::uint8_t* packed = block + 96;
    for (int i = 0; i < width; ++i) {
      const int g = i / 16;
      const int scale =
          (packed[g % 8] >> 4 * (g / 8) & 15) + 16 * (packed[8 + g % 4] >> 2 * (g / 4) & 3) - 32;
      const int code = two_bits(block + 32, i) + 4 * top_bit(block, i);
      values[i] = d * static_cast<float>(scale) * static_cast<float>(code - 4);
    }
  }
}

void Q3_K::encode(const float* values, std::uint8_t* block, std::int64_t blocks) {
  BlockParts parts;
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, values += width) {
    choose_symmetric(values, 4, -32, &parts);
    join(&parts, block, 1);
  }
}

void Q4_K::split(const std::uint8_t* block, BlockParts* parts, std::int64_t blocks) {
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, ++parts) {
    parts->super_scale = load_u16(block);
    parts->super_min = load_u16(block + 2);
    split_scales_and_mins(block + 4, parts->scales, parts->mins);
    for (int pair = 0; pair < 4; ++pair)
      split_nibbles<32>(block + 16 + 32 * pair, parts->codes + 64 * pair);
  }
}

void Q4_K::join(const BlockParts* parts, std::uint8_t* block, std::int64_t blocks) {
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, ++parts) {
    store_u16(block, parts->super_scale);
    store_u16(block + 2, parts->super_min);
    join_scales_and_mins(parts->scales, parts->mins, block + 4);
    for (int pair = 0; pair < 4; ++pair)
      join_nibbles<32>(parts->codes + 64 * pair, block + 16 + 32 * pair);
  }
}

void Q4_K::decode(const std::uint8_t* block, float* values, std::int64_t blocks) {
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, values += width) {
    const float d = half_to_float(load_u16(block));
    const float dmin = half_to_float(load_u16(block + 2));
    for (int i = 0; i < width; ++i) {
      const float scale = d * static_cast<float>(six_bit_scale(block + 4, i / 32));
      const float min = dmin * static_cast<float>(six_bit_min(block + 4, i / 32));
      values[i] = scale * static_cast<float>(nibble(block + 16, i)) - min;
    }
  }
}

void Q4_K::encode(const float* values, std::uint8_t* block, std::int64_t blocks) {
  BlockParts parts;
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, values += width) {
    choose_affine(values, 32, 15, 63, &parts);
    join(&parts, block, 1);
  }
}

void Q5_K::split(const std::uint8_t* block, BlockParts* parts, std::int64_t blocks) {
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, ++parts) {
    parts->super_scale = load_u16(block);
    parts->super_min = load_u16(block + 2);
    split_scales_and_mins(block + 4, parts->scales, parts->mins);
    for (int pair = 0; pair < 4; ++pair)
      split_nibbles<32>(block + 48 + 32 * pair, parts->codes + 64 * pair);
    add_top_bits<4>(block + 16, parts->codes);
  }
}

void Q5_K::join(const BlockParts* parts, std::uint8_t* block, std::int64_t blocks) {
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, ++parts) {
    store_u16(block, parts->super_scale);
    store_u16(block + 2, parts->super_min);
    join_scales_and_mins(parts->scales, parts->mins, block + 4);
    join_top_bits(parts->codes, 4, block + 16);
    for (int pair = 0; pair < 4; ++pair)
      join_nibbles<32>(parts->codes + 64 * pair, block + 48 + 32 * pair);
  }
}

void Q5_K::decode(const std::uint8_t* block, float* values, std::int64_t blocks) {
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, values += width) {
    const float d = half_to_float(load_u16(block));
    const float dmin = half_to_float(load_u16(block + 2));
    for (int i = 0; i < width; ++i) {
      const float scale = d * static_cast<float>(six_bit_scale(block + 4, i / 32));
      const float min = dmin * static_cast<float>(six_bit_min(block + 4, i / 32));
      const int code = nibble(block + 48, i) + 16 * top_bit(block + 16, i);
      values[i] = scale * static_cast<float>(code) - min;
    }
  }
}

void Q5_K::encode(const float* values, std::uint8_t* block, std::int64_t blocks) {
  BlockParts parts;
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, values += width) {
    choose_affine(values, 32, 31, 63, &parts);
    join(&parts, block, 1);
  }
}

void Q6_K::split(const std::uint8_t* block, BlockParts* parts, std::int64_t blocks) {
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, ++parts) {
    for (int half = 0; half < 2; ++half) {
      const std::uint8_t* low = block + 64 * half;
      const std::uint8_t* high = block + 128 + 32 * half;
      std::uint8_t* codes = parts->codes + 128 * half;
      for (int i = 0; i < 32; ++i) {
        codes[i] = static_cast<std::uint8_t>((low[i] & 15) | (high[i] & 3) << 4);
        codes[i + 32] = static_cast<std::uint8_t>((low[i + 32] & 15) | (high[i] & 12) << 2);
        codes[i + 64] = static_cast<std::uint8_t>(low[i] >> 4 | (high[i] & 48));
        codes[i + 96] = static_cast<std::uint8_t>(low[i + 32] >> 4 | (high[i] & 192) >> 2);
      }
    }
    for (int g = 0; g < 16; ++g) parts->scales[g] = block[192 + g];
    parts->super_scale = load_u16(block + 208);
  }
}

void Q6_K::join(const BlockParts* parts, std::uint8_t* block, std::int64_t blocks) {
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, ++parts) {
    for (int half = 0; half < 2; ++half)
      join_nibbles<64>(parts->codes + 128 * half, block + 64 * half);
    join_two_bits(parts->codes, 4, block + 128);
    for (int g = 0; g < 16; ++g) block[192 + g] = static_cast<std::uint8_t>(parts->scales[g]);
    store_u16(block + 208, parts->super_scale);
  }
}

void Q6_K::decode(const std::uint8_t* block, float* values, std::int64_t blocks) {
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, values += width) {
    const float d = half_to_float(load_u16(block + 208));
    for (int i = 0; i < width; ++i) {
      const int low = block[64 * (i / 128) + i % 64] >> 4 * (i / 64 % 2) & 15;
      const int code = low + 16 * two_bits(block + 128, i);
      const float scale = d * static_cast<float>(static_cast<std::int8_t>(block[192 + i / 16]));
      values[i] = scale * static_cast<float>(code - 32);
    }
  }
}

void Q6_K::encode(const float* values, std::uint8_t* block, std::int64_t blocks) {
  BlockParts parts;
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, values += width) {
    choose_symmetric(values, 32, -128, &parts);
    join(&parts, block, 1);
  }
}

}  // namespace plimsoll::codecs
