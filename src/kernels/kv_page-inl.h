// Lowering pages of the KV cache, for every vector width; reference/kv_page.cpp says in plain words
// what is done, to the same bytes: numbers of 16 bits times their units are exact in f32, sums over
// positions are in their order, and everything behind the first rounding is in integers.
#include "kernels/functions-inl.h"
#include "kernels/kv_codes.h"
#include "kernels/vector-inl.h"

namespace plimsoll::PLIMSOLL_ISA {
namespace {

constexpr IntTag kInts{};

HWY_INLINE Ints splat_int(int x) { return hn::Set(kInts, x); }

/// Codes of 16 bits from p on, kLanes of them. May reach behind a row's end.
HWY_INLINE Vector load_sixteen(const std::int16_t* p) {
  const hn::Rebind<std::int16_t, Tag> tag;
  return hn::ConvertTo(kTag, hn::PromoteTo(kInts, hn::LoadU(tag, p)));
}

/// Lanes that hold dimensions of the head, of those from `first` on.
HWY_INLINE hn::Mask<IntTag> in_head(std::int64_t first, std::int64_t head_dim) {
  return hn::Lt(hn::Iota(kInts, 0), splat_int(static_cast<int>(head_dim - first)));
}

HWY_INLINE std::int64_t sum_ints(Ints v) {
  std::int32_t lanes[kLanes];
  hn::StoreU(v, kInts, lanes);
  std::int64_t sum = 0;
  for (const std::int32_t lane : lanes) sum += lane;
  return sum;
}

HWY_INLINE Ints with_sign(Ints magnitude, Ints sign) {
  return hn::IfThenElse(hn::Lt(sign, hn::Zero(kInts)), hn::Neg(magnitude), magnitude);
}

/// The magnitude of the level nearest to an 8-bit code of that magnitude.
template <int kScale>
HWY_INLINE Ints magnitude_of_four(Ints magnitude) {
  Ints level = splat_int(kv_levels_four[8]);
  PLIMSOLL_UNROLL
  for (int i = 0; i < 7; ++i) {
    const auto beyond = hn::Gt(magnitude, splat_int(kv_border(kScale, i) - 1));
    level = hn::IfThenElse(beyond, splat_int(kv_levels_four[9 + i]), level);
  }
  return level;
}
HWY_INLINE Ints level_of_four(Ints eight, int scale) {
  const Ints magnitude = hn::Abs(eight);
  const Ints level = scale == 0   ? magnitude_of_four<0>(magnitude)
                     : scale == 1 ? magnitude_of_four<1>(magnitude)
                                  : magnitude_of_four<2>(magnitude);
  return with_sign(level, eight);
}
static_assert(kv_scales == 3);

HWY_INLINE Ints level_of_two(Ints four, int border) {
  const auto outer = hn::Gt(hn::Abs(four), splat_int(kv_border_two[border] - 1));
  return with_sign(hn::IfThenElse(outer, splat_int(kv_levels_two[3]), splat_int(kv_levels_two[2])),
                   four);
}

/// Of levels, of which both signs are codes, the codes.
template <int kLevels>
HWY_INLINE Ints number_of_level(Ints level, const std::int8_t (&levels)[kLevels]) {
  Ints number = hn::Zero(kInts);
  PLIMSOLL_UNROLL
  for (int i = 1; i < kLevels; ++i)
    number = hn::IfThenElse(hn::Gt(level, splat_int(levels[i] - 1)), splat_int(i), number);
  return number;
}

class Lowering {
 public:
  explicit Lowering(const KvLowering& task)
      : task_(task),
        from_(task.from_tier, task.side, task.head_dim),
        to_(task.to_tier, task.side, task.head_dim),
        sixteen_(reinterpret_cast<const std::int16_t*>(task.from)),
        from_units_(reinterpret_cast<const std::uint16_t*>(task.from + from_.units)),
        to_units_(reinterpret_cast<std::uint16_t*>(task.to + to_.units)),
        mean_(reinterpret_cast<std::int16_t*>(task.to + to_.mean)) {}

