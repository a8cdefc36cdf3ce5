// Blocks of 256 ternary values under one half-precision scale d: d * (code - 1).
//
//   TQ1_0  48 bytes of 5 digits, 4 bytes of 4 digits, d
//   TQ2_0  64 bytes of 2-bit codes, d
//
// TQ1_0 stores base-3 digits as a fixed-point fraction: byte = ceil(256 / 243 * number), so that
// multiplying by 3 carries the leading digit out over the byte. Digit n is read after n
// multiplications. Bytes 0 to 31 hold values 32 * n + byte; 32 to 47 hold 160 + 16 * n + (byte -
// 32); the last four 240 + 4 * n + (byte - 48). In TQ2_0 value i is in byte 32 * (i / 128) + i %
// 32, bits 2 * (i / 32 % 4) and up; code 3 is possible in a file and means 2.
#include <cmath>

#include "format/bits.h"
#include "format/codecs.h"
#include "format/half.h"
#include "format/rounding.h"

namespace plimsoll::codecs {
namespace {

constexpr int width = 256;
constexpr std::uint8_t powers_of_three[5] = {1, 3, 9, 27, 81};

/// `count` bytes of `digits` digits each: digit n of byte i goes to codes[count * n + i].
template <int count, int digits>
void split_digits(const std::uint8_t* packed, std::uint8_t* codes) {
  for (int n = 0; n < digits; ++n)
    for (int i = 0; i < count; ++i) {
      const auto fraction = static_cast<std::uint8_t>(packed[i] * powers_of_three[n]);
      codes[count * n + i] = static_cast<std::uint8_t>(fraction * 3 >> 8);
    }
}

template <int count, int digits>
void join_digits(const std::uint8_t* codes, std::uint8_t* packed) {
  for (int i = 0; i < count; ++i) {
    int number = 0;
    for (int n = 0; n < 5; ++n) number = number * 3 + (n < digits ? codes[count * n + i] : 0);
    packed[i] = static_cast<std::uint8_t>((number * 256 + 242) / 243);
  }
}

/// Code of value i, by carrying its byte's digits out one after the other.
int digit(const std::uint8_t* block, int i) {
  int byte, place;
  if (i < 160) {
    byte = i % 32;
    place = i / 32;
  } else if (i < 240) {
    byte = 32 + i % 16;
    place = (i - 160) / 16;
  } else {
    byte = 48 + i % 4;
    place = (i - 240) / 4;
  }
  int fraction = block[byte];
  for (int n = 0; n < place; ++n) fraction = fraction * 3 % 256;
  return fraction * 3 / 256;
}

std::uint16_t choose_codes(const float* values, std::uint8_t* codes) {
  const std::uint16_t half = finite_half(std::fabs(signed_extreme(values, width)));
  const float scale = half_to_float(half);
  for (int i = 0; i < width; ++i)
    codes[i] = static_cast<std::uint8_t>(nearest_quotient(values[i], scale, -1, 1) + 1);
  return half;
}

}  // namespace

void TQ1_0::split(const std::uint8_t* block, BlockParts* parts, std::int64_t blocks) {
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, ++parts) {
    split_digits<32, 5>(block, parts->codes);
    split_digits<16, 5>(block + 32, parts->codes + 160);
    split_digits<4, 4>(block + 48, parts->codes + 240);
    parts->super_scale = load_u16(block + 52);
  }
}

void TQ1_0::join(const BlockParts* parts, std::uint8_t* block, std::int64_t blocks) {
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, ++parts) {
    join_digits<32, 5>(parts->codes, block);
    join_digits<16, 5>(parts->codes + 160, block + 32);
    join_digits<4, 4>(parts->codes + 240, block + 48);
    store_u16(block + 52, parts->super_scale);
  }
}

void TQ1_0::decode(const std::uint8_t* block, float* values, std::int64_t blocks) {
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, values += width) {
    const float d = half_to_float(load_u16(block + 52));
    for (int i = 0; i < width; ++i) values[i] = static_cast<float>(digit(block, i) - 1) * d;
  }
}

void TQ1_0::encode(const float* values, std::uint8_t* block, std::int64_t blocks) {
  BlockParts parts;
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, values += width) {
    parts.super_scale = choose_codes(values, parts.codes);
    join(&parts, block, 1);
  }
}

void TQ2_0::split(const std::uint8_t* block, BlockParts* parts, std::int64_t blocks) {
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, ++parts) {
    for (int half = 0; half < 2; ++half) {
      const std::uint8_t* packed = block + 32 * half;
      std::uint8_t* codes = parts->codes + 128 * half;
      for (int field = 0; field < 4; ++field)
        for (int i = 0; i < 32; ++i) codes[32 * field + i] = packed[i] >> 2 * field & 3;
    }
    parts->super_scale = load_u16(block + 64);
  }
}

void TQ2_0::join(const BlockParts* parts, std::uint8_t* block, std::int64_t blocks) {
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, ++parts) {
    for (int i = 0; i < 64; ++i) {
      int byte = 0;
      for (int field = 0; field < 4; ++field)
        byte |= parts->codes[128 * (i / 32) + 32 * field + i % 32] << 2 * field;
      block[i] = static_cast<std::uint8_t>(byte);
    }
    store_u16(block + 64, parts->super_scale);
  }
}

void TQ2_0::decode(const std::uint8_t* block, float* values, std::int64_t blocks) {
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, values += width) {
    const float d = half_to_float(load_u16(block + 64));
    for (int i = 0; i < width; ++i) {
      const int code = block[32 * (i / 128) + i % 32] >> 2 * (i / 32 % 4) & 3;
      values[i] = static_cast<float>(code - 1) * d;
    }
  }
}

void TQ2_0::encode(const float* values, std::uint8_t* block, std::int64_t blocks) {
  BlockParts parts;
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, values += width) {
    parts.super_scale = choose_codes(values, parts.codes);
    join(&parts, block, 1);
  }
}

}  // namespace plimsoll::codecs
