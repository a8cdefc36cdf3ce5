// The vector kernels against reference/, which works in doubles and rounds once. Tolerances are in
// units of u = 2^-24, the largest relative error of one rounding to float; each says which
// roundings it counts.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "format/half.h"
#include "guarded.h"
#include "kernels/kernels.h"

namespace plimsoll {
namespace {

constexpr double u = 0x1p-24;
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

const Kernels& plain() { return kernels_for(Isa::reference); }

std::vector<std::int64_t> lengths() {
  std::vector<std::int64_t> all;
  for (std::int64_t n = 0; n <= 70; ++n) all.push_back(n);
  all.push_back(1000);
  return all;
}

Guarded<float> filled(std::int64_t n, float magnitude, std::uint64_t seed) {
  Guarded<float> x(n, n % 7);
  Random random(seed + static_cast<std::uint64_t>(n));
  for (std::int64_t i = 0; i < n; ++i) x[i] = magnitude * random.symmetric();
  return x;
}

class FloatOps : public testing::TestWithParam<Isa> {
 protected:
  const Kernels& fast() const { return kernels_for(GetParam()); }
};

TEST_P(FloatOps, RmsNorm) {
  for (const std::int64_t n : lengths()) {
    for (const float magnitude : {1.0f, 1e-12f, 1e25f}) {
      for (const bool weighted : {false, true}) {
        const auto x = exact(filled(n, magnitude, 1));
        const auto weight = exact(filled(n, 2.0f, 2));
        const float* w = weighted ? weight.data() : nullptr;
        Guarded<float> got(n, 3);
        Guarded<float> want(n);
        fast().rms_norm(x.data(), w, 1e-6f, n, got.data());
        plain().rms_norm(x.data(), w, 1e-6f, n, want.data());
        // The factor, two products, the reference's own.
        for (std::int64_t i = 0; i < n; ++i)
          ASSERT_NEAR(got[i], want[i], 4 * u * std::abs(want[i])) << n << " " << i;
        ASSERT_TRUE(got.intact());
      }
    }
  }
}

TEST_P(FloatOps, InPlace) {
  for (const std::int64_t n : lengths()) {
    const Guarded<float> x = filled(n, 3.0f, 3);
    const auto up = exact(filled(n, 3.0f, 4));
    Guarded<float> apart(n);
    Guarded<float> together = x;
    fast().rms_norm(x.data(), up.data(), 1e-5f, n, apart.data());
    fast().rms_norm(together.data(), up.data(), 1e-5f, n, together.data());
    for (std::int64_t i = 0; i < n; ++i) ASSERT_EQ(apart[i], together[i]);
    together = x;
    fast().silu_multiply(x.data(), up.data(), n, apart.data());
    fast().silu_multiply(together.data(), up.data(), n, together.data());
    for (std::int64_t i = 0; i < n; ++i) ASSERT_EQ(apart[i], together[i]);
    ASSERT_TRUE(together.intact());
  }
}

TEST_P(FloatOps, AddAndScaleAreExact) {
  for (const std::int64_t n : lengths()) {
    const auto y = exact(filled(n, 5.0f, 5));
    Guarded<float> got = filled(n, 1.0f, 6);
    Guarded<float> want = got;
    fast().add(y.data(), n, got.data());
    plain().add(y.data(), n, want.data());
    fast().scale(0.37f, n, got.data());
    plain().scale(0.37f, n, want.data());
    for (std::int64_t i = 0; i < n; ++i) ASSERT_EQ(got[i], want[i]);
    ASSERT_TRUE(got.intact());
  }
}

TEST_P(FloatOps, Gates) {
  for (const std::int64_t n : lengths()) {
    for (const float magnitude : {1e-3f, 4.0f, 100.0f, 1e4f, 1e30f}) {
      const auto gate = exact(filled(n, magnitude, 7));
      const auto up = exact(filled(n, 2.0f, 8));
      Guarded<float> got(n, 5);
      Guarded<float> want(n);
      fast().silu_multiply(gate.data(), up.data(), n, got.data());
      plain().silu_multiply(gate.data(), up.data(), n, want.data());
      for (std::int64_t i = 0; i < n; ++i) {
        // exp (2), sum, quotient, product, the reference's own. Below -88, where e^-x overflows,
        // the result is -0 instead of something under 1e-36.
        ASSERT_NEAR(got[i], want[i], 6 * u * std::abs(want[i]) + 1e-36)
            << gate[static_cast<std::size_t>(i)];
      }
      fast().gelu_multiply(gate.data(), up.data(), n, got.data());
      plain().gelu_multiply(gate.data(), up.data(), n, want.data());
      for (std::int64_t i = 0; i < n; ++i) {
        // As above, and four roundings of the exponent 2u, which count as often as it is large.
        const double x = gate[static_cast<std::size_t>(i)];
        const double exponent = std::min(90.0, 1.6 * std::abs(x + 0.0447 * x * x * x));
        ASSERT_NEAR(got[i], want[i], (4 * exponent + 6) * u * std::abs(want[i]) + 1e-36) << x;
      }
      ASSERT_TRUE(got.intact());
    }
  }
}

TEST_P(FloatOps, SoftCap) {
  for (const std::int64_t n : lengths()) {
    for (const float magnitude : {1e-6f, 1.0f, 20.0f, 30.0f, 500.0f, 1e30f}) {
      Guarded<float> got = filled(n, magnitude, 9);
      Guarded<float> want = got;
      fast().soft_cap(30.0f, n, got.data());
      plain().soft_cap(30.0f, n, want.data());
      // Quotient (whose error tanh never magnifies), tanh (6: 3 ulp), product, the reference's own.
      for (std::int64_t i = 0; i < n; ++i)
        ASSERT_NEAR(got[i], want[i], 9 * u * std::abs(want[i])) << magnitude << " " << i;
      ASSERT_TRUE(got.intact());
    }
  }
}

// p = e^(x - max) / sum. The difference is rounded (|x - max| u), exp (2 u), the product (1), the
// reciprocal (1), the reference's own (1); the sum's terms have the first two as well. e^-87 and
// less may be 0.
double softmax_tolerance(double p, double below_max) {
  return (2 * std::min(below_max, 87.0) + 8) * u * p + 2e-38;
}

TEST_P(FloatOps, Softmax) {
  for (const std::int64_t n : lengths()) {
    if (n == 0) continue;
    for (const float magnitude : {0.1f, 10.0f, 200.0f, 1e30f, 3e38f}) {
      Guarded<float> got = filled(n, magnitude, 10);
      const Guarded<float> x = got;
      Guarded<float> want = x;
      const float lse = fast().softmax(got.data(), n);
      const float want_lse = plain().softmax(want.data(), n);
      float max = x[0];
      for (std::int64_t i = 1; i < n; ++i) max = std::max(max, x[i]);
      for (std::int64_t i = 0; i < n; ++i) {
        const double below = static_cast<double>(max) - x[i];
        ASSERT_NEAR(got[i], want[i], softmax_tolerance(want[i], below)) << n << " " << i;
      }
      // The sum's relative error: each term's, weighted by the term: at most log(n) + 1 roundings
      // of differences.
      const double tolerance = (std::log(n) + 5) * u + 2 * u * std::abs(want_lse);
      ASSERT_NEAR(lse, want_lse, tolerance);
      ASSERT_NEAR(fast().log_sum_exp(x.data(), n), want_lse, tolerance);
      ASSERT_TRUE(got.intact());
    }
  }
}

TEST_P(FloatOps, SoftmaxOfWholeVocabulary) {
  const std::int64_t n = 151937;
  const Guarded<float> x = filled(n, 8.0f, 11);
  EXPECT_NEAR(fast().log_sum_exp(x.data(), n), plain().log_sum_exp(x.data(), n),
              (std::log(n) + 5) * u + 2 * u * 20.0);
}

TEST_P(FloatOps, SoftmaxDoesNotSeeAShift) {
  for (const std::int64_t n : lengths()) {
    if (n == 0) continue;
    // Multiples of 2^-10 below 8, and a shift that leaves them exact.
    Guarded<float> x = filled(n, 8.0f, 12);
    for (std::int64_t i = 0; i < n; ++i) x[i] = std::round(x[i] * 1024.0f) / 1024.0f;
    Guarded<float> shifted = x;
    for (std::int64_t i = 0; i < n; ++i) shifted[i] -= 8192.0f;
    fast().softmax(x.data(), n);
    fast().softmax(shifted.data(), n);
    for (std::int64_t i = 0; i < n; ++i) ASSERT_EQ(x[i], shifted[i]);
  }
}

TEST_P(FloatOps, SoftmaxOfMaskedScores) {
  for (const std::int64_t n : {2, 16, 17, 40}) {
    for (const float masked : {-1e30f, -std::numeric_limits<float>::max(), -kInfinity}) {
      Guarded<float> x(n);
      for (std::int64_t i = 0; i < n; ++i) x[i] = i == n - 1 ? -3.0f : masked;
      const float lse = fast().softmax(x.data(), n);
      for (std::int64_t i = 0; i < n - 1; ++i) ASSERT_EQ(x[i], 0.0f);
      ASSERT_EQ(x[n - 1], 1.0f);
      ASSERT_EQ(lse, -3.0f);
    }
  }
}

TEST_P(FloatOps, NanPropagates) {
  for (const std::int64_t n : {1, 5, 16, 33}) {
    for (std::int64_t at = 0; at < n; ++at) {
      const auto with_nan = [&] {
        Guarded<float> x = filled(n, 1.0f, 13);
        x[at] = kNan;
        return x;
      };
      const Guarded<float> ones = filled(n, 1.0f, 14);
      Guarded<float> out(n);
      Guarded<float> x = with_nan();
      EXPECT_TRUE(std::isnan(fast().log_sum_exp(x.data(), n)));
      EXPECT_TRUE(std::isnan(fast().softmax(x.data(), n)));
      for (std::int64_t i = 0; i < n; ++i) EXPECT_TRUE(std::isnan(x[i]));
      x = with_nan();
      fast().rms_norm(x.data(), nullptr, 1e-6f, n, out.data());
      for (std::int64_t i = 0; i < n; ++i) EXPECT_TRUE(std::isnan(out[i]));
      fast().silu_multiply(x.data(), ones.data(), n, out.data());
      EXPECT_TRUE(std::isnan(out[at]));
      fast().gelu_multiply(x.data(), ones.data(), n, out.data());
      EXPECT_TRUE(std::isnan(out[at]));
      fast().soft_cap(30.0f, n, x.data());
      for (std::int64_t i = 0; i < n; ++i) EXPECT_EQ(std::isnan(x[i]), i == at);
    }
  }
}

TEST_P(FloatOps, Rope) {
  for (const std::int64_t pairs : lengths()) {
    for (const bool adjacent : {false, true}) {
      std::vector<float> cosines(static_cast<std::size_t>(pairs));
      std::vector<float> sines(cosines);
      for (std::size_t i = 0; i < cosines.size(); ++i) {
        const double angle = 4321.0 * std::pow(10000.0, -static_cast<double>(i) / 64.0);
        cosines[i] = static_cast<float>(std::cos(angle));
        sines[i] = static_cast<float>(std::sin(angle));
      }
      const Guarded<float> x = filled(2 * pairs, 3.0f, 15);
      Guarded<float> got = x;
      Guarded<float> want = x;
      fast().rope(cosines.data(), sines.data(), pairs, adjacent, got.data());
      plain().rope(cosines.data(), sines.data(), pairs, adjacent, want.data());
      // One product and one fused sum of numbers under 3 * sqrt 2; the reference's own.
      const double tolerance = 3 * u * 3.0 * std::sqrt(2.0);
      for (std::int64_t i = 0; i < 2 * pairs; ++i) ASSERT_NEAR(got[i], want[i], tolerance);
      ASSERT_TRUE(got.intact());
      // Turning back: the same again, and cos^2 + sin^2 = 1 to two roundings of each.
      for (float& s : sines) s = -s;
      fast().rope(cosines.data(), sines.data(), pairs, adjacent, got.data());
      for (std::int64_t i = 0; i < 2 * pairs; ++i) ASSERT_NEAR(got[i], x[i], 4 * tolerance);
    }
  }
}

TEST_P(FloatOps, HalvesAreExact) {
  Guarded<std::uint16_t> all(65536);
  for (std::int64_t i = 0; i < 65536; ++i) all[i] = static_cast<std::uint16_t>(i);
  Guarded<float> floats(65536);
  fast().float_from_half(all.data(), 65536, floats.data());
  Guarded<std::uint16_t> back(65536);
  fast().half_from_float(floats.data(), 65536, back.data());
  for (std::int64_t i = 0; i < 65536; ++i) {
    const float want = half_to_float(all[i]);
    if (std::isnan(want)) {
      ASSERT_TRUE(std::isnan(floats[i]));
      ASSERT_TRUE(std::isnan(half_to_float(back[i])));
    } else {
      ASSERT_EQ(floats[i], want);
      ASSERT_EQ(back[i], all[i]);
    }
  }
}

TEST_P(FloatOps, HalvesRoundToNearestEven) {
  for (const std::int64_t n : lengths()) {
    Guarded<float> x = filled(n, 1.0f, 16);
    for (std::int64_t i = 0; i < n; ++i) {
      // Exact halves, ties between them, and anything, from subnormals to overflow.
      const float half = half_to_float(static_cast<std::uint16_t>((i * 977 + n) % 0x7bff));
      if (i % 3 == 0) x[i] = half;
      if (i % 3 == 1) x[i] = half + (half_to_float(float_to_half(half) + 1) - half) / 2;
      if (i % 3 == 2) x[i] *= 7e4f;
    }
    Guarded<std::uint16_t> got(n, 3);
    Guarded<std::uint16_t> want(n);
    fast().half_from_float(x.data(), n, got.data());
    plain().half_from_float(x.data(), n, want.data());
    for (std::int64_t i = 0; i < n; ++i) ASSERT_EQ(got[i], want[i]) << x[i];
    ASSERT_TRUE(got.intact());
    Guarded<float> floats(n, 1);
    fast().float_from_half(got.data(), n, floats.data());
    for (std::int64_t i = 0; i < n; ++i) ASSERT_EQ(floats[i], half_to_float(got[i]));
    ASSERT_TRUE(floats.intact());
  }
}

// Hadamard's transform against its definition in doubles: a sum of n roundings counted as
// 6 sqrt(log2 n), one for each of its butterflies and the factor. The same bits in every family.
TEST_P(FloatOps, Rotate) {
  Random random(3);
  for (const std::int64_t head_dim : {4, 8, 12, 20, 32, 48, 64, 80, 96, 128, 160, 256, 512}) {
    const std::int64_t block = head_dim & -head_dim;
    Guarded<float> x(head_dim, 1);
    for (std::int64_t i = 0; i < head_dim; ++i) x[i] = random.symmetric();
    const std::vector<float> before = exact(x);
    fast().rotate(head_dim, x.data());
    EXPECT_TRUE(x.intact());
    Guarded<float> plain_x(head_dim);
    std::copy(before.begin(), before.end(), plain_x.data());
    plain().rotate(head_dim, plain_x.data());
    EXPECT_TRUE(plain_x.intact());
    for (std::int64_t i = 0; i < head_dim; ++i) {
      double sum = 0, squares = 0;
      for (std::int64_t j = 0; j < block; ++j) {
        const double value = before[static_cast<std::size_t>(i / block * block + j)];
        const auto both = static_cast<std::uint64_t>(i % block & j);
        sum += std::popcount(both) % 2 == 0 ? value : -value;
        squares += value * value;
      }
      const double steps = std::log2(static_cast<double>(block)) + 1;
      ASSERT_NEAR(x[i], sum / std::sqrt(static_cast<double>(block)),
                  6 * std::sqrt(steps) * 0x1p-24 * std::sqrt(squares))
          << head_dim << " at " << i;
      ASSERT_EQ(x[i], plain_x[i]) << head_dim << " at " << i;
    }
    fast().rotate(head_dim, x.data());
    for (std::int64_t i = 0; i < head_dim; ++i)
      ASSERT_NEAR(x[i], before[static_cast<std::size_t>(i)], 1e-6 * std::sqrt(block));
  }
}

INSTANTIATE_TEST_SUITE_P(Isas, FloatOps, testing::ValuesIn(vector_isas()), isa_name);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(FloatOps);

}  // namespace
}  // namespace plimsoll
