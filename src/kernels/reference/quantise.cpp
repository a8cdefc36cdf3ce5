// A row at a time, in doubles. The search is that of the vector kernels (kernels/quantise-inl.h).
#define PLIMSOLL_ISA reference
#include <algorithm>
#include <cmath>
#include <limits>

#include "format/half.h"
#include "kernels/functions-inl.h"
#include "kernels/quantise_grid.h"

namespace plimsoll::reference {
namespace {

constexpr int kGroups = QuantiseState::groups;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

double quotient_or_zero(double x, double y) { return y > 0 ? x / y : 0; }

/// Bits of the nearest finite half; never a negative zero.
std::uint16_t half_bits(double x) {
  const std::uint16_t half = float_to_half(static_cast<float>(std::clamp(x, -65504.0, 65504.0)));
  return half == 0x8000 ? std::uint16_t{0} : half;
}

/// Targets of columns that share a scale, and what their errors cost.
struct Group {
  Group(const double* first_target, const float* first_importance, int count)
      : targets(first_target), importance(first_importance), columns(count), total(0) {
    for (int i = 0; i < columns; ++i) total += importance[i];
  }
  const double* targets;
  const float* importance;
  int columns;
  double total;
};

struct Choice {
  double scale = 0, min = 0, cost = kInfinity;
};

/// Sums of importance times the error squared, the error, its product with the value, the value,
/// and the value squared.
struct Sums {
  double cost = 0, error = 0, error_value = 0, value = 0, value_square = 0;
};

/// Stored numbers, and what they mean.
struct Stored {
  int raw_scale = 0, raw_min = 0;
  Choice choice;
};

/// One row.
class Rounder {
 public:
  Rounder(const QuantiseTask& task, const CodeGrid& grid)
      : task_(task),
        layout_(task.format->layout),
        grid_(grid),
        effort_(task.thorough ? thorough_search : fast_search),
        block_(task.format->block_values),
        width_(layout_.scale_width),
        groups_(block_ / width_),
        free_(layout_.scale == ScaleKind::f16 || layout_.scale == ScaleKind::none),
        has_super_(layout_.has_super && !free_),
        refines_(task.format->leading) {}

  double round(const float* weights, std::uint8_t* blocks) {
    double cost = 0;
    for (std::int64_t first = 0; first < task_.columns; first += block_) {
      charge(weights, first, block_, 0, first);
      super_scale_ = super_min_ = 0;
      if (refines_)
        read(blocks + first / block_ * task_.format->block_bytes);
      else if (has_super_)
        choose_super(first);
      for (int g = 0; g < groups_; ++g) {
        const std::int64_t c = first + g * width_;
        // The block's earlier groups have been rounded since.
        charge(weights, c, width_, 0, c);
        cost += round_group(weights, c, g);
      }
      if (task_.unbiased && !task_.feedback && (free_ || has_super_)) cost += remove_bias(first);
      write(blocks + first / block_ * task_.format->block_bytes);
    }
    return cost;
  }

 private:
  /// targets_ of columns [first, first + count): the weights and the errors of those in [from, to).
  void charge(const float* weights, std::int64_t first, int count, std::int64_t from,
              std::int64_t to) {
    for (int i = 0; i < count; ++i) {
      double target = weights[first + i];
      for (std::int64_t j = from; task_.feedback && j < to; ++j)
        target +=
            static_cast<double>(task_.scratch[j]) * task_.feedback[j * task_.columns + first + i];
      targets_[first % block_ + i] = target;
    }
  }

  Group group(std::int64_t c) const {
    static constexpr auto ones = [] {
      std::array<float, quantise_chunk> result{};
      result.fill(1);
      return result;
    }();
    return Group(targets_ + c % block_, task_.importance ? task_.importance + c : ones.data(),
                 width_);
  }

  // --- values and scales ---

