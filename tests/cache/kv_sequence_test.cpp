// Sequences over one pool: what a pass takes is what was said, what others hold is not written, and
// nothing is held that no query sees.
#include "cache/kv_sequence.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "base/error.h"
#include "cache/kv_pass.h"

namespace plimsoll {
namespace {

constexpr KvSide both_sides[] = {KvSide::keys, KvSide::values};

/// Writes codes that tell sequence, layer and position.
class Cache {
 public:
  Cache(KvShape shape, const KvLoad& load)
      : shape_(shape), needs_(shape, load), pool_(ledger_, kernels_for(Isa::reference), shape, needs_) {
    pool_.set_reclaim({});
  }

  Ledger& ledger() { return ledger_; }
  PagePool& pool() { return pool_; }
  const KvNeeds& needs() const { return needs_; }

  void append(KvSequence& sequence, std::int64_t count, int tag) {
    append({{&sequence, count}}, tag);
  }
  void append(const std::vector<KvPass::Growth>& growths, int tag) {
    KvPass pass;
    pass.begin(growths);
    most_held_ = std::max(most_held_, pool_.held_bytes());
    const Bytes held = pool_.held_bytes();
    for (std::int64_t layer = 0; layer < std::ssize(shape_); ++layer) {
      pass.open(layer);
      for (const KvPass::Growth& growth : growths)
        for (std::int64_t p = growth.sequence->length();
             p < growth.sequence->length() + growth.count; ++p)
          write(*growth.sequence, layer, p, tag);
      pass.lower(layer, threads_);
      pass.close(layer);
      // Nothing is taken on the way.
      ASSERT_EQ(pool_.held_bytes(), held);
    }
    pass.finish();
  }
  Bytes most_held() const { return most_held_; }

  static std::int16_t code(std::int64_t layer, std::int64_t position, int tag) {
    return static_cast<std::int16_t>(1 + (tag * 977 + layer * 131 + position * 7) % 2000);
  }
  void write(KvSequence& sequence, std::int64_t layer, std::int64_t position, int tag) {
    const KvLayerShape& shape = shape_[static_cast<std::size_t>(layer)];
    const KvPageId page =
        sequence.pages(layer)[static_cast<std::size_t>(position / kv_page_positions)];
    for (const KvSide side : both_sides) {
      const KvHeadLayout layout(KvTier::sixteen, side, shape.head_dim);
      std::byte* const heads = pool_.exact(page, side).heads;
      for (std::int64_t head = 0; head < shape.kv_heads; ++head) {
        auto* const row = reinterpret_cast<std::int16_t*>(
            heads + head * layout.bytes + position % kv_page_positions * layout.row_bytes);
        std::fill_n(row, shape.head_dim, code(layer, position, tag));
        reinterpret_cast<std::uint16_t*>(heads + head * layout.bytes +
                                         layout.units)[position % kv_page_positions] = 0x3f80;
      }
    }
  }
  /// The last dimension of the last head; of pages in 16 bits.
  std::int16_t read(const KvSequence& sequence, std::int64_t layer, std::int64_t position,
                    KvSide side) const {
    const KvLayerShape& shape = shape_[static_cast<std::size_t>(layer)];
    const KvHeadLayout layout(KvTier::sixteen, side, shape.head_dim);
    const KvPageId page =
        sequence.pages(layer)[static_cast<std::size_t>(position / kv_page_positions)];
    const std::byte* const head =
        pool_.exact(page, side).heads + (shape.kv_heads - 1) * layout.bytes;
    return reinterpret_cast<const std::int16_t*>(
        head + position % kv_page_positions * layout.row_bytes)[shape.head_dim - 1];
  }
  /// Everything that the next query sees, where it is in 16 bits.
  void expect_holds(const KvSequence& sequence, int tag) const {
    for (std::int64_t layer = 0; layer < std::ssize(shape_); ++layer)
      for (std::int64_t p = sequence.first_seen(layer, sequence.length()); p < sequence.length();
           ++p) {
        const KvPageId page =
            sequence.pages(layer)[static_cast<std::size_t>(p / kv_page_positions)];
        ASSERT_NE(page, no_kv_page);
        for (const KvSide side : both_sides)
          if (pool_.half(page, side).tier == KvTier::sixteen) {
            ASSERT_EQ(read(sequence, layer, p, side), code(layer, p, tag)) << layer << " " << p;
          }
      }
  }

