#include "cache/kv_cache.h"

#include <cassert>

#include "base/bounded.h"

namespace plimsoll {

namespace {

std::int64_t pages_of(std::int64_t context) {
  return (context + kv_page_positions - 1) / kv_page_positions;
}

}  // namespace

Bytes KvCache::memory_bytes(const KvShape& shape, std::int64_t context) {
  const auto count = [](std::int64_t n) { return static_cast<std::uint64_t>(n); };
  const auto bytes = [&](KvSide side) {
    return count(KvHeadLayout(KvTier::sixteen, side, shape.head_dim).bytes);
  };
  return round_up(
      bounded_product({count(shape.layers), count(shape.kv_heads), count(pages_of(context)),
                       bounded_sum({bytes(KvSide::keys), bytes(KvSide::values)})}),
      page_bytes);
}

KvCache::KvCache(Ledger& ledger, const KvShape& shape, std::int64_t context)
    : shape_(shape),
      context_(context),
      pages_(pages_of(context)),
      memory_(ledger, Account::kv, memory_bytes(shape, context)) {
  memory_.prefault();
  auto* heads = memory_.as<std::byte>();
  const auto take = [&](KvSide side) {
    const KvHalfPage half = {heads, KvTier::sixteen};
    heads += shape.kv_heads * KvHeadLayout(half.tier, side, shape.head_dim).bytes;
    return half;
  };
  views_.reserve(static_cast<std::size_t>(shape.layers * pages_));
  for (std::int64_t i = 0; i < shape.layers * pages_; ++i) {
    const KvHalfPage keys = take(KvSide::keys);
    views_.push_back({keys, take(KvSide::values)});
  }
}

void KvCache::advance(std::int64_t count) {
  assert(length_ + count <= context_);
  length_ += count;
}

void KvCache::truncate(std::int64_t length) {
  assert(0 <= length && length <= length_);
  length_ = length;
}

KvCache::Row KvCache::row(const KvHalfPage& half, KvSide side, std::int64_t head,
                          std::int64_t position) const {
  const KvHeadLayout layout(half.tier, side, shape_.head_dim);
  std::byte* const at = half.heads + head * layout.bytes;
  const std::int64_t row = position % kv_page_positions;
  return {reinterpret_cast<std::int16_t*>(at + row * layout.row_bytes),
          reinterpret_cast<std::uint16_t*>(at + layout.units) + row};
}

}  // namespace plimsoll
