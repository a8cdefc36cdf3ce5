// quantise for every vector width: a lane is a row, so that rows never wait for each other.
//
// Columns are taken in chunks of 256. At a chunk's begin the errors of all columns before it are
// charged to its targets, as a product of matrices whose panels of U are copied into the cache;
// within the chunk, each 16 or 32 columns charge the rest of it the same way, and each column those
// few beside it. Super scales are chosen from the targets at their block's begin, group scales anew
// when their turn comes.
#include <cstring>

#include "kernels/functions-inl.h"
#include "kernels/quantise_grid.h"
#include "kernels/vector-inl.h"

namespace plimsoll::PLIMSOLL_ISA {
namespace {

constexpr std::int64_t kRows = quantise_rows_together;
constexpr std::int64_t kMaxStep = 32;

// --- error feedback: targets += errors^T U ---

/// Register tile: vectors of rows x columns.
constexpr int kTileVectors = kRegisters == 32 ? 4 : 2;
constexpr int kTileColumns = kRegisters == 32 ? 6 : 5;

template <int kColumns>
void charge_tile(const float* errors, const float* panel, std::int64_t count, float* targets) {
  Vector sums[kColumns][kTileVectors];
  PLIMSOLL_UNROLL
  for (int c = 0; c < kColumns; ++c) {
    PLIMSOLL_UNROLL
    for (int v = 0; v < kTileVectors; ++v) sums[c][v] = load(targets + c * kRows + v * kLanes);
  }
  for (std::int64_t j = 0; j < count; ++j) {
    Vector e[kTileVectors];
    PLIMSOLL_UNROLL
    for (int v = 0; v < kTileVectors; ++v) e[v] = load(errors + j * kRows + v * kLanes);
    PLIMSOLL_UNROLL
    for (int c = 0; c < kColumns; ++c) {
      const Vector u = splat(panel[j * quantise_panel_stride + c]);
      PLIMSOLL_UNROLL
      for (int v = 0; v < kTileVectors; ++v) sums[c][v] = hn::MulAdd(e[v], u, sums[c][v]);
    }
  }
  PLIMSOLL_UNROLL
  for (int c = 0; c < kColumns; ++c) {
    PLIMSOLL_UNROLL
    for (int v = 0; v < kTileVectors; ++v) store(sums[c][v], targets + c * kRows + v * kLanes);
  }
}

/// targets[c][row] += sum over j < count of errors[j][row] * u[j * stride + c], for `width` columns
/// c, a multiple of 16. The rows of u are `stride` apart, so far that no processor foresees them:
/// those after a panel, of the `rows` that there are, are asked for while it is multiplied.
void charge(const float* errors, const float* u, std::int64_t stride, std::int64_t rows,
            std::int64_t count, float* targets, std::int64_t width, float* panel) {
  for (std::int64_t j = 0; j < count; j += quantise_panel) {
    const std::int64_t depth = count - j < quantise_panel ? count - j : quantise_panel;
    for (std::int64_t i = 0; i < depth; ++i)
      for (std::int64_t c = 0; c < width; c += kLanes)
        store(load(u + (j + i) * stride + c), panel + i * quantise_panel_stride + c);
    std::int64_t asked = j + depth;
    const std::int64_t end = rows - asked < depth ? rows : asked + depth;
    for (std::int64_t row = 0; row < kRows; row += kTileVectors * kLanes)
      for (std::int64_t c = 0; c < width; c += kTileColumns) {
        for (; asked < end && (asked - j - depth) * width <= c * depth; ++asked)
          for (std::int64_t k = 0; k < width; k += 16) prefetch_to_l2(u + asked * stride + k);
        with_constant<kTileColumns>(width - c, [&](auto columns) HWY_ATTR {
          charge_tile<decltype(columns)::value>(errors + j * kRows + row, panel + c, depth,
                                                targets + c * kRows + row);
        });
      }
  }
}

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
        up_(up),
        down_(down),
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
            cost_after(group, s, hn::Zero(kTag), hn::Sub(stored_min, other.choice.min));
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

