// All pages of the KV cache: who has them, in which precision they are, and where they lie. A page
// is kv_page_positions positions of one layer with all its KV heads: so that what fewer bits leave
// over is whole memory pages, which a single head's would not be.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "base/bytes.h"
#include "cache/kv_shape.h"
#include "cache/page_arena.h"
#include "kernels/context.h"
#include "kernels/kv_page.h"

namespace plimsoll {

using KvPageId = std::uint32_t;
constexpr KvPageId no_kv_page = ~KvPageId{0};

/// Halves by size that will be wanted, for PagePool::hold.
class KvDemand {
 public:
  explicit KvDemand(std::size_t sizes) : now_(sizes, 0), most_(sizes, 0) {}
  void take(std::size_t size, std::int64_t count = 1) {
    now_[size] += count;
    most_[size] = std::max(most_[size], now_[size]);
  }
  void free(std::size_t size, std::int64_t count = 1) { now_[size] -= count; }
  /// At once, beside those of the beginning.
  std::int64_t most(std::size_t size) const { return most_[size]; }

 private:
  std::vector<std::int64_t> now_, most_;
};

/// Pages are counted by their holders (sequences, the index of prefixes); the last one's release
/// frees them. Not thread-safe.
class PagePool {
 public:
  /// What a page takes of the heap, with its halves.
  static constexpr Bytes page_record = 64;

  /// Holds `needs.bytes` at most. Throws Error(machine_limit).
  PagePool(Ledger& ledger, const Kernels& kernels, KvShape shape, const KvNeeds& needs);

  const KvShape& shape() const { return shape_; }
  const Kernels& kernels() const { return kernels_; }

  /// Which of the sizes a half has.
  std::size_t size_of(std::int64_t layer, KvTier tier, KvSide side) const {
    return sizes_[static_cast<std::size_t>(layer)][static_cast<std::size_t>(side)]
                 [static_cast<std::size_t>(tier)];
  }
  std::size_t sizes() const { return arenas_.size(); }
  KvDemand no_demand() const { return KvDemand(arenas_.size()); }

  /// Holds memory for what is wanted, until trim(); `reclaim`, if there is one, is asked to release
  /// pages that nobody needs until there is room. Throws Error(budget_exceeded), and then nothing
  /// has changed but that.
  void hold(const KvDemand& demand);
  /// Gives back what nobody uses. Returns the bytes.
  Bytes trim();
  /// Releases something that can be had again; false when there is nothing.
  void set_reclaim(std::function<bool()> reclaim) { reclaim_ = std::move(reclaim); }

  /// Of what was planned for, keeps so many positions for one sequence. Throws
  /// Error(budget_exceeded) where fewer are left.
  void promise(std::int64_t positions);
  void release_promise(std::int64_t positions) { promised_ -= positions; }

  // Of pages; for those that take memory, it is held.

  /// In 16 bits, whatever was there; held once.
  KvPageId create(std::int64_t layer);
  void retain(KvPageId page) { ++pages_[page].holders; }
  void release(KvPageId page);
  std::int32_t holders(KvPageId page) const { return pages_[page].holders; }
  std::int64_t layer(KvPageId page) const { return pages_[page].layer; }
  /// A copy of a page in 16 bits, held once.
  KvPageId copy(KvPageId page);

  /// Makes room for a half of fewer bits beside the one that there is, to be written with lower().
  void add_lowered(KvPageId page, KvSide side, KvTier tier);
  /// One head of it. Different heads, sides and pages may be written at the same time.
  void lower(KvPageId page, KvSide side, std::int64_t head);
  /// Forgets the half of 16 bits where there is one of fewer.
  void drop_exact(KvPageId page, KvSide side);
  /// Rounds a half that is there in more bits to fewer, where it is, by way of `bounce` (as long as
  /// the smaller half); the memory of the larger one is free before the smaller one is taken.
  void demote(KvPageId page, KvSide side, KvTier tier, std::byte* bounce);

  /// The half of 16 bits, to be written or read.
  KvHalfPage exact(KvPageId page, KvSide side) const;
  KvPageView exact(KvPageId page) const {
    return {exact(page, KvSide::keys), exact(page, KvSide::values)};
  }
  bool has_exact(KvPageId page) const;
  /// As later queries see it: the lower one where there is one.
  KvHalfPage half(KvPageId page, KvSide side) const;
  KvPageView view(KvPageId page) const {
    return {half(page, KvSide::keys), half(page, KvSide::values)};
  }

  std::int64_t pages() const { return used_pages_; }
  Bytes held_bytes() const;   ///< of memory
  Bytes used_bytes() const;   ///< of halves in use

 private:
  struct Half {
    std::int32_t piece = -1;  ///< -1: not there
    KvTier tier = KvTier::sixteen;
  };
  struct Page {
    std::int32_t holders = 0;
    std::int32_t layer = 0;
    Half exact[2], lowered[2];  ///< by side
  };
  /// Whose a piece of an arena is.
  struct Owner {
    KvPageId page;
    std::uint8_t side;
    bool is_lowered;
  };
  static_assert(sizeof(Page) + 2 * sizeof(Owner) + sizeof(KvPageId) <= page_record);
  struct Pieces {
    PageArena arena;
    std::vector<Owner> owners;
  };

  void take(Half& half, KvPageId page, KvSide side, KvTier tier, bool is_lowered);
  void free(KvPageId page, Half& half, KvSide side);
  Pieces& pieces(const Page& page, const Half& half, KvSide side);
  std::byte* at(const Page& page, const Half& half, KvSide side) const;

  const Kernels& kernels_;
  KvShape shape_;
  std::vector<std::array<std::array<std::uint8_t, kv_tiers>, 2>> sizes_;  ///< by layer
  std::vector<Pieces> arenas_;
  std::vector<Page> pages_;
  std::vector<KvPageId> free_pages_;
  std::int64_t used_pages_ = 0;
  std::int64_t positions_, promised_ = 0;
  std::function<bool()> reclaim_;
};

}  // namespace plimsoll
