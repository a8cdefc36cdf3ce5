// Choice of scales and points for a block of a codebook format. The nearest points are found
// exactly; scales are searched.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <type_traits>

#include "format/codebook.h"
#include "format/rounding.h"

namespace plimsoll::codecs {

/// What points cost: the error of every number that the levels of half a point's coordinates can
/// make, as they are and with the cheapest sign turned over.
template <class Grid>
struct HalfCosts {
  static constexpr int states = Grid::half_states;
  float plain[states];
  float turned[states];

  /// cost[i][level] of each coordinate; turning its sign adds cost_of_turning[i][level].
  void set(const float (*cost)[Grid::levels], const float (*cost_of_turning)[Grid::levels],
           bool with_turned) {
    plain[0] = 0;
    turned[0] = std::numeric_limits<float>::infinity();
    for (int i = 0, count = 1; i < Grid::half; ++i, count *= Grid::levels)
      // From the last level down: the first takes the place of what all are made from.
      for (int level = Grid::levels - 1; level >= 0; --level)
        for (int n = 0; n < count; ++n) {
          const int to = level * count + n;
          if (with_turned)
            turned[to] = std::min(turned[n], plain[n] + cost_of_turning[i][level]) + cost[i][level];
          plain[to] = plain[n] + cost[i][level];
        }
  }
};

/// Where a group's extreme value may lie among the levels, the last one being 1.
inline constexpr float reaches[] = {0.7f, 0.8f, 0.9f, 1.0f, 1.1f, 1.2f};
/// Of the least super scale that reaches every group's wanted one.
inline constexpr float super_factors[] = {0.9f, 0.95f, 1.0f, 1.05f};

struct NearestPoint {
  int point;
  float error;
};

/// The point whose halves cost least together. `guess` is any point: the nearer, the quicker. Upper
/// halves that lose even with the best lower one are passed over, which leaves a small part of the
/// grid.
template <class Grid>
NearestPoint nearest_point(const Grid& grid, const float* low, const float* high, int guess) {
  const float least = *std::min_element(low, low + Grid::half_states);
  NearestPoint best{guess, low[grid.low[guess]] + high[grid.high[guess]]};
  for (int state = 0; state < Grid::half_states; ++state) {
    if (!(high[state] + least < best.error)) continue;
    for (int point = grid.begin[state]; point < grid.begin[state + 1]; ++point) {
      const float error = high[state] + low[grid.low[point]];
      if (error < best.error) best = {point, error};
    }
  }
  return best;
}

template <class Rules>
class BlockEncoder {
 public:
  /// 256 of each; importance null for ones.
  BlockEncoder(const float* values, const float* importance);
  CodebookBlock encode();

 private:
  using Grid = std::remove_cvref_t<decltype(Rules::grid)>;
  static constexpr CodeLayout layout = Rules::layout;
  static constexpr bool signs = Rules::marks == Marks::any || Rules::marks == Marks::even;
  static constexpr int points_per_octet = 8 / Grid::coordinates;
  static constexpr int octets_per_group = layout.scale_width / 8;
  static constexpr int groups = 256 / layout.scale_width;

  /// Eight columns at some step: what they become, and what that costs.
  struct Octet {
    std::uint16_t points[points_per_octet];
    std::uint8_t marks;
    float error;
  };
  /// A group of columns at some step.
  struct Group {
    Octet octets[octets_per_group];
    float error = 0;
    float xq = 0, qq = 0;  ///< weighted sums of value * code's value, and of its square
  };
  /// All groups under one super scale.
  struct Choice {
    std::uint16_t super_scale = 0;  ///< f16 bits
    std::uint8_t scales[groups];
    Group group[groups];
    float error = std::numeric_limits<float>::infinity();
  };

  static float value_of(int level, bool mark) {
    return layout.values[level | static_cast<int>(mark) << mark_bit];
  }

  Octet signed_octet(int octet, float step);
  Octet shifted_octet(int octet, float step, bool down);
  Group fit(int group, float step);
  float free_step(int group);
  Choice choose(std::uint16_t super_scale);

