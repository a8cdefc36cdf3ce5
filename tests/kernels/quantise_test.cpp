// quantise of every instruction set: what it writes is decoded by the format's own decoder, and its
// cost held against that of the format's plain encoder, of the reference and of the definition.
#include "kernels/quantise.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "guarded.h"
#include "kernels/kernels.h"

namespace plimsoll {
namespace {

using Floats = std::vector<float>;

enum class Shape { gaussian, laplace, uniform, positive, constant, zero, huge, tiny, outlier };
constexpr Shape every_shape[] = {Shape::gaussian, Shape::laplace,  Shape::uniform,
                                 Shape::positive, Shape::constant, Shape::zero,
                                 Shape::huge,     Shape::tiny,     Shape::outlier};

Floats make_rows(Shape shape, std::int64_t rows, std::int64_t columns, unsigned seed = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, 0.02f);
  std::exponential_distribution<float> exponential(60.0f);
  std::uniform_real_distribution<float> uniform(-0.05f, 0.05f);
  Floats result(static_cast<std::size_t>(rows * columns));
  for (std::int64_t i = 0; i < rows * columns; ++i) {
    float& w = result[static_cast<std::size_t>(i)];
    switch (shape) {
      case Shape::gaussian:
        w = normal(random);
        break;
      case Shape::laplace:
        w = exponential(random) * (random() % 2 ? 1.0f : -1.0f);
        break;
      case Shape::uniform:
        w = uniform(random);
        break;
      case Shape::positive:
        w = 0.3f + uniform(random);
        break;
      case Shape::constant:
        w = 0.0123f * static_cast<float>(i / columns % 2 ? -1 : 1);
        break;
      case Shape::zero:
        w = 0;
        break;
      case Shape::huge:
        w = normal(random) * 1e31f;
        break;
      case Shape::tiny:
        w = normal(random) * 1e-38f;
        break;
      case Shape::outlier:
        w = i % columns == columns / 3 ? 3.0f : normal(random);
        break;
    }
  }
  return result;
}

struct Problem {
  Problem(const Format& its_format, Floats its_weights, std::int64_t its_columns)
      : format(&its_format), weights(std::move(its_weights)), columns(its_columns) {
    rows = static_cast<std::int64_t>(weights.size()) / columns;
  }
  const Format* format;
  Floats weights;  // [rows][columns]
  std::int64_t columns;
  std::int64_t rows;
  Floats importance;  // [columns] or empty
  Floats feedback;    // [columns][columns] or empty
  bool thorough = false;
  bool unbiased = false;
};

struct Result {
  double cost;     // as returned
  Floats decoded;  // [rows][columns]
};

Floats decode(const Problem& p, const std::uint8_t* blocks) {
  Floats values(p.weights.size());
  p.format->decode(blocks, values.data(), p.rows * p.columns / p.format->block_values);
  return values;
}

Result quantise(Isa isa, const Problem& p) {
  Guarded<std::uint8_t> blocks(static_cast<std::int64_t>(row_bytes(*p.format, p.columns)) * p.rows);
  AlignedFloats scratch(quantise_scratch_floats(p.columns));
  const QuantiseTask task = {.format = p.format,
                             .weights = p.weights.data(),
                             .rows = p.rows,
                             .columns = p.columns,
                             .importance = p.importance.empty() ? nullptr : p.importance.data(),
                             .feedback = p.feedback.empty() ? nullptr : p.feedback.data(),
                             .thorough = p.thorough,
                             .unbiased = p.unbiased,
                             .blocks = blocks.data(),
                             .scratch = scratch.data()};
  Result result{kernels_for(isa).quantise(task), {}};
  EXPECT_TRUE(blocks.intact());
  EXPECT_TRUE(scratch.intact());
  result.decoded = decode(p, blocks.data());
  for (const float value : result.decoded) EXPECT_TRUE(std::isfinite(value)) << p.format->name;
  return result;
}

/// Sum of importance times squared error.
double plain_cost(const Problem& p, const Floats& decoded) {
  double cost = 0;
  for (std::size_t i = 0; i < decoded.size(); ++i) {
    const double error = static_cast<double>(p.weights[i]) - decoded[i];
    const auto column = i % static_cast<std::size_t>(p.columns);
    cost += (p.importance.empty() ? 1.0 : p.importance[column]) * error * error;
  }
  return cost;
}

double encoder_cost(const Problem& p) {
  std::vector<std::uint8_t> blocks(static_cast<std::size_t>(p.rows) *
                                   row_bytes(*p.format, p.columns));
  p.format->encode(p.weights.data(), blocks.data(), p.rows * p.columns / p.format->block_values);
  return plain_cost(p, decode(p, blocks.data()));
}

/// What costs may differ by though the search means them to be alike: it compares sums of a few
/// dozen f32, some of them a thousandth of the weights' power.
double noise(const Problem& p) {
  double sum = 0;
  for (const float w : p.weights) sum += static_cast<double>(w) * w;
  return sum * 0x1p-26 + std::numeric_limits<double>::min();
}

Floats random_importance(std::int64_t columns, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, 1.0f);
  Floats result(static_cast<std::size_t>(columns));
  for (float& d : result) d = std::exp(normal(random));
  return result;
}

