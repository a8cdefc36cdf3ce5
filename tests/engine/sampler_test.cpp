#include "engine/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

#include "base/error.h"

namespace plimsoll {
namespace {

/// How often each token comes out of many draws.
std::map<TokenId, double> frequencies(SamplingOptions options, const std::vector<float>& logits,
                                      const std::vector<TokenId>& history = {}) {
  constexpr int draws = 20000;
  options.seed = 7;
  Sampler sampler(options, static_cast<std::int64_t>(logits.size()));
  std::map<TokenId, double> result;
  for (int i = 0; i < draws; ++i) {
    std::vector<float> copy = logits;
    result[sampler.sample(copy, history)] += 1.0 / draws;
  }
  return result;
}

SamplingOptions everything() {
  SamplingOptions options;
  options.temperature = 1;
  options.top_k = 0;
  options.top_p = 1;
  options.min_p = 0;
  return options;
}

// Probabilities .5, .25, .125, .0625, .0625. Twenty thousand draws put a frequency within .015 of
// its probability (four standard errors).
const std::vector<float> halves = {std::log(0.25f), std::log(0.5f), std::log(0.0625f),
                                   std::log(0.125f), std::log(0.0625f)};
constexpr double near = 0.015;

TEST(Sampler, DrawsFromTheSoftmax) {
  auto found = frequencies(everything(), halves);
  EXPECT_NEAR(found[1], 0.5, near);
  EXPECT_NEAR(found[0], 0.25, near);
  EXPECT_NEAR(found[3], 0.125, near);
  EXPECT_NEAR(found[2], 0.0625, near);
}

TEST(Sampler, TemperatureRaisesProbabilitiesToItsInverse) {
  SamplingOptions options = everything();
  options.temperature = 0.5;
  const double total = 0.25 + 0.0625 + 0.015625 + 2 * 0.00390625;
  EXPECT_NEAR(frequencies(options, halves)[1], 0.25 / total, near);
}

TEST(Sampler, TopKKeepsTheMostLikely) {
  SamplingOptions options = everything();
  options.top_k = 2;
  auto found = frequencies(options, halves);
  EXPECT_EQ(found.size(), 2u);
  EXPECT_NEAR(found[1], 2.0 / 3, near);
}

TEST(Sampler, TopPKeepsTheFewestThatReachIt) {
  SamplingOptions options = everything();
  options.top_p = 0.7;
  EXPECT_EQ(frequencies(options, halves).size(), 2u);
  options.top_p = 0.8;
  EXPECT_EQ(frequencies(options, halves).size(), 3u);
  options.top_p = 1e-9;
  EXPECT_EQ(frequencies(options, halves).size(), 1u);
}

TEST(Sampler, MinPDropsWhatIsFarBelowTheBest) {
  SamplingOptions options = everything();
  options.min_p = 0.2;  // of .5: .1
  auto found = frequencies(options, halves);
  EXPECT_EQ(found.size(), 3u);
  EXPECT_NEAR(found[1], 0.5 / 0.875, near);
}

TEST(Sampler, RepetitionPenaltyDividesPositiveAndMultipliesNegativeLogits) {
  SamplingOptions options = everything();
  options.temperature = 0;
  options.repetition_penalty = 2;
  EXPECT_EQ(frequencies(options, {3.0f, 2.0f, -1.0f}, {0, 0, 0}).begin()->first, 1)
      << "penalised once, to 1.5";
  EXPECT_EQ(frequencies(options, {-1.5f, -1.0f}, {1}).begin()->first, 0);
  options.repetition_window = 1;
  EXPECT_EQ(frequencies(options, {3.0f, 2.0f}, {0, 1}).begin()->first, 0)
      << "token 0 is out of the window";
}

TEST(Sampler, GreedyTakesTheLowestIdOfEquals) {
  SamplingOptions options;
  options.temperature = 0;
  EXPECT_EQ(frequencies(options, {1, 3, 3, 2}).begin()->first, 1);
}

TEST(Sampler, NaNIsAnErrorAndMinusInfinityNeverComes) {
  SamplingOptions options = everything();
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(frequencies(options, {-infinity, 0, -infinity}).size(), 1u);
  std::vector<float> bad = {0, std::numeric_limits<float>::quiet_NaN(), 1};
  Sampler sampler(options, 3);
  EXPECT_THROW(sampler.sample(bad, {}), Error);
}

TEST(Sampler, OptionsOutOfRangeAreNamed) {
  const auto message = [](auto change) {
    SamplingOptions options;
    change(options);
    try {
      check(options);
    } catch (const Error& error) {
      return error.message();
    }
    return std::string("none");
  };
  EXPECT_EQ(message([](SamplingOptions&) {}), "none");
  EXPECT_EQ(message([](SamplingOptions& o) { o.temperature = -1; }).find("temperature must be"),
            0u);
  EXPECT_EQ(message([](SamplingOptions& o) { o.temperature = NAN; }).find("temperature must be"),
            0u);
  EXPECT_EQ(message([](SamplingOptions& o) { o.top_k = -1; }).find("top-k must be"), 0u);
  EXPECT_EQ(message([](SamplingOptions& o) { o.top_p = 0; }).find("top-p must be"), 0u);
  EXPECT_EQ(message([](SamplingOptions& o) { o.min_p = 2; }).find("min-p must be"), 0u);
}

}  // namespace
}  // namespace plimsoll
