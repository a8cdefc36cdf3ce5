#include "rows/staging.h"

#include <algorithm>
#include <atomic>

#include "base/limits.h"

namespace plimsoll {

int staging_slots(int workers) { return std::min(workers, allowed_processors()); }

Staging::Staging(Ledger& ledger, Bytes slot_bytes, int workers)
    : slots_(staging_slots(workers)),
      slot_bytes_(slot_bytes),
      memory_(ledger, Account::io, slot_bytes * static_cast<Bytes>(slots_),
              Region::Pages::normal) {}

void Staging::parallel_for(
    ThreadPool& threads, std::int64_t count,
    FunctionRef<void(std::int64_t i, int worker, std::byte* slot)> body) const {
  std::atomic<std::int64_t> next = 0;
  std::atomic<bool> failed = false;
  threads.run([&](int worker) {
    if (worker >= slots_) return;
    try {
      for (std::int64_t begin = next.load(); begin < count;) {
        const std::int64_t run = std::max<std::int64_t>(1, (count - begin) / (2 * slots_));
        if (!next.compare_exchange_weak(begin, begin + run)) continue;
        for (std::int64_t i = begin; i < begin + run; ++i) {
          if (failed) return;
          body(i, worker, slot(worker));
        }
        begin = next.load();
      }
    } catch (...) {
      failed = true;
      throw;
    }
  });
}

}  // namespace plimsoll