  int nearest(double quotient) const {
    if (grid_.consecutive) {
      const double low = grid_.values[0], high = grid_.values[grid_.count - 1];
      return static_cast<int>(std::nearbyint(std::clamp(quotient, low, high)) - low);
    }
    int i = 0;
    while (i + 1 < grid_.count && quotient > (grid_.values[i] + grid_.values[i + 1]) / 2) ++i;
    return i;
  }
  int nearest(double target, double scale, double min) const {
    return nearest(scale == 0 ? 0 : (target - min) / scale);
  }

  // Halves stand for themselves times the layout's unit.
  std::uint16_t stored_half(double x) const { return half_bits(x / layout_.unit); }
  double value_of_half(std::uint16_t bits) const {
    return static_cast<double>(half_to_float(bits)) * layout_.unit;
  }
  double nearest_half(double x) const { return value_of_half(stored_half(x)); }

  int clamped(double raw) const {
    return static_cast<int>(std::clamp(raw, static_cast<double>(layout_.scale_low),
                                       static_cast<double>(layout_.scale_high)));
  }
  int nearest_raw(double scale) const {
    if (free_) return stored_half(scale);
    if (has_super_) return super_scale_ == 0 ? 0 : clamped(std::nearbyint(scale / super_scale_));
    // Stored numbers rise with what they mean.
    int raw = layout_.scale_low;
    while (raw < layout_.scale_high && of_raw(raw) + of_raw(raw + 1) <= 2 * scale) ++raw;
    return raw;
  }
  double of_raw(int raw) const {
    if (free_) return value_of_half(static_cast<std::uint16_t>(raw));
    if (has_super_) return raw * super_scale_;
    return layout_.scale == ScaleKind::e8m0 ? e8m0_to_float(static_cast<std::uint8_t>(raw))
                                            : ue4m3_to_float(static_cast<std::uint8_t>(raw));
  }
  int nearest_raw_min(double min) const {
    if (!has_super_) return stored_half(min);
    return super_min_ == 0 ? 0 : clamped(std::nearbyint(-min / super_min_));
  }
  double of_raw_min(int raw) const {
    return has_super_ ? -raw * super_min_ : value_of_half(static_cast<std::uint16_t>(raw));
  }
  double storable_scale(double scale) const { return free_ ? nearest_half(scale) : scale; }
  double storable_min(double min) const {
    return has_super_ ? std::min(min, 0.0) : nearest_half(min);
  }

  // --- one group ---

  Sums measure(const Group& group, double scale, double min) const {
    Sums sums;
    for (int i = 0; i < group.columns; ++i) {
      const double value = grid_.values[nearest(group.targets[i], scale, min)];
      const double error = group.targets[i] - min - scale * value;
      const double importance = group.importance[i];
      sums.cost += importance * error * error;
      sums.error += importance * error;
      sums.error_value += importance * error * value;
      sums.value += importance * value;
      sums.value_square += importance * value * value;
    }
    return sums;
  }

  /// The cost with the same codes after scale and min have changed.
  static double cost_after(const Group& group, const Sums& s, double scale_change,
                           double min_change) {
    return s.cost + scale_change * (scale_change * s.value_square - 2 * s.error_value) +
           min_change * (2 * (scale_change * s.value - s.error) + min_change * group.total);
  }

  /// Keeps scale and min fitted, by least squares, to the codes that these lead to, if they are
  /// better than `best`; costs below `noise` are alike.
  void fit(const Group& group, double scale, double min, double noise, Choice& best) const {
    scale = storable_scale(scale);
    Choice fitted{scale, 0, 0};
    if (layout_.has_min) {
      min = storable_min(min);
      const Sums s = measure(group, scale, min);
      const double mean = quotient_or_zero(s.value, group.total);
      const double spread = s.value_square - mean * s.value;
      if (spread > 1e-5 * s.value_square)
        fitted.scale = storable_scale(scale + (s.error_value - mean * s.error) / spread);
      fitted.min = min + quotient_or_zero(s.error, group.total) - (fitted.scale - scale) * mean;
      if (has_super_ && fitted.min > 0)
        fitted.scale = scale + quotient_or_zero(s.error_value + min * s.value, s.value_square);
      fitted.min = storable_min(fitted.min);
      fitted.cost = cost_after(group, s, fitted.scale - scale, fitted.min - min);
    } else {
      const Sums s = measure(group, scale, 0);
      fitted.scale = storable_scale(scale + quotient_or_zero(s.error_value, s.value_square));
      fitted.cost = cost_after(group, s, fitted.scale - scale, 0);
    }
    if (std::max(fitted.cost, noise) < best.cost) best = fitted;
  }

