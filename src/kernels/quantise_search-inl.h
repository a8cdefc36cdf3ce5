// One group of columns, a row to a lane: nearest values, scales that a file can hold, and the
// search for the scale (and min) that costs least. Included by quantise-inl.h.
#pragma once

#include "kernels/quantise_grid.h"
#include "kernels/vector-inl.h"

namespace plimsoll::PLIMSOLL_ISA {
namespace {

// --- values ---

/// The value that stands for a quotient target / scale, and its code.
struct Nearest {
  Vector value;
  Vector code;
};

struct ConsecutiveValues {
  explicit ConsecutiveValues(const CodeGrid& grid)
      : low(splat(grid.values[0])),
        high(splat(grid.values[grid.count - 1])),
        first_code(splat(grid.codes[0] - grid.values[0])) {}
  HWY_INLINE Nearest nearest(Vector quotient) const {
    const Vector value = hn::Round(hn::Min(hn::Max(quotient, low), high));
    return {value, hn::Add(value, first_code)};
  }
  Vector low, high, first_code;
};

/// table[index] of sixteen entries.
HWY_INLINE Vector look_up(const float* table, Ints index) {
  const IntTag tag;
  if constexpr (kLanes == 16)
    return hn::TableLookupLanes(load(table), hn::IndicesFromVec(kTag, index));
  const auto indices = hn::IndicesFromVec(kTag, hn::And(index, hn::Set(tag, kLanes - 1)));
  Vector result = hn::TableLookupLanes(load(table), indices);
  for (std::int64_t part = kLanes; part < 16; part += kLanes) {
    const auto beyond = hn::Gt(index, hn::Set(tag, static_cast<std::int32_t>(part - 1)));
    result = hn::IfThenElse(hn::RebindMask(kTag, beyond),
                            hn::TableLookupLanes(load(table + part), indices), result);
  }
  return result;
}

struct UnevenValues {
  explicit UnevenValues(const CodeGrid& code_grid) : grid(code_grid) {}
  HWY_INLINE Nearest nearest(Vector quotient) const {
    const IntTag tag;
    Ints node = hn::Set(tag, 1);
    PLIMSOLL_UNROLL
    for (int depth = 0; depth < 4; ++depth) {
      const auto right = hn::RebindMask(tag, hn::Gt(quotient, look_up(grid.midpoints, node)));
      node = hn::Sub(hn::Add(node, node), hn::VecFromMask(tag, right));
    }
    const Ints leaf = hn::Sub(node, hn::Set(tag, 16));
    return {look_up(grid.leaf_values, leaf), look_up(grid.leaf_codes, leaf)};
  }
  const CodeGrid& grid;
};

/// 1 / x, and 0 for 0.
HWY_INLINE Vector reciprocal_or_zero(Vector x) {
  return hn::IfThenZeroElse(hn::Eq(x, hn::Zero(kTag)), hn::Div(splat(1.0f), x));
}

/// x / y, and 0 where y is not positive.
HWY_INLINE Vector quotient_or_zero(Vector x, Vector y) {
  return hn::IfThenElseZero(hn::Gt(y, hn::Zero(kTag)), hn::Div(x, y));
}

HWY_INLINE Vector clamp_half(Vector x) {
  return hn::Min(hn::Max(x, splat(-65504.0f)), splat(65504.0f));
}

/// Bits of the nearest finite half, as a number; never a negative zero.
HWY_INLINE Vector half_bits(Vector x) {
  const auto bits = hn::BitCast(Bits16Tag(), hn::DemoteTo(HalfTag(), clamp_half(x)));
  const Vector number = hn::ConvertTo(kTag, hn::BitCast(IntTag(), hn::PromoteTo(UintTag(), bits)));
  return hn::IfThenZeroElse(hn::Eq(number, splat(0x8000)), number);
}

HWY_INLINE Vector half_of_bits(Vector bits) {
  const auto halves = hn::DemoteTo(Bits16Tag(), hn::ConvertTo(IntTag(), bits));
  return hn::PromoteTo(kTag, hn::BitCast(HalfTag(), halves));
}

/// 2^power, power in [-126, 127].
HWY_INLINE Vector power_of_two(Ints power) {
  return hn::BitCast(kTag, hn::ShiftLeft<23>(hn::Add(power, hn::Set(IntTag(), 127))));
}

// --- scales ---

/// The scales and mins that a block can hold, in the block's units, and the numbers they are stored
/// as (BlockParts::scales and mins).
class Scales {
 public:
  Scales(const CodeLayout& layout, Vector up, Vector down, Vector super_scale, Vector super_min)
      : kind_(layout.scale),
        has_super_(layout.has_super),
        low_(splat(static_cast<float>(layout.scale_low))),
        high_(splat(static_cast<float>(layout.scale_high))),
        up_(hn::Mul(up, splat(layout.unit))),
        down_(hn::Mul(down, splat(1 / layout.unit))),
        super_scale_(super_scale),
        super_min_(super_min),
        per_super_scale_(reciprocal_or_zero(super_scale)),
        per_super_min_(reciprocal_or_zero(super_min)) {}

