// The thread pool: a few workers that start and stop together in about a microsecond.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <type_traits>

namespace plimsoll {

/// A reference to a callable that outlives the call; no allocation.
template <class Signature>
class FunctionRef;
template <class R, class... Args>
class FunctionRef<R(Args...)> {
 public:
  template <class F>
    requires(!std::is_same_v<std::remove_cvref_t<F>, FunctionRef>)
  FunctionRef(F&& f)  // NOLINT: implicit by intent
      : object_(const_cast<void*>(static_cast<const void*>(&f))),
        call_([](void* object, Args... args) -> R {
          return (*static_cast<std::remove_reference_t<F>*>(object))(static_cast<Args>(args)...);
        }) {}
  R operator()(Args... args) const { return call_(object_, static_cast<Args>(args)...); }

 private:
  void* object_;
  R (*call_)(void*, Args...);
};

/// Workers 0 (the caller) to size()-1. Bodies may throw: the first exception is rethrown on the caller after all
/// workers have finished. One run at a time; not reentrant. Workers spin briefly between runs, then sleep.
class ThreadPool {
 public:
  /// `threads` >= 1, the caller included.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const;

  /// Calls body(worker) once on every worker and returns when all have finished. What is to be done soonest rather than
  /// by everybody is for parallel_for, which does not wait for a worker whose processor is busy with something else.
  void run(FunctionRef<void(int worker)> body);

  /// Hands out [0, count) in order, to whichever worker is free, in chunks that shrink from an even share of half the
  /// work down to `grain`, always a multiple of it but for the last (guided self-scheduling, Polychronopoulos and Kuck, IEEE Transactions on Computers 36:12,
  /// 1987): long runs through memory first, small pieces to end together. Which worker gets a chunk, and where chunks
  /// begin, is not deterministic, so no result may depend on it.
  void parallel_for(std::int64_t count, std::int64_t grain,
                    FunctionRef<void(std::int64_t begin, std::int64_t end, int worker)> body);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace plimsoll