/// Second moments of inputs that lie near a few directions, damped, and their factors H = U D U^T.
struct Moments {
  explicit Moments(std::int64_t columns, unsigned seed = 5)
      : n(static_cast<std::size_t>(columns)), h(n * n), u(n * n), d(n) {
    std::mt19937 random(seed);
    std::normal_distribution<double> normal;
    const std::size_t samples = n / 4 + 1;
    std::vector<double> x(samples * n);
    for (double& value : x) value = normal(random);
    double trace = 0;
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = 0; j < n; ++j) {
        for (std::size_t s = 0; s < samples; ++s)
          h[i * n + j] += x[s * n + i] * x[s * n + j] / static_cast<double>(samples);
        if (i == j) trace += h[i * n + i];
      }
    for (std::size_t i = 0; i < n; ++i) h[i * n + i] += 0.01 * trace / static_cast<double>(n);
    // From the last column up: what is left of H after the columns behind are taken off.
    std::vector<double> rest = h;
    for (std::size_t k = n; k-- > 0;) {
      d[k] = static_cast<float>(rest[k * n + k]);
      for (std::size_t i = 0; i <= k; ++i)
        u[i * n + k] = static_cast<float>(rest[i * n + k] / rest[k * n + k]);
      for (std::size_t i = 0; i < k; ++i)
        for (std::size_t j = 0; j < k; ++j)
          rest[i * n + j] -= rest[i * n + k] * rest[k * n + j] / rest[k * n + k];
    }
    // Nothing below the diagonal is read.
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = 0; j < i; ++j) u[i * n + j] = std::nanf("");
  }

  /// Sum over rows of (w - ŵ) H (w - ŵ)^T.
  double cost(const Problem& p, const Floats& decoded) const {
    double sum = 0;
    for (std::size_t row = 0; row < static_cast<std::size_t>(p.rows); ++row) {
      std::vector<double> error(n);
      for (std::size_t i = 0; i < n; ++i)
        error[i] = static_cast<double>(p.weights[row * n + i]) - decoded[row * n + i];
      for (std::size_t i = 0; i < n; ++i)
        for (std::size_t j = 0; j < n; ++j) sum += error[i] * h[i * n + j] * error[j];
    }
    return sum;
  }

  std::size_t n;
  std::vector<double> h;
  Floats u;
  Floats d;
};

struct Case {
  Isa isa;
  const Format* format;
};

std::vector<Case> every_case() {
  std::vector<Case> cases;
  for (const Isa isa : supported_isas())
    for (const Format& f : formats())
      if (f.kind == Format::Kind::coded && !f.encode_weighted && !f.leading)
        cases.push_back({isa, &f});
  return cases;
}

