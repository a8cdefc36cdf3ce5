#include "fit/second_moments.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace plimsoll {
namespace {

/// H = sum of x x^T, in f64.
class Moments : public testing::TestWithParam<std::pair<int, int>> {
 protected:
  Moments() : size_(GetParam().first), tokens_(GetParam().second) {
    std::mt19937 random(static_cast<std::uint32_t>(size_ * 1000 + tokens_));
    std::normal_distribution<float> normal;
    // Correlated, with columns of very different sizes.
    std::vector<float> common(static_cast<std::size_t>(size_));
    for (float& value : common) value = normal(random);
    x_.resize(static_cast<std::size_t>(tokens_ * stride()));
    for (int t = 0; t < tokens_; ++t) {
      const float together = normal(random);
      for (int i = 0; i < size_; ++i)
        x_[static_cast<std::size_t>(t * stride() + i)] =
            (normal(random) + 2 * together * common[static_cast<std::size_t>(i)]) *
            std::exp2(static_cast<float>(i % 5) - 2);
    }
    expected_.assign(static_cast<std::size_t>(size_ * size_), 0);
    for (int t = 0; t < tokens_; ++t)
      for (int i = 0; i < size_; ++i)
        for (int j = 0; j < size_; ++j)
          expected_[static_cast<std::size_t>(i * size_ + j)] +=
              static_cast<double>(x_[static_cast<std::size_t>(t * stride() + i)]) *
              x_[static_cast<std::size_t>(t * stride() + j)] / tokens_;
  }

  int stride() const { return size_ + 3; }
  double h(int i, int j) const { return expected_[static_cast<std::size_t>(i * size_ + j)]; }
  double trace() const {
    double sum = 0;
    for (int i = 0; i < size_; ++i) sum += h(i, i);
    return sum;
  }
  void gather(SecondMoments& moments) const {
    for (int t = 0; t < tokens_;) {
      const int count = std::min(tokens_ - t, 300);
      moments.add(x_.data() + t * stride(), stride(), count);
      t += count;
    }
    moments.settle();
  }

  int size_, tokens_;
  std::vector<float> x_;
  std::vector<double> expected_;
  Context context_{2, choose_isa()};
};

TEST_P(Moments, PowersAndDiagonalAreThoseOfTheDefinition) {
  SecondMoments moments(context_, size_);
  gather(moments);
  EXPECT_EQ(moments.tokens(), tokens_);
  const std::vector<float> diagonal = moments.mean_squares();
  for (int i = 0; i < size_; ++i)
    EXPECT_NEAR(diagonal[static_cast<std::size_t>(i)], h(i, i), 1e-5 * h(i, i));

  constexpr int rows = 3;
  std::vector<float> w(static_cast<std::size_t>(rows * size_));
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  for (float& value : w) value = normal(random);
  const std::vector<double> powers = moments.powers(w.data(), rows);
  for (int r = 0; r < rows; ++r) {
    double power = 0;
    for (int i = 0; i < size_; ++i)
      for (int j = 0; j < size_; ++j)
        power += static_cast<double>(w[static_cast<std::size_t>(r * size_ + i)]) *
                 w[static_cast<std::size_t>(r * size_ + j)] * h(i, j);
    EXPECT_NEAR(powers[static_cast<std::size_t>(r)], power, 1e-4 * power + 1e-6 * trace());
  }
}

TEST_P(Moments, FactorsMultiplyToTheDampedMoments) {
  constexpr double damping = 0.01;
  SecondMoments moments(context_, size_);
  gather(moments);
  moments.add_to_diagonal(0.25);
  moments.factor(damping);
  const double mean = trace() / size_ + 0.25;
  const auto u = [&](int i, int k) { return static_cast<double>(moments.upper()[i * size_ + k]); };
  for (int i = 0; i < size_; ++i) {
    EXPECT_EQ(u(i, i), 1);
    EXPECT_GT(moments.diagonal()[static_cast<std::size_t>(i)], 0);
    for (int j = i; j < size_; ++j) {
      double product = 0;
      for (int k = j; k < size_; ++k)
        product += u(i, k) * moments.diagonal()[static_cast<std::size_t>(k)] * u(j, k);
      const double wanted = h(i, j) + (i == j ? 0.25 + damping * mean : 0);
      EXPECT_NEAR(product, wanted, 2e-4 * std::sqrt((h(i, i) + mean) * (h(j, j) + mean)))
          << i << ' ' << j;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, Moments,
                         testing::Values(std::pair{1, 1}, std::pair{3, 2}, std::pair{17, 40},
                                         std::pair{32, 1024}, std::pair{129, 1025},
                                         std::pair{160, 77}, std::pair{261, 2100}),
                         [](const auto& test) {
                           return std::to_string(test.param.first) + "x" +
                                  std::to_string(test.param.second);
                         });

TEST(SecondMoments, NoInputAtAllStillFactors) {
  Context context(1, choose_isa());
  SecondMoments moments(context, 20);
  const std::vector<float> zeros(40, 0.0f);
  moments.add(zeros.data(), 20, 2);
  moments.settle();
  moments.factor(0.01);
  for (const float d : moments.diagonal()) EXPECT_GT(d, 0);
}

}  // namespace
}  // namespace plimsoll