  /// The cost with the same codes after scale and min have changed.
  static Vector cost_after(const Group& group, const Sums& s, Vector scale_change,
                           Vector min_change) {
    const Vector two = splat(2.0f);
    const Vector slope = hn::NegMulAdd(two, s.error_value, hn::Mul(scale_change, s.value_square));
    Vector cost = hn::MulAdd(scale_change, slope, s.cost);
    if constexpr (kMin) {
      const Vector min_slope = hn::MulAdd(two, hn::MulSub(scale_change, s.value, s.error),
                                          hn::Mul(min_change, splat(group.total)));
      cost = hn::MulAdd(min_change, min_slope, cost);
    }
    return cost;
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
    result.cost = cost_after(group, s, hn::Sub(result.scale, scale), hn::Sub(result.min, min));
    return result;
  }

  const CodeGrid& grid_;
  const SearchEffort& effort_;
  Values values_;
  bool free_;
  bool has_super_min_;
};

// --- blocks ---

/// The whole task, by kind of values. A strip is as many rows as a vector has lanes.
template <typename Values, bool kMin>
class Quantiser {
 public:
  Quantiser(const QuantiseTask& task, const CodeGrid& grid, const SearchEffort& effort)
      : task_(task),
        layout_(task.format->layout),
        effort_(effort),
        search_(layout_, grid, effort),
        groups_(task.format->block_values / layout_.scale_width),
        has_super_(layout_.has_super && layout_.scale != ScaleKind::none),
        step_(layout_.scale_width < kMaxStep ? layout_.scale_width : kMaxStep),
        errors_(task.scratch),
        targets_(errors_ + task.columns * kRows),
        panel_(targets_ + quantise_chunk * kRows),
        ones_(panel_ + quantise_panel * quantise_panel_stride),
        state_(*reinterpret_cast<QuantiseState*>(ones_ + quantise_chunk)) {
    for (std::int64_t c = 0; c < quantise_chunk; ++c) ones_[c] = 1;
  }

  double run() {
    double cost = 0;
    for (row_ = 0; row_ < task_.rows; row_ += kRows) {
      rows_ = task_.rows - row_ < kRows ? task_.rows - row_ : kRows;
      for (chunk_ = 0; chunk_ < task_.columns; chunk_ += quantise_chunk) {
        const std::int64_t left = task_.columns - chunk_;
        cost += round_chunk(left < quantise_chunk ? left : quantise_chunk);
      }
    }
    return cost;
  }

 private:
  double round_chunk(std::int64_t width) {
    load_targets(width);
    if (task_.feedback) {
      std::memcpy(errors_ + chunk_ * kRows, targets_, width * kRows * sizeof(float));
      charge(errors_, task_.feedback + chunk_, task_.columns, task_.columns, chunk_, targets_,
             width, panel_);
    }
    double cost = 0;
    const int block = task_.format->block_values;
    for (std::int64_t c = 0; c < width; c += step_) {
      if (c % block == 0)
        for (std::int64_t strip = 0; strip < rows_; strip += kLanes) begin_block(c, strip);
      const std::int64_t g = c % block / layout_.scale_width;
      for (std::int64_t strip = 0; strip < rows_; strip += kLanes) {
        if (c % layout_.scale_width == 0) begin_group(c, g, strip);
        round_step(c, g, strip);
      }
      const std::int64_t next = c + step_;
      if (task_.feedback && next < width)
        charge(errors_ + (chunk_ + c) * kRows,
               task_.feedback + (chunk_ + c) * task_.columns + chunk_ + next, task_.columns,
               task_.columns - chunk_ - c, step_, targets_ + next * kRows, width - next, panel_);
      if (next % block == 0) cost += finish_block(next - block);
    }
    return cost;
  }

