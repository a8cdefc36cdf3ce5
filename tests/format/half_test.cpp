// 16-bit floats against the compiler's own type.
#include "format/half.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>

namespace plimsoll {
namespace {

bool is_nan_half(std::uint16_t h) { return (h & 0x7fff) > 0x7c00; }
bool is_nan_bfloat(std::uint16_t b) { return (b & 0x7fff) > 0x7f80; }

#if defined(__aarch64__) || defined(__FLT16_MAX__)
#if defined(__aarch64__)
using CompilerHalf = __fp16;  // which GCC 12 has there in place of _Float16
#else
using CompilerHalf = _Float16;
#endif

std::uint16_t compiler_half(float f) {
  return std::bit_cast<std::uint16_t>(static_cast<CompilerHalf>(f));
}

TEST(Half, EveryValueWidensAsTheCompilerDoes) {
  for (std::uint32_t i = 0; i < 65536; ++i) {
    const auto h = static_cast<std::uint16_t>(i);
    const float ours = half_to_float(h);
    const float theirs = static_cast<float>(std::bit_cast<CompilerHalf>(h));
    if (is_nan_half(h)) {
      ASSERT_TRUE(std::isnan(ours)) << i;
      ASSERT_EQ(std::signbit(ours), (h & 0x8000) != 0) << i;
    } else {
      ASSERT_EQ(std::bit_cast<std::uint32_t>(ours), std::bit_cast<std::uint32_t>(theirs)) << i;
    }
  }
}

TEST(Half, NarrowsAsTheCompilerDoes) {
  const auto check = [](float f) {
    ASSERT_EQ(float_to_half(f), compiler_half(f)) << std::hexfloat << f;
  };
  // Every boundary between two halves, and the floats on each side of it.
  for (std::uint32_t i = 0; i < 0x7c00; ++i) {
    const float low = half_to_float(static_cast<std::uint16_t>(i));
    const float high = i == 0x7bff ? 65536.0f : half_to_float(static_cast<std::uint16_t>(i + 1));
    const float middle = low + (high - low) / 2;
    for (const float f : {low, middle, std::nextafter(middle, 0.0f),
                          std::nextafter(middle, std::numeric_limits<float>::infinity())}) {
      check(f);
      check(-f);
    }
  }
  std::mt19937 random(1);
  for (int i = 0; i < 1000000; ++i) {
    const float f = std::bit_cast<float>(static_cast<std::uint32_t>(random()));
    if (!std::isnan(f)) check(f);
  }
}
#endif

TEST(Half, EveryValueSurvivesTheWayThereAndBack) {
  for (std::uint32_t i = 0; i < 65536; ++i) {
    const auto h = static_cast<std::uint16_t>(i);
    if (is_nan_half(h)) {
      ASSERT_TRUE(is_nan_half(float_to_half(half_to_float(h)))) << i;
    } else {
      ASSERT_EQ(float_to_half(half_to_float(h)), h);
    }
  }
}

TEST(Half, RoundsToNearestEven) {
  EXPECT_EQ(float_to_half(1.0f + 0x1p-11f), 0x3c00);             // tie, down to even
  EXPECT_EQ(float_to_half(1.0f + 0x1p-11f + 0x1p-23f), 0x3c01);  // just above the tie
  EXPECT_EQ(float_to_half(1.0f + 0x3p-11f), 0x3c02);             // tie, up to even
  EXPECT_EQ(float_to_half(65504.0f), 0x7bff);
  EXPECT_EQ(float_to_half(65519.996f), 0x7bff);
  EXPECT_EQ(float_to_half(65520.0f), 0x7c00);
  EXPECT_EQ(float_to_half(-1e30f), 0xfc00);
  EXPECT_EQ(float_to_half(0x1p-25f), 0);  // tie with zero
  EXPECT_EQ(float_to_half(0x1.000002p-25f), 1);
  EXPECT_EQ(float_to_half(-0.0f), 0x8000);
}

TEST(Bfloat, EveryValueSurvivesTheWayThereAndBack) {
  for (std::uint32_t i = 0; i < 65536; ++i) {
    const auto b = static_cast<std::uint16_t>(i);
    if (is_nan_bfloat(b)) {
      ASSERT_TRUE(std::isnan(bfloat_to_float(b)));
      ASSERT_TRUE(is_nan_bfloat(float_to_bfloat(bfloat_to_float(b))));
    } else {
      ASSERT_EQ(float_to_bfloat(bfloat_to_float(b)), b);
    }
  }
}

TEST(Bfloat, RoundsToNearestEven) {
  EXPECT_EQ(float_to_bfloat(1.0f + 0x1p-8f), 0x3f80);
  EXPECT_EQ(float_to_bfloat(1.0f + 0x1p-8f + 0x1p-23f), 0x3f81);
  EXPECT_EQ(float_to_bfloat(1.0f + 0x3p-8f), 0x3f82);
  EXPECT_EQ(float_to_bfloat(std::numeric_limits<float>::max()), 0x7f80);
  EXPECT_EQ(float_to_bfloat(-std::numeric_limits<float>::infinity()), 0xff80);
  // A NaN whose payload is in the lower half only.
  EXPECT_TRUE(is_nan_bfloat(float_to_bfloat(std::bit_cast<float>(0x7f800001u))));
  EXPECT_TRUE(is_nan_bfloat(float_to_bfloat(std::bit_cast<float>(0xffffffffu))));
}

// The nearest of the two neighbours, found by distance in double precision.
TEST(Bfloat, IsTheNearerNeighbour) {
  std::mt19937 random(2);
  for (int i = 0; i < 200000; ++i) {
    const auto bits = static_cast<std::uint32_t>(random());
    const float f = std::bit_cast<float>(bits);
    if (!std::isfinite(f) || (bits & 0x7f800000u) == 0x7f000000u) continue;
    const auto below = static_cast<std::uint16_t>(bits >> 16);
    const auto above = static_cast<std::uint16_t>(below + 1);
    const double to_below = std::fabs(static_cast<double>(f) - bfloat_to_float(below));
    const double to_above = std::fabs(static_cast<double>(f) - bfloat_to_float(above));
    const std::uint16_t even = below % 2 == 0 ? below : above;
    const std::uint16_t wanted = to_below < to_above ? below : to_above < to_below ? above : even;
    ASSERT_EQ(float_to_bfloat(f), wanted) << std::hexfloat << f;
  }
}

}  // namespace
}  // namespace plimsoll