  void run() {
    __builtin_memset(task_.to, 0, static_cast<std::size_t>(to_.bytes));
    if (task_.side == KvSide::keys) lower_mean();
    for (std::int64_t row = 0; row < kv_page_positions; ++row) lower_row(row);
  }

 private:
  bool from_sixteen() const { return task_.from_tier == KvTier::sixteen; }

  /// Of dimensions from d on; zeros behind the last.
  HWY_INLINE Vector mean(std::int64_t d) const {
    Vector sum = hn::Zero(kTag);
    float count = 0;
    for (std::int64_t row = 0; row < kv_page_positions; ++row) {
      if (kv_is_nan(from_units_[row])) continue;
      const Vector unit = splat(kv_float_from_bfloat(from_units_[row]));
      sum = hn::MulAdd(load_sixteen(sixteen_ + row * task_.head_dim + d), unit, sum);
      ++count;
    }
    if (count == 0) return sum;
    return hn::IfThenElseZero(hn::RebindMask(kTag, in_head(d, task_.head_dim)),
                              hn::Div(sum, splat(count)));
  }

  void lower_mean() {
    if (!from_sixteen()) {
      __builtin_memcpy(mean_, task_.from + from_.mean,
                       static_cast<std::size_t>(task_.head_dim + 1) * 2);
      return;
    }
    // As bits, magnitudes have the order of integers, behind which infinities and NaN come.
    Ints max = hn::Zero(kInts);
    for (std::int64_t d = 0; d < task_.head_dim; d += kLanes)
      max = hn::Max(max, hn::BitCast(kInts, hn::Abs(mean(d))));
    const std::int32_t bits = hn::GetLane(hn::MaxOfLanes(kInts, max));
    const float largest = __builtin_bit_cast(float, bits);
    if (bits >= 0x7f800000 || largest < least_activation) return;
    const std::uint16_t unit = kv_bfloat_above(largest / key_code_limit(task_.head_dim));
    mean_[task_.head_dim] = static_cast<std::int16_t>(unit);
    mean_unit_ = kv_float_from_bfloat(unit);
    const Vector inverse = splat(1.0f / mean_unit_);
    for (std::int64_t d = 0; d < task_.head_dim; d += kLanes) {
      std::int32_t codes[kLanes];
      hn::StoreU(hn::NearestInt(hn::Mul(mean(d), inverse)), kInts, codes);
      for (std::int64_t i = 0; i < kLanes && d + i < task_.head_dim; ++i)
        mean_[d + i] = static_cast<std::int16_t>(codes[i]);
    }
  }

  /// A row of 16 bits without the mean; zeros behind the last dimension.
  HWY_INLINE Vector rest(std::int64_t row, std::int64_t d) const {
    const Vector unit = splat(kv_float_from_bfloat(from_units_[row]));
    Vector x = hn::Mul(load_sixteen(sixteen_ + row * task_.head_dim + d), unit);
    if (task_.side == KvSide::keys)
      x = hn::Sub(x, hn::Mul(load_sixteen(mean_ + d), splat(mean_unit_)));
    return hn::IfThenElseZero(hn::RebindMask(kTag, in_head(d, task_.head_dim)), x);
  }

  /// Of a row below 16 bits what the codes stand for; zeros behind the last dimension.
  HWY_INLINE Ints from_levels(std::int64_t row, std::int64_t d) const {
    std::int32_t levels[kLanes] = {};
    for (std::int64_t i = 0; i < kLanes && d + i < task_.head_dim; ++i) {
      const std::int64_t at = kv_code_at(task_.from_tier, task_.side, task_.head_dim, row, d + i);
      levels[i] = kv_level(task_.from_tier, kv_read_code(task_.from_tier, task_.from, at));
    }
    return hn::LoadU(kInts, levels);
  }

  template <class Codes>
  HWY_INLINE void write(std::int64_t row, const Codes& codes_at) {
    for (std::int64_t d = 0; d < task_.head_dim; d += kLanes) {
      std::int32_t codes[kLanes];
      hn::StoreU(codes_at(d), kInts, codes);
      for (std::int64_t i = 0; i < kLanes && d + i < task_.head_dim; ++i)
        kv_write_code(task_.to_tier, task_.to,
                      kv_code_at(task_.to_tier, task_.side, task_.head_dim, row, d + i), codes[i]);
    }
  }

