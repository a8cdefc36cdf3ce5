#include "base/threads.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"

namespace plimsoll {
namespace {

class ThreadPoolTest : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Sizes, ThreadPoolTest, testing::Values(1, 2, 3, 8));

TEST_P(ThreadPoolTest, RunsEveryWorkerOnceOnItsOwnThread) {
  ThreadPool pool(GetParam());
  ASSERT_EQ(pool.size(), GetParam());
  std::vector<int> calls(static_cast<std::size_t>(GetParam()));
  std::vector<std::thread::id> ids(calls.size());
  pool.run([&](int worker) {
    ++calls[static_cast<std::size_t>(worker)];
    ids[static_cast<std::size_t>(worker)] = std::this_thread::get_id();
  });
  EXPECT_EQ(calls, std::vector<int>(calls.size(), 1));
  EXPECT_EQ(ids[0], std::this_thread::get_id());
  std::sort(ids.begin(), ids.end());
  EXPECT_EQ(std::unique(ids.begin(), ids.end()), ids.end());
}

// Plain (not atomic) data passed from run to run through every worker: each run must see all of the
// run before.
TEST_P(ThreadPoolTest, ManyShortRunsAreOrdered) {
  ThreadPool pool(GetParam());
  const auto size = static_cast<std::size_t>(GetParam());
  std::vector<std::int64_t> from(size, 1), to(size);
  const int runs = size > 2 ? 500 : 5000;
  for (int i = 0; i < runs; ++i) {
    pool.run([&](int worker) {
      std::int64_t sum = 0;
      for (const std::int64_t value : from) sum += value;
      to[static_cast<std::size_t>(worker)] = (sum + worker) % 1'000'003;
    });
    std::swap(from, to);
  }
  std::vector<std::int64_t> expected(size, 1);
  for (int i = 0; i < runs; ++i) {
    const std::int64_t sum = std::accumulate(expected.begin(), expected.end(), std::int64_t{0});
    for (std::size_t w = 0; w < size; ++w) {
      expected[w] = (sum + static_cast<std::int64_t>(w)) % 1'000'003;
    }
  }
  EXPECT_EQ(from, expected);
}

// Workers that have gone to sleep wake again, and the caller wakes after slow workers.
TEST_P(ThreadPoolTest, WakesAfterSleep) {
  ThreadPool pool(GetParam());
  std::atomic<int> total{0};
  for (int i = 0; i < 20; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    pool.run([&](int worker) {
      if (worker == pool.size() - 1) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      total += 1;
    });
  }
  EXPECT_EQ(total, 20 * GetParam());
}

TEST_P(ThreadPoolTest, ParallelForCoversEachElementOnce) {
  ThreadPool pool(GetParam());
  for (const std::int64_t count : {0, 1, 2, 3, 7, 8, 9, 63, 64, 65, 1000, 4097}) {
    for (const std::int64_t grain : {1, 2, 3, 7, 64, 5000}) {
      std::vector<int> hits(static_cast<std::size_t>(count));
      std::atomic<int> wrong{0};
      pool.parallel_for(count, grain, [&](std::int64_t begin, std::int64_t end, int worker) {
        // Chunks are multiples of the grain, but for the last, and leave the others a share.
        const std::int64_t most = std::max<std::int64_t>(grain, count / (2 * pool.size()));
        const bool right = begin < end && end <= count &&
                           ((end - begin) % grain == 0 || end == count) && end - begin <= most &&
                           worker >= 0 && worker < pool.size();
        if (!right) ++wrong;
        for (std::int64_t i = begin; i < end; ++i) ++hits[static_cast<std::size_t>(i)];
      });
      EXPECT_EQ(wrong, 0) << count << " by " << grain;
      EXPECT_EQ(hits, std::vector<int>(hits.size(), 1)) << count << " by " << grain;
    }
  }
}

TEST_P(ThreadPoolTest, ParallelForOverNestedData) {
  ThreadPool pool(GetParam());
  std::vector<std::vector<std::string>> rows(37);
  pool.parallel_for(37, 2, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t r = begin; r < end; ++r) {
      for (std::int64_t c = 0; c <= r; ++c) {
        rows[static_cast<std::size_t>(r)].push_back(std::to_string(r * c));
      }
    }
  });
  std::vector<std::int64_t> sums(rows.size());
  pool.parallel_for(37, 5, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t r = begin; r < end; ++r) {
      for (const std::string& text : rows[static_cast<std::size_t>(r)]) {
        sums[static_cast<std::size_t>(r)] += std::stoll(text);
      }
    }
  });
  for (std::int64_t r = 0; r < 37; ++r) {
    EXPECT_EQ(sums[static_cast<std::size_t>(r)], r * r * (r + 1) / 2);
  }
}

