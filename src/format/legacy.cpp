// Blocks of 32 values with one half-precision scale d, and in the _1 formats a half-precision min
// m.
//
//   Q4_0  d, 16 bytes of nibbles                 d * (code - 8)
//   Q4_1  d, m, 16 bytes of nibbles              d * code + m
//   Q5_0  d, 32 fifth bits, 16 bytes of nibbles  d * (code - 16)
//   Q5_1  d, m, 32 fifth bits, 16 bytes          d * code + m
//   Q8_0  d, 32 signed bytes                     d * byte
//
// Low nibbles hold values 0 to 15, high ones 16 to 31; fifth bit i belongs to value i.
#include <algorithm>
#include <cstring>

#include "format/bits.h"
#include "format/codecs.h"
#include "format/half.h"
#include "format/rounding.h"

namespace plimsoll::codecs {
namespace {

constexpr int width = 32;

int nibble(const std::uint8_t* packed, int i) {
  return i < width / 2 ? packed[i] & 15 : packed[i - width / 2] >> 4;
}

void add_fifth_bits(const std::uint8_t* bits, std::uint8_t* codes) {
  for (int byte = 0; byte < width / 8; ++byte) {
    std::uint64_t eight;
    std::memcpy(&eight, codes + 8 * byte, sizeof eight);
    eight |= spread_bits(bits[byte]) << 4;
    std::memcpy(codes + 8 * byte, &eight, sizeof eight);
  }
}

void join_fifth_bits(const std::uint8_t* codes, std::uint8_t* bits) {
  std::uint32_t packed = 0;
  for (int i = 0; i < width; ++i) packed |= static_cast<std::uint32_t>(codes[i] >> 4) << i;
  store_u32(bits, packed);
}

/// Scale and codes of a symmetric block: the extreme value falls on code 0, which reaches one step
/// further than the top.
std::uint16_t choose_symmetric(const float* values, int zero, std::uint8_t* codes) {
  const std::uint16_t half = finite_half(signed_extreme(values, width) / static_cast<float>(-zero));
  const float scale = half_to_float(half);
  for (int i = 0; i < width; ++i)
    codes[i] =
        static_cast<std::uint8_t>(nearest_quotient(values[i], scale, -zero, zero - 1) + zero);
  return half;
}

struct ScaleAndMin {
  std::uint16_t scale;
  std::uint16_t min;
};

ScaleAndMin choose_affine(const float* values, int code_max, std::uint8_t* codes) {
  const auto [low, high] = std::minmax_element(values, values + width);
  const float steps = static_cast<float>(code_max);
  const ScaleAndMin result{finite_half(*high / steps - *low / steps), finite_half(*low)};
  const float scale = half_to_float(result.scale);
  const float min = half_to_float(result.min);
  for (int i = 0; i < width; ++i)
    codes[i] = static_cast<std::uint8_t>(nearest_quotient(values[i] - min, scale, 0, code_max));
  return result;
}

}  // namespace

void Q4_0::split(const std::uint8_t* block, BlockParts* parts, std::int64_t blocks) {
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, ++parts) {
    parts->scales[0] = load_u16(block);
    split_nibbles<16>(block + 2, parts->codes);
  }
}

void Q4_0::join(const BlockParts* parts, std::uint8_t* block, std::int64_t blocks) {
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, ++parts) {
    store_u16(block, parts->scales[0]);
    join_nibbles<16>(parts->codes, block + 2);
  }
}

void Q4_0::decode(const std::uint8_t* block, float* values, std::int64_t blocks) {
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, values += width) {
    const float d = half_to_float(load_u16(block));
    for (int i = 0; i < width; ++i) values[i] = static_cast<float>(nibble(block + 2, i) - 8) * d;
  }
}

void Q4_0::encode(const float* values, std::uint8_t* block, std::int64_t blocks) {
  BlockParts parts;
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, values += width) {
    parts.scales[0] = choose_symmetric(values, 8, parts.codes);
    join(&parts, block, 1);
  }
}

void Q4_1::split(const std::uint8_t* block, BlockParts* parts, std::int64_t blocks) {
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, ++parts) {
    parts->scales[0] = load_u16(block);
    parts->mins[0] = load_u16(block + 2);
    split_nibbles<16>(block + 4, parts->codes);
  }
}

void Q4_1::join(const BlockParts* parts, std::uint8_t* block, std::int64_t blocks) {
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, ++parts) {
    store_u16(block, parts->scales[0]);
    store_u16(block + 2, parts->mins[0]);
    join_nibbles<16>(parts->codes, block + 4);
  }
}

void Q4_1::decode(const std::uint8_t* block, float* values, std::int64_t blocks) {
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, values += width) {
    const float d = half_to_float(load_u16(block));
    const float m = half_to_float(load_u16(block + 2));
    for (int i = 0; i < width; ++i) values[i] = static_cast<float>(nibble(block + 4, i)) * d + m;
  }
}

