#include "base/ledger.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.h"

namespace plimsoll {
namespace {

ErrorCode code_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.code();
  }
  return ErrorCode::internal;
}

TEST(Ledger, CountsByAccountAndReleases) {
  Ledger ledger;
  {
    const Reservation weights = ledger.reserve(Account::weights, 100);
    const Reservation kv = ledger.reserve(Account::kv, 30);
    EXPECT_EQ(weights.bytes(), 100u);
    EXPECT_EQ(ledger.used(), 130u);
    EXPECT_EQ(ledger.used(Account::weights), 100u);
    EXPECT_EQ(ledger.used(Account::kv), 30u);
    EXPECT_EQ(ledger.used(Account::io), 0u);
  }
  const Reservation text = ledger.reserve(Account::text, 5);
  EXPECT_EQ(ledger.used(), 5u);
  EXPECT_EQ(ledger.peak(), 130u);
  EXPECT_EQ(ledger.peak(Account::weights), 100u);
  EXPECT_EQ(ledger.peak(Account::text), 5u);
}

TEST(Ledger, CapsAndBudgetHoldToTheByte) {
  Ledger ledger;
  ledger.set_budget(100);
  const CapLease cap = ledger.raise_cap(Account::kv, 40);
  const Reservation kv = ledger.reserve(Account::kv, 40);
  EXPECT_EQ(code_of([&] { (void)ledger.reserve(Account::kv, 1); }), ErrorCode::budget_exceeded);
  const Reservation weights = ledger.reserve(Account::weights, 60);
  EXPECT_EQ(code_of([&] { (void)ledger.reserve(Account::weights, 1); }),
            ErrorCode::budget_exceeded);
  EXPECT_EQ(ledger.used(), 100u);
  (void)ledger.reserve(Account::weights, 0);  // nothing always fits
}

TEST(Ledger, ErrorSaysWantedFreeAndAccount) {
  Ledger ledger;
  ledger.set_budget(2 * MiB);
  try {
    (void)ledger.reserve(Account::activations, 3 * MiB);
    FAIL();
  } catch (const Error& error) {
    const std::string message = error.message();
    EXPECT_NE(message.find("activations"), std::string::npos) << message;
    EXPECT_NE(message.find("3145728"), std::string::npos) << message;
    EXPECT_NE(message.find("2097152"), std::string::npos) << message;
    EXPECT_FALSE(error.hint().empty());
  }
}

TEST(Ledger, HugeRequestsDoNotWrapAround) {
  Ledger ledger;
  const Reservation some = ledger.reserve(Account::weights, 100);
  const Bytes most = ~Bytes{0};
  EXPECT_EQ(code_of([&] { (void)ledger.reserve(Account::weights, most); }),
            ErrorCode::budget_exceeded);
  EXPECT_EQ(code_of([&] { (void)ledger.reserve(Account::kv, most - 50); }),
            ErrorCode::budget_exceeded);
  EXPECT_EQ(ledger.used(), 100u);
}

TEST(Ledger, ReliefRunsByRankUntilItFits) {
  Ledger ledger;
  ledger.set_budget(100);
  Reservation prefixes = ledger.reserve(Account::kv, 20);
  Reservation precision = ledger.reserve(Account::weights, 60);
  Reservation last = ledger.reserve(Account::server, 20);
  std::vector<std::pair<std::string, Bytes>> calls;
  const auto relieve = [&](const char* who, Reservation& from) {
    return [&calls, &from, who](Bytes wanted) {
      calls.emplace_back(who, wanted);
      const Bytes given = std::min(wanted, from.bytes());
      from.resize(from.bytes() - given);
      return given;
    };
  };
  // By rank, whatever the order of addition.
  const ReliefLease third = ledger.add_relief("last", 3, relieve("last", last));
  const ReliefLease second = ledger.add_relief("precision", 2, relieve("precision", precision));
  const ReliefLease first = ledger.add_relief("prefixes", 1, relieve("prefixes", prefixes));

  const Reservation wanted = ledger.reserve(Account::activations, 50);
  const std::vector<std::pair<std::string, Bytes>> expected = {{"prefixes", 50}, {"precision", 30}};
  EXPECT_EQ(calls, expected);
  EXPECT_EQ(prefixes.bytes(), 0u);
  EXPECT_EQ(precision.bytes(), 30u);
  EXPECT_EQ(ledger.used(), 100u);
  EXPECT_EQ(ledger.peak(), 100u);  // room was made first, never overshot
}