 private:
  Ledger ledger_;
  ThreadPool threads_{2};
  KvShape shape_;
  KvNeeds needs_;
  PagePool pool_;
  Bytes most_held_ = 0;
};

const KvLayerShape full = {2, 32}, windowed = {2, 32, 100}, wide = {1, 64};

KvLayerShape lowered(KvLayerShape shape, KvTier keys, KvTier values) {
  shape.keys = keys;
  shape.values = values;
  return shape;
}

std::vector<KvShape> some_shapes() {
  return {{full, full, full},
          {full, windowed, wide, windowed},
          {lowered(full, KvTier::eight, KvTier::four), lowered(full, KvTier::eight, KvTier::four)},
          {lowered(full, KvTier::two, KvTier::sixteen), lowered(windowed, KvTier::four, KvTier::two),
           full}};
}

TEST(KvSequences, OneThatFillsItsContextHoldsWhatWasPlanned) {
  for (const KvShape& shape : some_shapes())
    for (const std::int64_t context : {1, 63, 64, 65, 700, 2048})
      for (const std::int64_t chunk : {1, 50, 64, 256}) {
        Cache cache(shape, {.context = context, .chunk = std::min(chunk, context)});
        KvSequence sequence(cache.pool(), context);
        while (sequence.length() < context)
          cache.append(sequence, std::min(chunk, context - sequence.length()), 1);
        cache.expect_holds(sequence, 1);
        EXPECT_LE(cache.most_held(), cache.needs().bytes) << context << " " << chunk;
        // A chunk may end between two pages where it was planned to touch three, in each arena.
        const Bytes pages = 2 * 2 * 8 * KiB + 8 * cache.needs().step;
        EXPECT_GE(cache.most_held() + pages, cache.needs().bytes) << context << " " << chunk;
        EXPECT_EQ(cache.ledger().used(Account::kv), cache.pool().held_bytes());
      }
}

TEST(KvSequences, ManyNeverHoldMoreThanWasPlanned) {
  std::mt19937 random(3);
  for (const KvShape& shape : some_shapes())
    for (const std::int64_t count : {2, 5, 16}) {
      const std::int64_t context = 400, chunk = 130;
      Cache cache(shape, {.sequences = count, .context = context, .chunk = chunk});
      std::vector<std::unique_ptr<KvSequence>> sequences;
      for (std::int64_t i = 0; i < count; ++i)
        sequences.push_back(std::make_unique<KvSequence>(cache.pool(), context));
      for (int round = 0; round < 60; ++round) {
        std::vector<KvPass::Growth> growths;
        std::int64_t left = chunk;
        for (auto& sequence : sequences) {
          const std::int64_t most = std::min(left, context - sequence->length());
          if (most == 0 || random() % 3 == 0) continue;
          const std::int64_t more = 1 + static_cast<std::int64_t>(random()) % most;
          growths.push_back({sequence.get(), more});
          left -= more;
        }
        if (growths.empty()) break;
        cache.append(growths, 5);
        if (HasFatalFailure()) return;
      }
      for (auto& sequence : sequences) cache.expect_holds(*sequence, 5);
      EXPECT_LE(cache.most_held(), cache.needs().bytes);
      sequences.clear();
      EXPECT_EQ(cache.pool().pages(), 0);
      EXPECT_EQ(cache.ledger().used(Account::kv), 0u);
    }
}

TEST(KvSequences, BranchesShareOneContext) {
  for (const KvShape& shape : some_shapes()) {
    Cache cache(shape, {.branches = 6, .context = 6 * 90, .chunk = 32});
    std::vector<std::unique_ptr<KvSequence>> sequences;
    std::vector<KvPass::Growth> growths;
    for (int i = 0; i < 6; ++i) {
      sequences.push_back(std::make_unique<KvSequence>(cache.pool(), 90));
      growths.push_back({sequences.back().get(), 5});
    }
    for (int round = 0; round < 18; ++round) cache.append(growths, 2);
    for (const auto& sequence : sequences) cache.expect_holds(*sequence, 2);
    EXPECT_LE(cache.most_held(), cache.needs().bytes);
  }
}

TEST(KvSequences, IdleOnesHoldWhatTheyFilled) {
  // 16 conversations of 50 to 4,000 tokens.
  const KvShape shape(4, KvLayerShape{4, 64});
  const std::int64_t context = 4096;
  Cache cache(shape, {.sequences = 16, .context = context, .chunk = 256});
  std::vector<std::unique_ptr<KvSequence>> sequences;
  std::int64_t filled = 0;
  for (int i = 0; i < 16; ++i) {
    sequences.push_back(std::make_unique<KvSequence>(cache.pool(), context));
    const std::int64_t length = 50 + (4000 - 50) * i / 15;
    while (sequences.back()->length() < length)
      cache.append(*sequences.back(),
                   std::min<std::int64_t>(256, length - sequences.back()->length()), i);
    filled += length;
  }
  const Bytes of_position = 4 * 2 * 4 * (64 * 2 + 2);
  EXPECT_LE(static_cast<double>(cache.ledger().used(Account::kv)),
            1.05 * static_cast<double>(of_position) * static_cast<double>(filled));
}

TEST(KvSequences, WindowsHoldOnlyThemselves) {
  Cache cache({windowed, windowed}, {.context = 5000, .chunk = 64});
  KvSequence sequence(cache.pool(), 5000);
  while (sequence.length() < 4980) cache.append(sequence, 60, 1);
  // 99 positions lie in three pages at most.
  EXPECT_LE(cache.pool().pages(), 2 * 3);
  cache.expect_holds(sequence, 1);
}

TEST(KvSequences, AForkSharesPagesUntilOneOfThemWrites) {
  Cache cache({full, wide}, {.sequences = 3, .context = 300, .chunk = 200});
  KvSequence first(cache.pool(), 300), second(cache.pool(), 300);
  cache.append(first, 150, 1);
  const std::int64_t pages = cache.pool().pages();
  second.fork_from(first);
  EXPECT_EQ(cache.pool().pages(), pages);
  // Positions 150 on: the page of 128 to 191 is written, those before stay common.
  cache.append(second, 20, 2);
  EXPECT_EQ(cache.pool().pages(), pages + 2);
  EXPECT_EQ(second.pages(0)[0], first.pages(0)[0]);
  EXPECT_NE(second.pages(0)[2], first.pages(0)[2]);
  cache.append(first, 20, 3);
  for (std::int64_t p = 0; p < 170; ++p) {
    EXPECT_EQ(cache.read(first, 1, p, KvSide::keys), Cache::code(1, p, p < 150 ? 1 : 3));
    EXPECT_EQ(cache.read(second, 1, p, KvSide::values), Cache::code(1, p, p < 150 ? 1 : 2));
  }
}

TEST(KvSequences, TruncatedOnesCanBeGoneOnWith) {
  Cache exact({full}, {.context = 500, .chunk = 100});
  KvSequence sequence(exact.pool(), 500);
  for (int i = 0; i < 4; ++i) exact.append(sequence, 100, 1);
  EXPECT_EQ(sequence.truncate(77), 77);
  exact.append(sequence, 100, 1);
  exact.expect_holds(sequence, 1);

  // Pages of fewer bits are not written again; the first one has 16.
  Cache four({lowered(full, KvTier::four, KvTier::eight)}, {.context = 500, .chunk = 100});
  KvSequence lower(four.pool(), 500);
  for (int i = 0; i < 4; ++i) four.append(lower, 100, 1);
  EXPECT_EQ(lower.truncate(390), 390);  // the page that is being filled
  EXPECT_EQ(lower.truncate(200), 192);
  EXPECT_EQ(lower.truncate(33), 33);
  four.append(lower, 100, 1);
  four.expect_holds(lower, 1);

  // What a window has left behind is gone.
  Cache window({full, windowed}, {.context = 500, .chunk = 100});
  KvSequence narrow(window.pool(), 500);
  for (int i = 0; i < 4; ++i) window.append(narrow, 100, 1);
  EXPECT_EQ(narrow.truncate(395), 395);
  EXPECT_EQ(narrow.truncate(300), 0);
  EXPECT_EQ(window.pool().pages(), 0);
}

TEST(KvSequences, PromisesEndWhereThePlanDoes) {
  Cache cache({full}, {.sequences = 2, .context = 100, .chunk = 100});
  KvSequence first(cache.pool(), 100);
  {
    const KvSequence second(cache.pool(), 100);
    EXPECT_THROW(KvSequence(cache.pool(), 1), Error);
    const KvSequence without(cache.pool(), 100, KvSequence::Room::found);
  }
  const KvSequence again(cache.pool(), 100);
}

TEST(KvSequences, APassWithoutMemoryChangesNothing) {
  Cache cache({full, full}, {.context = 200, .chunk = 100});
  KvSequence first(cache.pool(), 1000, KvSequence::Room::found);
  cache.append(first, 100, 1);
  const Bytes used = cache.pool().used_bytes();
  KvPass pass;
  const KvPass::Growth growth = {&first, 900};
  EXPECT_THROW(pass.begin({&growth, 1}), Error);
  EXPECT_EQ(first.length(), 100);
  EXPECT_EQ(cache.pool().used_bytes(), used);
  EXPECT_EQ(cache.ledger().used(Account::kv), cache.pool().held_bytes());
  cache.append(first, 100, 1);
  cache.expect_holds(first, 1);
}

}  // namespace
}  // namespace plimsoll