  /// The chunk's weights, transposed. Rows that do not exist repeat the last one.
  void load_targets(std::int64_t width) {
    const hn::Full128<float> tag;
    for (std::int64_t r = 0; r < kRows; r += 4) {
      const float* rows[4];
      for (std::int64_t i = 0; i < 4; ++i) {
        const std::int64_t row = r + i < rows_ ? r + i : rows_ - 1;
        rows[i] = task_.weights + (row_ + row) * task_.columns + chunk_;
      }
      for (std::int64_t c = 0; c < width; c += 4) {
        const auto w0 = hn::LoadU(tag, rows[0] + c), w1 = hn::LoadU(tag, rows[1] + c);
        const auto w2 = hn::LoadU(tag, rows[2] + c), w3 = hn::LoadU(tag, rows[3] + c);
        const auto low02 = hn::InterleaveLower(tag, w0, w2);
        const auto low13 = hn::InterleaveLower(tag, w1, w3);
        const auto high02 = hn::InterleaveUpper(tag, w0, w2);
        const auto high13 = hn::InterleaveUpper(tag, w1, w3);
        float* out = targets_ + c * kRows + r;
        hn::StoreU(hn::InterleaveLower(tag, low02, low13), tag, out);
        hn::StoreU(hn::InterleaveUpper(tag, low02, low13), tag, out + kRows);
        hn::StoreU(hn::InterleaveLower(tag, high02, high13), tag, out + 2 * kRows);
        hn::StoreU(hn::InterleaveUpper(tag, high02, high13), tag, out + 3 * kRows);
      }
    }
  }

  const float* importance(std::int64_t c) const {
    return task_.importance ? task_.importance + chunk_ + c : ones_;
  }

  /// The targets of one group of a strip, in its units, written to `units`.
  Group load_group(std::int64_t c, std::int64_t strip, float* units) const {
    const Vector up = load(state_.up + strip);
    Group group = {units, importance(c), layout_.scale_width, 0};
    for (int i = 0; i < group.columns; ++i) {
      store(hn::Mul(load(targets_ + (c + i) * kRows + strip), up), units + i * kLanes);
      group.total += group.importance[i];
    }
    return group;
  }

  Scales scales_of(std::int64_t strip) const {
    return Scales(layout_, load(state_.up + strip), load(state_.down + strip),
                  load(state_.super_scale + strip), load(state_.super_min + strip));
  }

  /// Units, and where there are super scales, those that suit the groups as they are now.
  void begin_block(std::int64_t c, std::int64_t strip) {
    Vector greatest = hn::Zero(kTag);
    for (std::int64_t i = 0; i < task_.format->block_values; ++i)
      greatest = hn::Max(greatest, hn::Abs(load(targets_ + (c + i) * kRows + strip)));
    const IntTag tag;
    const Ints biased = hn::ShiftRight<23>(hn::BitCast(tag, greatest));
    const Ints exponent =
        hn::Min(hn::Max(hn::Sub(biased, hn::Set(tag, 127)), hn::Set(tag, -126)), hn::Set(tag, 126));
    store(power_of_two(exponent), state_.down + strip);
    store(power_of_two(hn::Neg(exponent)), state_.up + strip);
    store(hn::Zero(kTag), state_.cost + strip);
    store(hn::Zero(kTag), state_.super_scale + strip);
    store(hn::Zero(kTag), state_.super_min + strip);
    if (has_super_) choose_super(c, strip);
  }

  /// Super scales that suit the groups as they are now.
  void choose_super(std::int64_t c, std::int64_t strip) {
    const Scales scales = scales_of(strip);
    HWY_ALIGN float units[kMaxStep * kLanes];
    for (int g = 0; g < groups_; ++g) {
      const Group group = load_group(c + g * layout_.scale_width, strip, units);
      const Choice wanted = search_.best(group, scales);
      store(wanted.scale, state_.wanted_scale[g] + strip);
      store(wanted.min, state_.wanted_min[g] + strip);
      store(search_.curvature(group, wanted), state_.scale_weight[g] + strip);
      store(splat(group.total), state_.min_weight[g] + strip);
    }
    store(best_super(scales, state_.wanted_scale[0] + strip, state_.scale_weight[0] + strip,
                     static_cast<float>(layout_.scale_low), static_cast<float>(layout_.scale_high)),
          state_.super_scale + strip);
    if constexpr (kMin)
      store(best_super(scales, state_.wanted_min[0] + strip, state_.min_weight[0] + strip,
                       -static_cast<float>(layout_.scale_high), 0),
            state_.super_min + strip);
    if (effort_.super_rounds > 0) refine_super(c, strip);
  }