  /// The best of kCount choices of levels for what `codes_at` gives.
  template <int kCount, class Codes, class Levels>
  HWY_INLINE KvFit fit(const Codes& codes_at, const Levels& levels_of) const {
    Ints products[kCount], squares[kCount];
    PLIMSOLL_UNROLL
    for (int i = 0; i < kCount; ++i) products[i] = squares[i] = hn::Zero(kInts);
    for (std::int64_t d = 0; d < task_.head_dim; d += kLanes) {
      const Ints code = codes_at(d);
      const auto lanes = in_head(d, task_.head_dim);
      PLIMSOLL_UNROLL
      for (int i = 0; i < kCount; ++i) {
        const Ints level = hn::IfThenElseZero(lanes, levels_of(code, i));
        products[i] = hn::Add(products[i], hn::Mul(code, level));
        squares[i] = hn::Add(squares[i], hn::Mul(level, level));
      }
    }
    std::int64_t product_sums[kCount], square_sums[kCount];
    for (int i = 0; i < kCount; ++i) {
      product_sums[i] = sum_ints(products[i]);
      square_sums[i] = sum_ints(squares[i]);
    }
    return KvFit(product_sums, square_sums, kCount);
  }

  void lower_row(std::int64_t row) {
    std::uint16_t unit = from_units_[row];
    Vector inverse = hn::Zero(kTag);
    if (!kv_is_nan(unit) && from_sixteen()) {
      Ints max = hn::Zero(kInts);
      for (std::int64_t d = 0; d < task_.head_dim; d += kLanes)
        max = hn::Max(max, hn::BitCast(kInts, hn::Abs(rest(row, d))));
      const std::int32_t bits = hn::GetLane(hn::MaxOfLanes(kInts, max));
      const float largest = __builtin_bit_cast(float, bits);
      unit = bits >= 0x7f800000            ? kv_nan_unit
             : largest >= least_activation ? kv_bfloat_above(largest / kv_largest_eight)
                                           : 0;
      if (unit != 0) inverse = splat(1.0f / kv_float_from_bfloat(unit));
    }
    if (kv_is_nan(unit)) {
      to_units_[row] = kv_nan_unit;
      return;
    }
    const auto eight = [&](std::int64_t d) HWY_ATTR {
      return from_sixteen() ? hn::NearestInt(hn::Mul(rest(row, d), inverse)) : from_levels(row, d);
    };
    if (task_.to_tier == KvTier::eight) {
      to_units_[row] = unit;
      write(row, eight);
      return;
    }

    int scale = 0;
    const auto four = [&](std::int64_t d) HWY_ATTR {
      return task_.from_tier == KvTier::four ? from_levels(row, d) : level_of_four(eight(d), scale);
    };
    if (task_.from_tier != KvTier::four) {
      const KvFit best =
          fit<kv_scales>(eight, [](Ints code, int i) HWY_ATTR { return level_of_four(code, i); });
      scale = best.choice;
      unit = kv_bfloat_nearest(best.factor * kv_float_from_bfloat(unit));
    }
    if (task_.to_tier == KvTier::four) {
      to_units_[row] = unit;
      write(row, [&](std::int64_t d) HWY_ATTR { return number_of_level(four(d), kv_levels_four); });
      return;
    }

    const KvFit best =
        fit<kv_borders_two>(four, [](Ints code, int i) HWY_ATTR { return level_of_two(code, i); });
    to_units_[row] = kv_bfloat_nearest(best.factor * kv_float_from_bfloat(unit));
    write(row, [&](std::int64_t d) HWY_ATTR {
      return number_of_level(level_of_two(four(d), best.choice), kv_levels_two);
    });
  }

  KvLowering task_;
  KvHeadLayout from_, to_;
  const std::int16_t* sixteen_;
  const std::uint16_t* from_units_;
  std::uint16_t* to_units_;
  std::int16_t* mean_;
  float mean_unit_ = 0;
};

}  // namespace

void lower_page(const KvLowering& task) { Lowering(task).run(); }

}  // namespace plimsoll::PLIMSOLL_ISA
