// The KV cache: keys and values of every position, in 16 bits (kernels/kernels.h: CachedRows),
// charged to the Ledger and present from the start.
#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "base/ledger.h"
#include "base/region.h"

namespace plimsoll {

struct KvShape {
  std::int64_t layers;
  std::int64_t kv_heads;
  std::int64_t head_dim;
};

/// Codes of keys and values lie as [layer][key or value][kv head][position][head_dim], so that a
/// head's positions follow each other, then their units without the last dimension. Not
/// thread-safe; different heads may be written at the same time.
class KvCache {
 public:
  static Bytes memory_bytes(const KvShape& shape, std::int64_t context);

  /// Reserves and touches the whole of it. Throws as Region does.
  KvCache(Ledger& ledger, const KvShape& shape, std::int64_t context);

  std::int64_t context() const { return context_; }  ///< positions there is room for
  std::int64_t length() const { return length_; }    ///< positions filled
  /// Of one head, to write [position][head_dim] and [position].
  struct Rows {
    std::int16_t* codes;
    std::uint16_t* units;
  };
  Rows keys(std::int64_t layer, std::int64_t head) const { return at(layer, 0, head); }
  Rows values(std::int64_t layer, std::int64_t head) const { return at(layer, 1, head); }

  /// Positions [length, length + count) have been written in every layer.
  void advance(std::int64_t count);
  /// Forgets the positions from `length` on.
  void truncate(std::int64_t length);

 private:
  Rows at(std::int64_t layer, std::int64_t which, std::int64_t head) const;

  KvShape shape_;
  std::int64_t context_;
  std::int64_t length_ = 0;
  Region memory_;
};

}  // namespace plimsoll
