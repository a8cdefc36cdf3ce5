// Codes that nest: what is left when digit planes are dropped is what rounding to fewer bits gives.
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "format/half.h"
#include "guarded.h"
#include "kernels/kernels.h"
#include "planes/planes.h"

namespace plimsoll {
namespace {

using Floats = std::vector<float>;

/// Rows, and inputs whose second moments are U diag(D) U^T.
struct Problem {
  static constexpr std::int64_t rows = 67, columns = 512;
  Problem() {
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    for (float& w : weights) w = 0.02f * normal(random);
    for (std::int64_t i = 0; i < columns; ++i) {
      d[static_cast<std::size_t>(i)] = std::exp(normal(random) / 2);
      for (std::int64_t k = i + 1; k < columns; ++k)
        u[static_cast<std::size_t>(i * columns + k)] = 0.05f * normal(random);
    }
  }
  Floats weights = Floats(rows * columns), d = Floats(columns), u = Floats(columns * columns);

  /// The cost as kernels/quantise.h defines it.
  double cost(const Floats& decoded, bool feedback) const {
    double sum = 0;
    for (std::size_t row = 0; row < rows; ++row)
      for (std::size_t k = 0; k < columns; ++k) {
        const auto error = [&](std::size_t j) -> double {
          return weights[row * columns + j] - decoded[row * columns + j];
        };
        double e = error(k);
        for (std::size_t j = 0; feedback && j < k; ++j) e += error(j) * u[j * columns + k];
        sum += d[k] * e * e;
      }
    return sum;
  }
};

struct Rounded {
  double cost;
  std::vector<std::uint8_t> blocks;
};

class Nesting : public testing::TestWithParam<Isa> {
 protected:
  Rounded round(const Format& f, bool feedback) const {
    Rounded result{0, std::vector<std::uint8_t>(problem_.rows * row_bytes(f, problem_.columns))};
    AlignedFloats scratch(quantise_scratch_floats(problem_.columns));
    QuantiseTask task{};
    task.format = &f;
    task.weights = problem_.weights.data();
    task.rows = problem_.rows;
    task.columns = problem_.columns;
    task.importance = problem_.d.data();
    task.feedback = feedback ? problem_.u.data() : nullptr;
    task.thorough = true;
    task.blocks = result.blocks.data();
    task.scratch = scratch.data();
    result.cost = quantise_rows(kernels_for(GetParam()), task);
    EXPECT_TRUE(scratch.intact());
    return result;
  }

  /// From the definition: values[code] * scale.
  Floats values_of(const Format& f, const std::vector<std::uint8_t>& blocks) const {
    Floats values;
    for (std::size_t at = 0; at < blocks.size(); at += static_cast<std::size_t>(f.block_bytes)) {
      BlockParts parts;
      f.split(blocks.data() + at, &parts, 1);
      for (int i = 0; i < f.block_values; ++i)
        values.push_back(
            static_cast<float>(f.layout.values[parts.codes[i]]) *
            (f.layout.unit * half_to_float(parts.super_scale) *
             static_cast<float>(static_cast<std::int8_t>(parts.scales[i / f.layout.scale_width]))));
    }
    return values;
  }

  Floats at_level(const Format& f, const std::vector<std::uint8_t>& blocks, int level) const {
    Ledger ledger;
    PlaneTensor planes(ledger, f, problem_.rows, problem_.columns);
    planes.import_rows(blocks.data(), 0, problem_.rows);
    planes.drop(level, 0, planes.view().tile_row_count());
    Floats values(problem_.weights.size());
    for (std::int64_t row = 0; row < problem_.rows; ++row)
      planes.dequantise_row(row, values.data() + row * problem_.columns);
    return values;
  }

  Problem problem_;
  const Format& nested_ = format(FormatId::NEST8);
};

TEST_P(Nesting, DroppedToFourBitsIsTheSeparateFit) {
  for (const bool feedback : {false, true}) {
    const Rounded all = round(nested_, feedback);
    const Rounded separate = round(format(FormatId::NEST4), feedback);
    const Floats at_4 = at_level(nested_, all.blocks, 4);
    EXPECT_EQ(at_4, values_of(format(FormatId::NEST4), separate.blocks));
    EXPECT_NEAR(problem_.cost(at_4, feedback), separate.cost, 1e-3 * separate.cost);
  }
}

TEST_P(Nesting, EveryLevelIsBetterThanTheOneBelow) {
  for (const bool feedback : {false, true}) {
    const Rounded all = round(nested_, feedback);
    const Floats at_8 = at_level(nested_, all.blocks, 8);
    EXPECT_EQ(at_8, values_of(nested_, all.blocks));
    const double cost_8 = problem_.cost(at_8, feedback);
    const double cost_6 = problem_.cost(at_level(nested_, all.blocks, 6), feedback);
    const double cost_4 = problem_.cost(at_level(nested_, all.blocks, 4), feedback);
    EXPECT_NEAR(all.cost, cost_8, 1e-3 * cost_8);
    EXPECT_LT(cost_8, cost_6 / 4);
    EXPECT_LT(cost_6, cost_4 / 2);
  }
}

// Without feedback the child is the one nearest to the weight, in a neighbour's cell or not.
TEST_P(Nesting, ChildrenAreTheNearest) {
  const Rounded all = round(nested_, false);
  const Floats values = values_of(nested_, all.blocks);
  const std::int8_t* const table = nested_.layout.values;
  for (std::size_t at = 0; at < values.size(); ++at) {
    BlockParts parts;
    nested_.split(all.blocks.data() + at / 256 * static_cast<std::size_t>(nested_.block_bytes),
                  &parts, 1);
    const std::size_t i = at % 256;
    const float scale = nested_.layout.unit * half_to_float(parts.super_scale) *
                        static_cast<float>(static_cast<std::int8_t>(parts.scales[i / 32]));
    float least = HUGE_VALF;
    for (int child = 0; child < 16; ++child)
      least = std::min(
          least, std::fabs(problem_.weights[at] -
                           scale * static_cast<float>(table[(parts.codes[i] & 0xf0) + child])));
    ASSERT_NEAR(std::fabs(problem_.weights[at] - values[at]), least, 1e-3f * std::fabs(scale))
        << at;
  }
}

INSTANTIATE_TEST_SUITE_P(Isas, Nesting, testing::ValuesIn(supported_isas()),
                         [](const auto& test) { return std::string(name(test.param)); });

}  // namespace
}  // namespace plimsoll