void Q4_1::encode(const float* values, std::uint8_t* block, std::int64_t blocks) {
  BlockParts parts;
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, values += width) {
    const ScaleAndMin chosen = choose_affine(values, 15, parts.codes);
    parts.scales[0] = chosen.scale;
    parts.mins[0] = chosen.min;
    join(&parts, block, 1);
  }
}

void Q5_0::split(const std::uint8_t* block, BlockParts* parts, std::int64_t blocks) {
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, ++parts) {
    parts->scales[0] = load_u16(block);
    split_nibbles<16>(block + 6, parts->codes);
    add_fifth_bits(block + 2, parts->codes);
  }
}

void Q5_0::join(const BlockParts* parts, std::uint8_t* block, std::int64_t blocks) {
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, ++parts) {
    store_u16(block, parts->scales[0]);
    join_fifth_bits(parts->codes, block + 2);
    join_nibbles<16>(parts->codes, block + 6);
  }
}

void Q5_0::decode(const std::uint8_t* block, float* values, std::int64_t blocks) {
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, values += width) {
    const float d = half_to_float(load_u16(block));
    const std::uint32_t fifth = load_u32(block + 2);
    for (int i = 0; i < width; ++i) {
      const int code = nibble(block + 6, i) + static_cast<int>(fifth >> i & 1) * 16;
      values[i] = static_cast<float>(code - 16) * d;
    }
  }
}

void Q5_0::encode(const float* values, std::uint8_t* block, std::int64_t blocks) {
  BlockParts parts;
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, values += width) {
    parts.scales[0] = choose_symmetric(values, 16, parts.codes);
    join(&parts, block, 1);
  }
}

void Q5_1::split(const std::uint8_t* block, BlockParts* parts, std::int64_t blocks) {
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, ++parts) {
    parts->scales[0] = load_u16(block);
    parts->mins[0] = load_u16(block + 2);
    split_nibbles<16>(block + 8, parts->codes);
    add_fifth_bits(block + 4, parts->codes);
  }
}

void Q5_1::join(const BlockParts* parts, std::uint8_t* block, std::int64_t blocks) {
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, ++parts) {
    store_u16(block, parts->scales[0]);
    store_u16(block + 2, parts->mins[0]);
    join_fifth_bits(parts->codes, block + 4);
    join_nibbles<16>(parts->codes, block + 8);
  }
}

void Q5_1::decode(const std::uint8_t* block, float* values, std::int64_t blocks) {
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, values += width) {
    const float d = half_to_float(load_u16(block));
    const float m = half_to_float(load_u16(block + 2));
    const std::uint32_t fifth = load_u32(block + 4);
    for (int i = 0; i < width; ++i) {
      const int code = nibble(block + 8, i) + static_cast<int>(fifth >> i & 1) * 16;
      values[i] = static_cast<float>(code) * d + m;
    }
  }
}

void Q5_1::encode(const float* values, std::uint8_t* block, std::int64_t blocks) {
  BlockParts parts;
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, values += width) {
    const ScaleAndMin chosen = choose_affine(values, 31, parts.codes);
    parts.scales[0] = chosen.scale;
    parts.mins[0] = chosen.min;
    join(&parts, block, 1);
  }
}

void Q8_0::split(const std::uint8_t* block, BlockParts* parts, std::int64_t blocks) {
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, ++parts) {
    parts->scales[0] = load_u16(block);
    // Codes rise with their values: -128 is code 0.
    for (int i = 0; i < width; ++i) parts->codes[i] = block[2 + i] ^ 0x80;
  }
}

void Q8_0::join(const BlockParts* parts, std::uint8_t* block, std::int64_t blocks) {
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, ++parts) {
    store_u16(block, parts->scales[0]);
    for (int i = 0; i < width; ++i) block[2 + i] = parts->codes[i] ^ 0x80;
  }
}

void Q8_0::decode(const std::uint8_t* block, float* values, std::int64_t blocks) {
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, values += width) {
    const float d = half_to_float(load_u16(block));
    for (int i = 0; i < width; ++i)
      values[i] = static_cast<float>(static_cast<std::int8_t>(block[2 + i])) * d;
  }
}

void Q8_0::encode(const float* values, std::uint8_t* block, std::int64_t blocks) {
  BlockParts parts;
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, values += width) {
    // -128 is left unused, as every writer of this format does: some readers negate the byte.
    parts.scales[0] = finite_half(std::fabs(signed_extreme(values, width)) / 127.0f);
    const float scale = half_to_float(parts.scales[0]);
    for (int i = 0; i < width; ++i)
      parts.codes[i] =
          static_cast<std::uint8_t>(nearest_quotient(values[i], scale, -127, 127) + 128);
    join(&parts, block, 1);
  }
}

}  // namespace plimsoll::codecs