  Vector nearest_raw(Vector scale) const {
    switch (kind_) {
      case ScaleKind::none:
      case ScaleKind::f16:
        return half_bits(hn::Mul(scale, down_));
      case ScaleKind::e8m0: {
        // Mantissas from 1.5 on carry into the exponent.
        const Ints bits = hn::BitCast(IntTag(), hn::Mul(scale, down_));
        const Ints exponent = hn::ShiftRight<23>(hn::Add(bits, hn::Set(IntTag(), 1 << 22)));
        return clamped(hn::ConvertTo(kTag, hn::Add(exponent, hn::Set(IntTag(), 1))));
      }
      case ScaleKind::ue4m3: {
        // Sixteen eighths of one power of two are eight of the next: no case of its own.
        const Vector twice = hn::Min(hn::Mul(hn::Mul(scale, down_), splat(2.0f)), splat(480.0f));
        const Ints biased = hn::ShiftRight<23>(hn::BitCast(IntTag(), twice));
        const Ints exponent =
            hn::Max(hn::Sub(biased, hn::Set(IntTag(), 127)), hn::Set(IntTag(), -6));
        const Vector eighth = power_of_two(hn::Sub(exponent, hn::Set(IntTag(), 3)));
        const Vector base = hn::ConvertTo(kTag, hn::Add(exponent, hn::Set(IntTag(), 6)));
        return clamped(hn::MulAdd(base, splat(8.0f), hn::Round(hn::Div(twice, eighth))));
      }
      case ScaleKind::i8:
      case ScaleKind::u8:
      case ScaleKind::u4:
      case ScaleKind::odd4:  // not of formats that are searched here
        break;
    }
    return clamped(hn::Round(hn::Mul(scale, per_super_scale_)));
  }

  Vector of_raw(Vector raw) const {
    switch (kind_) {
      case ScaleKind::none:
      case ScaleKind::f16:
        return hn::Mul(half_of_bits(raw), up_);
      case ScaleKind::e8m0: {
        // 2^(raw - 128) as 2^(raw - 126) / 4, since the least are subnormal.
        const Ints power = hn::Sub(hn::ConvertTo(IntTag(), raw), hn::Set(IntTag(), 126));
        return hn::Mul(hn::Mul(power_of_two(power), splat(0.25f)), up_);
      }
      case ScaleKind::ue4m3: {
        const Ints code = hn::ConvertTo(IntTag(), raw);
        const Ints exponent = hn::Max(hn::ShiftRight<3>(code), hn::Set(IntTag(), 1));
        const Ints eighths =
            hn::Sub(code, hn::ShiftLeft<3>(hn::Sub(exponent, hn::Set(IntTag(), 1))));
        const Vector eighth = power_of_two(hn::Sub(exponent, hn::Set(IntTag(), 11)));
        return hn::Mul(hn::Mul(hn::ConvertTo(kTag, eighths), eighth), up_);
      }
      case ScaleKind::i8:
      case ScaleKind::u8:
      case ScaleKind::u4:
      case ScaleKind::odd4:
        break;
    }
    return hn::Mul(raw, super_scale_);
  }

  Vector nearest_raw_min(Vector min) const {
    return has_super_ ? clamped(hn::Round(hn::Neg(hn::Mul(min, per_super_min_))))
                      : half_bits(hn::Mul(min, down_));
  }
  Vector of_raw_min(Vector raw) const {
    return has_super_ ? hn::Neg(hn::Mul(raw, super_min_)) : hn::Mul(half_of_bits(raw), up_);
  }

