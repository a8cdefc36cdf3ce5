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

// When waiting shows that workers lose their processors in the middle of a chunk (to another
// program, or to a control group's quota), fewer of them do more: half as many are let in, and
// after a while all are tried again.
constexpr auto stall =
    std::chrono::microseconds(500);  ///< longer than workers of their own end apart
constexpr auto watched_time = std::chrono::milliseconds(20);
constexpr double most_stalled = 0.35;  ///< of the time watched
constexpr auto first_retry = std::chrono::milliseconds(200);
constexpr auto last_retry = std::chrono::seconds(2);

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

/// How many threads to let in, the caller among them, from what waiting for them cost lately. Used
/// by the caller only.
class Crowding {
 public:
  explicit Crowding(int threads) : threads_(threads), allowed_(threads) {}

  int allowed() {
    if (allowed_ < threads_ && Clock::now() >= retry_at_) {
      allowed_ = threads_;
      watched_ = stalled_ = {};
    }
    return allowed_;
  }

  void add(Clock::duration run, Clock::duration waited) {
    watched_ += run;
    if (waited > stall) stalled_ += waited;
    if (watched_ < watched_time) return;
    if (std::chrono::duration<double>(stalled_) >
        most_stalled * std::chrono::duration<double>(watched_)) {
      allowed_ = std::max(1, allowed_ / 2);
      retry_at_ = Clock::now() + retry_;
      retry_ = std::min<Clock::duration>(2 * retry_, last_retry);
    } else if (allowed_ == threads_) {
      retry_ = first_retry;
    }
    watched_ = stalled_ = {};
  }

 private:
  int threads_, allowed_;
  Clock::duration watched_{}, stalled_{}, retry_ = first_retry;
  Clock::time_point retry_at_{};
};

/// The caller publishes a body, opens the gate and raises `generation`; workers that wake up find
/// the gate open, enter, run the body and leave. The caller shuts the gate when it needs no more of
/// them and waits for those inside. A worker that the kernel lets run late finds the gate shut and
/// goes back to waiting: nobody waits for one that has not begun.
struct ThreadPool::State {
  explicit State(int thread_count)
      : threads(thread_count),
        crowding(thread_count),
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
      if (!enter()) continue;
      // The gate may have been opened again since: no further run begins while this one is inside.
      seen = generation.load(std::memory_order_acquire);
      invoke(worker);
      const std::uint32_t before = gate.fetch_sub(one_inside, std::memory_order_seq_cst);
      if ((before & inside_mask) == one_inside) gate.notify_one();
    }
  }

  bool enter() {
    std::uint32_t now = gate.load(std::memory_order_acquire);
    const auto full = static_cast<std::uint32_t>(threads - 1) * one_entered;
    while ((now & open) && (now & entered_mask) < full)
      if (gate.compare_exchange_weak(now, now + one_inside + one_entered,
                                     std::memory_order_acquire))
        return true;
    return false;
  }

  void invoke(int worker) noexcept {
    try {
      (*body)(worker);
    } catch (...) {
      if (!failed.test_and_set(std::memory_order_acq_rel)) failure = std::current_exception();
    }
  }

  /// Runs `work` here and on the workers: on every one of them if `all`, else on those that come in
  /// time, `allowed` threads at most.
  void run(const FunctionRef<void(int)>& work, bool all, int allowed) {
    if (running.exchange(true, std::memory_order_acquire)) {
      throw Error(ErrorCode::internal, "a thread pool was asked to run while it was running");
    }
    body = &work;
    const auto kept_out = static_cast<std::uint32_t>(threads - allowed) * one_entered;
    const auto start = Clock::now();
    gate.store(open | kept_out, std::memory_order_release);
    generation.fetch_add(1, std::memory_order_seq_cst);
    generation.notify_all();
    invoke(0);
    const auto wanted = static_cast<std::uint32_t>(all ? threads - 1 : 0) * one_entered;
    for (std::uint32_t now = gate.load(std::memory_order_acquire); (now & entered_mask) < wanted;)
      now = await_change(gate, now, spin);
    std::uint32_t now = gate.fetch_and(~open, std::memory_order_acq_rel) & ~open;
    if (now & inside_mask) {
      const auto done = Clock::now();
      while (now & inside_mask) now = await_change(gate, now, spin);
      const auto end = Clock::now();
      if (!all) crowding.add(end - start, end - done);
    } else if (!all) {
      crowding.add(Clock::now() - start, {});
    }

    body = nullptr;
    std::exception_ptr thrown;
    if (failed.test(std::memory_order_acquire)) {
      thrown = std::exchange(failure, nullptr);
      failed.clear(std::memory_order_relaxed);
    }
    running.store(false, std::memory_order_release);
    if (thrown) std::rethrow_exception(thrown);
  }

  const int threads;
  Crowding crowding;
  const Clock::duration spin;
  std::vector<std::thread> workers;

  // Written by the caller before it opens the gate, read by workers inside.
  const FunctionRef<void(int)>* body = nullptr;
  std::atomic<bool> stopping{false};  // read by late workers at any time
  std::atomic<bool> running{false};

  // Written by the first body that throws; read by the caller when nobody is inside.
  std::atomic_flag failed;
  std::exception_ptr failure;

  // Whether workers may enter, how many have, and how many of them are still inside.
  static constexpr std::uint32_t open = 1u << 31;
  static constexpr std::uint32_t one_entered = 1u << 16, entered_mask = 0x7fff0000;
  static constexpr std::uint32_t one_inside = 1, inside_mask = 0xffff;
  static constexpr int most_threads = 1 << 15;

  alignas(cache_line_bytes) std::atomic<std::uint32_t> generation{0};
  alignas(cache_line_bytes) std::atomic<std::uint32_t> gate{0};
};

ThreadPool::ThreadPool(int threads) {
  if (threads < 1 || threads > State::most_threads) {
    throw Error(ErrorCode::usage, fmt::format("a thread pool of {} threads", threads),
                fmt::format("give 1 to {} threads", State::most_threads));
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
  if (size() == 1)
    body(0);
  else
    state_->run(body, true, size());
}

void ThreadPool::parallel_for(
    std::int64_t count, std::int64_t grain,
    FunctionRef<void(std::int64_t begin, std::int64_t end, int worker)> body) {
  if (count < 0 || grain < 1) {
    throw Error(ErrorCode::internal,
                fmt::format("parallel_for over {} in chunks of {}", count, grain));
  }
  if (count == 0) return;
  alignas(cache_line_bytes) std::atomic<std::int64_t> next{0};
  const std::int64_t shares = 2 * static_cast<std::int64_t>(size());
  const auto work = [&](int worker) {
    for (std::int64_t begin = next.load(std::memory_order_relaxed); begin < count;) {
      const std::int64_t left = count - begin;
      const std::int64_t length = std::min(left, std::max(grain, left / shares / grain * grain));
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
  const int allowed = count <= grain ? 1 : state_->crowding.allowed();
  if (allowed == 1)
    work(0);
  else
    state_->run(work, false, allowed);
}

}  // namespace plimsoll
