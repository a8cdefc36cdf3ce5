// The kernel's own count of this process.
#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "base/ledger.h"

namespace plimsoll {

struct ProcessMemory {
  Bytes resident = 0;     ///< VmRSS
  Bytes peak = 0;         ///< VmHWM
  Bytes anonymous = 0;    ///< RssAnon
  Bytes file_mapped = 0;  ///< RssFile (program and libraries; reclaimable) and RssShmem
  Bytes page_tables = 0;  ///< VmPTE: charged to a control group, not part of VmRSS
};

/// From /proc/self/status. Throws Error(internal) when /proc is not there.
ProcessMemory process_memory();

/// Code and constants of the program and of every library that it has loaded: the most that may be
/// resident of them, the same from start to start.
Bytes program_bytes();
/// The same of the one program or library that this code is in.
Bytes own_object_bytes();
/// Divides the mappings of program_bytes() into small ones, each unlike its neighbours. A page fault maps what is in the
/// page cache around it, which may be 2 MiB of a program in one folio (since Linux 6.18) or 64 KiB, but never more than the
/// mapping: so that what is held of a program follows what it does, and not how its file came into the page cache.
/// Once, in main() of a program of one's own.
void divide_program();
bool is_program_divided();
/// Unmaps the pages of program_bytes(), which come back from the file (or the page cache) when they are touched: what
/// only opening a model has used is held no longer.
void release_program();

/// Lets ProcessMemory::peak count from now on, where the kernel allows that (proc(5), clear_refs,
/// since Linux 4.0); otherwise it goes on as it was.
void restart_peak();

/// The Ledger beside the kernel's count. They agree while every big block is a Region that has been
/// written.
struct MemoryAudit {
  Bytes ledger = 0;              ///< reserved over all accounts
  Bytes resident = 0;            ///< VmRSS above the baseline
  std::int64_t unaccounted = 0;  ///< resident - ledger: positive for memory that no account knows
};

/// `baseline_resident` is VmRSS before anything was reserved. Throws as process_memory() does.
MemoryAudit audit_memory(const Ledger& ledger, Bytes baseline_resident);

/// Sets the allocator up so that what it holds beyond live blocks stays small and does not grow
/// with threads; call first thing in main(). See docs/decisions for the measurement.
void configure_allocator();

/// Gives free pages inside the heap back to the kernel. Takes milliseconds: call it after work that
/// leaves much scratch behind (loading metadata, building a tokenizer), not per token.
void trim_allocator();

}  // namespace plimsoll
