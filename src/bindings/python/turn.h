// Threads take turns on a model, in the order in which they came.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace plimsoll::python {

/// A lock without overtaking: a thread that computes token by token lets others in between.
class Turn {
 public:
  /// Waits. `while_waiting` is called every 20 ms; what it throws ends the wait, and nothing is held.
  /// Throws Error(usage) where this thread has it already.
  void take(const std::function<void()>& while_waiting);
  void give_back() noexcept;
  bool is_mine() const;

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::uint64_t> waiting_;  ///< numbers, the first one is next
  std::uint64_t last_number_ = 0;
  bool is_taken_ = false;
  std::thread::id owner_;
};

/// Has the turn while it lives.
class TurnTaken {
 public:
  TurnTaken(Turn& turn, const std::function<void()>& while_waiting) : turn_(turn) {
    turn_.take(while_waiting);
  }
  ~TurnTaken() { turn_.give_back(); }
  TurnTaken(const TurnTaken&) = delete;
  TurnTaken& operator=(const TurnTaken&) = delete;

 private:
  Turn& turn_;
};

}  // namespace plimsoll::python