  Choice best(const Group& group) const {
    double low = 0, high = 0;
    bool first = !(layout_.has_min && has_super_);
    for (int i = 0; i < group.columns; ++i) {
      if (group.importance[i] == 0) continue;
      low = first ? group.targets[i] : std::min(low, group.targets[i]);
      high = first ? group.targets[i] : std::max(high, group.targets[i]);
      first = false;
    }
    double extreme = -low > high ? low : high;
    const double noise = search_noise * group.total * extreme * extreme;
    if (grid_.symmetric) extreme = std::fabs(extreme);
    Choice choice;
    for (int i = 0; i < effort_.candidates; ++i) {
      const double offset = effort_.offsets[i];
      if (layout_.has_min) {
        const double steps = grid_.count - 1 + offset;
        if (steps <= 0) continue;
        const double scale = (high - low) / steps;
        fit(group, scale, low + scale * offset / 2, noise, choice);
      } else {
        const double reach = std::fabs(grid_.extreme) + offset * grid_.step;
        if (reach <= 0) continue;
        const double scale = extreme / std::copysign(reach, grid_.extreme);
        fit(group, scale, 0, noise, choice);
        if (effort_.both_signs && !grid_.symmetric) fit(group, -scale, 0, noise, choice);
      }
    }
    // Values that reach further on one side may suit the group the other way round.
    if (!layout_.has_min && !effort_.both_signs && !grid_.symmetric)
      fit(group, -choice.scale, 0, noise, choice);
    for (int i = 0; i < effort_.refits; ++i) fit(group, choice.scale, choice.min, noise, choice);
    return choice;
  }

  Stored stored(const Group& group, const Choice& wanted) const {
    Stored best;
    const int nearest = nearest_raw(wanted.scale);
    for (const int beside : {0, -1, 1}) {
      Stored other;
      other.raw_scale = free_ ? nearest : clamped(nearest + beside);
      other.choice.scale = of_raw(other.raw_scale);
      if (layout_.has_min) {
        // The middle of the values stays where it is.
        const double moved = wanted.min + (wanted.scale - other.choice.scale) *
                                              static_cast<double>(grid_.count - 1) / 2;
        other.raw_min = nearest_raw_min(free_ ? wanted.min : moved);
        other.choice.min = of_raw_min(other.raw_min);
      }
      const Sums s = measure(group, other.choice.scale, other.choice.min);
      other.choice.cost = s.cost;
      if (layout_.has_min && !free_) {
        other.raw_min = nearest_raw_min(other.choice.min + quotient_or_zero(s.error, group.total));
        const double min = of_raw_min(other.raw_min);
        other.choice.cost = cost_after(group, s, 0, min - other.choice.min);
        other.choice.min = min;
      }
      if (other.choice.cost < best.choice.cost) best = other;
      if (free_) break;
    }
    return best;
  }

  // --- super scales ---

  void choose_super(std::int64_t first) {
    double scales[kGroups], mins[kGroups], scale_weights[kGroups], min_weights[kGroups];
    for (int g = 0; g < groups_; ++g) {
      const Group columns = group(first + g * width_);
      wanted_[g] = best(columns);
      const Sums s = measure(columns, wanted_[g].scale, wanted_[g].min);
      scales[g] = wanted_[g].scale;
      mins[g] = wanted_[g].min;
      scale_weights[g] = s.value_square;
      // A min follows the scale, unless it has to stay at 0.
      if (layout_.has_min && wanted_[g].min < -0x1p-16 * wanted_[g].scale)
        scale_weights[g] -= s.value * quotient_or_zero(s.value, columns.total);
      min_weights[g] = columns.total;
    }
    super_scale_ = best_super(scales, scale_weights, layout_.scale_low, layout_.scale_high);
    if (layout_.has_min) super_min_ = best_super(mins, min_weights, -layout_.scale_high, 0);
    if (effort_.super_rounds > 0) refine_super(first);
  }

