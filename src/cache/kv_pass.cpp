#include "cache/kv_pass.h"

#include <algorithm>
#include <cassert>

namespace plimsoll {
namespace {

constexpr KvSide both_sides[] = {KvSide::keys, KvSide::values};

}  // namespace

KvPass::Full KvPass::full_pages(const Growth& growth) {
  const std::int64_t before = growth.sequence->length() / kv_page_positions,
                     after = (growth.sequence->length() + growth.count) / kv_page_positions;
  const std::int64_t begin = std::max(before, kv_first_pages);
  return {begin, std::max(begin, after)};
}

/// What open() and lower() take.
void KvPass::add_opening(const Growth& growth, std::int64_t layer, KvSide side,
                         KvDemand& demand) const {
  const KvSequence& sequence = *growth.sequence;
  assert(sequence.length() + growth.count <= sequence.context());
  const KvTier tier = pool_->shape()[static_cast<std::size_t>(layer)].tier(side);
  const std::size_t exact = pool_->size_of(layer, KvTier::sixteen, side);
  const auto there = sequence.pages(layer);
  const std::int64_t pages = kv_pages(sequence.length() + growth.count);
  demand.take(exact, std::max<std::int64_t>(0, pages - std::ssize(there)));
  const std::int64_t tail = sequence.length() / kv_page_positions;
  if (tail < std::ssize(there) && pool_->holders(there[static_cast<std::size_t>(tail)]) > 1)
    demand.take(exact);
  if (tier == KvTier::sixteen) return;
  const Full full = full_pages(growth);
  demand.take(pool_->size_of(layer, tier, side), full.end - full.begin);
}

/// What close() frees.
void KvPass::add_closing(const Growth& growth, std::int64_t layer, KvSide side,
                         KvDemand& demand) const {
  const KvSequence& sequence = *growth.sequence;
  const KvLayerShape& shape = pool_->shape()[static_cast<std::size_t>(layer)];
  const std::size_t exact = pool_->size_of(layer, KvTier::sixteen, side);
  const bool lowers = shape.tier(side) != KvTier::sixteen;
  const Full full = full_pages(growth);
  if (lowers) demand.free(exact, full.end - full.begin);
  if (shape.window == 0) return;
  const std::int64_t end = sequence.length() + growth.count;
  const std::int64_t first = sequence.first_kept(layer, end);
  const auto there = sequence.pages(layer);
  for (std::int64_t i = 0; i < std::min(first, kv_pages(end)); ++i) {
    const bool becomes_full = i >= full.begin && i < full.end;
    KvTier tier = lowers && becomes_full ? shape.tier(side) : KvTier::sixteen;
    if (i < std::ssize(there)) {
      const KvPageId id = there[static_cast<std::size_t>(i)];
      if (id == no_kv_page || pool_->holders(id) > 1) continue;
      if (!becomes_full) tier = pool_->half(id, side).tier;
    }
    demand.free(pool_->size_of(layer, tier, side));
  }
}

void KvPass::begin(std::span<const Growth> growths) {
  growths_.assign(growths.begin(), growths.end());
  if (growths_.empty()) return;
  pool_ = &growths_[0].sequence->pool();
  KvDemand demand = pool_->no_demand();
  for (std::int64_t layer = 0; layer < std::ssize(pool_->shape()); ++layer) {
    for (const KvSide side : both_sides)
      for (const Growth& growth : growths_) add_opening(growth, layer, side, demand);
    for (const KvSide side : both_sides)
      for (const Growth& growth : growths_) add_closing(growth, layer, side, demand);
  }
  pool_->hold(demand);
}

void KvPass::open(std::int64_t layer) {
  for (const Growth& growth : growths_) {
    KvSequence& sequence = *growth.sequence;
    auto& pages = sequence.tables_[static_cast<std::size_t>(layer)].pages;
    const auto tail = static_cast<std::size_t>(sequence.length() / kv_page_positions);
    if (tail < pages.size() && pool_->holders(pages[tail]) > 1) {
      const KvPageId own = pool_->copy(pages[tail]);
      pool_->release(pages[tail]);
      pages[tail] = own;
    }
    const auto wanted = static_cast<std::size_t>(kv_pages(sequence.length() + growth.count));
    while (pages.size() < wanted) pages.push_back(pool_->create(layer));
  }
}

void KvPass::lower(std::int64_t layer, ThreadPool& threads) {
  const KvLayerShape& shape = pool_->shape()[static_cast<std::size_t>(layer)];
  work_.clear();
  for (const KvSide side : both_sides) {
    if (shape.tier(side) == KvTier::sixteen) continue;
    for (const Growth& growth : growths_) {
      const Full full = full_pages(growth);
      for (std::int64_t i = full.begin; i < full.end; ++i) {
        const KvPageId page = growth.sequence->pages(layer)[static_cast<std::size_t>(i)];
        pool_->add_lowered(page, side, shape.tier(side));
        for (std::int64_t head = 0; head < shape.kv_heads; ++head)
          work_.push_back({page, side, head});
      }
    }
  }
  threads.parallel_for(std::ssize(work_), 1, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t i = begin; i < end; ++i) {
      const Work& each = work_[static_cast<std::size_t>(i)];
      pool_->lower(each.page, each.side, each.head);
    }
  });
}

void KvPass::close(std::int64_t layer) {
  for (const Growth& growth : growths_) {
    KvSequence& sequence = *growth.sequence;
    const Full full = full_pages(growth);
    for (std::int64_t i = full.begin; i < full.end; ++i)
      for (const KvSide side : both_sides)
        pool_->drop_exact(sequence.pages(layer)[static_cast<std::size_t>(i)], side);
    const std::int64_t first = sequence.first_kept(layer, sequence.length() + growth.count);
    sequence.release_before(layer, static_cast<std::size_t>(first));
  }
}

void KvPass::finish() {
  for (const Growth& growth : growths_) growth.sequence->length_ += growth.count;
  if (!growths_.empty()) pool_->trim();
}

}  // namespace plimsoll
