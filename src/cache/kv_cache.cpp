#include "cache/kv_cache.h"

#include <cassert>

#include "base/bounded.h"

namespace plimsoll {

Bytes KvCache::memory_bytes(const KvShape& shape, std::int64_t context) {
  const auto count = [](std::int64_t n) { return static_cast<std::uint64_t>(n); };
  return round_up(bounded_product({sizeof(std::uint16_t), 2, count(shape.layers),
                                   count(shape.kv_heads), count(shape.head_dim), count(context)}),
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

std::uint16_t* KvCache::at(std::int64_t layer, std::int64_t which, std::int64_t head) const {
  return memory_.as<std::uint16_t>() +
         ((layer * 2 + which) * shape_.kv_heads + head) * context_ * shape_.head_dim;
}

}  // namespace plimsoll
