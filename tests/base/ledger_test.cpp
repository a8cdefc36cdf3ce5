#include "base/ledger.h"

#include <gtest/gtest.h>

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
  ledger.set_cap(Account::kv, 40);
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

TEST(Ledger, ReliefRunsInOrderUntilItFits) {
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
  ledger.add_relief("prefixes", relieve("prefixes", prefixes));
  ledger.add_relief("precision", relieve("precision", precision));
  ledger.add_relief("last", relieve("last", last));

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
  ledger.add_relief("held", [&](Bytes) {
    ++calls;
    held.resize(0);
    return Bytes{90};
  });
  EXPECT_THROW((void)ledger.reserve(Account::weights, 101), Error);
  ledger.set_cap(Account::io, 10);
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
  ledger.add_relief("little", [&](Bytes) {
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
  ledger.add_relief("held", [&](Bytes wanted) {
    asked = wanted;
    held.resize(held.bytes() - wanted);
    return wanted;
  });
  const Reservation more = ledger.reserve(Account::weights, 20);
  EXPECT_EQ(asked, 60u);
  EXPECT_EQ(ledger.used(), 50u);
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
