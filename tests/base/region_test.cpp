#include "base/region.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/process.h"
#include "base/small_file.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool sanitized = true;  // shadow memory is resident too
#else
constexpr bool sanitized = false;
#endif

namespace plimsoll {
namespace {

constexpr Bytes awkward_sizes[] = {1,           4095,           4096,           4097,
                                   12345,       2 * MiB - 1,    2 * MiB,        2 * MiB + 1,
                                   3 * MiB + 7, 4 * MiB - 4096, 17 * MiB + 4097};

/// Bytes of the region that the kernel holds, by mincore(2): one byte per page.
Bytes resident_in(const Region& region) {
  std::vector<unsigned char> pages(region.size() / page_bytes);
  EXPECT_EQ(mincore(region.data(), region.size(), pages.data()), 0);
  return page_bytes *
         static_cast<Bytes>(std::count_if(pages.begin(), pages.end(),
                                          [](unsigned char p) { return (p & 1) != 0; }));
}

/// Exact, unlike the counters in /proc/self/status, which may lag by a batch per processor.
Bytes resident_in_process() {
  return kib_field(read_small_file("/proc/self/smaps_rollup").value_or(""), "Rss:").value_or(0);
}

class RegionTest : public testing::TestWithParam<Region::Pages> {};
INSTANTIATE_TEST_SUITE_P(Pages, RegionTest,
                         testing::Values(Region::Pages::normal, Region::Pages::huge));

TEST_P(RegionTest, IsAlignedZeroedChargedAndReleased) {
  Ledger ledger;
  for (const Bytes bytes : awkward_sizes) {
    {
      Region region(ledger, Account::weights, bytes, GetParam());
      EXPECT_EQ(region.size(), round_up(bytes, page_bytes));
      EXPECT_EQ(ledger.used(Account::weights), region.size());
      const auto address = reinterpret_cast<std::uintptr_t>(region.data());
      const bool wants_huge = GetParam() == Region::Pages::huge && bytes >= huge_page_bytes;
      EXPECT_EQ(address % (wants_huge ? huge_page_bytes : page_bytes), 0u);
      for (Bytes i = 0; i < region.size(); i += 97) ASSERT_EQ(region.data()[i], std::byte{0});
      std::memset(region.data(), 0xab, region.size());
    }
    EXPECT_EQ(ledger.used(), 0u);
  }
}

TEST_P(RegionTest, NothingIsHeldBeforeAndEverythingAfterPrefault) {
  Ledger ledger;
  for (const Bytes bytes : awkward_sizes) {
    Region region(ledger, Account::kv, bytes, GetParam());
    EXPECT_EQ(resident_in(region), 0u) << bytes;
    region.prefault();
    EXPECT_EQ(resident_in(region), region.size()) << bytes;
    std::memset(region.data(), 1, region.size());
    region.prefault();  // keeps content
    EXPECT_EQ(region.data()[region.size() - 1], std::byte{1});
  }
}

TEST_P(RegionTest, GivesBackWholePagesInside) {
  Ledger ledger;
  const Bytes size = 6 * MiB + 5 * page_bytes;
  const struct {
    Bytes offset, bytes, given;
  } cases[] = {
      {0, 0, 0},
      {0, page_bytes - 1, 0},
      {1, page_bytes, 0},
      {1, 2 * page_bytes - 1, page_bytes},
      {page_bytes, page_bytes, page_bytes},
      {MiB + 3, 3 * MiB, 3 * MiB - page_bytes},
      {2 * MiB, 2 * MiB, 2 * MiB},
      {2 * MiB - page_bytes, 2 * MiB + 2 * page_bytes, 2 * MiB + 2 * page_bytes},
      {6 * MiB - 1, 5 * page_bytes + 1, 5 * page_bytes},
      {0, size, size},
      {size, 0, 0},
  };
  for (const auto& c : cases) {
    Region region(ledger, Account::weights, size, GetParam());
    std::memset(region.data(), 0x5a, size);
    EXPECT_EQ(region.give_back(c.offset, c.bytes), c.given);
    EXPECT_EQ(ledger.used(), size - c.given);
    EXPECT_EQ(resident_in(region), size - c.given);
    // What was given reads as zero (and reading charges no memory but the shared zero page); the
    // rest is as it was.
    const Bytes first = round_up(c.offset, page_bytes);
    for (Bytes i = 0; i < size; i += 509) {
      const bool gone = i >= first && i < first + c.given;
      ASSERT_EQ(region.data()[i], gone ? std::byte{0} : std::byte{0x5a}) << i;
    }
    EXPECT_EQ(region.take_back(c.offset, c.bytes), c.given);
    EXPECT_EQ(ledger.used(), size);
    region.prefault();
    EXPECT_EQ(resident_in(region), size);
  }
}

TEST_P(RegionTest, OverlappingGivesAreCountedOnce) {
  Ledger ledger;
  const Bytes size = 8 * MiB;
  Region region(ledger, Account::weights, size, GetParam());
  region.prefault();
  EXPECT_EQ(region.give_back(MiB, 2 * MiB), 2 * MiB);
  EXPECT_EQ(region.give_back(MiB, 2 * MiB), 0u);
  EXPECT_EQ(region.give_back(2 * MiB, 3 * MiB), 2 * MiB);
  EXPECT_EQ(region.give_back(0, size), 4 * MiB);
  EXPECT_EQ(ledger.used(), 0u);
  EXPECT_EQ(region.take_back(0, MiB), MiB);
  EXPECT_EQ(region.take_back(0, 2 * MiB), MiB);
  region.prefault();  // only what is held
  EXPECT_EQ(resident_in(region), 2 * MiB);
  EXPECT_EQ(ledger.used(), 2 * MiB);
  EXPECT_EQ(region.take_back(0, size), 6 * MiB);
  EXPECT_EQ(region.take_back(0, size), 0u);
}

TEST_P(RegionTest, WithoutPagesTakesThemAsTheyAreTakenBack) {
  Ledger ledger;
  const Bytes size = 5 * MiB + 3 * page_bytes;
  ledger.set_budget(2 * MiB);
  Region region = Region::without_pages(ledger, Account::weights, size, GetParam());
  EXPECT_EQ(region.size(), size);
  EXPECT_EQ(ledger.used(), 0u);
  EXPECT_THROW(region.take_back(0, 3 * MiB), Error);
  EXPECT_EQ(region.take_back(MiB, MiB), MiB);
  region.data()[MiB] = std::byte{7};
  EXPECT_EQ(ledger.used(), MiB);
  EXPECT_EQ(region.give_back(0, size), MiB);
  EXPECT_EQ(ledger.used(), 0u);
}

TEST(Region, TakeBackThatDoesNotFitChangesNothing) {
  Ledger ledger;
  Region region(ledger, Account::kv, 4 * MiB);
  ledger.set_budget(4 * MiB);
  region.give_back(0, 2 * MiB);
  {
    const Reservation other = ledger.reserve(Account::io, MiB);
    EXPECT_THROW(region.take_back(0, 2 * MiB), Error);
    EXPECT_EQ(ledger.used(Account::kv), 2 * MiB);
  }
  EXPECT_EQ(region.take_back(0, 2 * MiB), 2 * MiB);
}

TEST(Region, RangesOutsideAreRefused) {
  Ledger ledger;
  Region region(ledger, Account::kv, 4 * MiB);
  EXPECT_THROW(region.give_back(0, 4 * MiB + 1), Error);
  EXPECT_THROW(region.give_back(4 * MiB + 1, 0), Error);
  EXPECT_THROW(region.give_back(1, ~Bytes{0}), Error);
  EXPECT_THROW(region.take_back(page_bytes, 4 * MiB), Error);
  EXPECT_EQ(ledger.used(), 4 * MiB);
}

TEST(Region, RefusalsLeaveNothingBehind) {
  Ledger ledger;
  ledger.set_budget(MiB);
  EXPECT_THROW(Region(ledger, Account::kv, MiB + 1), Error);
  EXPECT_EQ(ledger.used(), 0u);
  ledger.set_budget(Ledger::no_cap);
  for (const Bytes absurd : {Bytes{1} << 62, (Bytes{1} << 63) + 1, ~Bytes{0}}) {
    try {
      Region region(ledger, Account::kv, absurd);
      ADD_FAILURE() << absurd;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::machine_limit);
    }
    EXPECT_EQ(ledger.used(), 0u);
  }
}

TEST(Region, MovesItsMappingAndItsReservation) {
  Ledger ledger;
  Region a(ledger, Account::weights, 3 * MiB);
  std::memset(a.data(), 7, a.size());
  a.give_back(0, page_bytes);
  std::byte* data = a.data();
  Region b = std::move(a);
  EXPECT_EQ(a.data(),
            nullptr);  // NOLINT(bugprone-use-after-move): the moved-from state is specified
  EXPECT_EQ(a.size(), 0u);
  EXPECT_EQ(b.data(), data);
  EXPECT_EQ(b.data()[page_bytes], std::byte{7});
  Region c(ledger, Account::kv, MiB);
  c = std::move(b);
  EXPECT_EQ(ledger.used(), 3 * MiB - page_bytes);
  EXPECT_EQ(ledger.used(Account::kv), 0u);
  EXPECT_EQ(c.take_back(0, page_bytes), page_bytes);
  c = Region();
  EXPECT_EQ(ledger.used(), 0u);
  EXPECT_EQ(Region(ledger, Account::kv, 0).size(), 0u);
}

// The Ledger and the kernel count the same bytes.
TEST(MemoryAudit, LedgerAgreesWithTheKernel) {
  if (sanitized) GTEST_SKIP() << "a sanitizer's shadow memory is resident too";
  Ledger ledger;
  const Bytes baseline = process_memory().resident;
  std::vector<Region> regions;
  for (const Region::Pages pages : {Region::Pages::normal, Region::Pages::huge}) {
    for (const Bytes bytes : awkward_sizes) {
      regions.emplace_back(ledger, Account::weights, bytes, pages);
      regions.back().prefault();
      // Not zero: pages of zeros are shared when a huge page is split (Linux 6.13), and then count
      // for nothing.
      std::memset(regions.back().data(), 1, regions.back().size());
    }
  }
  MemoryAudit audit = audit_memory(ledger, baseline);
  EXPECT_EQ(audit.ledger, ledger.used());
  EXPECT_GT(audit.ledger, 50 * MiB);
  EXPECT_LE(std::abs(audit.unaccounted), static_cast<std::int64_t>(256 * KiB));
  for (Region& region : regions) region.give_back(region.size() / 3, region.size() / 2);
  audit = audit_memory(ledger, baseline);
  EXPECT_LE(std::abs(audit.unaccounted), static_cast<std::int64_t>(256 * KiB));
  regions.clear();
  audit = audit_memory(ledger, baseline);
  EXPECT_EQ(audit.ledger, 0u);
  EXPECT_LE(std::abs(audit.unaccounted), static_cast<std::int64_t>(256 * KiB));
}

TEST(MemoryAudit, GiveBackLowersTheKernelsCountByExactlyItsBytes) {
  if (sanitized) GTEST_SKIP() << "a sanitizer's shadow memory is resident too";
  Ledger ledger;
  for (const Region::Pages pages : {Region::Pages::normal, Region::Pages::huge}) {
    Region region(ledger, Account::weights, 256 * MiB, pages);
    std::memset(region.data(), 1, region.size());
    (void)region.give_back(0, 0);  // its list of pages is on the heap from here on
    (void)resident_in_process();
    const Bytes before = resident_in_process();
    const Bytes given = region.give_back(3 * MiB + 12 * KiB, 200 * MiB + 8 * KiB);
    const Bytes after = resident_in_process();
    EXPECT_EQ(given, 200 * MiB + 8 * KiB);
    EXPECT_EQ(before - after, given);
    EXPECT_EQ(ledger.used(), 256 * MiB - given);
  }
}

TEST(RegionSpace, HoldsItsRegionsAndNothingElse) {
  if (sanitized) GTEST_SKIP() << "sanitizers hold memory of their own";
  Ledger ledger;
  Bytes all = 0;
  for (const Bytes bytes : awkward_sizes) all += round_up(bytes, page_bytes);
  // The first time it touches code and heap of its own.
  Bytes before = 0;
  for (const bool is_first : {true, false}) {
    before = resident_in_process();
    RegionSpace space(all);
    std::vector<Region> regions;
    for (const Bytes bytes : awkward_sizes)
      regions.emplace_back(ledger, Account::weights, bytes, space);
    EXPECT_EQ(ledger.used(Account::weights), all);
    // One behind the other, zeroed.
    for (std::size_t i = 1; i < regions.size(); ++i)
      EXPECT_EQ(regions[i].data(), regions[i - 1].data() + regions[i - 1].size());
    for (const Region& region : regions)
      for (Bytes i = 0; i < region.size(); i += 97) ASSERT_EQ(region.data()[i], std::byte{0});
    for (Region& region : regions) {
      region.prefault();
      std::memset(region.data(), 7, region.size());
    }
    constexpr Bytes slack = 64 * KiB;  // of the vector and the test
    if (!is_first)
      EXPECT_NEAR(static_cast<double>(resident_in_process() - before), static_cast<double>(all),
                  slack);
    // What is full gives way to addresses elsewhere.
    Region beyond(ledger, Account::weights, 3 * page_bytes, space);
    beyond.prefault();
    EXPECT_EQ(resident_in(beyond), 3 * page_bytes);
    beyond = {};
    // Parts of one and whole ones are given back exactly, though their neighbours share huge pages.
    Region& largest = regions.back();
    EXPECT_EQ(largest.give_back(MiB + 1, 5 * MiB), 5 * MiB - page_bytes);
    EXPECT_EQ(resident_in(largest), largest.size() - (5 * MiB - page_bytes));
    EXPECT_EQ(largest.data()[0], std::byte{7});
    EXPECT_EQ(largest.data()[2 * MiB], std::byte{0});
    const Bytes without = regions[8].size() + regions[9].size() + 5 * MiB - page_bytes;
    regions[8] = {};
    regions[9] = {};
    EXPECT_EQ(ledger.used(Account::weights), all - without);
    EXPECT_EQ(regions[7].data()[0], std::byte{7});
    EXPECT_EQ(largest.take_back(0, largest.size()), 5 * MiB - page_bytes);
    largest.prefault();
    EXPECT_EQ(resident_in(largest), largest.size());
  }
  EXPECT_EQ(ledger.used(), 0u);
  EXPECT_NEAR(static_cast<double>(resident_in_process()), static_cast<double>(before), 64.0 * KiB);
}

}  // namespace
}  // namespace plimsoll
