#include "base/process.h"

#include <fcntl.h>
#include <link.h>
#include <malloc.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>

#include "base/error.h"
#include "base/region.h"
#include "base/small_file.h"
#include "base/threads.h"

namespace plimsoll {
namespace {

bool program_is_divided = false;

constexpr unsigned long thp_disable_except_advised = 1 << 1;  // PR_THP_DISABLE_EXCEPT_ADVISED

}  // namespace

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

namespace {

using SegmentBody = FunctionRef<void(std::uintptr_t begin, Bytes bytes)>;

/// Of one program or library: the pages of its segments of code and constants.
void for_each_segment_of(const dl_phdr_info& object, const SegmentBody& body) {
  for (int i = 0; i < object.dlpi_phnum; ++i) {
    const ElfW(Phdr)& segment = object.dlpi_phdr[i];
    if (segment.p_type != PT_LOAD || (segment.p_flags & PF_W) != 0) continue;
    const std::uintptr_t address = object.dlpi_addr + segment.p_vaddr;
    const std::uintptr_t begin = round_down(address, page_bytes);
    body(begin, round_up(address + segment.p_memsz, page_bytes) - begin);
  }
}

/// Of the program and of all libraries.
void for_each_segment(SegmentBody body) {
  dl_iterate_phdr(
      [](dl_phdr_info* object, std::size_t, void* data) {
        for_each_segment_of(*object, *static_cast<SegmentBody*>(data));
        return 0;
      },
      &body);
}

}  // namespace

Bytes program_bytes() {
  Bytes bytes = 0;
  for_each_segment([&bytes](std::uintptr_t, Bytes segment) { bytes += segment; });
  return bytes;
}

Bytes own_object_bytes() {
  Bytes found = 0;
  dl_iterate_phdr(
      [](dl_phdr_info* object, std::size_t, void* data) {
        const auto here = reinterpret_cast<std::uintptr_t>(&own_object_bytes);
        bool is_own = false;
        Bytes all = 0;
        for_each_segment_of(*object, [&](std::uintptr_t begin, Bytes bytes) {
          is_own = is_own || (here >= begin && here - begin < bytes);
          all += bytes;
        });
        if (is_own) *static_cast<Bytes*>(data) = all;
        return is_own ? 1 : 0;
      },
      &found);
  return found;
}

void divide_program() {
  // Smaller ones would hold less, but each takes some 200 bytes of the kernel.
  static constexpr Bytes piece = 16 * KiB;
  bool divided = true;
  for_each_segment([&divided](std::uintptr_t begin, Bytes bytes) {
    // Every other one is not to be in core dumps: the files have it.
    for (Bytes at = piece; at < bytes; at += 2 * piece)
      divided &= madvise(reinterpret_cast<void*>(begin + at), std::min(piece, bytes - at),
                         MADV_DONTDUMP) == 0;
  });
  program_is_divided = divided;
  release_program();  // what starting has mapped in large ones
}

bool is_program_divided() { return program_is_divided; }

void release_program() {
  for_each_segment([](std::uintptr_t begin, Bytes bytes) {
    madvise(reinterpret_cast<void*>(begin), bytes, MADV_DONTNEED);  // as it was is no error
  });
}

void restart_peak() {
  const int file = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
  if (file < 0) return;
  [[maybe_unused]] const ssize_t written = write(file, "5", 1);
  close(file);
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
  // One arena, since every arena holds slack of its own and nothing allocates in a hot loop; blocks
  // from 128 KiB on are mappings that go when they are freed. Naming the thresholds also stops
  // glibc from raising them by itself.
  mallopt(M_ARENA_MAX, 1);
  mallopt(M_MMAP_THRESHOLD, 128 * KiB);
  mallopt(M_TRIM_THRESHOLD, 128 * KiB);
  mallopt(M_TOP_PAD, 64 * KiB);

  // A stack of glibc's usual 8 MiB has room for huge pages, and gets them where they are the
  // system's default: 2 MiB for the first word touched.
  pthread_attr_t attributes;
  if (pthread_attr_init(&attributes) == 0) {
    pthread_attr_setstacksize(&attributes, MiB);
    pthread_setattr_default_np(&attributes);
    pthread_attr_destroy(&attributes);
  }
#endif
  // For the heap the same is asked of the kernel (Linux 6.18; older ones refuse): huge pages only
  // where advised.
  prctl(PR_SET_THP_DISABLE, 1, thp_disable_except_advised, 0, 0);
}

void trim_allocator() {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

}  // namespace plimsoll
