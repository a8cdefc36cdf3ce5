// Blocks written out by hand, for the formats that no file of the peer's quantiser covers, and the
// scale encodings.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "format/format.h"

namespace plimsoll {
namespace {

std::vector<float> decode(FormatId id, const std::vector<std::uint8_t>& block) {
  const Format& f = format(id);
  EXPECT_EQ(block.size(), static_cast<std::size_t>(f.block_bytes));
  std::vector<float> values(static_cast<std::size_t>(f.block_values));
  f.decode(block.data(), values.data(), 1);
  return values;
}

const std::array<float, 16> e2m1 = {0, 0.5f,  1,  1.5f,  2,  3,  4,  6,
                                    0, -0.5f, -1, -1.5f, -2, -3, -4, -6};

TEST(Mxfp4, IsE2m1TimesAPowerOfTwo) {
  std::vector<std::uint8_t> block(17);
  for (int e : {2, 100, 126, 127, 128, 200, 250}) {
    block[0] = static_cast<std::uint8_t>(e);
    for (int j = 0; j < 16; ++j) block[1 + j] = static_cast<std::uint8_t>(j | (15 - j) << 4);
    const std::vector<float> values = decode(FormatId::MXFP4, block);
    for (int j = 0; j < 16; ++j) {
      EXPECT_EQ(values[j], std::ldexp(e2m1[j], e - 127)) << e;
      EXPECT_EQ(values[16 + j], std::ldexp(e2m1[15 - j], e - 127)) << e;
    }
  }
}

TEST(Mxfp4, LeastAndGreatestExponents) {
  std::vector<std::uint8_t> block(17, 0x11);  // every value: 0.5
  block[0] = 0;
  EXPECT_EQ(decode(FormatId::MXFP4, block)[0], 0x1p-128f);
  block[0] = 1;
  EXPECT_EQ(decode(FormatId::MXFP4, block)[0], 0x1p-127f);
  block[0] = 255;
  EXPECT_EQ(decode(FormatId::MXFP4, block)[0], 0x1p127f);
}

TEST(Nvfp4, EverySixteenValuesHaveAScale) {
  // 1.0, 2.0, 0.5 and 1.125 in E4M3.
  std::vector<std::uint8_t> block = {0x38, 0x40, 0x30, 0x39};
  for (int j = 0; j < 32; ++j)
    block.push_back(static_cast<std::uint8_t>(j % 16 | (j + 5) % 16 << 4));
  const std::vector<float> values = decode(FormatId::NVFP4, block);
  const float scales[4] = {1.0f, 2.0f, 0.5f, 1.125f};
  for (int s = 0; s < 4; ++s)
    for (int j = 0; j < 8; ++j) {
      EXPECT_EQ(values[16 * s + j], e2m1[(8 * s + j) % 16] * scales[s]);
      EXPECT_EQ(values[16 * s + 8 + j], e2m1[(8 * s + j + 5) % 16] * scales[s]);
    }
}

TEST(Nvfp4, ScaleBytes) {
  std::vector<std::uint8_t> block(36, 0x22);  // every value: 1.0
  for (int byte = 0; byte < 256; ++byte) {
    block[0] = static_cast<std::uint8_t>(byte);
    const int exponent = byte >> 3 & 15, mantissa = byte & 7;
    double wanted = exponent == 0 ? mantissa * std::pow(2.0, -9)
                                  : (1 + mantissa / 8.0) * std::pow(2.0, exponent - 7);
    if (byte == 0x7f) wanted = 0;
    EXPECT_EQ(decode(FormatId::NVFP4, block)[0], static_cast<float>(wanted)) << byte;
    BlockParts parts;
    format(FormatId::NVFP4).split(block.data(), &parts, 1);
    EXPECT_EQ(parts.scales[0], byte == 0x7f ? 0 : byte & 0x7f);
  }
}

// The number that the digits make, as a fraction of 3^5 in 256ths, rounded up.
std::uint8_t ternary_byte(const std::vector<int>& digits) {
  double fraction = 0;
  for (std::size_t n = 0; n < digits.size(); ++n)
    fraction += digits[n] / std::pow(3.0, static_cast<double>(n + 1));
  return static_cast<std::uint8_t>(std::ceil(fraction * 256 - 1e-9));
}

TEST(Tq1, DigitsComeOutOfTheFraction) {
  std::mt19937 random(3);
  std::vector<int> trits(256);
  for (int& trit : trits) trit = static_cast<int>(random() % 3);
  std::vector<std::uint8_t> block(54);
  for (int i = 0; i < 32; ++i)
    block[i] =
        ternary_byte({trits[i], trits[32 + i], trits[64 + i], trits[96 + i], trits[128 + i]});
  for (int i = 0; i < 16; ++i)
    block[32 + i] = ternary_byte(
        {trits[160 + i], trits[176 + i], trits[192 + i], trits[208 + i], trits[224 + i]});
  for (int i = 0; i < 4; ++i)
    block[48 + i] = ternary_byte({trits[240 + i], trits[244 + i], trits[248 + i], trits[252 + i]});
  block[52] = 0x00;
  block[53] = 0x42;  // 3.0
  const std::vector<float> values = decode(FormatId::TQ1_0, block);
  for (int i = 0; i < 256; ++i) EXPECT_EQ(values[i], 3.0f * static_cast<float>(trits[i] - 1)) << i;

  std::vector<std::uint8_t> encoded(54);
  format(FormatId::TQ1_0).encode(values.data(), encoded.data(), 1);
  EXPECT_EQ(encoded, block);
}

TEST(Tq2, FieldsOfAByteAreThirtyTwoValuesApart) {
  std::vector<std::uint8_t> block(66, 0x55);  // every code 1: zero
  block[64] = 0x00;
  block[65] = 0x3c;  // 1.0
  block[5] = 0b11100100;
  block[32 + 7] = 0b00011011;
  const std::vector<float> values = decode(FormatId::TQ2_0, block);
  std::vector<float> wanted(256, 0.0f);
  wanted[5] = -1, wanted[37] = 0, wanted[69] = 1, wanted[101] = 2;
  wanted[135] = 2, wanted[167] = 1, wanted[199] = 0, wanted[231] = -1;
  EXPECT_EQ(values, wanted);
}

TEST(Ternary, TernaryValuesAreKeptExactly) {
  std::mt19937 random(4);
  std::vector<float> values(512);
  for (float& value : values) value = 0.75f * (static_cast<float>(random() % 3) - 1);
  for (const FormatId id : {FormatId::TQ1_0, FormatId::TQ2_0}) {
    const Format& f = format(id);
    std::vector<std::uint8_t> bytes(static_cast<std::size_t>(2 * f.block_bytes));
    std::vector<float> decoded(512);
    f.encode(values.data(), bytes.data(), 2);
    f.decode(bytes.data(), decoded.data(), 2);
    EXPECT_EQ(decoded, values);
  }
}

}  // namespace
}  // namespace plimsoll
