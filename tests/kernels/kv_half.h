// Halves of pages of the KV cache, for tests of kernels: of which a sanitizer sees any access
// outside of what may be read.
#pragma once

#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "kernels/kernels.h"

namespace plimsoll {

inline float float_of_bfloat(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

/// The head of K and V that is looked at, of so many.
constexpr std::int64_t kv_heads = 3, kv_head = 1;

/// Everything is NaN until it is written.
class Half {
 public:
  Half(KvTier tier, KvSide side, std::int32_t head_dim)
      : layout_(tier, side, head_dim),
        tier_(tier),
        side_(side),
        head_dim_(head_dim),
        bytes_(static_cast<std::size_t>(kv_heads * layout_.bytes + kv_page_overhang)),
        memory_(static_cast<std::byte*>(std::aligned_alloc(64, bytes_))) {
    std::memset(memory_.get(), 0xff, bytes_);
  }

  KvTier tier() const { return tier_; }
  const KvHeadLayout& layout() const { return layout_; }
  KvHalfPage view() const { return {memory_.get(), tier_}; }
  std::byte* head() const { return memory_.get() + kv_head * layout_.bytes; }
  std::vector<std::byte> bytes() const { return {head(), head() + layout_.bytes}; }
  std::uint16_t& unit(std::int64_t row) const {
    return reinterpret_cast<std::uint16_t*>(head() + layout_.units)[row];
  }

  /// A row of 16 bits.
  void set(std::int64_t row, const std::vector<float>& x) {
    const float limit = side_ == KvSide::keys ? key_code_limit(head_dim_) : value_code_limit;
    kernels_for(Isa::reference).cache_row(x.data(), head_dim_, limit, codes(row), &unit(row));
  }
  /// In another tier, or the same.
  Half lowered(KvTier tier, const Kernels& kernels = kernels_for(Isa::reference)) const {
    Half half(tier, side_, head_dim_);
    if (tier == tier_) {
      std::memcpy(half.memory_.get(), memory_.get(), bytes_);
    } else {
      kernels.lower_page({head(), half.head(), tier_, tier, side_, head_dim_});
    }
    return half;
  }

  /// What a code stands for, from the layout's description.
  double value(std::int64_t row, std::int64_t d) const {
    const double unit = float_of_bfloat(this->unit(row));
    if (tier_ == KvTier::sixteen) return codes(row)[d] * unit;
    const std::int64_t group = tier_ == KvTier::eight ? 2 : tier_ == KvTier::four ? 8 : 16;
    const std::int64_t at = side_ == KvSide::keys
                                ? (d / group * 64 + row) * group + d % group
                                : (row / group * head_dim_ + d) * group + row % group;
    const int bits = kv_bits(tier_);
    const auto byte = static_cast<unsigned>(head()[at * bits / 8]);
    const unsigned code = byte >> at * bits % 8 & ((1u << bits) - 1);
    const double fours[] = {6, 18, 31, 44, 58, 75, 96, 127}, twos[] = {38, 127};
    double level = static_cast<std::int8_t>(code);
    if (tier_ == KvTier::four) level = code < 8 ? -fours[7 - code] : fours[code - 8];
    if (tier_ == KvTier::two) level = code < 2 ? -twos[1 - code] : twos[code - 2];
    return level * unit + mean(d);
  }
  double mean(std::int64_t d) const {
    if (side_ == KvSide::values || tier_ == KvTier::sixteen) return 0;
    const auto* const codes = reinterpret_cast<const std::int16_t*>(head() + layout_.mean);
    return codes[d] *
           static_cast<double>(float_of_bfloat(static_cast<std::uint16_t>(codes[head_dim_])));
  }

 private:
  std::int16_t* codes(std::int64_t row) const {
    return reinterpret_cast<std::int16_t*>(head() + row * layout_.row_bytes);
  }
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };
  KvHeadLayout layout_;
  KvTier tier_;
  KvSide side_;
  std::int32_t head_dim_;
  std::size_t bytes_;
  std::unique_ptr<std::byte, Free> memory_;
};

}  // namespace plimsoll