  float extreme_ = 0;  ///< greatest magnitude, which x_ is in units of
  float x_[256];
  float weight_[256];
  float wanted_[groups];             ///< each group's step if it were free to choose
  std::uint16_t guess_[2][64] = {};  ///< points found last, without and with a shift
};

template <class Rules>
BlockEncoder<Rules>::BlockEncoder(const float* values, const float* importance) {
  float heaviest = 0;
  for (int i = 0; i < 256; ++i) {
    extreme_ = std::max(extreme_, std::fabs(values[i]));
    if (importance) heaviest = std::max(heaviest, importance[i]);
  }
  // At most one, so that no square leaves the range of f32.
  for (int i = 0; i < 256; ++i) {
    x_[i] = extreme_ > 0 ? values[i] / extreme_ : 0.0f;
    weight_[i] = heaviest > 0 ? importance[i] / heaviest : 1.0f;
  }
}

/// The nearest signs are the values' own; where their number must be even and is not, the sign is
/// turned over that costs least, which depends on the point: the search finds both together.
template <class Rules>
typename BlockEncoder<Rules>::Octet BlockEncoder<Rules>::signed_octet(int octet, float step) {
  const float* x = x_ + 8 * octet;
  const float* weight = weight_ + 8 * octet;
  float cost[8][Grid::levels], cost_of_turning[8][Grid::levels];
  Octet result{};
  for (int i = 0; i < 8; ++i) {
    result.marks = static_cast<std::uint8_t>(result.marks | (x[i] < 0) << i);
    for (int level = 0; level < Grid::levels; ++level) {
      const float value = step * value_of(level, false), off = std::fabs(x[i]) - value;
      cost[i][level] = weight[i] * off * off;
      cost_of_turning[i][level] = 4 * weight[i] * std::fabs(x[i]) * value;
    }
  }
  const bool turn = Rules::marks == Marks::even && std::popcount(result.marks) % 2 == 1;
  float least_extra = std::numeric_limits<float>::infinity();
  int turned_part = 0, turned_point = 0;
  for (int part = 0; part < points_per_octet; ++part) {
    const int first = part * Grid::coordinates;
    HalfCosts<Grid> low, high;
    low.set(cost + first, cost_of_turning + first, turn);
    high.set(cost + first + Grid::half, cost_of_turning + first + Grid::half, turn);
    std::uint16_t& guess = guess_[0][octet * points_per_octet + part];
    const NearestPoint plain = nearest_point(Rules::grid, low.plain, high.plain, guess);
    guess = result.points[part] = static_cast<std::uint16_t>(plain.point);
    result.error += plain.error;
    if (!turn) continue;
    for (const NearestPoint& turned :
         {nearest_point(Rules::grid, low.turned, high.plain, plain.point),
          nearest_point(Rules::grid, low.plain, high.turned, plain.point)})
      if (turned.error - plain.error < least_extra) {
        least_extra = turned.error - plain.error;
        turned_part = part;
        turned_point = turned.point;
      }
  }
  if (turn) {
    result.error += least_extra;
    result.points[turned_part] = static_cast<std::uint16_t>(turned_point);
    const int first = turned_part * Grid::coordinates;
    const std::uint8_t* levels = Rules::grid.levels_of[turned_point];
    int cheapest = 0;
    for (int i = 1; i < Grid::coordinates; ++i)
      if (cost_of_turning[first + i][levels[i]] <
          cost_of_turning[first + cheapest][levels[cheapest]])
        cheapest = i;
    result.marks = static_cast<std::uint8_t>(result.marks ^ 1 << (first + cheapest));
  }
  return result;
}

template <class Rules>
typename BlockEncoder<Rules>::Octet BlockEncoder<Rules>::shifted_octet(int octet, float step,
                                                                       bool down) {
  const float* x = x_ + 8 * octet;
  const float* weight = weight_ + 8 * octet;
  float cost[8][Grid::levels];
  for (int i = 0; i < 8; ++i)
    for (int level = 0; level < Grid::levels; ++level) {
      const float off = x[i] - step * value_of(level, down);
      cost[i][level] = weight[i] * off * off;
    }
  HalfCosts<Grid> low, high;
  low.set(cost, cost, false);
  high.set(cost + Grid::half, cost + Grid::half, false);
  std::uint16_t& guess = guess_[down][octet];
  const NearestPoint nearest = nearest_point(Rules::grid, low.plain, high.plain, guess);
  guess = static_cast<std::uint16_t>(nearest.point);
  return {{guess}, static_cast<std::uint8_t>(down ? 0xff : 0), nearest.error};
}

template <class Rules>
typename BlockEncoder<Rules>::Group BlockEncoder<Rules>::fit(int group, float step) {
  const int first = group * octets_per_group;
  Group result;
  if constexpr (signs) {
    for (int k = 0; k < octets_per_group; ++k) result.octets[k] = signed_octet(first + k, step);
  } else {
    Octet both[2][octets_per_group];
    float error[2] = {};
    for (const bool down : {false, true})
      for (int k = 0; k < octets_per_group; ++k) {
        both[down][k] = shifted_octet(first + k, step, down);
        error[down] += both[down][k].error;
      }
    for (int k = 0; k < octets_per_group; ++k)
      result.octets[k] = both[Rules::marks == Marks::octet ? both[1][k].error < both[0][k].error
                                                           : error[1] < error[0]][k];
  }
  for (int k = 0; k < octets_per_group; ++k) {
    const Octet& octet = result.octets[k];
    result.error += octet.error;
    for (int i = 0; i < 8; ++i) {
      const int level =
          Rules::grid.levels_of[octet.points[i / Grid::coordinates]][i % Grid::coordinates];
      const float q = value_of(level, octet.marks >> i & 1);
      const int column = 8 * (first + k) + i;
      result.xq += weight_[column] * x_[column] * q;
      result.qq += weight_[column] * q * q;
    }
  }
  return result;
}

/// The step of least error: of several that put the extreme value near the last level, each moved
/// to where its points fit best.
template <class Rules>
float BlockEncoder<Rules>::free_step(int group) {
  float extreme = 0, energy = 0;
  for (int i = group * layout.scale_width; i < (group + 1) * layout.scale_width; ++i) {
    extreme = std::max(extreme, std::fabs(x_[i]));
    energy += weight_[i] * x_[i] * x_[i];
  }
  const float last = value_of(Grid::levels - 1, false);
  float best = 0, least = energy;
  for (const float reach : reaches) {
    const Group found = fit(group, extreme / (reach * last));
    if (!(found.xq > 0)) continue;
    const float error = energy - found.xq * found.xq / found.qq;
    if (error < least) {
      least = error;
      best = found.xq / found.qq;
    }
  }
  return best;
}

template <class Rules>
typename BlockEncoder<Rules>::Choice BlockEncoder<Rules>::choose(std::uint16_t super_scale) {
  Choice result;
  result.super_scale = super_scale;
  result.error = 0;
  const float unit = extreme_ > 0 ? half_to_float(super_scale) * layout.unit / extreme_ : 0.0f;
  for (int g = 0; g < groups; ++g) {
    const int steps = nearest_quotient(wanted_[g] - unit, 2 * unit, 0, Rules::greatest_scale / 2);
    result.scales[g] = static_cast<std::uint8_t>(2 * steps + 1);
    result.group[g] = fit(g, unit * result.scales[g]);
    result.error += result.group[g].error;
  }
  return result;
}

template <class Rules>
CodebookBlock BlockEncoder<Rules>::encode() {
  for (int g = 0; g < groups; ++g) wanted_[g] = free_step(g);
  const float greatest = *std::max_element(wanted_, wanted_ + groups);
  // Dividing first keeps products of the greatest values finite.
  const auto half_of = [this](float unit) { return finite_half(unit / layout.unit * extreme_); };
  Choice best;
  for (const float factor : super_factors) {
    Choice found = choose(half_of(greatest / Rules::greatest_scale * factor));
    if (found.error < best.error) best = found;
  }
  // Once more from the super scale that suits the points found.
  float xq = 0, qq = 0;
  for (int g = 0; g < groups; ++g) {
    xq += best.group[g].xq * best.scales[g];
    qq += best.group[g].qq * best.scales[g] * best.scales[g];
  }
  if (xq > 0) {
    Choice found = choose(half_of(xq / qq));
    if (found.error < best.error) best = found;
  }
  CodebookBlock result{};
  result.super_scale = best.super_scale;
  for (int g = 0; g < groups; ++g) {
    result.scales[g] = best.scales[g];
    for (int k = 0; k < octets_per_group; ++k) {
      const int octet = g * octets_per_group + k;
      result.marks[octet] = best.group[g].octets[k].marks;
      std::copy_n(best.group[g].octets[k].points, points_per_octet,
                  result.points + octet * points_per_octet);
    }
  }
  return result;
}

}  // namespace plimsoll::codecs