class Quantise : public testing::TestWithParam<Case> {
 protected:
  Isa isa() const { return GetParam().isa; }
  const Format& format() const { return *GetParam().format; }
  std::int64_t block() const { return format().block_values; }
  /// A chunk of the vector kernels and something beyond.
  std::int64_t columns() const { return 256 + block(); }
};

TEST_P(Quantise, CostsNoMoreThanThePlainEncoder) {
  for (const Shape shape : every_shape)
    for (const bool thorough : {false, true}) {
      Problem p(format(), make_rows(shape, 5, columns()), columns());
      p.thorough = thorough;
      const Result result = quantise(isa(), p);
      EXPECT_LE(plain_cost(p, result.decoded), encoder_cost(p) + noise(p))
          << "shape " << static_cast<int>(shape) << " thorough " << thorough;
    }
}

TEST_P(Quantise, ReturnsTheCostOfWhatItWrote) {
  for (const Shape shape : every_shape)
    for (const bool thorough : {false, true}) {
      Problem p(format(), make_rows(shape, 5, columns()), columns());
      p.thorough = thorough;
      p.importance = random_importance(columns(), 3);
      const Result result = quantise(isa(), p);
      const double cost = plain_cost(p, result.decoded);
      EXPECT_NEAR(result.cost, cost, 1e-3 * cost + noise(p)) << static_cast<int>(shape);
    }
}

TEST_P(Quantise, RowsDoNotDependOnTheirNumber) {
  const Problem all(format(), make_rows(Shape::laplace, 133, 256), 256);
  const Result wanted = quantise(isa(), all);
  for (const std::int64_t rows : {1, 15, 16, 17, 40, 64, 65}) {
    const Problem some(format(), Floats(all.weights.begin(), all.weights.begin() + rows * 256),
                       256);
    const Result result = quantise(isa(), some);
    EXPECT_TRUE(std::equal(result.decoded.begin(), result.decoded.end(), wanted.decoded.begin()))
        << rows;
    EXPECT_NEAR(result.cost, plain_cost(some, result.decoded), 1e-3 * result.cost) << rows;
  }
}

TEST_P(Quantise, OneBlockAndMany) {
  for (const std::int64_t blocks : {1, 2, 3, 7, 9}) {
    const Problem p(format(), make_rows(Shape::gaussian, 3, blocks * block()), blocks * block());
    const Result result = quantise(isa(), p);
    EXPECT_LE(plain_cost(p, result.decoded), encoder_cost(p)) << blocks;
    EXPECT_NEAR(result.cost, plain_cost(p, result.decoded), 1e-3 * result.cost) << blocks;
  }
}

TEST_P(Quantise, NoRows) {
  const Problem p(format(), {}, block());
  EXPECT_EQ(quantise(isa(), p).cost, 0);
}

TEST_P(Quantise, ThoroughIsNotWorse) {
  Problem p(format(), make_rows(Shape::gaussian, 40, 512), 512);
  p.importance = random_importance(512, 8);
  const double fast = quantise(isa(), p).cost;
  p.thorough = true;
  EXPECT_LE(quantise(isa(), p).cost, fast * (1 + 1e-5));
}

TEST_P(Quantise, AgreesWithTheReference) {
  for (const bool thorough : {false, true}) {
    Problem p(format(), make_rows(Shape::laplace, 16, 512), 512);
    p.importance = random_importance(512, 9);
    p.thorough = thorough;
    const double wanted = quantise(Isa::reference, p).cost;
    EXPECT_NEAR(quantise(isa(), p).cost, wanted, 0.01 * wanted) << thorough;
  }
}