  /// A number whose product with the row's unit is a half.
  Vector nearest_half_scale(Vector x) const {
    return hn::Mul(half_of_bits(half_bits(hn::Mul(x, down_))), up_);
  }

  /// Stored numbers beside `raw`, inside their range.
  Vector beside(Vector raw, float distance) const { return clamped(hn::Add(raw, splat(distance))); }

 private:
  Vector clamped(Vector raw) const { return hn::Min(hn::Max(raw, low_), high_); }

  ScaleKind kind_;
  bool has_super_;
  Vector low_, high_, up_, down_, super_scale_, super_min_, per_super_scale_, per_super_min_;
};

// --- one group of columns ---

/// Targets of a group in the block's units, and what their errors cost.
struct Group {
  const float* targets;     // [columns][kLanes]
  const float* importance;  // [columns]
  int columns;
  float total;  // of importance
};

/// A scale and a min in the block's units, and the cost with them.
struct Choice {
  Vector scale, min, cost;

  /// Costs below `noise` are alike.
  void replace_if_less(const Choice& other, Vector noise) {
    const Mask less = hn::Lt(hn::Max(other.cost, noise), cost);
    scale = hn::IfThenElse(less, other.scale, scale);
    min = hn::IfThenElse(less, other.min, min);
    cost = hn::IfThenElse(less, other.cost, cost);
  }
};

/// Sums over a group of importance times: the error squared; the error, and its product with the
/// value (which vanish where min and scale fit the codes best); the value and its square.
struct Sums {
  Vector cost, error, error_value, value, value_square;
};

/// What is done with a group, by kind of values; kMin: value * scale + min.
template <typename Values, bool kMin>
class Search {
 public:
  Search(const CodeLayout& layout, const CodeGrid& grid, const SearchEffort& effort)
      : grid_(grid),
        effort_(effort),
        values_(grid),
        // Scales that need no further rounding than to a half.
        free_(layout.scale == ScaleKind::f16 || layout.scale == ScaleKind::none),
        has_super_min_(kMin && layout.has_super) {}

  bool free() const { return free_; }

  HWY_INLINE Nearest nearest(Vector target, Vector per_scale, Vector min) const {
    if constexpr (kMin) target = hn::Sub(target, min);
    return values_.nearest(hn::Mul(target, per_scale));
  }

  /// The target minus what it is decoded to.
  HWY_INLINE static Vector error(Vector target, Vector value, Vector scale, Vector min) {
    if constexpr (kMin) target = hn::Sub(target, min);
    return hn::NegMulAdd(value, scale, target);
  }

  Sums measure(const Group& group, Vector scale, Vector min) const {
    const Vector per_scale = reciprocal_or_zero(scale);
    const Vector zero = hn::Zero(kTag);
    Sums sums = {zero, zero, zero, zero, zero};
    for (int c = 0; c < group.columns; ++c) {
      const Vector target = load(group.targets + c * kLanes);
      const Vector importance = splat(group.importance[c]);
      const Vector value = nearest(target, per_scale, min).value;
      const Vector rest = error(target, value, scale, min);
      const Vector weighted = hn::Mul(importance, rest);
      const Vector weighted_value = hn::Mul(importance, value);
      sums.cost = hn::MulAdd(weighted, rest, sums.cost);
      sums.error_value = hn::MulAdd(weighted, value, sums.error_value);
      sums.value_square = hn::MulAdd(weighted_value, value, sums.value_square);
      if constexpr (kMin) {
        sums.error = hn::Add(sums.error, weighted);
        sums.value = hn::Add(sums.value, weighted_value);
      }
    }
    return sums;
  }

  /// The cost with the same codes after scale and min have changed.
  static Vector cost_after(float total, const Sums& s, Vector scale_change, Vector min_change) {
    const Vector two = splat(2.0f);
    const Vector slope = hn::NegMulAdd(two, s.error_value, hn::Mul(scale_change, s.value_square));
    Vector cost = hn::MulAdd(scale_change, slope, s.cost);
    if constexpr (kMin) {
      const Vector min_slope = hn::MulAdd(two, hn::MulSub(scale_change, s.value, s.error),
                                          hn::Mul(min_change, splat(total)));
      cost = hn::MulAdd(min_change, min_slope, cost);
    }
    return cost;
  }

