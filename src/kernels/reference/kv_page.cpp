#define PLIMSOLL_ISA reference
#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/functions-inl.h"
#include "kernels/kv_codes.h"

namespace plimsoll::reference {
namespace {

class Lowering {
 public:
  explicit Lowering(const KvLowering& task)
      : task_(task),
        from_(task.from_tier, task.side, task.head_dim),
        to_(task.to_tier, task.side, task.head_dim) {}

  void run() {
    std::memset(task_.to, 0, static_cast<std::size_t>(to_.bytes));
    if (task_.side == KvSide::keys) lower_mean();
    for (std::int64_t row = 0; row < kv_page_positions; ++row) lower_row(row);
  }

 private:
  bool from_sixteen() const { return task_.from_tier == KvTier::sixteen; }
  std::uint16_t from_unit(std::int64_t row) const {
    return reinterpret_cast<const std::uint16_t*>(task_.from + from_.units)[row];
  }
  float sixteen(std::int64_t row, std::int64_t d) const {
    return reinterpret_cast<const std::int16_t*>(task_.from)[row * task_.head_dim + d] *
           kv_float_from_bfloat(from_unit(row));
  }
  std::int16_t* mean_codes() const { return reinterpret_cast<std::int16_t*>(task_.to + to_.mean); }
  std::uint16_t& mean_unit() const {
    return reinterpret_cast<std::uint16_t*>(task_.to + to_.mean)[task_.head_dim];
  }

  float mean(std::int64_t d) const {
    float sum = 0, count = 0;
    for (std::int64_t row = 0; row < kv_page_positions; ++row) {
      if (kv_is_nan(from_unit(row))) continue;
      sum += sixteen(row, d);
      ++count;
    }
    return count > 0 ? sum / count : 0;
  }

  void lower_mean() {
    if (!from_sixteen()) {
      std::memcpy(mean_codes(), task_.from + from_.mean,
                  static_cast<std::size_t>(task_.head_dim + 1) * 2);
      return;
    }
    float largest = 0;
    for (std::int64_t d = 0; d < task_.head_dim; ++d) {
      if (!std::isfinite(mean(d))) return;  // a sum that is too large
      largest = std::max(largest, std::fabs(mean(d)));
    }
    if (largest < least_activation) return;
    mean_unit() = kv_bfloat_above(largest / key_code_limit(task_.head_dim));
    const float inverse = 1.0f / kv_float_from_bfloat(mean_unit());
    for (std::int64_t d = 0; d < task_.head_dim; ++d)
      mean_codes()[d] = static_cast<std::int16_t>(std::nearbyint(mean(d) * inverse));
  }

  /// Of 16 bits, without the mean.
  float rest(std::int64_t row, std::int64_t d) const {
    if (task_.side == KvSide::values) return sixteen(row, d);
    return sixteen(row, d) - mean_codes()[d] * kv_float_from_bfloat(mean_unit());
  }

  void lower_row(std::int64_t row) {
    auto& unit = reinterpret_cast<std::uint16_t*>(task_.to + to_.units)[row];
    unit = from_unit(row);
    float inverse = 0;
    if (!kv_is_nan(unit) && from_sixteen()) {
      float largest = 0;
      for (std::int64_t d = 0; d < task_.head_dim; ++d)
        largest = std::max(largest, std::fabs(rest(row, d)));
      unit = std::isinf(largest)           ? kv_nan_unit
             : largest >= least_activation ? kv_bfloat_above(largest / kv_largest_eight)
                                           : 0;
      if (unit != 0) inverse = 1.0f / kv_float_from_bfloat(unit);
    }
    if (kv_is_nan(unit)) {
      unit = kv_nan_unit;
      return;
    }
    const auto from_code = [&](std::int64_t d) {
      return kv_read_code(task_.from_tier, task_.from,
                          kv_code_at(task_.from_tier, task_.side, task_.head_dim, row, d));
    };
    const auto eight = [&](std::int64_t d) {
      return from_sixteen() ? static_cast<int>(std::nearbyint(rest(row, d) * inverse))
                            : from_code(d);
    };
    const auto write = [&](std::int64_t d, int code) {
      kv_write_code(task_.to_tier, task_.to,
                    kv_code_at(task_.to_tier, task_.side, task_.head_dim, row, d), code);
    };
    if (task_.to_tier == KvTier::eight) {
      for (std::int64_t d = 0; d < task_.head_dim; ++d) write(d, eight(d));
      return;
    }

    int scale = 0;
    const auto four = [&](std::int64_t d) {  // the level's number
      if (task_.from_tier == KvTier::four) return from_code(d);
      return to_four(eight(d), scale);
    };
    if (task_.from_tier != KvTier::four) {
      std::int64_t products[kv_scales] = {}, squares[kv_scales] = {};
      for (int i = 0; i < kv_scales; ++i)
        for (std::int64_t d = 0; d < task_.head_dim; ++d) {
          const int level = kv_levels_four[to_four(eight(d), i)];
          products[i] += eight(d) * level;
          squares[i] += level * level;
        }
      const KvFit fit(products, squares, kv_scales);
      scale = fit.choice;
      unit = kv_bfloat_nearest(fit.factor * kv_float_from_bfloat(unit));
    }
    if (task_.to_tier == KvTier::four) {
      for (std::int64_t d = 0; d < task_.head_dim; ++d) write(d, four(d));
      return;
    }

    std::int64_t products[kv_borders_two] = {}, squares[kv_borders_two] = {};
    for (int i = 0; i < kv_borders_two; ++i)
      for (std::int64_t d = 0; d < task_.head_dim; ++d) {
        const int of_four = kv_levels_four[four(d)], level = kv_levels_two[to_two(four(d), i)];
        products[i] += of_four * level;
        squares[i] += level * level;
      }
    const KvFit fit(products, squares, kv_borders_two);
    unit = kv_bfloat_nearest(fit.factor * kv_float_from_bfloat(unit));
    for (std::int64_t d = 0; d < task_.head_dim; ++d) write(d, to_two(four(d), fit.choice));
  }

  /// Of an 8-bit code the level's number.
  static int to_four(int code, int scale) {
    int level = 0;
    while (level < 7 && std::abs(code) >= kv_border(scale, level)) ++level;
    return code < 0 ? 7 - level : 8 + level;
  }
  static int to_two(int four, int border) {
    const bool outer = std::abs(kv_levels_four[four]) >= kv_border_two[border];
    return four < 8 ? (outer ? 0 : 1) : (outer ? 3 : 2);
  }

  KvLowering task_;
  KvHeadLayout from_, to_;
};

}  // namespace

void lower_page(const KvLowering& task) { Lowering(task).run(); }

}  // namespace plimsoll::reference
