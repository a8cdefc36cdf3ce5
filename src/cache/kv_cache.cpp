#include "cache/kv_cache.h"

#include <cassert>

#include "base/bounded.h"

namespace plimsoll {

Bytes KvCache::memory_bytes(const KvShape& shape, std::int64_t context) {
  const auto count = [](std::int64_t n) { return static_cast<std::uint64_t>(n); };
  const Bytes row_bytes = bounded_sum(
      {bounded_product({count(shape.head_dim), sizeof(std::int16_t)}), sizeof(std::uint16_t)});
  return round_up(
      bounded_product({2, count(shape.layers), count(shape.kv_heads), count(context), row_bytes}),
      page_bytes);
}

KvCache::KvCache(Ledger& ledger, const KvShape& shape, std::int64_t context)
    : shape_(shape), context_(context), memory_(ledger, Account::kv, memory_bytes(shape, context)) {
  memory_.prefault();
}

void KvCache::advance(std::int64_t count) {
  assert(length_ + count <= context_);
  length_ += count;
}

void KvCache::truncate(std::int64_t length) {
  assert(0 <= length && length <= length_);
  length_ = length;
}

KvCache::Rows KvCache::at(std::int64_t layer, std::int64_t which, std::int64_t head) const {
  const std::int64_t all = shape_.layers * 2 * shape_.kv_heads * context_;
  const std::int64_t first = ((layer * 2 + which) * shape_.kv_heads + head) * context_;
  std::int16_t* const codes = memory_.as<std::int16_t>();
  auto* const units = reinterpret_cast<std::uint16_t*>(codes + all * shape_.head_dim);
  return {codes + first * shape_.head_dim, units + first};
}

}  // namespace plimsoll
