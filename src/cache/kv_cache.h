// The KV cache: keys and values of every position in pages of 16 bits (kernels/kv_page.h), charged
// to the Ledger and present from the start.
#pragma once

#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "base/ledger.h"
#include "base/region.h"
#include "kernels/kv_page.h"

namespace plimsoll {

struct KvShape {
  std::int64_t layers;
  std::int64_t kv_heads;
  std::int64_t head_dim;
};

/// Pages lie as [layer][page][keys, then values]. Not thread-safe; different heads may be written
/// at the same time.
class KvCache {
 public:
  static Bytes memory_bytes(const KvShape& shape, std::int64_t context);

  /// Reserves and touches the whole of it. Throws as Region does.
  KvCache(Ledger& ledger, const KvShape& shape, std::int64_t context);

  std::int64_t context() const { return context_; }  ///< positions there is room for
  std::int64_t length() const { return length_; }    ///< positions filled
  /// Of one head at one position, to write [head_dim] and one.
  struct Row {
    std::int16_t* codes;
    std::uint16_t* unit;
  };
  Row key(std::int64_t layer, std::int64_t head, std::int64_t position) const {
    return row(page(layer, position).keys, KvSide::keys, head, position);
  }
  Row value(std::int64_t layer, std::int64_t head, std::int64_t position) const {
    return row(page(layer, position).values, KvSide::values, head, position);
  }
  /// A layer's pages.
  const KvPageView* pages(std::int64_t layer) const { return views_.data() + layer * pages_; }
  /// The page of a position.
  const KvPageView& page(std::int64_t layer, std::int64_t position) const {
    return pages(layer)[position / kv_page_positions];
  }

  /// Positions [length, length + count) have been written in every layer.
  void advance(std::int64_t count);
  /// Forgets the positions from `length` on.
  void truncate(std::int64_t length);

 private:
  Row row(const KvHalfPage& half, KvSide side, std::int64_t head, std::int64_t position) const;

  KvShape shape_;
  std::int64_t context_;
  std::int64_t length_ = 0;
  std::int64_t pages_;
  Region memory_;
  std::vector<KvPageView> views_;  ///< [layer][page]
};

}  // namespace plimsoll