  /// The best scale and min: those of a file where they are free, otherwise any. `scales` need no
  /// super scales.
  Choice best(const Group& group, const Scales& scales) const {
    const Extremes extremes = find_extremes(group);
    const Vector noise =
        hn::Mul(hn::Mul(extremes.greatest, extremes.greatest), splat(search_noise * group.total));
    Choice choice = {hn::Zero(kTag), hn::Zero(kTag), splat(__builtin_inff())};
    for (int i = 0; i < effort_.candidates; ++i) {
      const float offset = effort_.offsets[i];
      if constexpr (kMin) {
        const float steps = static_cast<float>(grid_.count - 1);
        if (steps + offset <= 0) continue;
        const Vector scale =
            hn::Mul(hn::Sub(extremes.high, extremes.low), splat(1 / (steps + offset)));
        // What falls outside falls outside on both sides.
        const Vector min = hn::MulAdd(scale, splat(offset / 2), extremes.low);
        choice.replace_if_less(fitted(group, scales, scale, min), noise);
      } else {
        const float reach = __builtin_fabsf(grid_.extreme) + offset * grid_.step;
        if (reach <= 0) continue;
        const Vector scale =
            hn::Mul(extremes.greatest, splat(1 / __builtin_copysignf(reach, grid_.extreme)));
        choice.replace_if_less(fitted(group, scales, scale, hn::Zero(kTag)), noise);
        if (effort_.both_signs && !grid_.symmetric)
          choice.replace_if_less(fitted(group, scales, hn::Neg(scale), hn::Zero(kTag)), noise);
      }
    }
    // Values that reach further on one side may suit the group the other way round.
    if (!kMin && !effort_.both_signs && !grid_.symmetric)
      choice.replace_if_less(fitted(group, scales, hn::Neg(choice.scale), choice.min), noise);
    for (int i = 0; i < effort_.refits; ++i)
      choice.replace_if_less(fitted(group, scales, choice.scale, choice.min), noise);
    return choice;
  }

  /// What the square of a change of the scale costs; a min follows it, unless it has to stay at 0.
  Vector curvature(const Group& group, const Choice& choice) const {
    const Sums s = measure(group, choice.scale, choice.min);
    if constexpr (!kMin) return s.value_square;
    // Up to rounding errors of the fit.
    const Mask follows = hn::Lt(choice.min, hn::Mul(choice.scale, splat(-0x1p-16f)));
    return hn::NegMulAdd(s.value, hn::IfThenElseZero(follows, mean_value(group, s)),
                         s.value_square);
  }

  /// Stored scale and min near to a wanted one, and the cost with them.
  struct Stored {
    Vector raw_scale, raw_min;
    Choice choice;
  };
  Stored stored(const Group& group, const Scales& scales, Vector scale, Vector min) const {
    const Vector nearest = scales.nearest_raw(scale);
    if (free_) {
      const Vector raw_min = scales.nearest_raw_min(min);
      return {
          nearest, raw_min, {scales.of_raw(nearest), scales.of_raw_min(raw_min), hn::Zero(kTag)}};
    }
    Stored best{};
    best.choice.cost = splat(__builtin_inff());
    for (int i = 0; i < 3; ++i) {
      Stored other{};
      other.raw_scale = scales.beside(nearest, kBeside[i]);
      other.choice.scale = scales.of_raw(other.raw_scale);
      other.raw_min = other.choice.min = hn::Zero(kTag);
      if constexpr (kMin) {
        // The middle of the values stays where it is, before the min is fitted to their codes.
        const Vector middle = splat(static_cast<float>(grid_.count - 1) / 2);
        const Vector moved = hn::MulAdd(hn::Sub(scale, other.choice.scale), middle, min);
        other.raw_min = scales.nearest_raw_min(moved);
        other.choice.min = scales.of_raw_min(other.raw_min);
      }
      const Sums s = measure(group, other.choice.scale, other.choice.min);
      other.choice.cost = s.cost;
      if constexpr (kMin) {
        const Vector fitted_min =
            hn::Add(other.choice.min, quotient_or_zero(s.error, splat(group.total)));
        const Vector raw_min = scales.nearest_raw_min(fitted_min);
        const Vector stored_min = scales.of_raw_min(raw_min);
        other.choice.cost =
            cost_after(group.total, s, hn::Zero(kTag), hn::Sub(stored_min, other.choice.min));
        other.raw_min = raw_min;
        other.choice.min = stored_min;
      }
      const Mask less = hn::Lt(other.choice.cost, best.choice.cost);
      best.raw_scale = hn::IfThenElse(less, other.raw_scale, best.raw_scale);
      best.raw_min = hn::IfThenElse(less, other.raw_min, best.raw_min);
      best.choice.replace_if_less(other.choice, hn::Zero(kTag));
    }
    return best;
  }

