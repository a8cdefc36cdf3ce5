// Formats that name points of a grid (a codebook of eight or four magnitudes) instead of single
// codes, 256 values to a block.
//
//            bytes of a block, in order
//   IQ2_XXS  half super scale d; for each 32 values 4 bytes of points and a word W
//   IQ2_XS   d; for each 8 values 9 bits of point and 7 of signs; 8 bytes of scales N
//   IQ2_S    d; 32 bytes of points, 32 of signs; 8 of upper bits of points, 8 of scales N
//   IQ3_XXS  d; 64 bytes of points; for each 32 values a word W
//   IQ3_S    d; 64 bytes of points, 8 of their ninth bits, 32 of signs, 4 of scales
//   IQ1_S    d; 32 bytes of points; for each 32 values 4 x 3 upper bits, 3 of scale, a shift
//   IQ1_M    32 bytes of points; for each 8 values 3 upper bits, a shift; 4 x (4 x 3 of scales,
//            4 of d)
//
// W is four times 7 bits of signs and 4 of scale. N are nibbles, one for each 16 values. Where 7
// bits of signs serve eight values, the eighth makes the number of ones even. A scale s stands for
// 2s + 1, in units (CodeLayout::unit) that every one of these formats has its own of. Fields begin
// at the lowest bits.
#include "format/codebook.h"

#include <bit>
#include <cstring>

#include "format/bits.h"
#include "format/codebook_encoder.h"
#include "format/half.h"

