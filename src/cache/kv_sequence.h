// One sequence's keys and values: which pages hold which positions of which layer.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cache/page_pool.h"

namespace plimsoll {

/// Holds its pages; some of them may be other holders' too, and are not written then. Move-only, not
/// thread-safe. The pool outlives it.
class KvSequence {
 public:
  /// Whether a sequence will find memory for all of its context, whatever others do, or what is left.
  enum class Room { promised, found };
  /// That may reach `context` positions. Holds no memory for them yet. Throws as PagePool::promise
  /// does where room is to be promised.
  KvSequence(PagePool& pool, std::int64_t context, Room room = Room::promised);
  ~KvSequence();
  /// Leaves an empty one behind.
  KvSequence(KvSequence&& other) noexcept;
  KvSequence& operator=(KvSequence&& other) noexcept;

  PagePool& pool() const { return *pool_; }
  std::int64_t context() const { return context_; }  ///< positions that it may reach
  std::int64_t length() const { return length_; }    ///< positions filled

  /// Forgets positions from `length` on, and more where the rest could not be gone on with: pages
  /// of fewer bits are not written again, and layers with windows have forgotten what was before
  /// them. Returns the positions that are left.
  std::int64_t truncate(std::int64_t length);
  /// Becomes what `other`, of the same pool, is now; shares all pages with it.
  void fork_from(const KvSequence& other);

  /// Of a layer: the pages from page 0 on, no_kv_page for those that were let go.
  std::span<const KvPageId> pages(std::int64_t layer) const {
    return tables_[static_cast<std::size_t>(layer)].pages;
  }
  /// The first position that a query at `position` sees in a layer.
  std::int64_t first_seen(std::int64_t layer, std::int64_t position) const;
  /// The first page that a layer keeps at a length: others may go on from the last full page's end.
  std::int64_t first_kept(std::int64_t layer, std::int64_t length) const {
    return first_seen(layer, length / kv_page_positions * kv_page_positions) / kv_page_positions;
  }

  /// Empty before: goes on behind pages that other sequences have filled: by layer, all pages that
  /// queries behind them see, no_kv_page for those that no query sees. Retains them.
  void adopt(const std::vector<std::vector<KvPageId>>& pages, std::int64_t length);

  /// Takes a page with equal bits in place of its own.
  void replace(std::int64_t layer, std::int64_t place, KvPageId page);

  /// The views of a layer's pages, for kernels, until the next call or until pages come or go.
  const KvPageView* views(std::int64_t layer);

 private:
  friend class KvPass;
  struct Table {
    std::vector<KvPageId> pages;
    std::size_t first = 0;  ///< those before have been let go
  };
  void release_from(std::int64_t layer, std::size_t page);
  void release_before(std::int64_t layer, std::size_t page);

  PagePool* pool_;
  std::int64_t context_;
  std::int64_t promised_ = 0;
  std::int64_t length_ = 0;
  std::vector<Table> tables_;  ///< by layer
  std::vector<KvPageView> views_;
};

}  // namespace plimsoll