 private:
  static constexpr float kBeside[3] = {0.0f, -1.0f, 1.0f};

  struct Extremes {
    Vector low, high;  // with a super min, which is not negative, around 0
    Vector greatest;   // of greatest magnitude; without its sign where values are symmetric
  };
  Extremes find_extremes(const Group& group) const {
    const Vector zero = hn::Zero(kTag);
    Extremes result = {zero, zero, zero};
    bool first = !has_super_min_;
    for (int c = 0; c < group.columns; ++c) {
      if (group.importance[c] == 0) continue;
      const Vector target = load(group.targets + c * kLanes);
      result.low = first ? target : hn::Min(result.low, target);
      result.high = first ? target : hn::Max(result.high, target);
      first = false;
    }
    const Mask below = hn::Gt(hn::Neg(result.low), result.high);
    result.greatest = hn::IfThenElse(below, result.low, result.high);
    if (grid_.symmetric) result.greatest = hn::Abs(result.greatest);
    return result;
  }

  Vector mean_value(const Group& group, const Sums& s) const {
    return quotient_or_zero(s.value, splat(group.total));
  }

  Vector storable_scale(const Scales& scales, Vector scale) const {
    return free_ ? scales.nearest_half_scale(scale) : scale;
  }
  Vector storable_min(const Scales& scales, Vector min) const {
    if constexpr (!kMin) return min;
    return has_super_min_ ? hn::Min(min, hn::Zero(kTag)) : scales.nearest_half_scale(min);
  }

  /// Scale and min fitted, by least squares, to the codes that these lead to.
  Choice fitted(const Group& group, const Scales& scales, Vector scale, Vector min) const {
    scale = storable_scale(scales, scale);
    min = storable_min(scales, min);
    const Sums s = measure(group, scale, min);
    Choice result = {scale, min, s.cost};
    if constexpr (kMin) {
      const Vector mean = mean_value(group, s);
      const Vector spread = hn::NegMulAdd(s.value, mean, s.value_square);
      // Codes that are all alike, up to rounding, say nothing about the scale.
      const Mask varied = hn::Gt(spread, hn::Mul(splat(1e-5f), s.value_square));
      const Vector change =
          hn::IfThenElseZero(varied, hn::Div(hn::NegMulAdd(s.error, mean, s.error_value), spread));
      result.scale = storable_scale(scales, hn::Add(scale, change));
      result.min = hn::Add(min, hn::NegMulAdd(hn::Sub(result.scale, scale), mean,
                                              quotient_or_zero(s.error, splat(group.total))));
      if (has_super_min_) {
        // Where the min would rise above 0 it stays there, and the scale is fitted alone.
        const Mask above = hn::Gt(result.min, hn::Zero(kTag));
        const Vector alone = hn::Add(
            scale, quotient_or_zero(hn::MulAdd(min, s.value, s.error_value), s.value_square));
        result.scale = hn::IfThenElse(above, alone, result.scale);
      }
      result.min = storable_min(scales, result.min);
    } else {
      const Vector change = quotient_or_zero(s.error_value, s.value_square);
      result.scale = storable_scale(scales, hn::Add(scale, change));
    }
    result.cost =
        cost_after(group.total, s, hn::Sub(result.scale, scale), hn::Sub(result.min, min));
    return result;
  }

  const CodeGrid& grid_;
  const SearchEffort& effort_;
  Values values_;
  bool free_;
  bool has_super_min_;
};

}  // namespace
}  // namespace plimsoll::PLIMSOLL_ISA
