#include "cache/kv_shape.h"

#include <algorithm>

#include "base/bounded.h"
#include "base/region.h"
#include "cache/page_pool.h"
#include "cache/prefix_index.h"

namespace plimsoll {
namespace {

constexpr KvSide both_sides[] = {KvSide::keys, KvSide::values};

Bytes unsigned_count(std::int64_t n) { return static_cast<Bytes>(std::max<std::int64_t>(0, n)); }

/// Pages that a layer keeps between passes of what one context is divided among.
std::int64_t kept_pages(const KvLayerShape& layer, const KvLoad& load) {
  const std::int64_t all = kv_pages(load.context) + (load.branches - 1);
  if (layer.window == 0) return all;
  // A query at the beginning of the last page sees window - 1 positions before it.
  return std::min(all, load.branches * (kv_pages(layer.window) + 1));
}

/// Steps of large caches are huge pages, so that attention reads through few address translations;
/// those of small ones cost little where the last one is not full.
Bytes step_for(Bytes bytes) {
  constexpr Bytes large = 32 * MiB;
  return bytes >= large ? huge_page_bytes : 4 * page_bytes;
}

}  // namespace

Bytes KvLayerShape::half_bytes(KvTier half_tier, KvSide side) const {
  return bounded_product({unsigned_count(kv_heads),
                          unsigned_count(KvHeadLayout(half_tier, side, head_dim).bytes)});
}

void KvNeeds::add(Bytes size, Bytes count) {
  const auto at = std::ranges::lower_bound(halves, size, {}, &Halves::bytes);
  if (at != halves.end() && at->bytes == size)
    at->count = bounded_sum({at->count, count});
  else
    halves.insert(at, {size, count});
}

KvNeeds::KvNeeds(const KvShape& shape, const KvLoad& load)
    : positions(load.sequences * load.context) {
  // Of one layer, while a pass is in it: pages that its tokens are in, which are in 16 bits, and the
  // others too where they become full.
  struct Transient {
    Bytes size, count;
  };
  std::vector<Transient> transients;
  // A chunk in one sequence may begin in the middle of a page; in several, each may.
  const std::int64_t all = load.sequences * (kv_pages(load.context) + load.branches - 1),
                     touched = std::min(kv_pages(load.chunk) +
                                            std::min(load.sequences * load.branches, load.chunk),
                                        all);
  for (const KvLayerShape& layer : shape) {
    const std::int64_t kept = kept_pages(layer, load);
    for (const KvSide side : both_sides) {
      const KvTier tier = layer.tier(side);
      const Bytes exact = layer.half_bytes(KvTier::sixteen, side);
      const bool is_lowered = tier != KvTier::sixteen;
      const std::int64_t in_16_bits = 
          is_lowered ? std::min(kept, load.branches * (kv_first_pages + 1)) : kept;
      add(exact, bounded_product({unsigned_count(load.sequences), unsigned_count(in_16_bits)}));
      if (is_lowered)
        add(layer.half_bytes(tier, side),
            bounded_product({unsigned_count(load.sequences), unsigned_count(kept)}));
      // What is there beyond that while the pass is in this layer.
      if (!is_lowered && layer.window == 0) continue;
      const auto at = std::ranges::find(transients, exact, &Transient::size);
      const Bytes count = unsigned_count(touched);
      if (at == transients.end())
        transients.push_back({exact, count});
      else
        at->count = std::max(at->count, count);
    }
  }
  // Keys and values of one layer have the same size in 16 bits, and are there together.
  for (const Transient& transient : transients) add(transient.size, 2 * transient.count);
  Bytes whole = 0;
  for (const Halves& each : halves)
    whole = bounded_sum({whole, bounded_product({each.bytes, each.count})});
  step = step_for(whole);
  for (const Halves& each : halves)
    bytes = bounded_sum({bytes, PageArena::memory_bytes(each.bytes, each.count, step)});
}

Bytes kv_table_bytes(const KvShape& shape, std::int64_t context) {
  return bounded_product(
      {unsigned_count(kv_pages(context)),
       bounded_sum({sizeof(KvPageView), PrefixIndex::page_record,
                    bounded_product({shape.size(), 2 * sizeof(KvPageId) + PagePool::page_record})})});
}

}  // namespace plimsoll