  double best_super(const double* wanted, const double* weights, int low, int high) const {
    double extreme = 0;
    for (int g = 0; g < groups_; ++g)
      if (std::fabs(wanted[g]) > std::fabs(extreme)) extreme = wanted[g];
    const double bound = -low > high ? low : high;
    double best = 0, least = kInfinity;
    for (int i = 0; i < super_candidates; ++i) {
      const double super = nearest_half(extreme / (bound * (1 - (i - 1) / 32.0)));
      double cost = 0;
      for (int g = 0; g < groups_; ++g) {
        const double raw = super == 0 ? 0 : std::nearbyint(wanted[g] / super);
        const double error = wanted[g] - super * std::clamp<double>(raw, low, high);
        cost += weights[g] * error * error;
      }
      if (cost < least) {
        least = cost;
        best = super;
      }
    }
    return best;
  }

  /// Stored numbers for the super scales, and super scales fitted to those, in turns.
  void refine_super(std::int64_t first) {
    double least = kInfinity, best_scale = super_scale_, best_min = super_min_;
    for (int round = 0; round <= effort_.super_rounds; ++round) {
      double cost = 0, ss = 0, sm = 0, mm = 0, s = 0, m = 0;
      for (int g = 0; g < groups_; ++g) {
        const Group columns = group(first + g * width_);
        const Stored now = stored(columns, wanted_[g]);
        const Sums sums = measure(columns, now.choice.scale, now.choice.min);
        cost += sums.cost;
        ss += sums.value_square * now.raw_scale * now.raw_scale;
        sm -= sums.value * now.raw_scale * now.raw_min;
        mm += columns.total * now.raw_min * now.raw_min;
        s += sums.error_value * now.raw_scale;
        m -= sums.error * now.raw_min;
      }
      if (cost < least) {
        least = cost;
        best_scale = super_scale_;
        best_min = super_min_;
      }
      if (layout_.has_min) {
        const double share = quotient_or_zero(sm, mm);
        const double determinant = ss - share * sm;
        const double change = determinant > 1e-5 * ss ? (s - share * m) / determinant : 0;
        super_scale_ += change;
        super_min_ = nearest_half(super_min_ + quotient_or_zero(m, mm) - change * share);
      } else {
        super_scale_ += quotient_or_zero(s, ss);
      }
      super_scale_ = nearest_half(super_scale_);
    }
    super_scale_ = best_scale;
    super_min_ = best_min;
  }

  // --- codes ---

  double round_group(const float* weights, std::int64_t c, int g) {
    Group columns = group(c);
    if (!refines_) {
      if (task_.feedback || !has_super_) wanted_[g] = best(columns);
      chosen_[g] = stored(columns, wanted_[g]);
    }
    const Stored& chosen = chosen_[g];
    const double scale = chosen.choice.scale, min = chosen.choice.min;
    double cost = 0;
    for (int i = 0; i < width_; ++i) {
      charge(weights, c + i, 1, 0, c + i);
      const double target = columns.targets[i];
      std::uint8_t& code = parts_.codes[c % block_ + i];
      code = refines_ ? nearest_child(code, scale == 0 ? 0 : target / scale)
                      : grid_.codes[nearest(target, scale, min)];
      const double decoded = scale * layout_.values[code] + min;
      cost += columns.importance[i] * (target - decoded) * (target - decoded);
      task_.scratch[c + i] = static_cast<float>(weights[c + i] - decoded);
    }
    return cost;
  }