TEST(Ledger, NoReliefForWhatCannotFit) {
  Ledger ledger;
  ledger.set_budget(100);
  Reservation held = ledger.reserve(Account::kv, 90);
  int calls = 0;
  const ReliefLease relief = ledger.add_relief("held", 0, [&](Bytes) {
    ++calls;
    held.resize(0);
    return Bytes{90};
  });
  EXPECT_THROW((void)ledger.reserve(Account::weights, 101), Error);
  const CapLease cap = ledger.raise_cap(Account::io, 10);
  EXPECT_THROW((void)ledger.reserve(Account::io, 11), Error);
  EXPECT_EQ(calls, 0);
  EXPECT_EQ(held.bytes(), 90u);
  const Reservation all = ledger.reserve(Account::weights, 100);
  EXPECT_EQ(calls, 1);
}

TEST(Ledger, ReliefThatGivesTooLittleEndsInAnError) {
  Ledger ledger;
  ledger.set_budget(100);
  Reservation held = ledger.reserve(Account::kv, 90);
  const ReliefLease relief = ledger.add_relief("little", 0, [&](Bytes) {
    held.resize(80);
    return Bytes{10};
  });
  EXPECT_EQ(code_of([&] { (void)ledger.reserve(Account::weights, 50); }),
            ErrorCode::budget_exceeded);
  EXPECT_EQ(ledger.used(), 80u);
}

// The line may be lowered below what is used: then relief is asked for the overhang as well.
TEST(Ledger, LoweredBudgetAsksReliefForTheOverhang) {
  Ledger ledger;
  Reservation held = ledger.reserve(Account::kv, 90);
  ledger.set_budget(50);
  Bytes asked = 0;
  const ReliefLease relief = ledger.add_relief("held", 0, [&](Bytes wanted) {
    asked = wanted;
    held.resize(held.bytes() - wanted);
    return wanted;
  });
  const Reservation more = ledger.reserve(Account::weights, 20);
  EXPECT_EQ(asked, 60u);
  EXPECT_EQ(ledger.used(), 50u);
}

TEST(Ledger, CapsAddUpAndGoWithTheirOwners) {
  Ledger ledger;
  EXPECT_EQ(ledger.cap(Account::kv), Ledger::no_cap);
  CapLease one = ledger.raise_cap(Account::kv, 40);
  {
    const CapLease two = ledger.raise_cap(Account::kv, 20);
    EXPECT_EQ(ledger.cap(Account::kv), 60u);
    (void)ledger.reserve(Account::kv, 60);
  }
  EXPECT_EQ(ledger.cap(Account::kv), 40u);
  CapLease moved = std::move(one);
  EXPECT_EQ(code_of([&] { (void)ledger.reserve(Account::kv, 41); }), ErrorCode::budget_exceeded);
  moved = CapLease();
  EXPECT_EQ(ledger.cap(Account::kv), Ledger::no_cap);
  (void)ledger.reserve(Account::kv, 1000);
}

TEST(Ledger, WhatIsHeldAlreadyIsCountedBeyondTheBudget) {
  Ledger ledger;
  ledger.set_budget(100);
  const Reservation held = ledger.count_held(Account::text, 130);
  EXPECT_EQ(ledger.used(), 130u);
  EXPECT_EQ(code_of([&] { (void)ledger.reserve(Account::kv, 1); }), ErrorCode::budget_exceeded);
}

TEST(Ledger, AMovedLineRelievesAtOnceAndSaysWhatIsOver) {
  Ledger ledger;
  ledger.set_budget(100);
  Reservation cache = ledger.reserve(Account::kv, 30), weights = ledger.reserve(Account::weights, 60);
  const ReliefLease second = ledger.add_relief("weights", 2, [&](Bytes wanted) {
    const Bytes given = std::min<Bytes>(wanted, 25);
    weights.resize(weights.bytes() - given);
    return given;
  });
  const ReliefLease first = ledger.add_relief("cache", 1, [&](Bytes wanted) {
    const Bytes given = std::min(wanted, cache.bytes());
    cache.resize(cache.bytes() - given);
    return given;
  });
  Ledger::Moved moved = ledger.move_line(90);  // exactly what is used
  EXPECT_EQ(moved.over, 0u);
  EXPECT_TRUE(moved.relieved.empty());
  moved = ledger.move_line(50);
  EXPECT_EQ(moved.over, 0u);
  const std::vector<std::pair<std::string, Bytes>> both = {{"cache", 30}, {"weights", 10}};
  EXPECT_EQ(moved.relieved, both);
  EXPECT_EQ(ledger.used(), 50u);
  moved = ledger.move_line(10);
  EXPECT_EQ(moved.over, 15u);  // 25 of 40 are given
  EXPECT_EQ(ledger.budget(), 10u);
  EXPECT_EQ(ledger.move_line(200).over, 0u);
  (void)ledger.reserve(Account::kv, 175);
}

