#include "base/threads.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <system_error>
#include <thread>
#include <vector>

#include "base/error.h"

namespace plimsoll {
namespace {

using Clock = std::chrono::steady_clock;

/// How long a waiting thread spins before it sleeps. Between two steps of a decode the caller is
/// busy for a few tens of microseconds at most; waking a sleeper costs about as much, so that
/// spinning longer only burns the processor.
constexpr auto spin_time = std::chrono::microseconds(100);
/// Where threads outnumber processors, the thread waited for may need the spinner's processor.
constexpr auto crowded_spin_time = std::chrono::microseconds(2);

constexpr std::size_t cache_line_bytes = 64;

void relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb");
#endif
}

/// Waits until `value` is no longer `old`: spins for `spin`, then sleeps in the kernel. Returns the
/// new value, with everything written before it visible.
std::uint32_t await_change(const std::atomic<std::uint32_t>& value, std::uint32_t old,
                           Clock::duration spin) {
  constexpr int polls_per_clock = 32;
  std::uint32_t now = value.load(std::memory_order_acquire);
  if (now != old) return now;
  const auto deadline = Clock::now() + spin;
  do {
    for (int i = 0; i < polls_per_clock; ++i) {
      now = value.load(std::memory_order_acquire);
      if (now != old) return now;
      relax();
    }
  } while (Clock::now() < deadline);
  value.wait(old, std::memory_order_acquire);
  return value.load(std::memory_order_acquire);
}

int available_processors() {
  const unsigned online = std::thread::hardware_concurrency();  // glibc: the affinity mask
  return online == 0 ? 1 : static_cast<int>(online);
}

}  // namespace

/// The caller publishes a body and raises `generation`; workers run it and lower `remaining`; the
/// caller waits for zero. Each of the two words is written by one side while the other polls it, so
/// each has a cache line of its own.
struct ThreadPool::State {
  explicit State(int thread_count)
      : threads(thread_count),
        spin(thread_count > available_processors() ? crowded_spin_time : spin_time) {}

  ~State() {
    stopping = true;
    generation.fetch_add(1, std::memory_order_release);
    generation.notify_all();
    for (auto& worker : workers) worker.join();
  }

  void start_workers() {
    workers.reserve(static_cast<std::size_t>(threads - 1));
    for (int worker = 1; worker < threads; ++worker) {
      workers.emplace_back([this, worker] { serve(worker); });
    }
  }

  void serve(int worker) {
    for (std::uint32_t seen = 0;;) {
      seen = await_change(generation, seen, spin);
      if (stopping) return;
      invoke(worker);
      if (remaining.fetch_sub(1, std::memory_order_seq_cst) == 1) remaining.notify_one();
    }
  }

  void invoke(int worker) noexcept {
    try {
      (*body)(worker);
    } catch (...) {
      if (!failed.test_and_set(std::memory_order_acq_rel)) failure = std::current_exception();
    }
  }

  void await_workers() {
    for (std::uint32_t left = remaining.load(std::memory_order_acquire); left != 0;) {
      left = await_change(remaining, left, spin);
    }
  }

  const int threads;
  const Clock::duration spin;
  std::vector<std::thread> workers;

  // Written by the caller before it raises `generation`, read by workers after.
  const FunctionRef<void(int)>* body = nullptr;
  bool stopping = false;
  std::atomic<bool> running{false};

  // Written by the first body that throws; read by the caller after `remaining` is zero.
  std::atomic_flag failed;
  std::exception_ptr failure;

  alignas(cache_line_bytes) std::atomic<std::uint32_t> generation{0};
  alignas(cache_line_bytes) std::atomic<std::uint32_t> remaining{0};
};

ThreadPool::ThreadPool(int threads) {
  if (threads < 1) {
    throw Error(ErrorCode::usage, fmt::format("a thread pool of {} threads", threads),
                "give at least one thread");
  }
  state_ = std::make_unique<State>(threads);
  try {
    state_->start_workers();
  } catch (const std::system_error& error) {
    throw Error(ErrorCode::machine_limit,
                fmt::format("the kernel refused {} threads: {}", threads, error.what()),
                "give fewer --threads, or raise the limit of processes");
  }
}

ThreadPool::~ThreadPool() = default;

int ThreadPool::size() const { return state_->threads; }

void ThreadPool::run(FunctionRef<void(int worker)> body) {
  State& state = *state_;
  if (state.threads == 1) {
    body(0);
    return;
  }
  if (state.running.exchange(true, std::memory_order_acquire)) {
    throw Error(ErrorCode::internal, "a thread pool was asked to run while it was running");
  }
  state.body = &body;
  state.remaining.store(static_cast<std::uint32_t>(state.threads - 1), std::memory_order_relaxed);
  state.generation.fetch_add(1, std::memory_order_seq_cst);
  state.generation.notify_all();
  state.invoke(0);
  state.await_workers();

  state.body = nullptr;
  std::exception_ptr failure;
  if (state.failed.test(std::memory_order_acquire)) {
    failure = std::exchange(state.failure, nullptr);
    state.failed.clear(std::memory_order_relaxed);
  }
  state.running.store(false, std::memory_order_release);
  if (failure) std::rethrow_exception(failure);
}

void ThreadPool::parallel_for(
    std::int64_t count, std::int64_t grain,
    FunctionRef<void(std::int64_t begin, std::int64_t end, int worker)> body) {
  if (count < 0 || grain < 1) {
    throw Error(ErrorCode::internal,
                fmt::format("parallel_for over {} in chunks of {}", count, grain));
  }
  if (count == 0) return;
  if (count <= grain || size() == 1) {
    body(0, count, 0);
    return;
  }
  alignas(cache_line_bytes) std::atomic<std::int64_t> next{0};
  const std::int64_t shares = 2 * static_cast<std::int64_t>(size());
  const auto work = [&](int worker) {
    for (std::int64_t begin = next.load(std::memory_order_relaxed); begin < count;) {
      const std::int64_t left = count - begin;
      const std::int64_t length = std::min(left, std::max(grain, left / shares));
      if (!next.compare_exchange_weak(begin, begin + length, std::memory_order_relaxed)) continue;
      try {
        body(begin, begin + length, worker);
      } catch (...) {
        next.store(count, std::memory_order_relaxed);  // the rest would be thrown away
        throw;
      }
      begin = next.load(std::memory_order_relaxed);
    }
  };
  run(work);
}

}  // namespace plimsoll