  /// The half whose products with integers from `low` to `high` are nearest to `wanted`; that and
  /// `weights` are [groups][kRows].
  Vector best_super(const Scales& scales, const float* wanted, const float* weights, float low,
                    float high) const {
    Vector extreme = hn::Zero(kTag);
    for (int g = 0; g < groups_; ++g) {
      const Vector w = load(wanted + g * kRows);
      extreme = hn::IfThenElse(hn::Gt(hn::Abs(w), hn::Abs(extreme)), w, extreme);
    }
    const float bound = -low > high ? low : high;
    Vector best = hn::Zero(kTag), least = splat(__builtin_inff());
    for (int i = 0; i < super_candidates; ++i) {
      const float at = bound * (1 - static_cast<float>(i - 1) / 32);
      const Vector super = scales.nearest_half_scale(hn::Mul(extreme, splat(1 / at)));
      const Vector per_super = reciprocal_or_zero(super);
      Vector cost = hn::Zero(kTag);
      for (int g = 0; g < groups_; ++g) {
        const Vector w = load(wanted + g * kRows);
        const Vector raw = hn::Round(hn::Mul(w, per_super));
        const Vector clamped = hn::Min(hn::Max(raw, splat(low)), splat(high));
        const Vector error = hn::NegMulAdd(clamped, super, w);
        cost = hn::MulAdd(hn::Mul(error, error), load(weights + g * kRows), cost);
      }
      const Mask less = hn::Lt(cost, least);
      best = hn::IfThenElse(less, super, best);
      least = hn::IfThenElse(less, cost, least);
    }
    return best;
  }

  /// Coordinate descent: stored scales, mins and codes for the super scales, then super scales
  /// fitted to those by least squares. The best that was met is kept.
  void refine_super(std::int64_t c, std::int64_t strip) {
    HWY_ALIGN float units[kMaxStep * kLanes];
    Vector super_scale = load(state_.super_scale + strip);
    Vector super_min = load(state_.super_min + strip);
    Vector least = splat(__builtin_inff());
    for (int round = 0; round <= effort_.super_rounds; ++round) {
      const Scales scales(layout_, load(state_.up + strip), load(state_.down + strip), super_scale,
                          super_min);
      // Normal equations of the changes of both super scales.
      Vector cost = hn::Zero(kTag), ss = cost, sm = cost, mm = cost, s = cost, m = cost;
      for (int g = 0; g < groups_; ++g) {
        const Group group = load_group(c + g * layout_.scale_width, strip, units);
        const auto stored = search_.stored(group, scales, load(state_.wanted_scale[g] + strip),
                                           load(state_.wanted_min[g] + strip));
        const Sums sums = search_.measure(group, stored.choice.scale, stored.choice.min);
        cost = hn::Add(cost, sums.cost);
        const Vector raw = stored.raw_scale;
        ss = hn::MulAdd(hn::Mul(raw, raw), sums.value_square, ss);
        s = hn::MulAdd(raw, sums.error_value, s);
        if constexpr (kMin) {
          const Vector raw_min = stored.raw_min;
          sm = hn::NegMulAdd(hn::Mul(raw, raw_min), sums.value, sm);
          mm = hn::MulAdd(hn::Mul(raw_min, raw_min), splat(group.total), mm);
          m = hn::NegMulAdd(raw_min, sums.error, m);
        }
      }
      const Mask less = hn::Lt(cost, least);
      least = hn::IfThenElse(less, cost, least);
      store(hn::IfThenElse(less, super_scale, load(state_.super_scale + strip)),
            state_.super_scale + strip);
      store(hn::IfThenElse(less, super_min, load(state_.super_min + strip)),
            state_.super_min + strip);
      if constexpr (kMin) {
        // The mins' change follows from the scales'.
        const Vector share = quotient_or_zero(sm, mm);
        const Vector determinant = hn::NegMulAdd(share, sm, ss);
        const Mask solvable = hn::Gt(determinant, hn::Mul(splat(1e-5f), ss));
        const Vector change =
            hn::IfThenElseZero(solvable, hn::Div(hn::NegMulAdd(share, m, s), determinant));
        super_scale = hn::Add(super_scale, change);
        super_min = hn::Add(super_min, hn::NegMulAdd(change, share, quotient_or_zero(m, mm)));
        super_min = scales.nearest_half_scale(super_min);
      } else {
        super_scale = hn::Add(super_scale, quotient_or_zero(s, ss));
      }
      super_scale = scales.nearest_half_scale(super_scale);
    }
  }