TEST(Ledger, AReliefThatHasGoneIsNotCalled) {
  Ledger ledger;
  ledger.set_budget(10);
  Reservation held = ledger.reserve(Account::kv, 10);
  int calls = 0;
  ReliefLease relief = ledger.add_relief("held", 0, [&](Bytes) {
    ++calls;
    relief = ReliefLease();  // a relief may end itself
    return Bytes{0};
  });
  EXPECT_THROW((void)ledger.reserve(Account::io, 1), Error);
  EXPECT_THROW((void)ledger.reserve(Account::io, 1), Error);
  EXPECT_EQ(calls, 1);
}

// While one thread's relief is at work, another takes whatever is free: never what was freed for the first.
TEST(Ledger, WhatAReliefFreesIsNotLostToAnotherThread) {
  for (int round = 0; round < 50; ++round) {
    Ledger ledger;
    ledger.set_budget(100);
    Reservation held = ledger.reserve(Account::kv, 100);
    std::atomic<bool> greedy_runs = true;
    const ReliefLease relief = ledger.add_relief("held", 0, [&](Bytes wanted) {
      const Bytes given = std::min(wanted, held.bytes());
      held.resize(held.bytes() - given);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));  // the other one has its chances
      return given;
    });
    std::vector<Reservation> stolen;
    std::thread greedy([&] {
      while (greedy_runs) {
        // A relief that is asked for by this thread gives as well, so only what is free counts.
        if (ledger.used() + 1 > ledger.budget()) continue;
        try {
          stolen.push_back(ledger.reserve(Account::io, 1));
        } catch (const Error&) {
        }
      }
    });
    const Reservation wanted = ledger.reserve(Account::weights, 60);
    EXPECT_EQ(wanted.bytes(), 60u);
    EXPECT_LE(ledger.used(), 100u);
    greedy_runs = false;
    greedy.join();
  }
}

TEST(Reservation, MovesWithoutCountingTwice) {
  Ledger ledger;
  Reservation a = ledger.reserve(Account::weights, 10);
  Reservation b = std::move(a);
  EXPECT_EQ(a.bytes(), 0u);  // NOLINT(bugprone-use-after-move): the moved-from state is specified
  EXPECT_EQ(b.bytes(), 10u);
  EXPECT_EQ(ledger.used(), 10u);
  Reservation c = ledger.reserve(Account::kv, 7);
  c = std::move(b);  // gives the 7 up
  EXPECT_EQ(ledger.used(), 10u);
  EXPECT_EQ(ledger.used(Account::kv), 0u);
  Reservation& same = c;
  c = std::move(same);
  EXPECT_EQ(c.bytes(), 10u);
  std::vector<Reservation> many;
  for (int i = 0; i < 100; ++i) many.push_back(ledger.reserve(Account::io, 3));
  EXPECT_EQ(ledger.used(), 310u);
  many.clear();
  c = Reservation();
  EXPECT_EQ(ledger.used(), 0u);
}

TEST(Reservation, ResizesBothWaysAndKeepsItsSizeOnFailure) {
  Ledger ledger;
  ledger.set_budget(100);
  Reservation r = ledger.reserve(Account::kv, 10);
  r.resize(100);
  EXPECT_EQ(ledger.used(), 100u);
  EXPECT_THROW(r.resize(101), Error);
  EXPECT_EQ(r.bytes(), 100u);
  EXPECT_EQ(ledger.used(), 100u);
  r.resize(1);
  EXPECT_EQ(ledger.used(Account::kv), 1u);
  Reservation empty;
  empty.resize(0);
  EXPECT_THROW(empty.resize(1), Error);
}

TEST(Ledger, ThreadsNeverOvershootTogether) {
  Ledger ledger;
  constexpr Bytes budget = 1000;
  ledger.set_budget(budget);
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 4; ++t) {
    threads.emplace_back([&ledger, t] {
      std::mt19937 random(t);
      std::vector<Reservation> held;
      for (int i = 0; i < 5000; ++i) {
        if (random() % 2 == 0 && !held.empty()) {
          held.pop_back();
          continue;
        }
        try {
          const Account account = all_accounts[random() % account_count];
          held.push_back(ledger.reserve(account, random() % 200));
        } catch (const Error&) {
          held.clear();
        }
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(ledger.used(), 0u);
  EXPECT_LE(ledger.peak(), budget);
  EXPECT_GT(ledger.peak(), budget / 2);
  Bytes sum_of_peaks = 0;
  for (const Account account : all_accounts) {
    EXPECT_EQ(ledger.used(account), 0u) << name(account);
    sum_of_peaks += ledger.peak(account);
  }
  EXPECT_GE(sum_of_peaks, ledger.peak());
}

}  // namespace
}  // namespace plimsoll
