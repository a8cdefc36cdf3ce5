// Staging for rows on their way: a slot for each worker that can really be at work.
#pragma once

#include <cstdint>

#include "base/region.h"
#include "base/threads.h"

namespace plimsoll {

/// How many of so many workers rows go through: no more than there are processors that this process may use. What more
/// workers would stage is held, or has to be promised, without anything becoming faster.
int staging_slots(int workers);

class Staging {
 public:
  /// Reserves `slot_bytes` (whole pages) for each of staging_slots(workers) from the account io.
  /// Throws as Region does.
  Staging(Ledger& ledger, Bytes slot_bytes, int workers);

  int slots() const { return slots_; }
  /// Of workers 0 to slots() - 1.
  std::byte* slot(int worker) const {
    return memory_.data() + static_cast<Bytes>(worker) * slot_bytes_;
  }

  /// Hands out [0, count) to workers with slots, as ThreadPool::parallel_for does: long runs first, of whole numbers.
  /// After a body has thrown, no more begin.
  void parallel_for(ThreadPool& threads, std::int64_t count,
                    FunctionRef<void(std::int64_t i, int worker, std::byte* slot)> body) const;

 private:
  int slots_;
  Bytes slot_bytes_;
  Region memory_;
};

}  // namespace plimsoll