TEST_P(ThreadPoolTest, ExtremeCountsDoNotOverflow) {
  ThreadPool pool(GetParam());
  const std::int64_t most = std::numeric_limits<std::int64_t>::max();
  std::atomic<std::int64_t> covered{0};
  pool.parallel_for(most, most / 5,
                    [&](std::int64_t begin, std::int64_t end, int) { covered += end - begin; });
  EXPECT_EQ(covered, most);
}

TEST_P(ThreadPoolTest, ExceptionsComeBackAndThePoolLivesOn) {
  ThreadPool pool(GetParam());
  for (int thrower = 0; thrower < GetParam(); ++thrower) {
    std::atomic<int> finished{0};
    try {
      pool.run([&](int worker) {
        if (worker == thrower) throw Error(ErrorCode::invalid_weights, std::to_string(worker));
        ++finished;
      });
      ADD_FAILURE();
    } catch (const Error& error) {
      EXPECT_EQ(error.message(), std::to_string(thrower));
      EXPECT_EQ(finished, GetParam() - 1);
    }
  }
  EXPECT_THROW(pool.run([](int) { throw std::runtime_error("all"); }), std::runtime_error);
  std::atomic<int> ran{0};
  pool.run([&](int) { ++ran; });
  EXPECT_EQ(ran, GetParam());
}

TEST_P(ThreadPoolTest, ParallelForStopsHandingOutAfterAnException) {
  ThreadPool pool(GetParam());
  std::atomic<std::int64_t> chunks{0};
  const std::int64_t count = std::int64_t{1} << 40;
  EXPECT_THROW(pool.parallel_for(count, 1,
                                 [&](std::int64_t begin, std::int64_t end, int) {
                                   ++chunks;
                                   if (begin <= 3 && end > 3) throw std::out_of_range("three");
                                 }),
               std::out_of_range);
  EXPECT_LT(chunks, count);
}

TEST(ThreadPool, ParallelForDoesNotWaitForAWorkerThatHasNotBegun) {
  // The other workers are kept from running by a pool of their own that holds the processors in
  // turn: whatever the kernel does, all of the work is done once and the call returns.
  ThreadPool pool(8), rivals(4);
  std::atomic<bool> stop{false};
  std::thread busy([&] {
    rivals.run([&](int) {
      while (!stop) {
      }
    });
  });
  for (int i = 0; i < 300; ++i) {
    std::vector<int> hits(97);
    pool.parallel_for(97, 1, [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t at = begin; at < end; ++at) ++hits[static_cast<std::size_t>(at)];
    });
    ASSERT_EQ(hits, std::vector<int>(97, 1));
  }
  stop = true;
  busy.join();
}

TEST(ThreadPool, WorkersThatAreAlwaysLateAreLeftOutForAWhile) {
  // A worker that stands still in the middle of its chunk, as one whose processor was taken away.
  ThreadPool pool(2);
  std::atomic<bool> late{true};
  std::atomic<int> helped{0};
  const auto step = [&] {
    pool.parallel_for(8, 1, [&](std::int64_t begin, std::int64_t end, int worker) {
      if (worker == 0) {
        std::this_thread::sleep_for(std::chrono::microseconds(200) * (end - begin));
      } else {
        ++helped;
        if (late) std::this_thread::sleep_for(std::chrono::milliseconds(5));
      }
    });
  };
  int alone = 0;  // steps in a row that the worker had no part in
  for (int i = 0; i < 2000 && alone < 20; ++i) {
    const int before = helped;
    step();
    alone = helped == before ? alone + 1 : 0;
  }
  EXPECT_EQ(alone, 20) << "the worker was never left out";
  late = false;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  const int before = helped;
  while (helped == before && std::chrono::steady_clock::now() < deadline) step();
  EXPECT_GT(helped, before) << "the worker was never let in again";
}

TEST(ThreadPool, PoolsWorkBesideEachOtherAndInsideEachOther) {
  ThreadPool outer(2);
  std::atomic<int> total{0};
  outer.run([&](int) {
    ThreadPool inner(2);
    inner.run([&](int) { ++total; });
  });
  EXPECT_EQ(total, 4);
}

TEST(ThreadPool, RefusesNonsense) {
  EXPECT_THROW(ThreadPool(0), Error);
  EXPECT_THROW(ThreadPool(-3), Error);
  ThreadPool pool(2);
  EXPECT_THROW(pool.parallel_for(5, 0, [](std::int64_t, std::int64_t, int) {}), Error);
  EXPECT_THROW(pool.parallel_for(-1, 1, [](std::int64_t, std::int64_t, int) {}), Error);
  EXPECT_THROW(pool.run([&](int) { pool.run([](int) {}); }), Error);  // not reentrant
  std::atomic<int> ran{0};
  pool.run([&](int) { ++ran; });
  EXPECT_EQ(ran, 2);
}

TEST(ThreadPool, StartsAndStopsManyTimes) {
  for (int i = 0; i < 100; ++i) {
    ThreadPool pool(3);
    if (i % 2 == 0) pool.run([](int) {});
  }
}

}  // namespace
}  // namespace plimsoll
