// How much an allocator holds beyond the blocks that are alive, under this program's use of it: a
// vocabulary that stays, a load that leaves much scratch behind, and three threads of requests.
// Everything big lives in Regions, outside of the allocator, and is no part of this. See
// docs/decisions/allocator.md.
//
//   allocator_bench                            glibc as it comes
//   allocator_bench own                        as configure_allocator() sets it
//   allocator_bench ARENAS MMAP TRIM PAD       glibc with M_ARENA_MAX and three sizes in KiB; "-"
//   leaves one alone LD_PRELOAD=libjemalloc.so.2 allocator_bench
#include <fmt/format.h>
#include <malloc.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <mutex>
#include <random>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/process.h"

namespace plimsoll {
namespace {

std::atomic<std::int64_t> live_bytes{0};
std::atomic<std::int64_t> baseline{0};
std::atomic<std::int64_t> peak_slack{0};
/// With PLIMSOLL_BENCH_TRIM in the environment: free pages inside the heap are released after the
/// load, and after every that many requests of a thread.
int trim_every = 0;

/// One block from the allocator, written in full and counted by the size that was asked for.
class Block {
 public:
  explicit Block(std::size_t bytes) : data_(std::malloc(bytes)), bytes_(bytes) {
    if (data_ == nullptr) std::abort();
    std::memset(data_, 1, bytes);
    live_bytes += static_cast<std::int64_t>(bytes);
  }
  Block(Block&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  Block& operator=(Block&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~Block() {
    live_bytes -= static_cast<std::int64_t>(bytes_);
    std::free(data_);
  }

 private:
  void* data_;
  std::size_t bytes_;
};
using Blocks = std::vector<Block>;

/// What the allocator holds beyond live blocks and the lists of blocks here.
std::int64_t slack() {
  const std::int64_t live = live_bytes;
  return static_cast<std::int64_t>(process_memory().anonymous) - baseline - live;
}

void sample() {
  const std::int64_t now = slack();
  std::int64_t before = peak_slack;
  while (now > before && !peak_slack.compare_exchange_weak(before, now)) {
  }
}

std::size_t between(std::mt19937& random, std::size_t low, std::size_t high) {
  // Sizes of small things: uniform in their logarithm.
  const double exponent = std::uniform_real_distribution<double>(
      std::log2(static_cast<double>(low)), std::log2(static_cast<double>(high)))(random);
  return static_cast<std::size_t>(std::exp2(exponent));
}

/// A growing array: each size is copied into the next, as std::vector and std::string do.
Block grow_to(std::size_t bytes) {
  Block block(64);
  for (std::size_t size = 128; size <= bytes; size *= 2) block = Block(size);
  return block;
}

/// What a load leaves: the file's header in one block, flat tables of a vocabulary of 128,000, and
/// small records of 500 tensors; between them scratch that goes: arrays as they grow, a JSON tree,
/// strings.
void load(Blocks& kept) {
  std::mt19937 random(1);
  Blocks scratch;
  scratch.reserve(60'000);
  kept.push_back(grow_to(8 << 20));
  for (int part = 0; part < 10; ++part) {
    kept.push_back(grow_to(between(random, 1 << 17, 4 << 20)));
    scratch.push_back(grow_to(between(random, 1 << 17, 4 << 20)));
    for (int tensor = 0; tensor < 50; ++tensor) {
      kept.emplace_back(between(random, 24, 128));
      kept.emplace_back(between(random, 100, 400));
      for (int i = 0; i < 100; ++i) scratch.emplace_back(between(random, 16, 512));
    }
    sample();
  }
}

struct Session {
  Blocks blocks;
};

/// Requests as a server has them; some of each request's blocks live on, and may be freed by
/// another thread.
void serve(int thread, std::mutex& mutex, std::deque<Session>& sessions) {
  std::mt19937 random(static_cast<unsigned>(100 + thread));
  for (int request = 0; request < 600; ++request) {
    Blocks blocks;
    Session session;
    blocks.push_back(grow_to(between(random, 1 << 10, 1 << 20)));  // the body
    blocks.push_back(grow_to(between(random, 1 << 10, 1 << 18)));  // its tokens
    const std::size_t nodes = between(random, 50, 5000);           // its JSON
    for (std::size_t i = 0; i < nodes; ++i) {
      auto& keeper = random() % 10 == 0 ? session.blocks : blocks;
      keeper.emplace_back(between(random, 16, 512));
    }
    session.blocks.push_back(grow_to(between(random, 1 << 12, 1 << 17)));
    Session oldest;
    {
      const std::lock_guard lock(mutex);
      sessions.push_back(std::move(session));
      if (sessions.size() > 24) {
        oldest = std::move(sessions.front());
        sessions.pop_front();
      }
    }
    if (request % 8 == 0) sample();
    if (trim_every > 0 && request % trim_every == 0) trim_allocator();
  }
}

void print(std::string_view what, std::int64_t bytes) {
  fmt::print(" {} {:6.2f} MiB", what, static_cast<double>(bytes) / static_cast<double>(MiB));
}

void measure() {
  const auto start = std::chrono::steady_clock::now();
  Blocks kept;
  kept.reserve(2'000);
  std::memset(static_cast<void*>(kept.data()), 0, 2'000 * sizeof(Block));
  baseline = static_cast<std::int64_t>(process_memory().anonymous);
  load(kept);
  if (trim_every > 0) trim_allocator();
  print("load peak", peak_slack);
  peak_slack = 0;
  print("live", live_bytes);
  print("after load", slack());
  {
    std::mutex mutex;
    std::deque<Session> sessions;
    std::vector<std::thread> threads;
    for (int i = 1; i < 3; ++i) threads.emplace_back([&, i] { serve(i, mutex, sessions); });
    serve(0, mutex, sessions);
    for (auto& thread : threads) thread.join();
    sample();
  }
  if (trim_every > 0) trim_allocator();
  print("peak", peak_slack);
  print("at end", slack());
  fmt::print(" time {:5.2f} s\n",
             std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
}

}  // namespace
}  // namespace plimsoll

int main(int argc, char** argv) {
  if (const char* every = std::getenv("PLIMSOLL_BENCH_TRIM")) {
    plimsoll::trim_every = std::atoi(every);
  }
  if (argc == 2 && std::string_view(argv[1]) == "own") {
    plimsoll::configure_allocator();
  } else if (argc == 5) {
    const int options[] = {M_ARENA_MAX, M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_TOP_PAD};
    for (int i = 0; i < 4; ++i) {
      if (std::string_view(argv[i + 1]) == "-") continue;
      mallopt(options[i], std::atoi(argv[i + 1]) * (i == 0 ? 1 : 1024));
    }
  } else if (argc != 1) {
    fmt::print(stderr, "usage: {} [own | ARENAS MMAP TRIM PAD]\n", argv[0]);
    return 2;
  }
  plimsoll::measure();
}
