#include "turn.h"

#include <algorithm>
#include <chrono>

#include "base/error.h"

namespace plimsoll::python {

void Turn::take(const std::function<void()>& while_waiting) {
  std::unique_lock lock(mutex_);
  if (is_taken_ && owner_ == std::this_thread::get_id())
    throw Error(ErrorCode::usage, "this model is at work, and what it calls cannot call it",
                "do that when the call has ended");
  const std::uint64_t number = ++last_number_;
  waiting_.push_back(number);
  const auto is_next = [&] { return !is_taken_ && waiting_.front() == number; };
  while (!changed_.wait_for(lock, std::chrono::milliseconds(20), is_next)) {
    if (!while_waiting) continue;
    lock.unlock();
    try {
      while_waiting();
    } catch (...) {
      lock.lock();
      std::erase(waiting_, number);
      changed_.notify_all();
      throw;
    }
    lock.lock();
  }
  waiting_.pop_front();
  is_taken_ = true;
  owner_ = std::this_thread::get_id();
}

void Turn::give_back() noexcept {
  {
    const std::lock_guard lock(mutex_);
    is_taken_ = false;
    owner_ = {};
  }
  changed_.notify_all();
}

bool Turn::is_mine() const {
  const std::lock_guard lock(mutex_);
  return is_taken_ && owner_ == std::this_thread::get_id();
}

}  // namespace plimsoll::python
