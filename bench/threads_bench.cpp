// How long starting and stopping the workers takes, for an empty body: what every step of a decode
// pays. Beside it, the same for libpthreadpool where that is installed. See
// docs/decisions/threads.md.
#include <benchmark/benchmark.h>

#include <atomic>
#include <chrono>
#include <string>

#include "base/threads.h"

#ifdef PLIMSOLL_BENCH_PTHREADPOOL
#include <pthreadpool.h>
#endif

namespace plimsoll {
namespace {

using Clock = std::chrono::steady_clock;

/// The pool under one name for all of them: run() starts every worker once and waits.
class OwnPool {
 public:
  explicit OwnPool(int threads) : pool_(threads) {}
  void run() {
    pool_.run([this](int worker) { count_[worker].value++; });
  }
  void parallel_for(std::int64_t count) {
    pool_.parallel_for(count, 1,
                       [this](std::int64_t, std::int64_t, int worker) { count_[worker].value++; });
  }
  std::int64_t calls() const { return count_[0].value + count_[1].value + count_[2].value; }

 private:
  struct alignas(64) Count {
    std::int64_t value = 0;
  };
  Count count_[16];
  ThreadPool pool_;
};

#ifdef PLIMSOLL_BENCH_PTHREADPOOL
class RivalPool {
 public:
  explicit RivalPool(int threads)
      : threads_(static_cast<std::size_t>(threads)), pool_(pthreadpool_create(threads_)) {}
  ~RivalPool() { pthreadpool_destroy(pool_); }
  RivalPool(const RivalPool&) = delete;
  RivalPool& operator=(const RivalPool&) = delete;
  void run() { parallel_for(static_cast<std::int64_t>(threads_)); }
  void parallel_for(std::int64_t count) {
    pthreadpool_parallelize_1d(
        pool_,
        [](void* self, std::size_t) {
          static_cast<RivalPool*>(self)->calls_.fetch_add(1, std::memory_order_relaxed);
        },
        this, static_cast<std::size_t>(count), 0);
  }
  std::int64_t calls() const { return calls_; }

 private:
  std::size_t threads_;
  pthreadpool_t pool_;
  std::atomic<std::int64_t> calls_{0};
};
#endif

/// One run after another.
template <class Pool>
void hot(benchmark::State& state) {
  Pool pool(static_cast<int>(state.range(0)));
  for (auto _ : state) pool.run();
  if (pool.calls() != state.range(0) * static_cast<std::int64_t>(state.iterations())) {
    state.SkipWithError("not every worker ran once");
  }
}

/// A run after the caller alone has been busy for that many microseconds.
template <class Pool>
void after_idle(benchmark::State& state) {
  Pool pool(static_cast<int>(state.range(0)));
  const auto idle = std::chrono::microseconds(state.range(1));
  for (auto _ : state) {
    for (const auto start = Clock::now(); Clock::now() - start < idle;) {
    }
    const auto start = Clock::now();
    pool.run();
    state.SetIterationTime(std::chrono::duration<double>(Clock::now() - start).count());
  }
}

template <class Pool>
void chunks(benchmark::State& state) {
  Pool pool(static_cast<int>(state.range(0)));
  for (auto _ : state) pool.parallel_for(state.range(1));
}

template <class Pool>
void register_pool(const char* name) {
  const std::string prefix = std::string(name) + "/";
  // Short and many, so that with --benchmark_enable_random_interleaving both pools meet the same
  // noise.
  const auto repeat = [](benchmark::internal::Benchmark* bench) {
    bench->Repetitions(25)->ReportAggregatesOnly()->Unit(benchmark::kNanosecond);
  };
  repeat(benchmark::RegisterBenchmark((prefix + "hot").c_str(), hot<Pool>)
             ->Arg(2)
             ->UseRealTime()
             ->MinTime(0.01));
  repeat(benchmark::RegisterBenchmark((prefix + "after_idle_us").c_str(), after_idle<Pool>)
             ->ArgsProduct({{2}, {20, 50, 200, 1000}})
             ->UseManualTime()
             ->Iterations(200));
  repeat(benchmark::RegisterBenchmark((prefix + "chunks").c_str(), chunks<Pool>)
             ->Args({2, 64})
             ->UseRealTime()
             ->MinTime(0.01));
}

}  // namespace
}  // namespace plimsoll

int main(int argc, char** argv) {
  plimsoll::register_pool<plimsoll::OwnPool>("own");
#ifdef PLIMSOLL_BENCH_PTHREADPOOL
  plimsoll::register_pool<plimsoll::RivalPool>("pthreadpool");
#endif
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
