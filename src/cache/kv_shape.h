// What the KV cache of a model is made of, and what it takes: plain values.
#pragma once

#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "kernels/kv_page.h"

namespace plimsoll {

/// Of one layer.
struct KvLayerShape {
  std::int64_t kv_heads;
  std::int64_t head_dim;
  std::int64_t window = 0;  ///< positions that a query sees, itself included; 0 for all
  /// What pages are kept in once they are full; the first page of a sequence, which most queries
  /// look at (Xiao et al., arXiv:2309.17453), and the one that is being filled have 16 bits.
  KvTier keys = KvTier::sixteen, values = KvTier::sixteen;

  KvTier tier(KvSide side) const { return side == KvSide::keys ? keys : values; }
  /// Of one side of a page.
  Bytes half_bytes(KvTier half_tier, KvSide side) const;

  friend bool operator==(const KvLayerShape&, const KvLayerShape&) = default;
};

/// By layer.
using KvShape = std::vector<KvLayerShape>;

constexpr std::int64_t kv_first_pages = 1;  ///< of a sequence that stay in 16 bits

/// Pages that hold `positions`.
constexpr std::int64_t kv_pages(std::int64_t positions) {
  return (positions + kv_page_positions - 1) / kv_page_positions;
}

/// What a KV cache is to hold: `sequences` of `context` positions each, whose positions may be
/// divided among `branches` sequences, going on by `chunk` positions in one pass, all together.
struct KvLoad {
  std::int64_t sequences = 1;
  std::int64_t branches = 1;
  std::int64_t context = 0;
  std::int64_t chunk = 1;
};

/// How many halves of pages of each size there are at once.
struct KvNeeds {
  struct Halves {
    Bytes bytes;
    Bytes count;
  };
  std::vector<Halves> halves;  ///< by size, the smallest first
  Bytes step = 0;              ///< that memory is taken and given back in
  Bytes bytes = 0;             ///< in whole steps: what the pool holds at most
  std::int64_t positions = 0;  ///< of all sequences

  /// Numbers that a file claims are safe.
  KvNeeds(const KvShape& shape, const KvLoad& load);

 private:
  void add(Bytes size, Bytes count);
};

/// What tables of pages take of the heap, for every sequence of `context` positions.
Bytes kv_table_bytes(const KvShape& shape, std::int64_t context);

}  // namespace plimsoll
