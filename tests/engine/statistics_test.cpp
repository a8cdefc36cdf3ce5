#include "engine/statistics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

namespace plimsoll {
namespace {

ClusterMean of(const std::vector<double>& means) {
  ClusterMean result;
  for (const double mean : means) result.add(mean);
  return result;
}

TEST(ClusterMean, AgreesWithACaseByHand) {
  const ClusterMean mean = of({1, 2, 4, 5});
  EXPECT_DOUBLE_EQ(mean.mean, 3);
  // Squared distances 4 + 1 + 1 + 4, by 4 clusters and 3 degrees of freedom.
  EXPECT_DOUBLE_EQ(*mean.error(), std::sqrt(10.0 / 12));
  const auto interval = interval_of_mean(mean);
  EXPECT_NEAR(interval->high - 3, 3.1824 * std::sqrt(10.0 / 12), 0.005);
  EXPECT_DOUBLE_EQ(interval->high - 3, 3 - interval->low);
}

TEST(ClusterMean, OneClusterSaysNothingAboutItsError) {
  EXPECT_FALSE(of({}).error());
  EXPECT_FALSE(of({7}).error());
  EXPECT_FALSE(interval_of_mean(of({7})));
  EXPECT_FALSE(interval_of_share(of({0.5}), 100));
  EXPECT_EQ(of({7, 7, 7}).error(), 0);
}

TEST(ClusterMean, KeepsItsDigitsFarFromZero) {
  EXPECT_NEAR(*of({1e9, 1e9 + 1, 1e9 + 2}).error(), std::sqrt(2.0 / 6), 1e-6);
}

TEST(Statistics, FactorsAreStudents) {
  // 0.975 quantiles by degrees of freedom, from the usual tables.
  const std::pair<int, double> table[] = {{1, 12.706}, {2, 4.303},  {3, 3.182},  {4, 2.776},
                                          {5, 2.571},  {9, 2.262},  {10, 2.228}, {20, 2.086},
                                          {30, 2.042}, {60, 2.000}, {120, 1.980}};
  for (const auto& [freedom, quantile] : table)
    EXPECT_NEAR(interval_factor(freedom + 1), quantile, 0.004) << freedom;
  EXPECT_NEAR(interval_factor(1'000'000'000), 1.959964, 1e-6);
}

TEST(Statistics, SharesStayWithinZeroAndOne) {
  // Many clusters that differ as independent answers would: Wilson's interval for 8 of 10 is 0.490
  // to 0.943 (with 1.96 standard errors).
  ClusterMean share{.clusters = 100'000, .mean = 0.8};
  const auto with_error = [&share](double error) {
    const double n = static_cast<double>(share.clusters);
    share.squares = error * error * n * (n - 1);
    return share;
  };
  const auto independent = interval_of_share(with_error(std::sqrt(0.8 * 0.2 / 10)), 1000);
  EXPECT_NEAR(independent->low, 0.4902, 2e-4);
  EXPECT_NEAR(independent->high, 0.9433, 2e-4);
  // Never narrower than that of all trials.
  const auto calm = interval_of_share(with_error(1e-9), 10);
  EXPECT_NEAR(calm->low, independent->low, 1e-6);

  const auto all = interval_of_share(of({1, 1, 1, 1, 1}), 640);
  EXPECT_EQ(all->high, 1);
  EXPECT_LT(all->low, 1);
  EXPECT_GT(all->low, 0.95);
  EXPECT_EQ(interval_of_share(of({0, 0, 0}), 30)->low, 0);
}

TEST(Statistics, ClusteredIntervalsHoldWhatTheyPromise) {
  // Tokens share half of their variance with their chunk: the interval must hold the true mean in
  // 95 % of texts, where one that takes tokens as independent holds it in a third.
  std::mt19937 random(5);
  std::normal_distribution<double> normal;
  constexpr int texts = 2000, chunks = 8, tokens = 32;
  int held = 0, held_naively = 0;
  for (int text = 0; text < texts; ++text) {
    ClusterMean mean;
    double sum = 0, squares = 0;
    for (int c = 0; c < chunks; ++c) {
      const double shared = normal(random);
      double chunk = 0;
      for (int t = 0; t < tokens; ++t) {
        const double value = shared + normal(random);
        chunk += value;
        sum += value;
        squares += value * value;
      }
      mean.add(chunk / tokens);
    }
    constexpr double n = chunks * tokens;
    const auto interval = interval_of_mean(mean);
    held += interval->low <= 0 && interval->high >= 0;
    const double naive = std::sqrt((squares / n - sum / n * sum / n) / (n - 1));
    held_naively += std::abs(sum / n) <= 1.96 * naive;
  }
  EXPECT_NEAR(held / double{texts}, 0.95, 0.02);
  EXPECT_LT(held_naively / double{texts}, 0.6);
}

}  // namespace
}  // namespace plimsoll