  /// The group's scale and min as they will be stored. With feedback they are sought anew, since
  /// errors of its block have been charged to it.
  void begin_group(std::int64_t c, std::int64_t g, std::int64_t strip) {
    HWY_ALIGN float units[quantise_chunk * kLanes];
    const Scales scales = scales_of(strip);
    const Group group = load_group(c, strip, units);
    Vector scale = load(state_.wanted_scale[g] + strip);
    Vector min = load(state_.wanted_min[g] + strip);
    if (task_.feedback || !has_super_) {
      const Choice wanted = search_.best(group, scales);
      scale = wanted.scale;
      min = wanted.min;
    }
    const auto stored = search_.stored(group, scales, scale, min);
    store(stored.raw_scale, state_.raw_scale[g] + strip);
    store(stored.raw_min, state_.raw_min[g] + strip);
    store(stored.choice.scale, state_.scale[g] + strip);
    store(stored.choice.min, state_.min[g] + strip);
  }

  /// Codes of columns [c, c + step), each column's error charged to those after it.
  void round_step(std::int64_t c, std::int64_t g, std::int64_t strip) {
    const Vector up = load(state_.up + strip), down = load(state_.down + strip);
    const Vector scale = load(state_.scale[g] + strip), min = load(state_.min[g] + strip);
    const Vector per_scale = reciprocal_or_zero(scale);
    const float* const importances = importance(c);
    HWY_ALIGN float units[kMaxStep * kLanes];
    for (std::int64_t i = 0; i < step_; ++i)
      store(hn::Mul(load(targets_ + (c + i) * kRows + strip), up), units + i * kLanes);
    Vector cost = load(state_.cost + strip);
    for (std::int64_t i = 0; i < step_; ++i) {
      const Vector target = load(units + i * kLanes);
      const Nearest nearest = search_.nearest(target, per_scale, min);
      const Vector rest = search_.error(target, nearest.value, scale, min);
      cost = hn::MulAdd(hn::Mul(rest, rest), splat(importances[i]), cost);
      const hn::Rebind<std::uint8_t, IntTag> byte_tag;
      hn::StoreU(hn::DemoteTo(byte_tag, hn::ConvertTo(IntTag(), nearest.code)), byte_tag,
                 state_.codes[c + i] + strip);
      if (!task_.feedback) continue;
      float* const kept = errors_ + (chunk_ + c + i) * kRows + strip;
      const Vector error = hn::NegMulAdd(hn::Sub(target, rest), down, load(kept));
      store(error, kept);
      const Vector error_units = hn::Mul(error, up);
      const float* const u = task_.feedback + (chunk_ + c + i) * task_.columns + chunk_ + c;
      for (std::int64_t k = i + 1; k < step_; ++k)
        store(hn::MulAdd(error_units, splat(u[k]), load(units + k * kLanes)), units + k * kLanes);
    }
    store(cost, state_.cost + strip);
  }

