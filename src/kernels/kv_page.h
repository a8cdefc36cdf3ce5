// Pages of the KV cache as kernels read and write them: 64 positions of one layer, keys and values
// apart, each in a precision of its own.
//
// K, V and queries are kept rotated (Kernels::rotate), which spreads what channels have in common
// with outliers over all of them and changes no product; keys below 16 bits stand for what differs
// from their mean over the page, since channels that hardly move would otherwise take all codes
// (measured in docs/decisions/kv.md; the mean is the zero point of KIVI, Liu et al.,
// arXiv:2402.02750, the rotation that of QuaRot, Ashkboos et al., arXiv:2404.00456).
//
// Functions here are always inlined: folders with instruction-set flags include this, and those may
// not share functions.
#pragma once

#include <cstddef>
#include <cstdint>

namespace plimsoll {

/// Positions of a page; it begins at multiples of them. One tile of attention.
constexpr std::int64_t kv_page_positions = 64;

/// Bits of a code, each width made of the next wider one alone (kernels/kv_codes.h), so that it
/// does not matter in which steps a page was lowered.
///
///   sixteen  codes up to key_code_limit(head_dim) and value_code_limit (kernels.h)
///   eight    -127 to 127
///   four     one of 16 levels, two one of 4
enum class KvTier : std::uint8_t { sixteen, eight, four, two };
constexpr int kv_tiers = 4;
[[gnu::always_inline]] constexpr int kv_bits(KvTier tier) { return 16 >> static_cast<int>(tier); }

/// Below 16 bits, dimensions of keys and positions of values lie in groups: 32 bits of them, or of
/// eight bits a pair.
[[gnu::always_inline]] constexpr int kv_group(KvTier tier) {
  return tier == KvTier::eight ? 2 : 32 / kv_bits(tier);
}

enum class KvSide : std::uint8_t { keys, values };

/// What one KV head takes of a page. In this order, each part 64-byte aligned:
///
///   codes  kv_bits each. Of 16 bits [position][head_dim]; below, where pages are whole and never
///          written again, as products take them, with the first of a group in the lowest bits:
///          keys [head_dim / group, rounded up][position][group],
///          values [position / group][head_dim][group]
///   units  bf16 [position]; NaN for a row with a NaN or an infinity
///   mean   of keys below 16 bits: int16 [head_dim], and behind them its unit, bf16
struct KvHeadLayout {
  [[gnu::always_inline]] constexpr KvHeadLayout(KvTier tier, KvSide side, std::int64_t head_dim)
      : row_bytes((side == KvSide::keys && tier != KvTier::sixteen
                       ? (head_dim + kv_group(tier) - 1) / kv_group(tier) * kv_group(tier)
                       : head_dim) *
                  kv_bits(tier) / 8),
        units(up(kv_page_positions * row_bytes)),
        mean(units + up(kv_page_positions * 2)),
        bytes(mean + (side == KvSide::keys && tier != KvTier::sixteen ? up(head_dim * 2 + 2) : 0)) {
  }

  std::int64_t row_bytes;    ///< of a position's codes; follow each other in 16 bits
  std::int64_t units, mean;  ///< where they begin, in bytes
  std::int64_t bytes;        ///< of the head

 private:
  [[gnu::always_inline]] static constexpr std::int64_t up(std::int64_t bytes) {
    return (bytes + 63) / 64 * 64;
  }
};

/// Kernels may read this many bytes behind a page's heads, whatever is there.
constexpr std::int64_t kv_page_overhang = 64;

/// One side of a page: its heads follow each other, each KvHeadLayout::bytes long.
struct KvHalfPage {
  std::byte* heads = nullptr;  ///< 64-byte aligned; null where nobody looks
  KvTier tier = KvTier::sixteen;
};
struct KvPageView {
  KvHalfPage keys, values;
};

/// Rounds one head of a page to fewer bits.
struct KvLowering {
  const std::byte* from;      ///< KvHeadLayout(from_tier, side, head_dim)
  std::byte* to;              ///< apart from `from`
  KvTier from_tier, to_tier;  ///< fewer bits
  KvSide side;
  std::int32_t head_dim;
};

}  // namespace plimsoll