namespace plimsoll::codecs {
namespace {

constexpr std::uint8_t odd_scale(std::uint32_t steps) {
  return static_cast<std::uint8_t>(2 * steps + 1);
}

/// Eight signs of which seven are stored.
constexpr std::uint8_t even_signs(std::uint32_t seven) {
  return static_cast<std::uint8_t>(seven | static_cast<std::uint32_t>(std::popcount(seven) & 1)
                                               << 7);
}

/// Four times seven signs, and a scale.
void unpack_word(const std::uint8_t* bytes, CodebookBlock& parts, int group) {
  const std::uint32_t word = load_u32(bytes);
  for (int i = 0; i < 4; ++i) parts.marks[4 * group + i] = even_signs(word >> 7 * i & 127);
  parts.scales[group] = odd_scale(word >> 28);
}
void pack_word(const CodebookBlock& parts, int group, std::uint8_t* bytes) {
  std::uint32_t word = static_cast<std::uint32_t>(parts.scales[group] / 2) << 28;
  for (int i = 0; i < 4; ++i)
    word |= static_cast<std::uint32_t>(parts.marks[4 * group + i] & 127) << 7 * i;
  store_u32(bytes, word);
}

/// Scales of sixteen or eight groups, two to a byte.
void unpack_scales(const std::uint8_t* bytes, int groups, CodebookBlock& parts) {
  for (int g = 0; g < groups; ++g) parts.scales[g] = odd_scale(bytes[g / 2] >> 4 * (g % 2) & 15);
}
void pack_scales(const CodebookBlock& parts, int groups, std::uint8_t* bytes) {
  for (int g = 0; g < groups; g += 2)
    bytes[g / 2] = static_cast<std::uint8_t>(parts.scales[g] / 2 | parts.scales[g + 1] / 2 << 4);
}

/// Points whose lowest eight bits are a byte each; `Bits` upper bits of neighbours share bytes.
template <int Bits>
void unpack_points(const std::uint8_t* low, const std::uint8_t* high, int count,
                   CodebookBlock& parts) {
  constexpr int each = 8 / Bits;
  for (int i = 0; i < count; ++i)
    parts.points[i] = static_cast<std::uint16_t>(
        low[i] | (high[i / each] >> Bits * (i % each) & ((1 << Bits) - 1)) << 8);
}
template <int Bits>
void pack_points(const CodebookBlock& parts, int count, std::uint8_t* low, std::uint8_t* high) {
  constexpr int each = 8 / Bits;
  for (int i = 0; i < count; i += each) {
    int upper = 0;
    for (int k = 0; k < each; ++k) {
      low[i + k] = static_cast<std::uint8_t>(parts.points[i + k]);
      upper |= parts.points[i + k] >> 8 << Bits * k;
    }
    high[i / each] = static_cast<std::uint8_t>(upper);
  }
}

constexpr std::uint8_t shifted_down(std::uint32_t bit) { return bit ? 0xff : 0x00; }

}  // namespace

template <>
CodebookBlock unpack<FormatId::IQ2_XXS>(const std::uint8_t* block) {
  CodebookBlock parts{.super_scale = load_u16(block)};
  for (int g = 0; g < 8; ++g) {
    const std::uint8_t* bytes = block + 2 + 8 * g;
    for (int i = 0; i < 4; ++i) parts.points[4 * g + i] = bytes[i];
    unpack_word(bytes + 4, parts, g);
  }
  return parts;
}
template <>
void pack<FormatId::IQ2_XXS>(const CodebookBlock& parts, std::uint8_t* block) {
  store_u16(block, parts.super_scale);
  for (int g = 0; g < 8; ++g) {
    std::uint8_t* bytes = block + 2 + 8 * g;
    for (int i = 0; i < 4; ++i) bytes[i] = static_cast<std::uint8_t>(parts.points[4 * g + i]);
    pack_word(parts, g, bytes + 4);
  }
}

template <>
CodebookBlock unpack<FormatId::IQ2_XS>(const std::uint8_t* block) {
  CodebookBlock parts{.super_scale = load_u16(block)};
  for (int i = 0; i < 32; ++i) {
    const std::uint32_t both = load_u16(block + 2 + 2 * i);
    parts.points[i] = both & 511;
    parts.marks[i] = even_signs(both >> 9);
  }
  unpack_scales(block + 66, 16, parts);
  return parts;
}
template <>
void pack<FormatId::IQ2_XS>(const CodebookBlock& parts, std::uint8_t* block) {
  store_u16(block, parts.super_scale);
  for (int i = 0; i < 32; ++i)
    store_u16(block + 2 + 2 * i,
              static_cast<std::uint16_t>(parts.points[i] | (parts.marks[i] & 127) << 9));
  pack_scales(parts, 16, block + 66);
}

template <>
CodebookBlock unpack<FormatId::IQ2_S>(const std::uint8_t* block) {
  CodebookBlock parts{.super_scale = load_u16(block)};
  unpack_points<2>(block + 2, block + 66, 32, parts);
  std::memcpy(parts.marks, block + 34, 32);
  unpack_scales(block + 74, 16, parts);
  return parts;
}
template <>
void pack<FormatId::IQ2_S>(const CodebookBlock& parts, std::uint8_t* block) {
  store_u16(block, parts.super_scale);
  pack_points<2>(parts, 32, block + 2, block + 66);
  std::memcpy(block + 34, parts.marks, 32);
  pack_scales(parts, 16, block + 74);
}

template <>
CodebookBlock unpack<FormatId::IQ3_XXS>(const std::uint8_t* block) {
  CodebookBlock parts{.super_scale = load_u16(block)};
  for (int i = 0; i < 64; ++i) parts.points[i] = block[2 + i];
  for (int g = 0; g < 8; ++g) unpack_word(block + 66 + 4 * g, parts, g);
  return parts;
}
template <>
void pack<FormatId::IQ3_XXS>(const CodebookBlock& parts, std::uint8_t* block) {
  store_u16(block, parts.super_scale);
  for (int i = 0; i < 64; ++i) block[2 + i] = static_cast<std::uint8_t>(parts.points[i]);
  for (int g = 0; g < 8; ++g) pack_word(parts, g, block + 66 + 4 * g);
}

template <>
CodebookBlock unpack<FormatId::IQ3_S>(const std::uint8_t* block) {
  CodebookBlock parts{.super_scale = load_u16(block)};
  unpack_points<1>(block + 2, block + 66, 64, parts);
  std::memcpy(parts.marks, block + 74, 32);
  unpack_scales(block + 106, 8, parts);
  return parts;
}
template <>
void pack<FormatId::IQ3_S>(const CodebookBlock& parts, std::uint8_t* block) {
  store_u16(block, parts.super_scale);
  pack_points<1>(parts, 64, block + 2, block + 66);
  std::memcpy(block + 74, parts.marks, 32);
  pack_scales(parts, 8, block + 106);
}

template <>
CodebookBlock unpack<FormatId::IQ1_S>(const std::uint8_t* block) {
  CodebookBlock parts{.super_scale = load_u16(block)};
  for (int g = 0; g < 8; ++g) {
    const std::uint32_t word = load_u16(block + 34 + 2 * g);
    for (int i = 4 * g; i < 4 * g + 4; ++i) {
      parts.points[i] = static_cast<std::uint16_t>(block[2 + i] | (word >> 3 * (i % 4) & 7) << 8);
      parts.marks[i] = shifted_down(word >> 15);
    }
    parts.scales[g] = odd_scale(word >> 12 & 7);
  }
  return parts;
}
template <>
void pack<FormatId::IQ1_S>(const CodebookBlock& parts, std::uint8_t* block) {
  store_u16(block, parts.super_scale);
  for (int g = 0; g < 8; ++g) {
    int word = parts.scales[g] / 2 << 12 | (parts.marks[4 * g] & 1) << 15;
    for (int i = 4 * g; i < 4 * g + 4; ++i) {
      block[2 + i] = static_cast<std::uint8_t>(parts.points[i]);
      word |= parts.points[i] >> 8 << 3 * (i % 4);
    }
    store_u16(block + 34 + 2 * g, static_cast<std::uint16_t>(word));
  }
}

template <>
CodebookBlock unpack<FormatId::IQ1_M>(const std::uint8_t* block) {
  CodebookBlock parts{};
  for (int i = 0; i < 32; ++i) {
    const std::uint32_t nibble = block[32 + i / 2] >> 4 * (i % 2) & 15u;
    parts.points[i] = static_cast<std::uint16_t>(block[i] | (nibble & 7) << 8);
    parts.marks[i] = shifted_down(nibble >> 3);
  }
  for (int k = 0; k < 4; ++k) {
    const std::uint32_t word = load_u16(block + 48 + 2 * k);
    for (int i = 0; i < 4; ++i) parts.scales[4 * k + i] = odd_scale(word >> 3 * i & 7);
    parts.super_scale = static_cast<std::uint16_t>(parts.super_scale | word >> 12 << 4 * k);
  }
  return parts;
}
template <>
void pack<FormatId::IQ1_M>(const CodebookBlock& parts, std::uint8_t* block) {
  for (int i = 0; i < 32; i += 2) {
    int nibbles = 0;
    for (int k = 0; k < 2; ++k) {
      block[i + k] = static_cast<std::uint8_t>(parts.points[i + k]);
      nibbles |= (parts.points[i + k] >> 8 | (parts.marks[i + k] & 1) << 3) << 4 * k;
    }
    block[32 + i / 2] = static_cast<std::uint8_t>(nibbles);
  }
  for (int k = 0; k < 4; ++k) {
    int word = (parts.super_scale >> 4 * k & 15) << 12;
    for (int i = 0; i < 4; ++i) word |= parts.scales[4 * k + i] / 2 << 3 * i;
    store_u16(block + 48 + 2 * k, static_cast<std::uint16_t>(word));
  }
}

template <FormatId id, int bytes>
void Codebook<id, bytes>::split(const std::uint8_t* block, BlockParts* parts, std::int64_t blocks) {
  using Rules = CodebookRules<id>;
  for (std::int64_t b = 0; b < blocks; ++b, block += bytes, ++parts) {
    const CodebookBlock source = unpack<id>(block);
    parts->super_scale = source.super_scale;
    for (int g = 0; g < 256 / Rules::layout.scale_width; ++g)
      parts->scales[g] = source.scales[g] / 2;
    std::memcpy(parts->points, source.points, sizeof source.points);
    std::memcpy(parts->marks, source.marks, sizeof source.marks);
    for (int octet = 0; octet < 32; ++octet) {
      const std::uint64_t codes = octet_codes<Rules>(source, octet);
      std::memcpy(parts->codes + 8 * octet, &codes, 8);
    }
  }
}

template <FormatId id, int bytes>
void Codebook<id, bytes>::decode(const std::uint8_t* block, float* values, std::int64_t blocks) {
  using Rules = CodebookRules<id>;
  constexpr CodeLayout layout = Rules::layout;
  for (std::int64_t b = 0; b < blocks; ++b, block += bytes) {
    const CodebookBlock source = unpack<id>(block);
    // Every product is exact, so that any order of factors gives the specification's values.
    const float super = half_to_float(source.super_scale) * layout.unit;
    for (int octet = 0; octet < 32; ++octet, values += 8) {
      const float scale = super * source.scales[8 * octet / layout.scale_width];
      const std::uint64_t codes = octet_codes<Rules>(source, octet);
      for (int i = 0; i < 8; ++i)
        values[i] = scale * static_cast<float>(layout.values[codes >> 8 * i & 15]);
    }
  }
}

template <FormatId id, int bytes>
void Codebook<id, bytes>::encode_weighted(const float* values, const float* importance,
                                          std::uint8_t* block, std::int64_t blocks) {
  for (std::int64_t b = 0; b < blocks; ++b, block += bytes, values += 256) {
    pack<id>(BlockEncoder<CodebookRules<id>>(values, importance).encode(), block);
    if (importance) importance += 256;
  }
}

template struct Codebook<FormatId::IQ2_XXS, 66>;
template struct Codebook<FormatId::IQ2_XS, 74>;
template struct Codebook<FormatId::IQ2_S, 82>;
template struct Codebook<FormatId::IQ3_XXS, 98>;
template struct Codebook<FormatId::IQ3_S, 110>;
template struct Codebook<FormatId::IQ1_S, 50>;
template struct Codebook<FormatId::IQ1_M, 56>;

}  // namespace plimsoll::codecs
