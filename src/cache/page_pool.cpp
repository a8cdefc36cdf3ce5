#include "cache/page_pool.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cstring>
#include <limits>
#include <utility>

#include "base/error.h"

namespace plimsoll {
namespace {

constexpr KvSide both_sides[] = {KvSide::keys, KvSide::values};
constexpr KvTier all_tiers[] = {KvTier::sixteen, KvTier::eight, KvTier::four, KvTier::two};

}  // namespace

PagePool::PagePool(Ledger& ledger, const Kernels& kernels, KvShape shape, const KvNeeds& needs)
    : kernels_(kernels),
      shape_(std::move(shape)),
      sizes_(shape_.size()),
      positions_(needs.positions) {
  for (std::size_t layer = 0; layer < shape_.size(); ++layer)
    for (const KvSide side : both_sides)
      for (const KvTier tier : all_tiers) {
        const Bytes bytes = shape_[layer].half_bytes(tier, side);
        auto at = std::ranges::find_if(
            arenas_, [&](const Pieces& each) { return each.arena.piece_bytes() == bytes; });
        if (at == arenas_.end()) {
          arenas_.push_back({PageArena(ledger, bytes, needs.bytes, needs.step), {}});
          at = arenas_.end() - 1;
        }
        if (arenas_.size() > std::numeric_limits<std::uint8_t>::max())
          throw Error(ErrorCode::unsupported_model, "the layers' KV heads have too many shapes");
        sizes_[layer][static_cast<std::size_t>(side)][static_cast<std::size_t>(tier)] =
            static_cast<std::uint8_t>(at - arenas_.begin());
      }
  // So that tables never move; what is not used is not touched.
  std::size_t halves = 0;
  for (const KvNeeds::Halves& each : needs.halves) halves += static_cast<std::size_t>(each.count);
  pages_.reserve(halves / 2 + 1);
  for (Pieces& each : arenas_)
    each.owners.reserve(static_cast<std::size_t>(needs.bytes / each.arena.piece_bytes()));
}

void PagePool::hold(const KvDemand& demand) {
  for (std::size_t i = 0; i < arenas_.size(); ++i)
    for (;;) try {
        arenas_[i].arena.hold(demand.most(i));
        break;
      } catch (const Error& error) {
        if (error.code() != ErrorCode::budget_exceeded) throw;
        // What is held for sizes that came before, or was left over, may be what is missing.
        if (reclaim_ && reclaim_()) {
          trim();
          i = 0;
          continue;
        }
        trim();
        throw;
      }
}

Bytes PagePool::trim() {
  Bytes given = 0;
  for (Pieces& each : arenas_) given += each.arena.trim();
  return given;
}

void PagePool::promise(std::int64_t positions) {
  const std::int64_t left = positions_ - promised_;
  if (positions > left)
    throw Error(ErrorCode::budget_exceeded,
                fmt::format("the KV cache has room for {} tokens, {} of them are other sequences'; "
                            "{} are wanted",
                            positions_, promised_, positions),
                "plan for more sessions");
  promised_ += positions;
}

PagePool::Pieces& PagePool::pieces(const Page& page, const Half& half, KvSide side) {
  return arenas_[size_of(page.layer, half.tier, side)];
}

std::byte* PagePool::at(const Page& page, const Half& half, KvSide side) const {
  return arenas_[size_of(page.layer, half.tier, side)].arena.at(half.piece);
}

void PagePool::take(Half& half, KvPageId page, KvSide side, KvTier tier, bool is_lowered) {
  half.tier = tier;
  Pieces& from = pieces(pages_[page], half, side);
  half.piece = static_cast<std::int32_t>(from.arena.take());
  from.owners.push_back({page, static_cast<std::uint8_t>(side), is_lowered});
}

void PagePool::free(KvPageId page, Half& half, KvSide side) {
  if (half.piece < 0) return;
  Pieces& from = pieces(pages_[page], half, side);
  const std::int32_t piece = std::exchange(half.piece, -1);
  from.arena.free(piece);
  // Whose was the last one has it here now.
  const Owner moved = from.owners.back();
  from.owners.pop_back();
  if (static_cast<std::size_t>(piece) == from.owners.size()) return;
  from.owners[static_cast<std::size_t>(piece)] = moved;
  Page& other = pages_[moved.page];
  (moved.is_lowered ? other.lowered : other.exact)[moved.side].piece = piece;
}

KvPageId PagePool::create(std::int64_t layer) {
  KvPageId id;
  if (free_pages_.empty()) {
    id = static_cast<KvPageId>(pages_.size());
    pages_.emplace_back();
  } else {
    id = free_pages_.back();
    free_pages_.pop_back();
    pages_[id] = {};
  }
  Page& page = pages_[id];
  page.holders = 1;
  page.layer = static_cast<std::int32_t>(layer);
  ++used_pages_;
  for (const KvSide side : both_sides)
    take(page.exact[static_cast<int>(side)], id, side, KvTier::sixteen, false);
  return id;
}

void PagePool::release(KvPageId id) {
  Page& page = pages_[id];
  assert(page.holders > 0);
  if (--page.holders > 0) return;
  for (const KvSide side : both_sides) {
    free(id, page.exact[static_cast<int>(side)], side);
    free(id, page.lowered[static_cast<int>(side)], side);
  }
  --used_pages_;
  free_pages_.push_back(id);
}

KvPageId PagePool::copy(KvPageId page) {
  const KvPageId id = create(layer(page));
  for (const KvSide side : both_sides) {
    const KvHalfPage from = exact(page, side), to = exact(id, side);
    const std::size_t size = size_of(layer(page), KvTier::sixteen, side);
    std::memcpy(to.heads, from.heads, arenas_[size].arena.piece_bytes());
  }
  return id;
}

void PagePool::add_lowered(KvPageId page, KvSide side, KvTier tier) {
  take(pages_[page].lowered[static_cast<int>(side)], page, side, tier, true);
}

void PagePool::lower(KvPageId id, KvSide side, std::int64_t head) {
  const Page& page = pages_[id];
  const Half& to = page.lowered[static_cast<int>(side)];
  const std::int64_t head_dim = shape_[static_cast<std::size_t>(page.layer)].head_dim;
  KvLowering task{};
  task.from = exact(id, side).heads + head * KvHeadLayout(KvTier::sixteen, side, head_dim).bytes;
  task.to = at(page, to, side) + head * KvHeadLayout(to.tier, side, head_dim).bytes;
  task.from_tier = KvTier::sixteen;
  task.to_tier = to.tier;
  task.side = side;
  task.head_dim = static_cast<std::int32_t>(head_dim);
  kernels_.lower_page(task);
}

void PagePool::drop_exact(KvPageId id, KvSide side) {
  Page& page = pages_[id];
  if (page.lowered[static_cast<int>(side)].piece >= 0)
    free(id, page.exact[static_cast<int>(side)], side);
}

void PagePool::demote(KvPageId id, KvSide side, KvTier tier, std::byte* bounce) {
  Page& page = pages_[id];
  Half& lowered = page.lowered[static_cast<int>(side)];
  Half& from = lowered.piece >= 0 ? lowered : page.exact[static_cast<int>(side)];
  const KvLayerShape& shape = shape_[static_cast<std::size_t>(page.layer)];
  const Bytes bytes = shape.half_bytes(tier, side);
  const std::int64_t from_bytes = KvHeadLayout(from.tier, side, shape.head_dim).bytes,
                     to_bytes = KvHeadLayout(tier, side, shape.head_dim).bytes;
  KvLowering task{};
  task.from_tier = from.tier;
  task.to_tier = tier;
  task.side = side;
  task.head_dim = static_cast<std::int32_t>(shape.head_dim);
  for (std::int64_t head = 0; head < shape.kv_heads; ++head) {
    task.from = at(page, from, side) + head * from_bytes;
    task.to = bounce + head * to_bytes;
    kernels_.lower_page(task);
  }
  const std::size_t from_size = size_of(page.layer, from.tier, side);
  free(id, from, side);
  arenas_[from_size].arena.trim();
  arenas_[size_of(page.layer, tier, side)].arena.hold(1);
  take(lowered, id, side, tier, true);
  std::memcpy(at(page, lowered, side), bounce, bytes);
}

KvHalfPage PagePool::exact(KvPageId id, KvSide side) const {
  const Page& page = pages_[id];
  const Half& half = page.exact[static_cast<int>(side)];
  if (half.piece < 0) return {};
  return {at(page, half, side), KvTier::sixteen};
}

bool PagePool::has_exact(KvPageId id) const {
  return pages_[id].exact[0].piece >= 0 && pages_[id].exact[1].piece >= 0;
}

KvHalfPage PagePool::half(KvPageId id, KvSide side) const {
  const Page& page = pages_[id];
  const Half& lowered = page.lowered[static_cast<int>(side)];
  if (lowered.piece < 0) return exact(id, side);
  return {at(page, lowered, side), lowered.tier};
}

Bytes PagePool::held_bytes() const {
  Bytes sum = 0;
  for (const Pieces& each : arenas_) sum += each.arena.held_bytes();
  return sum;
}

Bytes PagePool::used_bytes() const {
  Bytes sum = 0;
  for (const Pieces& each : arenas_)
    sum += each.arena.piece_bytes() * static_cast<Bytes>(each.arena.used());
  return sum;
}

}  // namespace plimsoll
