// Nibbles that index a table of sixteen values with uneven steps.
//
//           values  bytes of a block, in order
//   IQ4_NL  32      half scale d, 16 of nibbles
//   IQ4_XS  256     half super scale d, 16 pairs of upper scale bits, 4 of lower scale nibbles, 128
//   of nibbles MXFP4   32      E8M0 scale, 16 of nibbles (OCP Microscaling Formats v1.0) NVFP4   64
//   4 UE4M3 scales of 16 values each, 32 of nibbles
//
// Within 32 values (16 in NVFP4) low nibbles hold the first half and high ones the second. Group
// scales of IQ4_XS are six bits, minus 32: group g has nibble g of the lower and pair g of the
// upper bits. E8M0 and UE4M3 scales are halved, because the table holds E2M1 values doubled.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "format/bits.h"
#include "format/codecs.h"
#include "format/half.h"
#include "format/rounding.h"

namespace plimsoll::codecs {
namespace {

/// 2^(e - 128); the two least ones are subnormal.
float e8m0_halved(std::uint8_t e) {
  return std::bit_cast<float>(e < 2 ? 0x00200000u << e : static_cast<std::uint32_t>(e - 1) << 23);
}

/// Bit 7 is ignored, but 0x7f alone (a NaN of E4M3) stands for zero.
float ue4m3_halved(std::uint8_t byte) {
  if (byte == 0x7f) return 0;
  const int exponent = byte >> 3 & 15;
  const int mantissa = byte & 7;
  return exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -10)
                       : std::ldexp(static_cast<float>(8 + mantissa), exponent - 11);
}

/// The byte of the finite scale that is nearest to `wanted` >= 0. Codes 0 to 0x7e rise with their
/// values.
std::uint8_t nearest_ue4m3_halved(float wanted) {
  std::uint8_t above = 0;
  while (above < 0x7e && ue4m3_halved(above) < wanted) ++above;
  if (above == 0) return 0;
  const std::uint8_t below = static_cast<std::uint8_t>(above - 1);
  return wanted - ue4m3_halved(below) < ue4m3_halved(above) - wanted ? below : above;
}

void choose_codes(const float* values, int count, float scale, const std::int8_t* table,
                  std::uint8_t* codes) {
  for (int i = 0; i < count; ++i) codes[i] = nearest_code(values[i], scale, table, 16);
}

template <int width>
void decode_nibbles(const std::uint8_t* packed, float scale, const std::int8_t* table,
                    float* values) {
  for (int i = 0; i < width; ++i) {
    const int code = i < width / 2 ? packed[i] & 15 : packed[i - width / 2] >> 4;
    values[i] = static_cast<float>(table[code]) * scale;
  }
}

}  // namespace

void IQ4_NL::split(const std::uint8_t* block, BlockParts* parts, std::int64_t blocks) {
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, ++parts) {
    parts->scales[0] = load_u16(block);
    split_nibbles<16>(block + 2, parts->codes);
  }
}

void IQ4_NL::join(const BlockParts* parts, std::uint8_t* block, std::int64_t blocks) {
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, ++parts) {
    store_u16(block, parts->scales[0]);
    join_nibbles<16>(parts->codes, block + 2);
  }
}

void IQ4_NL::decode(const std::uint8_t* block, float* values, std::int64_t blocks) {
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, values += 32)
    decode_nibbles<32>(block + 2, half_to_float(load_u16(block)), uneven_values.data(), values);
}

void IQ4_NL::encode(const float* values, std::uint8_t* block, std::int64_t blocks) {
  BlockParts parts;
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, values += 32) {
    parts.scales[0] = finite_half(signed_extreme(values, 32) / uneven_values[0]);
    choose_codes(values, 32, half_to_float(parts.scales[0]), uneven_values.data(), parts.codes);
    join(&parts, block, 1);
  }
}

void IQ4_XS::split(const std::uint8_t* block, BlockParts* parts, std::int64_t blocks) {
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, ++parts) {
    parts->super_scale = load_u16(block);
    const std::uint32_t high = load_u16(block + 2);
    const std::uint32_t low = load_u32(block + 4);
    for (int g = 0; g < 8; ++g) {
      const std::uint32_t scale = (low >> 4 * g & 15) | (high >> 2 * g & 3) << 4;
      parts->scales[g] = static_cast<std::uint8_t>(scale - 32);
      split_nibbles<16>(block + 8 + 16 * g, parts->codes + 32 * g);
    }
  }
}

void IQ4_XS::join(const BlockParts* parts, std::uint8_t* block, std::int64_t blocks) {
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, ++parts) {
    std::uint32_t low = 0, high = 0;
    for (int g = 0; g < 8; ++g) {
      const auto scale =
          static_cast<std::uint32_t>(static_cast<std::int8_t>(parts->scales[g]) + 32);
      low |= (scale & 15) << 4 * g;
      high |= scale >> 4 << 2 * g;
      join_nibbles<16>(parts->codes + 32 * g, block + 8 + 16 * g);
    }
    store_u16(block, parts->super_scale);
    store_u16(block + 2, static_cast<std::uint16_t>(high));
    store_u32(block + 4, low);
  }
}