  /// Writes the block that begins at column c of the chunk; its cost.
  double finish_block(std::int64_t c) {
    transpose_codes(c);
    HWY_ALIGN float super_scales[kRows], super_mins[kRows];
    for (std::int64_t strip = 0; strip < rows_; strip += kLanes) {
      const Vector down = load(state_.down + strip);
      store(half_bits(hn::Mul(load(state_.super_scale + strip), down)), super_scales + strip);
      store(half_bits(hn::Mul(load(state_.super_min + strip), down)), super_mins + strip);
    }
    const Format& format = *task_.format;
    const std::int64_t blocks_before = (chunk_ + c) / format.block_values;
    const std::int64_t row_blocks = task_.columns / format.block_values;
    double cost = 0;
    for (std::int64_t r = 0; r < rows_; ++r) {
      const double unit = state_.down[r];
      cost += state_.cost[r] * unit * unit;
      BlockParts& parts = state_.parts[r];
      for (int g = 0; g < groups_; ++g) {
        const int scale = static_cast<int>(state_.raw_scale[g][r]);
        const int min = static_cast<int>(state_.raw_min[g][r]);
        parts.scales[g] =
            static_cast<std::uint16_t>(layout_.scale == ScaleKind::u4   ? scale | min << 4
                                       : layout_.scale == ScaleKind::i8 ? scale & 255
                                                                        : scale);
        parts.mins[g] = static_cast<std::uint16_t>(min);
      }
      parts.super_scale = layout_.scale == ScaleKind::none
                              ? parts.scales[0]
                              : static_cast<std::uint16_t>(super_scales[r]);
      parts.super_min = static_cast<std::uint16_t>(super_mins[r]);
      format.join(&parts,
                  task_.blocks + ((row_ + r) * row_blocks + blocks_before) * format.block_bytes, 1);
    }
    return cost;
  }

  /// The codes of a block from [column][row] to their rows' parts, in squares of 16.
  void transpose_codes(std::int64_t c) {
    const hn::Full128<std::uint8_t> tag;
    using Bytes16 = hn::Vec<hn::Full128<std::uint8_t>>;
    for (std::int64_t i = 0; i < task_.format->block_values; i += 16)
      for (std::int64_t r = 0; r < rows_; r += 16) {
        Bytes16 square[16], next[16];
        for (int k = 0; k < 16; ++k) square[k] = hn::LoadU(tag, state_.codes[c + i + k] + r);
        for (int round = 0; round < 4; ++round) {
          for (int k = 0; k < 8; ++k) {
            next[2 * k] = hn::InterleaveLower(tag, square[k], square[k + 8]);
            next[2 * k + 1] = hn::InterleaveUpper(tag, square[k], square[k + 8]);
          }
          for (int k = 0; k < 16; ++k) square[k] = next[k];
        }
        for (int k = 0; k < 16; ++k) hn::StoreU(square[k], tag, state_.parts[r + k].codes + i);
      }
  }

  const QuantiseTask& task_;
  const CodeLayout& layout_;
  const SearchEffort& effort_;
  Search<Values, kMin> search_;
  int groups_;         // of a block
  bool has_super_;     // beside group scales
  std::int64_t step_;  // columns
  float* errors_;      // [columns][kRows]: weights until they are rounded
  float* targets_;     // [quantise_chunk][kRows]
  float* panel_;
  float* ones_;
  QuantiseState& state_;
  std::int64_t row_ = 0, rows_ = 0;  // first of the rows at work, and how many are real
  std::int64_t chunk_ = 0;           // first column of the chunk at work
};

}  // namespace

double quantise(const QuantiseTask& task) {
  const CodeLayout& layout = task.format->layout;
  const CodeGrid grid = code_grid(layout);
  const SearchEffort& effort = task.thorough ? thorough_search : fast_search;
  if (!grid.consecutive) return Quantiser<UnevenValues, false>(task, grid, effort).run();
  if (layout.has_min) return Quantiser<ConsecutiveValues, true>(task, grid, effort).run();
  return Quantiser<ConsecutiveValues, false>(task, grid, effort).run();
}

}  // namespace plimsoll::PLIMSOLL_ISA
