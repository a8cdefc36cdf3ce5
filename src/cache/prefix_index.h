// Full pages of what sequences have begun with, so that others that begin alike need not compute
// them again: found by a chain of hashes over token ids, page by page (as in Kwon et al.,
// arXiv:2309.06180, and Zheng et al., arXiv:2312.07104). Pages of equal tokens have equal bits, so
// that nobody can tell a shared page from one of its own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "cache/kv_sequence.h"
#include "cache/page_pool.h"

namespace plimsoll {

/// Holds its pages besides the sequences, until reclaim() lets them go: the least useful first. Not
/// thread-safe. The pool outlives it.
class PrefixIndex {
 public:
  /// What a page takes of the heap, beside four bytes for each layer.
  static constexpr Bytes page_record = 160;

  struct Key {
    std::uint64_t low = 0, high = 0;
    friend bool operator==(const Key&, const Key&) = default;
  };
  /// How far a sequence's pages are known to the index.
  struct Cursor {
    std::int64_t pages = 0;
    Key key;
  };

  /// Of one model in one precision: whatever changes pages besides tokens is another pool's index.
  /// A position at depth d costs 1 + d * depth_cost to compute again.
  PrefixIndex(PagePool& pool, double depth_cost);
  ~PrefixIndex();
  PrefixIndex(const PrefixIndex&) = delete;
  PrefixIndex& operator=(const PrefixIndex&) = delete;

  /// Puts the full pages of `sequence`, whose tokens are `tokens`, into the index, from `cursor` on,
  /// which moves on. Where the index has a page already, the sequence takes that one in place of
  /// its own.
  void add(KvSequence& sequence, std::span<const std::int32_t> tokens, Cursor& cursor);
  /// `cursor` has just moved to the end of something that others will go on from (a prompt): layers
  /// with windows keep what is seen from there. Without windows every page can be gone on from.
  void mark_end(const KvSequence& sequence, std::span<const std::int32_t> tokens);

  /// A sequence of these tokens is about to write in this page of its again, which is full: where it
  /// is the only one that has it, it need not copy it.
  void forget(std::span<const std::int32_t> tokens, std::int64_t page);

  /// Positions, in whole pages, of the longest beginning of `tokens` that a sequence could go on
  /// from.
  std::int64_t find(std::span<const std::int32_t> tokens);
  /// The same; `sequence`, which is empty, has them then. Counts as a use.
  std::int64_t adopt(std::span<const std::int32_t> tokens, KvSequence& sequence);

  /// Lets one page (of every layer) go that no sequence holds and that nothing in the index goes on
  /// from, or only what windows keep of one; the one that is worth least: what it costs to compute
  /// again, times how often and how lately it was used. False where there is none.
  bool reclaim();

  std::int64_t pages() const { return static_cast<std::int64_t>(nodes_.size()); }

 private:
  struct Hash {
    std::size_t operator()(const Key& key) const { return static_cast<std::size_t>(key.low); }
  };
  struct Node {
    Key parent;
    std::int64_t depth = 0;     ///< its place among the pages
    std::int64_t children = 0;  ///< that go on from it
    std::vector<KvPageId> pages;  ///< by layer; no_kv_page where a window does not keep it
    double uses = 1;              ///< older ones count less; as of `used`
    std::int64_t used = 0;        ///< clock
  };

  static Key next_key(const Key& parent, std::span<const std::int32_t> tokens, std::int64_t page);
  /// Nodes of the beginning of `tokens`, as many as there are.
  std::vector<Node*> chain(std::span<const std::int32_t> tokens);
  /// Pages of a chain that a sequence could go on from.
  std::int64_t usable(std::span<Node* const> chain) const;
  double uses(const Node& node) const;  ///< as of now
  double worth(const Node& node) const;
  bool is_held_alone(const Node& node, std::int64_t layer) const;
  void let_go(Node& node);
  using Nodes = std::unordered_map<Key, Node, Hash>;
  void erase(Nodes::iterator node);

  PagePool& pool_;
  double depth_cost_;
  std::vector<std::int64_t> window_layers_;
  Nodes nodes_;
  std::int64_t clock_ = 0;
};

}  // namespace plimsoll