void IQ4_XS::decode(const std::uint8_t* block, float* values, std::int64_t blocks) {
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes) {
    const float d = half_to_float(load_u16(block));
    for (int g = 0; g < 8; ++g, values += 32) {
      const int low = block[4 + g / 2] >> 4 * (g % 2) & 15;
      const int high = block[2 + g / 4] >> 2 * (g % 4) & 3;
      const float scale = d * static_cast<float>(low + 16 * high - 32);
      decode_nibbles<32>(block + 8 + 16 * g, scale, uneven_values.data(), values);
    }
  }
}

void IQ4_XS::encode(const float* values, std::uint8_t* block, std::int64_t blocks) {
  BlockParts parts;
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, values += 256) {
    float wanted[8];
    for (int g = 0; g < 8; ++g) wanted[g] = signed_extreme(values + 32 * g, 32) / uneven_values[0];
    const SignedScales chosen = round_signed_scales(wanted, 8, -32);
    parts.super_scale = chosen.super_scale;
    for (int g = 0; g < 8; ++g) {
      parts.scales[g] = static_cast<std::uint8_t>(chosen.scales[g]);
      choose_codes(values + 32 * g, 32, chosen.effective(g), uneven_values.data(),
                   parts.codes + 32 * g);
    }
    join(&parts, block, 1);
  }
}

void MXFP4::split(const std::uint8_t* block, BlockParts* parts, std::int64_t blocks) {
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, ++parts) {
    parts->scales[0] = block[0];
    split_nibbles<16>(block + 1, parts->codes);
  }
}

void MXFP4::join(const BlockParts* parts, std::uint8_t* block, std::int64_t blocks) {
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, ++parts) {
    block[0] = static_cast<std::uint8_t>(parts->scales[0]);
    join_nibbles<16>(parts->codes, block + 1);
  }
}

void MXFP4::decode(const std::uint8_t* block, float* values, std::int64_t blocks) {
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, values += 32)
    decode_nibbles<32>(block + 1, e8m0_halved(block[0]), e2m1_doubled.data(), values);
}

void MXFP4::encode(const float* values, std::uint8_t* block, std::int64_t blocks) {
  BlockParts parts;
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, values += 32) {
    // Section 6.3: the exponent of the greatest magnitude, minus the 2 of E2M1's greatest (6 = 1.5
    // * 2^2).
    const float extreme = std::fabs(signed_extreme(values, 32));
    const int exponent = extreme == 0 ? -127 : std::ilogb(extreme) - 2;
    const auto scale = static_cast<std::uint8_t>(std::clamp(exponent + 127, 0, 254));
    parts.scales[0] = scale;
    choose_codes(values, 32, e8m0_halved(scale), e2m1_doubled.data(), parts.codes);
    join(&parts, block, 1);
  }
}

void NVFP4::split(const std::uint8_t* block, BlockParts* parts, std::int64_t blocks) {
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, ++parts)
    for (int g = 0; g < 4; ++g) {
      // All 128 codes of a part are plain numbers, so the file's one exception goes here.
      parts->scales[g] = block[g] == 0x7f ? 0 : block[g] & 0x7f;
      split_nibbles<8>(block + 4 + 8 * g, parts->codes + 16 * g);
    }
}

void NVFP4::join(const BlockParts* parts, std::uint8_t* block, std::int64_t blocks) {
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, ++parts) {
    for (int g = 0; g < 4; ++g) {
      // The exception again: as a plain number, 0x7f needs the bit that is otherwise ignored.
      block[g] = static_cast<std::uint8_t>(parts->scales[g] == 0x7f ? 0xff : parts->scales[g]);
      join_nibbles<8>(parts->codes + 16 * g, block + 4 + 8 * g);
    }
  }
}

void NVFP4::decode(const std::uint8_t* block, float* values, std::int64_t blocks) {
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes)
    for (int g = 0; g < 4; ++g, values += 16)
      decode_nibbles<16>(block + 4 + 8 * g, ue4m3_halved(block[g]), e2m1_doubled.data(), values);
}

void NVFP4::encode(const float* values, std::uint8_t* block, std::int64_t blocks) {
  BlockParts parts;
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, values += 64) {
    for (int g = 0; g < 4; ++g) {
      const float* group = values + 16 * g;
      const std::uint8_t scale =
          nearest_ue4m3_halved(std::fabs(signed_extreme(group, 16)) / e2m1_doubled[7]);
      parts.scales[g] = scale;
      choose_codes(group, 16, ue4m3_halved(scale), e2m1_doubled.data(), parts.codes + 16 * g);
    }
    join(&parts, block, 1);
  }
}

}  // namespace plimsoll::codecs
