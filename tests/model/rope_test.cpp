#include "model/rope.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <vector>

namespace plimsoll {
namespace {

TEST(Rope, PlainFrequenciesArePowersOfTheBase) {
  RopeDescription rope;
  rope.base = 10000;
  const RopeFrequencies found = rope_frequencies(rope, 64, nullptr, 1);
  ASSERT_EQ(found.radians_per_position.size(), 32u);
  EXPECT_EQ(found.magnitude, 1.0f);
  for (int i = 0; i < 32; ++i)
    EXPECT_FLOAT_EQ(found.radians_per_position[static_cast<std::size_t>(i)],
                    static_cast<float>(std::pow(10000.0, -i / 32.0)));
}

TEST(Rope, LinearScalingSlowsEveryWaveAndFactorsDivide) {
  RopeDescription rope;
  rope.scale = 0.25;
  std::vector<float> factors(16);
  for (std::size_t i = 0; i < factors.size(); ++i) factors[i] = 1.0f + static_cast<float>(i);
  const RopeFrequencies found = rope_frequencies(rope, 32, factors.data(), 1);
  for (std::size_t i = 0; i < 16; ++i)
    EXPECT_FLOAT_EQ(found.radians_per_position[i],
                    static_cast<float>(std::pow(10000.0, -static_cast<double>(i) / 16) /
                                       (4.0 * (1 + static_cast<double>(i)))));
}

// YaRN (arXiv:2309.00071): waves that turn more than 32 times within the original context keep
// their frequency, those that turn less than once are interpolated, and attention is tempered by
// 0.1 ln(factor) + 1.
TEST(Rope, YarnKeepsFastWavesAndInterpolatesSlowOnes) {
  RopeDescription rope;
  rope.scale = 1.0 / 8;
  rope.yarn = true;
  rope.original_context = 4096;
  const RopeFrequencies found = rope_frequencies(rope, 128, nullptr, 1);
  EXPECT_FLOAT_EQ(found.magnitude, static_cast<float>(0.1 * std::log(8.0) + 1));
  double previous = 1.01;
  for (std::size_t i = 0; i < 64; ++i) {
    const double plain = std::pow(10000.0, -static_cast<double>(i) / 64);
    const double turns = 4096 * plain / (2 * std::numbers::pi);
    const double kept = found.radians_per_position[i] / plain;  // 1: as it was, 1/8: interpolated
    // The borders are rounded outwards to whole dimensions: one dimension is a factor of 1.155 in
    // turns.
    if (turns > 32 * 1.16) {
      EXPECT_NEAR(kept, 1.0, 1e-6) << i;
    } else if (turns < 1 / 1.16) {
      EXPECT_NEAR(kept, 1.0 / 8, 1e-6) << i;
    }
    EXPECT_LE(kept, previous + 1e-6) << i;
    previous = kept;
  }
}

// By transformers 5.24.0: YaRN with factor 4, original context 32, betas 8 and 0.5 that are not
// rounded to whole dimensions, of heads of 16.
TEST(Rope, YarnBlendsBetweenPartsOfDimensionsWhereItShould) {
  RopeDescription rope;
  rope.scale = 1.0 / 4;
  rope.yarn = true;
  rope.original_context = 32;
  rope.yarn_fast = 8;
  rope.yarn_slow = 0.5;
  rope.yarn_truncate = false;
  const RopeFrequencies found = rope_frequencies(rope, 16, nullptr, 64);
  constexpr float wanted[] = {1.0f,           0.198583528f,    0.0255952496f,   0.00790569466f,
                              0.00249999994f, 0.000790569466f, 0.000250000012f, 7.90569466e-05f};
  for (std::size_t i = 0; i < 8; ++i)
    EXPECT_NEAR(found.radians_per_position[i] / wanted[i], 1, 1e-5) << i;
  EXPECT_FLOAT_EQ(found.magnitude, 1.138629436f);
  rope.yarn_truncate = true;
  EXPECT_GT(std::abs(rope_frequencies(rope, 16, nullptr, 64).radians_per_position[1] / wanted[1] - 1),
            0.01);
  // Nothing is tempered that is not stretched.
  rope.scale = 2;
  EXPECT_FLOAT_EQ(rope_frequencies(rope, 16, nullptr, 64).magnitude, 1);
}

// By transformers 5.24.0: factor 4, 128 positions, a sequence of 300.
TEST(Rope, DynamicScalingGrowsTheBaseBeyondTheTrainedContext) {
  RopeDescription rope;
  rope.dynamic_factor = 4;
  rope.original_context = 128;
  constexpr float wanted[] = {1.0f,           0.242702499f,    0.05890451f,     0.0142962709f,
                              0.00346974074f, 0.000842114794f, 0.000204383367f, 4.96043576e-05f};
  const RopeFrequencies longer = rope_frequencies(rope, 16, nullptr, 300);
  for (std::size_t i = 0; i < 8; ++i)
    EXPECT_NEAR(longer.radians_per_position[i] / wanted[i], 1, 1e-5) << i;
  const RopeFrequencies within = rope_frequencies(rope, 16, nullptr, 128);
  rope.dynamic_factor = 0;
  EXPECT_EQ(within.radians_per_position,
            rope_frequencies(rope, 16, nullptr, 128).radians_per_position);
}

}  // namespace
}  // namespace plimsoll
