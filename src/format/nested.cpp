// Codes whose leading bits are codes of their own.
//
//          values  bytes of a block, in order
//   NEST4   256     half super scale d in 1/1024, 8 signed scales of 32 values each, 128
//   of nibbles
//   NEST6   256     the same, 64 of two more bits
//   NEST8   256     the same as NEST4, 128 of four more bits
//
// A byte of the last two parts has the bits of values that are as many apart as the part has bytes,
// the first one's lowest.
// No formats of GGUF's: only this program reads them (docs/decisions/nesting.md).
#include <cstring>

#include "format/bits.h"
#include "format/codecs.h"
#include "format/half.h"
#include "format/rounding.h"

namespace plimsoll::codecs {
namespace {

constexpr int scales_offset = 2, codes_offset = 10, rest_offset = 138;

/// 256 fields of `width` bits.
template <int width>
struct Fields {
  static constexpr int bytes = 32 * width, mask = (1 << width) - 1;

  static void split(const std::uint8_t* packed, std::uint8_t* codes) {
    for (int place = 0; place < 8 / width; ++place)
      for (int i = 0; i < bytes; ++i) codes[place * bytes + i] = packed[i] >> place * width & mask;
  }
  /// Of the lower bits of codes.
  static void join(const std::uint8_t* codes, std::uint8_t* packed) {
    for (int i = 0; i < bytes; ++i) {
      int byte = 0;
      for (int place = 0; place < 8 / width; ++place)
        byte |= (codes[place * bytes + i] & mask) << place * width;
      packed[i] = static_cast<std::uint8_t>(byte);
    }
  }
  static int at(const std::uint8_t* packed, int i) {
    return packed[i % bytes] >> i / bytes * width & mask;
  }
};

}  // namespace

template <int bits, int bytes>
void Nested<bits, bytes>::split(const std::uint8_t* block, BlockParts* parts, std::int64_t blocks) {
  for (std::int64_t b = 0; b < blocks; ++b, block += bytes, ++parts) {
    parts->super_scale = load_u16(block);
    for (int g = 0; g < 8; ++g) parts->scales[g] = block[scales_offset + g];
    Fields<4>::split(block + codes_offset, parts->codes);
    if constexpr (bits > 4) {
      std::uint8_t rest[256];
      Fields<bits - 4>::split(block + rest_offset, rest);
      for (int i = 0; i < 256; ++i)
        parts->codes[i] = static_cast<std::uint8_t>(parts->codes[i] << (bits - 4) | rest[i]);
    }
  }
}

template <int bits, int bytes>
void Nested<bits, bytes>::join(const BlockParts* parts, std::uint8_t* block, std::int64_t blocks) {
  for (std::int64_t b = 0; b < blocks; ++b, block += bytes, ++parts) {
    store_u16(block, parts->super_scale);
    for (int g = 0; g < 8; ++g)
      block[scales_offset + g] = static_cast<std::uint8_t>(parts->scales[g]);
    std::uint8_t leading[256];
    for (int i = 0; i < 256; ++i) leading[i] = parts->codes[i] >> (bits - 4);
    Fields<4>::join(leading, block + codes_offset);
    if constexpr (bits > 4) Fields<bits - 4>::join(parts->codes, block + rest_offset);
  }
}

template <int bits, int bytes>
void Nested<bits, bytes>::decode(const std::uint8_t* block, float* values, std::int64_t blocks) {
  for (std::int64_t b = 0; b < blocks; ++b, block += bytes) {
    const float d = half_to_float(load_u16(block)) * nested_unit;
    for (int i = 0; i < 256; ++i) {
      const float scale = d * static_cast<std::int8_t>(block[scales_offset + i / 32]);
      int value = nest4_values[static_cast<std::size_t>(Fields<4>::at(block + codes_offset, i))];
      if constexpr (bits > 4) {
        constexpr int step = 1 << (8 - bits);
        value += step * Fields<bits - 4>::at(block + rest_offset, i) + step / 2 - 8;
      }
      *values++ = static_cast<float>(value) * scale;
    }
  }
}

template <int bits, int bytes>
void Nested<bits, bytes>::encode(const float* values, std::uint8_t* block, std::int64_t blocks) {
  constexpr int children = 1 << (bits - 4), step = 16 / children;
  BlockParts parts;
  for (std::int64_t b = 0; b < blocks; ++b, block += bytes, values += 256) {
    float wanted[8];
    for (int g = 0; g < 8; ++g)
      wanted[g] =
          signed_extreme(values + 32 * g, 32) / (static_cast<float>(nest4_values[0]) * nested_unit);
    const SignedScales chosen = round_signed_scales(wanted, 8, -128);
    parts.super_scale = chosen.super_scale;
    for (int g = 0; g < 8; ++g) parts.scales[g] = static_cast<std::uint8_t>(chosen.scales[g]);
    for (int i = 0; i < 256; ++i) {
      const float scale = chosen.effective(i / 32) * nested_unit;
      const int parent = nearest_code(values[i], scale, nest4_values.data(), 16);
      const int first = nested_values<bits>[static_cast<std::size_t>(parent * children)];
      // What the value is beyond the first child, which may be out of the children's reach.
      const float beyond = values[i] - static_cast<float>(first) * scale;
      parts.codes[i] = static_cast<std::uint8_t>(
          children * parent +
          nearest_quotient(beyond, static_cast<float>(step) * scale, 0, children - 1));
    }
    join(&parts, block, 1);
  }
}

template struct Nested<4>;
template struct Nested<6>;
template struct Nested<8>;
template struct Nested<4, Nested<6>::block_bytes>;
template struct Nested<4, Nested<8>::block_bytes>;

}  // namespace plimsoll::codecs
