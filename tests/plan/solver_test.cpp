#include "plan/solver.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

namespace plimsoll {
namespace {

using Instance = std::vector<std::vector<Choice>>;
constexpr double infinite = std::numeric_limits<double>::infinity();

/// The promised gap, with room for rounding.
constexpr double promised = 1.001 + 1e-9;

/// Sums over a selection, apart from those that the solver reports.
Selection sums(const Instance& tensors, const std::vector<int>& choices) {
  Selection result;
  for (std::size_t t = 0; t < tensors.size(); ++t) {
    const Choice& choice = tensors[t].at(static_cast<std::size_t>(choices.at(t)));
    result.bytes += choice.bytes;
    result.loss += choice.loss;
    result.seconds += choice.seconds;
  }
  return result;
}

void expect_consistent(const Instance& tensors, const Selection& found) {
  ASSERT_EQ(found.choices.size(), tensors.size());
  const Selection expected = sums(tensors, found.choices);
  EXPECT_EQ(found.bytes, expected.bytes);
  EXPECT_DOUBLE_EQ(found.loss, expected.loss);
  EXPECT_DOUBLE_EQ(found.seconds, expected.seconds);
}

/// Least loss for every number of bytes up to `limit` (the textbook dynamic programme); bytes must
/// be small.
double exact_loss(const Instance& tensors, Bytes limit) {
  std::vector<double> least(limit + 1, 0);
  for (const auto& choices : tensors) {
    std::vector<double> next(limit + 1, infinite);
    for (const Choice& choice : choices)
      for (Bytes b = choice.bytes; b <= limit; ++b)
        next[b] = std::min(next[b], least[b - choice.bytes] + choice.loss);
    least = std::move(next);
  }
  return least[limit];
}

/// All selections.
double brute_force(const Instance& tensors, Bytes limit, double most_seconds) {
  std::vector<int> choices(tensors.size(), 0);
  double best = infinite;
  for (;;) {
    const Selection s = sums(tensors, choices);
    if (s.bytes <= limit && s.seconds <= most_seconds) best = std::min(best, s.loss);
    std::size_t t = 0;
    while (t < tensors.size() && ++choices[t] == static_cast<int>(tensors[t].size()))
      choices[t++] = 0;
    if (t == tensors.size()) return best;
  }
}

class Generator {
 public:
  explicit Generator(unsigned seed) : random_(seed) {}

  double uniform(double low, double high) {
    return std::uniform_real_distribution<double>(low, high)(random_);
  }
  int integer(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }

  /// Tensors whose sizes differ by `spread`; losses fall by four for each bit, give or take, so
  /// that some choices are dominated and some lie above the hull.
  Instance model_like(int tensors, int choices, double spread, double grain) {
    Instance instance;
    for (int t = 0; t < tensors; ++t) {
      const double size = grain * std::pow(spread, uniform(0, 1));
      const double sensitivity = std::pow(10.0, uniform(-2, 1));
      std::vector<Choice> of_tensor;
      for (int c = 0; c < choices; ++c) {
        const double bits = uniform(2, 8.5);
        of_tensor.push_back({static_cast<Bytes>(size * bits) + 1,
                             sensitivity * std::pow(4.0, -bits) * uniform(0.5, 2),
                             1e-9 * size * (bits * uniform(0.7, 1.3) + 1)});
      }
      instance.push_back(std::move(of_tensor));
    }
    return instance;
  }

  /// Anything at all.
  Instance arbitrary(int tensors, int choices, int most_bytes) {
    Instance instance(static_cast<std::size_t>(tensors));
    for (auto& of_tensor : instance)
      for (int c = integer(1, choices); c > 0; --c)
        of_tensor.push_back({static_cast<Bytes>(integer(0, most_bytes)),
                             integer(0, 3) == 0 ? 0 : uniform(0, 1), uniform(0, 1)});
    return instance;
  }