// Up to the rounding of scales to halves, of which the super scales of these weights are the least
// normal ones.
TEST_P(Quantise, UnbiasedBlocksAreAsLongAsTheWeights) {
  const std::int64_t n = columns();
  Problem p(format(), make_rows(Shape::gaussian, 17, n), n);
  p.importance = random_importance(n, 11);
  const double least = quantise(isa(), p).cost;
  p.unbiased = true;
  const Result result = quantise(isa(), p);
  EXPECT_NEAR(result.cost, plain_cost(p, result.decoded), 1e-3 * result.cost);
  EXPECT_LE(result.cost, 1.5 * least);
  const ScaleKind kind = format().layout.scale;
  if (kind == ScaleKind::e8m0 || kind == ScaleKind::ue4m3) return;
  for (std::int64_t at = 0; at < 17 * n; at += block()) {
    double product = 0, square = 0;
    for (std::int64_t i = at; i < at + block(); ++i) {
      const auto k = static_cast<std::size_t>(i);
      const double weighted = p.importance[k % static_cast<std::size_t>(n)] * p.weights[k];
      product += weighted * result.decoded[k];
      square += weighted * p.weights[k];
    }
    EXPECT_NEAR(product, square, 3e-3 * square) << at;
  }
}

// Columns of no importance cost nothing, and outliers in them do not spoil the others.
TEST_P(Quantise, ColumnsWithoutImportance) {
  const std::int64_t n = columns();
  Problem p(format(), make_rows(Shape::gaussian, 17, n), n);
  const double without = quantise(isa(), p).cost;
  p.importance.assign(static_cast<std::size_t>(n), 1.0f);
  for (std::size_t c = 0; c < p.importance.size(); c += 5) {
    p.importance[c] = 0;
    for (std::size_t row = 0; row < 17; ++row) p.weights[row * p.importance.size() + c] *= 20;
  }
  const Result result = quantise(isa(), p);
  EXPECT_LT(result.cost, without);
  EXPECT_NEAR(result.cost, plain_cost(p, result.decoded), 1e-3 * result.cost);

  std::fill(p.importance.begin(), p.importance.end(), 0.0f);
  EXPECT_EQ(quantise(isa(), p).cost, 0);
}

TEST_P(Quantise, FeedbackOfIndependentColumnsIsPlain) {
  const std::int64_t n = columns();
  Problem p(format(), make_rows(Shape::gaussian, 17, n), n);
  const Result plain = quantise(isa(), p);
  p.feedback.assign(static_cast<std::size_t>(n * n), 0.0f);
  for (std::int64_t i = 0; i < n; ++i) p.feedback[static_cast<std::size_t>(i * n + i)] = 1;
  const Result fed = quantise(isa(), p);
  EXPECT_NEAR(fed.cost, plain.cost, 1e-4 * plain.cost);
  p.importance.assign(static_cast<std::size_t>(n), 1.0f);
  EXPECT_NEAR(quantise(isa(), p).cost, plain.cost, 1e-4 * plain.cost);
}

TEST_P(Quantise, FeedbackCostsWhatTheDefinitionSays) {
  const std::int64_t n = columns();
  const Moments moments(n);
  for (const bool thorough : {false, true}) {
    Problem p(format(), make_rows(Shape::gaussian, 17, n), n);
    p.thorough = thorough;
    p.importance.resize(static_cast<std::size_t>(n));
    for (std::size_t i = 0; i < p.importance.size(); ++i)
      p.importance[i] = static_cast<float>(moments.h[i * moments.n + i]);
    const double plain = moments.cost(p, quantise(isa(), p).decoded);

    p.importance = moments.d;
    p.feedback = moments.u;
    const Result result = quantise(isa(), p);
    const double cost = moments.cost(p, result.decoded);
    EXPECT_NEAR(result.cost, cost, 1e-3 * cost) << thorough;
    EXPECT_LT(cost, 0.6 * plain) << thorough;
    if (isa() == Isa::reference) continue;
    const double wanted = quantise(Isa::reference, p).cost;
    EXPECT_NEAR(result.cost, wanted, 0.05 * wanted) << thorough;
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, Quantise, testing::ValuesIn(every_case()),
                         [](const testing::TestParamInfo<Case>& test) {
                           return std::string(name(test.param.isa)) + "_" +
                                  std::string(test.param.format->name);
                         });

}  // namespace
}  // namespace plimsoll
