// Pieces keep what is in them however others come and go, and the memory held is what they take.
#include "cache/page_arena.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <vector>

#include "base/error.h"

namespace plimsoll {
namespace {

class PageArenas : public testing::TestWithParam<Bytes> {};

TEST_P(PageArenas, FreeingMovesTheLastPieceAndGivesMemoryBack) {
  const Bytes piece_bytes = 12 * KiB + 64, step = GetParam();
  Ledger ledger;
  PageArena arena(ledger, piece_bytes, 8 * MiB, step);
  EXPECT_EQ(ledger.used(Account::kv), 0u);
  std::mt19937 random(7);
  // What each piece holds, by its place: a number, all over it.
  std::vector<std::uint64_t> there;
  std::uint64_t next = 1;
  const auto fill = [&](std::int64_t piece, std::uint64_t value) {
    auto* words = reinterpret_cast<std::uint64_t*>(arena.at(piece));
    for (Bytes i = 0; i < piece_bytes / 8; ++i) words[i] = value + i;
  };
  for (int round = 0; round < 2000; ++round) {
    const bool grows = there.size() < 300 && random() % 100 < (round % 400 < 200 ? 70u : 30u);
    if (grows) {
      arena.hold(1);
      ASSERT_EQ(arena.take(), std::ssize(there));
      there.push_back(next++ * 1000000);
      fill(std::ssize(there) - 1, there.back());
    } else if (!there.empty()) {
      const auto piece = static_cast<std::size_t>(random() % there.size());
      arena.free(static_cast<std::int64_t>(piece));
      there[piece] = there.back();
      there.pop_back();
      if (piece < there.size()) {
        const auto* words =
            reinterpret_cast<const std::uint64_t*>(arena.at(static_cast<std::int64_t>(piece)));
        ASSERT_EQ(words[0], there[piece]);
        ASSERT_EQ(words[piece_bytes / 8 - 1], there[piece] + piece_bytes / 8 - 1);
      }
      if (round % 3 == 0) {
        arena.trim();
        ASSERT_EQ(arena.held_bytes(), PageArena::memory_bytes(piece_bytes, there.size(), step));
      }
    }
    ASSERT_EQ(arena.used(), std::ssize(there));
    ASSERT_EQ(ledger.used(Account::kv), arena.held_bytes());
    ASSERT_GE(arena.held_bytes(), piece_bytes * there.size());
  }
}

INSTANTIATE_TEST_SUITE_P(Steps, PageArenas, testing::Values(16 * KiB, 2 * MiB));

TEST(PageArena, RefusesMoreThanItsAddressesAndThanTheLedgerHas) {
  Ledger ledger;
  PageArena arena(ledger, 16 * KiB, 64 * KiB, 16 * KiB);
  EXPECT_THROW(arena.hold(5), Error);
  EXPECT_EQ(arena.held_bytes(), 0u);
  ledger.set_budget(32 * KiB);
  EXPECT_THROW(arena.hold(2), Error);  // and what kernels may read behind them
  EXPECT_EQ(ledger.used(), 0u);
  arena.hold(1);
  EXPECT_EQ(ledger.used(), 32 * KiB);
}

}  // namespace
}  // namespace plimsoll
