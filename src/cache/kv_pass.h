// What one pass through the layers adds to the keys and values of sequences.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/threads.h"
#include "cache/kv_sequence.h"

namespace plimsoll {

/// Takes memory for all of a pass before it begins, layer by layer in the order in which it will be
/// used: what a layer's full pages took in 16 bits is there for the next layer's. Not thread-safe.
class KvPass {
 public:
  /// `count` positions more.
  struct Growth {
    KvSequence* sequence;
    std::int64_t count;
  };

  explicit KvPass(PagePool* pool = nullptr) : pool_(pool) {}

  /// Of sequences of one pool, no one twice, with room for the positions. Throws as PagePool::hold
  /// does; nothing has changed then.
  void begin(std::span<const Growth> growths);

  /// Pages for the new positions in a layer, to be written in 16 bits. Those that have other holders
  /// are copied first.
  void open(std::int64_t layer);
  /// All positions of the layer are written: rounds pages that are full to what they are kept in.
  void lower(std::int64_t layer, ThreadPool& threads);
  /// Queries are done: lets go of what later ones do not see.
  void close(std::int64_t layer);

  /// All layers have the positions.
  void finish();

 private:
  struct Work {
    KvPageId page;
    KvSide side;
    std::int64_t head;
  };
  /// Pages that become full in this pass and do not stay in 16 bits: [begin, end).
  struct Full {
    std::int64_t begin, end;
  };
  static Full full_pages(const Growth& growth);
  void add_opening(const Growth& growth, std::int64_t layer, KvSide side, KvDemand& demand) const;
  void add_closing(const Growth& growth, std::int64_t layer, KvSide side, KvDemand& demand) const;

  PagePool* pool_;
  std::vector<Growth> growths_;
  std::vector<Work> work_;
};

}  // namespace plimsoll
