// Codes whose leading four bits are codes of their own.
//
//          values  bytes of a block, in order
//   NEST8  256     half super scale d, 8 signed scales of 32 values each, 256 codes
//
// No format of GGUF's: only this program reads it (docs/decisions/nesting.md).
#include <cstring>

#include "format/bits.h"
#include "format/codecs.h"
#include "format/half.h"
#include "format/rounding.h"

namespace plimsoll::codecs {
namespace {

constexpr int scales_offset = 2, codes_offset = 10;

}  // namespace

void NEST8::split(const std::uint8_t* block, BlockParts* parts, std::int64_t blocks) {
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, ++parts) {
    parts->super_scale = load_u16(block);
    for (int g = 0; g < 8; ++g) parts->scales[g] = block[scales_offset + g];
    std::memcpy(parts->codes, block + codes_offset, block_values);
  }
}

void NEST8::join(const BlockParts* parts, std::uint8_t* block, std::int64_t blocks) {
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, ++parts) {
    store_u16(block, parts->super_scale);
    for (int g = 0; g < 8; ++g)
      block[scales_offset + g] = static_cast<std::uint8_t>(parts->scales[g]);
    std::memcpy(block + codes_offset, parts->codes, block_values);
  }
}

void NEST8::decode(const std::uint8_t* block, float* values, std::int64_t blocks) {
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes) {
    const float d = half_to_float(load_u16(block));
    for (int i = 0; i < block_values; ++i) {
      const float scale = d * static_cast<std::int8_t>(block[scales_offset + i / 32]);
      const int code = block[codes_offset + i];
      *values++ = static_cast<float>(nest4_values[code >> 4] + (code & 15) - 8) * scale;
    }
  }
}

void NEST8::encode(const float* values, std::uint8_t* block, std::int64_t blocks) {
  BlockParts parts;
  for (std::int64_t b = 0; b < blocks; ++b, block += block_bytes, values += block_values) {
    float wanted[8];
    for (int g = 0; g < 8; ++g)
      wanted[g] = signed_extreme(values + 32 * g, 32) / static_cast<float>(nest4_values[0]);
    const SignedScales chosen = round_signed_scales(wanted, 8, -128);
    parts.super_scale = chosen.super_scale;
    for (int g = 0; g < 8; ++g) parts.scales[g] = static_cast<std::uint8_t>(chosen.scales[g]);
    for (int i = 0; i < block_values; ++i) {
      const float scale = chosen.effective(i / 32);
      const int parent = nearest_code(values[i], scale, nest4_values.data(), 16);
      const int first = nest4_values[static_cast<std::size_t>(parent)] - 8;
      // What the value is beyond the first child, which may be out of the children's reach.
      const float beyond = values[i] - static_cast<float>(first) * scale;
      parts.codes[i] =
          static_cast<std::uint8_t>(16 * parent + nearest_quotient(beyond, scale, 0, 15));
    }
    join(&parts, block, 1);
  }
}

}  // namespace plimsoll::codecs
