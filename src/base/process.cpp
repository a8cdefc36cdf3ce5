#include "base/process.h"

#include <malloc.h>

#include "base/error.h"
#include "base/small_file.h"

namespace plimsoll {

ProcessMemory process_memory() {
  const auto status = read_small_file("/proc/self/status");
  const auto resident = status ? kib_field(*status, "VmRSS:") : std::nullopt;
  if (!resident) {
    throw Error(ErrorCode::internal, "/proc/self/status cannot be read or has no VmRSS",
                "mount /proc: memory cannot be watched without it");
  }
  ProcessMemory memory;
  memory.resident = *resident;
  memory.peak = kib_field(*status, "VmHWM:").value_or(*resident);
  memory.file_mapped =
      kib_field(*status, "RssFile:").value_or(0) + kib_field(*status, "RssShmem:").value_or(0);
  memory.anonymous = kib_field(*status, "RssAnon:").value_or(memory.resident - memory.file_mapped);
  memory.page_tables = kib_field(*status, "VmPTE:").value_or(0);
  return memory;
}

MemoryAudit audit_memory(const Ledger& ledger, Bytes baseline_resident) {
  MemoryAudit audit;
  audit.ledger = ledger.used();
  const Bytes resident = process_memory().resident;
  // Program pages may have been reclaimed since the baseline was taken.
  audit.resident = resident > baseline_resident ? resident - baseline_resident : 0;
  audit.unaccounted = static_cast<std::int64_t>(resident) -
                      static_cast<std::int64_t>(baseline_resident) -
                      static_cast<std::int64_t>(audit.ledger);
  return audit;
}

void configure_allocator() {
#ifdef __GLIBC__
  mallopt(M_ARENA_MAX, 1);
  mallopt(M_MMAP_THRESHOLD, 128 * 1024);
  mallopt(M_TRIM_THRESHOLD, 128 * 1024);
  mallopt(M_TOP_PAD, 64 * 1024);
#endif
}

void trim_allocator() {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

}  // namespace plimsoll