  /// Multiplies the block's scales and mins so that targets times decoded values sum up to the
  /// targets' squares; the change of the cost.
  double remove_bias(std::int64_t first) {
    Sums sums[kGroups];
    double product = 0, square = 0;
    for (int g = 0; g < groups_; ++g) {
      const Group columns = group(first + g * width_);
      const double scale = chosen_[g].choice.scale, min = chosen_[g].choice.min;
      sums[g] = measure(columns, scale, min);
      for (int i = 0; i < width_; ++i) {
        const double target = columns.targets[i];
        const double decoded = scale * grid_.values[nearest(target, scale, min)] + min;
        product += columns.importance[i] * target * decoded;
        square += columns.importance[i] * target * target;
      }
    }
    const double gain =
        product > 0 ? std::clamp<double>(square / product, 1 / most_gain, most_gain) : 1;
    super_scale_ = nearest_half(gain * super_scale_);
    super_min_ = nearest_half(gain * super_min_);
    double change = 0;
    for (int g = 0; g < groups_; ++g) {
      Stored& now = chosen_[g];
      const double scale = now.choice.scale, min = now.choice.min;
      if (!has_super_) {
        now.raw_scale = nearest_raw(gain * scale);
        now.raw_min = nearest_raw_min(gain * min);
      }
      change += cost_after(group(first + g * width_), sums[g], of_raw(now.raw_scale) - scale,
                           of_raw_min(now.raw_min) - min) -
                sums[g].cost;
    }
    return change;
  }

  /// Scales and leading bits of codes.
  void read(const std::uint8_t* block) {
    task_.format->leading->split(block, &parts_, 1);
    super_scale_ = value_of_half(parts_.super_scale);
    for (int g = 0; g < groups_; ++g) {
      Stored& now = chosen_[g];
      now = {};
      now.raw_scale = layout_.scale == ScaleKind::i8 ? static_cast<std::int8_t>(parts_.scales[g])
                                                     : parts_.scales[g];
      now.choice.scale = of_raw(now.raw_scale);
    }
  }

  /// Of the children, which count up in even steps from the first.
  std::uint8_t nearest_child(int parent, double quotient) const {
    const int children = 1 << (layout_.bits - 4);
    const std::int8_t* const values = layout_.values + children * parent;
    const double beyond = (quotient - values[0]) / (values[1] - values[0]);
    return static_cast<std::uint8_t>(children * parent +
                                     std::nearbyint(std::clamp(beyond, 0.0, children - 1.0)));
  }

  void write(std::uint8_t* block) {
    for (int g = 0; g < groups_; ++g) {
      const int raw = chosen_[g].raw_scale, raw_min = chosen_[g].raw_min;
      parts_.scales[g] =
          static_cast<std::uint16_t>(layout_.scale == ScaleKind::u4   ? raw | raw_min << 4
                                     : layout_.scale == ScaleKind::i8 ? raw & 255
                                                                      : raw);
      parts_.mins[g] = static_cast<std::uint16_t>(raw_min);
    }
    parts_.super_scale = has_super_ ? stored_half(super_scale_) : parts_.scales[0];
    parts_.super_min = stored_half(super_min_);
    task_.format->join(&parts_, block, 1);
  }

  const QuantiseTask& task_;
  const CodeLayout& layout_;
  const CodeGrid& grid_;
  const SearchEffort& effort_;
  int block_, width_, groups_;  // columns of a block and of a group; groups of a block
  bool free_;                   // scales need no further rounding than to a half
  bool has_super_;              // beside group scales
  bool refines_;                // what the blocks have
  double targets_[quantise_chunk] = {};
  Choice wanted_[kGroups];
  Stored chosen_[kGroups];
  double super_scale_ = 0, super_min_ = 0;
  BlockParts parts_{};
};

}  // namespace

double quantise(const QuantiseTask& task) {
  const CodeGrid grid = code_grid(task.format->layout);
  const Format& format = *task.format;
  const std::int64_t row_bytes = task.columns / format.block_values * format.block_bytes;
  Rounder rounder(task, grid);
  double cost = 0;
  for (std::int64_t row = 0; row < task.rows; ++row)
    cost += rounder.round(task.weights + row * task.columns, task.blocks + row * row_bytes);
  return cost;
}

}  // namespace plimsoll::reference