 private:
  std::mt19937 random_;
};

std::pair<Bytes, Bytes> byte_range(const Instance& tensors) {
  std::pair<Bytes, Bytes> range{0, 0};
  for (const auto& choices : tensors) {
    const auto [least, most] =
        std::minmax_element(choices.begin(), choices.end(),
                            [](const Choice& a, const Choice& b) { return a.bytes < b.bytes; });
    range.first += least->bytes;
    range.second += most->bytes;
  }
  return range;
}

void expect_near_exact(const Instance& tensors, Bytes limit) {
  const auto found = solve(tensors, limit);
  const double exact = exact_loss(tensors, limit);
  ASSERT_EQ(found.has_value(), exact < infinite) << limit;
  if (!found) return;
  expect_consistent(tensors, *found);
  EXPECT_LE(found->bytes, limit);
  EXPECT_LE(found->loss, exact * promised) << tensors.size() << " tensors, limit " << limit;
}

TEST(Solver, IsWithinItsGapOfTheExactOptimum) {
  Generator random(1);
  for (int i = 0; i < 200; ++i) {
    SCOPED_TRACE(i);
    Instance tensors;
    if (i % 4 == 0)
      tensors = random.model_like(29, 12, 30, 5);  // few, unequal
    else if (i % 4 == 1)
      tensors = random.model_like(random.integer(1, 8), random.integer(1, 12), 30, 20);
    else if (i % 4 == 2)
      tensors = random.model_like(random.integer(20, 100), random.integer(2, 12), 4, 3);
    else
      tensors = random.arbitrary(random.integer(1, 30), 12, 200);
    const auto [least, most] = byte_range(tensors);
    expect_near_exact(tensors, least + static_cast<Bytes>(random.uniform(0, 1) *
                                                          static_cast<double>(most - least)));
  }
}

TEST(Solver, TakesTheTightestAndTheLoosestLimits) {
  Generator random(2);
  for (int i = 0; i < 20; ++i) {
    const Instance tensors = random.arbitrary(10, 6, 100);
    const auto [least, most] = byte_range(tensors);
    expect_near_exact(tensors, least);
    expect_near_exact(tensors, least + 1);
    expect_near_exact(tensors, most);
    if (least > 0) {
      EXPECT_FALSE(solve(tensors, least - 1));
    }
    double least_loss = 0;
    for (const auto& choices : tensors)
      least_loss +=
          std::min_element(choices.begin(), choices.end(), [](const Choice& a, const Choice& b) {
            return a.loss < b.loss;
          })->loss;
    EXPECT_DOUBLE_EQ(solve(tensors, std::numeric_limits<Bytes>::max())->loss, least_loss);
  }
}

TEST(Solver, HandlesDegenerateChoices) {
  EXPECT_EQ(solve({}, 0)->bytes, 0u);
  const Instance one{{{7, 0.5, 0}}};
  EXPECT_EQ(solve(one, 7)->choices, std::vector<int>{0});
  EXPECT_FALSE(solve(one, 6));
  // The same choice many times, and choices without loss: the one with fewer bytes.
  const Instance equal{{{9, 1, 0}, {9, 1, 0}, {5, 1, 0}, {9, 0, 0}, {8, 0, 0}}};
  EXPECT_EQ(solve(equal, 100)->choices, std::vector<int>{4});
  EXPECT_EQ(solve(equal, 7)->choices, std::vector<int>{2});
  // A choice above the hull is the best one between two that are on it.
  const Instance above{{{0, 10, 0}, {50, 9, 0}, {100, 0, 0}}};
  EXPECT_EQ(solve(above, 99)->choices, std::vector<int>{1});
}

TEST(Solver, ManyEqualTensors) {
  const Instance tensors(40, {{1, 9, 0}, {2, 4, 0}, {3, 1, 0}, {5, 0, 0}});
  for (const Bytes limit : {40, 41, 79, 80, 81, 119, 120, 121, 122, 199, 200})
    expect_near_exact(tensors, limit);
}

TEST(Solver, SubsetSum) {
  // Loss falls by exactly a unit for each byte: the relaxation says nothing.
  Generator random(3);
  for (int i = 0; i < 10; ++i) {
    Instance tensors;
    for (int t = 0; t < 15; ++t) {
      const int bytes = random.integer(50, 400);
      tensors.push_back({{0, static_cast<double>(bytes), 0}, {static_cast<Bytes>(bytes), 0, 0}});
    }
    expect_near_exact(tensors, byte_range(tensors).second / 2);
  }
}

TEST(Solver, AThousandTensors) {
  Generator random(4);
  const Instance tensors = random.model_like(1000, 12, 30, 1e6);
  const auto [least, most] = byte_range(tensors);
  for (const double part : {0.01, 0.3, 0.6, 0.99}) {
    const Bytes limit = least + static_cast<Bytes>(part * static_cast<double>(most - least));
    const auto found = solve(tensors, limit);
    ASSERT_TRUE(found);
    expect_consistent(tensors, *found);
    EXPECT_LE(found->bytes, limit);
    EXPECT_EQ(found->choices, solve(tensors, limit)->choices);
    const auto fast = solve(tensors, limit, found->seconds * 0.95);
    ASSERT_TRUE(fast);
    EXPECT_LE(fast->seconds, found->seconds * 0.95);
    EXPECT_LE(fast->bytes, limit);
    EXPECT_GE(fast->loss * promised, found->loss);
  }
}

TEST(Solver, WithASpeedAgainstBruteForce) {
  Generator random(5);
  int feasible = 0, refused = 0;
  for (int i = 0; i < 300; ++i) {
    SCOPED_TRACE(i);
    const Instance tensors = i % 2 ? random.model_like(random.integer(1, 7), 5, 30, 20)
                                   : random.arbitrary(random.integer(1, 7), 5, 100);
    const auto [least, most] = byte_range(tensors);
    const Bytes limit =
        least + static_cast<Bytes>(random.uniform(0, 1.1) * static_cast<double>(most - least));
    double least_seconds = 0, most_seconds = 0;
    for (const auto& choices : tensors) {
      const auto [fast, slow] = std::minmax_element(
          choices.begin(), choices.end(),
          [](const Choice& a, const Choice& b) { return a.seconds < b.seconds; });
      least_seconds += fast->seconds;
      most_seconds += slow->seconds;
    }
    const double seconds = least_seconds + random.uniform(0, 0.8) * (most_seconds - least_seconds);
    const auto found = solve(tensors, limit, seconds);
    const double exact = brute_force(tensors, limit, seconds);
    ASSERT_EQ(found.has_value(), exact < infinite);
    ++(found ? feasible : refused);
    if (!found) continue;
    expect_consistent(tensors, *found);
    EXPECT_LE(found->bytes, limit);
    EXPECT_LE(found->seconds, seconds);
    EXPECT_LE(found->loss, exact * 1.01);
  }
  EXPECT_GT(feasible, 50);
  EXPECT_GT(refused, 10);
}

TEST(Solver, AttainsTheFastestSelectionThereIs) {
  Generator random(6);
  for (int i = 0; i < 20; ++i) {
    const Instance tensors = random.arbitrary(8, 5, 100);
    std::vector<int> fastest;
    for (const auto& choices : tensors)
      fastest.push_back(static_cast<int>(
          std::min_element(choices.begin(), choices.end(),
                           [](const Choice& a, const Choice& b) { return a.seconds < b.seconds; }) -
          choices.begin()));
    const Selection least = sums(tensors, fastest);
    const auto found = solve(tensors, least.bytes, least.seconds);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->choices, fastest);
    EXPECT_FALSE(solve(tensors, std::numeric_limits<Bytes>::max(), least.seconds * 0.999));
  }
}

TEST(Frontier, EveryPrefixIsWhatTheSolverFinds) {
  Generator random(7);
  for (int i = 0; i < 10; ++i) {
    const Instance tensors =
        i % 2 ? random.model_like(30, 8, 30, 1000) : random.arbitrary(20, 6, 500);
    const Frontier line = frontier(tensors);
    expect_consistent(tensors, line.smallest);
    EXPECT_EQ(line.smallest.bytes, byte_range(tensors).first);
    EXPECT_EQ(solve(tensors, line.smallest.bytes)->choices, line.smallest.choices);
    Selection now = line.smallest;
    double last_slope = infinite;
    for (const Step& step : line.steps) {
      ASSERT_GT(step.bytes, now.bytes);
      ASSERT_LE(step.loss, now.loss * (1 + 1e-12));
      const double slope = (now.loss - step.loss) / static_cast<double>(step.bytes - now.bytes);
      EXPECT_LE(slope, last_slope * (1 + 1e-6) + 1e-12);
      last_slope = slope;
      now.choices[static_cast<std::size_t>(step.tensor)] = step.choice;
      const Selection expected = sums(tensors, now.choices);
      EXPECT_EQ(step.bytes, expected.bytes);
      EXPECT_NEAR(step.loss, expected.loss, 1e-12 * line.smallest.loss);
      EXPECT_NEAR(step.seconds, expected.seconds, 1e-12 * (1 + expected.seconds));
      now.bytes = step.bytes;
      now.loss = step.loss;
      EXPECT_EQ(solve(tensors, step.bytes)->choices, now.choices);
    }
    EXPECT_NEAR(now.loss, solve(tensors, std::numeric_limits<Bytes>::max())->loss, 1e-12);
  }
}

}  // namespace
}  // namespace plimsoll
