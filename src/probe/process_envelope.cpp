#include "probe/process_envelope.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/limits.h"
#include "base/process.h"
#include "base/region.h"

namespace plimsoll {
namespace {

/// What a process is declared to hold besides its accounts, for the same command to get the same
/// plan: what it really holds at a moment differs by some pages from start to start. Checked by the
/// suite memory; docs/decisions/memory.md says what was measured.
///
/// Of code and constants, what is touched, in 64ths: of a program in small mappings (base/process.h) by each work, and
/// without running what was loaded.
constexpr Bytes all_parts = 64;
constexpr Bytes parts_of_work(Work work) {
  switch (work) {
    case Work::answering:
    case Work::scoring:
    case Work::benchmarking:
      return 18;
    case Work::measuring:
      return 16;
    default:
      return 16;
  }
}
constexpr Bytes parts_of_loading = 15;
constexpr Bytes rounding_bytes = 256 * KiB;
/// What the kernel notes of these mappings.
constexpr Bytes mapping_bytes = 160 * KiB;
/// The same of a program in large ones, of which more is mapped than touched; and for any work.
constexpr Bytes undivided_parts = 34;
constexpr Bytes undivided_rounding_bytes = 832 * KiB;
/// Heap: what parsing leaves behind, and what the allocator adds to the text account.
constexpr Bytes heap_bytes = 448 * KiB, heap_divisor_of_text = 32;
/// A process that holds more than was declared counts so many more.
constexpr Bytes declared_step = 128 * KiB;

/// What comes after planning: heap for the sequence and its text, and for each worker a stack.
constexpr Bytes later_bytes = 128 * KiB;

/// `declared`, or as many steps more as `held` takes.
Bytes at_least(Bytes declared, Bytes held) {
  return held <= declared ? declared : declared + round_up(held - declared, declared_step);
}

Bytes parts_of_code(Bytes parts, Whose process) {
  const Bytes all = process == Whose::own ? program_bytes() : own_object_bytes();
  return all / all_parts * parts;
}

bool is_divided(Whose process) { return process == Whose::own && is_program_divided(); }

/// A control group's count runs ahead of what its processes hold (pages are charged in batches for
/// each processor, and kernel memory belongs to nobody), so that a budget of exactly the group's
/// limit, the natural one in a container, seems to be too much by as much.
constexpr Bytes charged_ahead = 4 * MiB;

}  // namespace

Bytes envelope_bytes(int threads, Whose process) {
  const bool divided = is_divided(process);
  return parts_of_code(divided ? parts_of_work(Work::answering) : undivided_parts, process) +
         (divided ? mapping_bytes : 0) + heap_bytes + later_bytes +
         stack_bytes_per_thread * static_cast<Bytes>(threads);
}

Declared runtime_bytes(const ModelFacts& facts, int threads, Bytes held_text, Whose process,
                       Work work) {
  trim_allocator();
  const bool divided = is_divided(process);
  const Bytes declared_code =
      parts_of_code(divided ? parts_of_work(work) : undivided_parts, process);
  Bytes code = declared_code;
  Bytes heap = heap_bytes + facts.text_bytes / heap_divisor_of_text;
  if (process == Whose::own) {
    release_program();
    const ProcessMemory held = process_memory();
    code = at_least(code, held.file_mapped);
    heap = at_least(heap, held.anonymous - std::min(held.anonymous, held_text));
  }
  Declared declared;
  declared.running = code + (divided ? mapping_bytes : 0) + heap + later_bytes +
                     stack_bytes_per_thread * static_cast<Bytes>(threads) + facts.table_bytes;
  declared.of_rounding = divided ? rounding_bytes : undivided_rounding_bytes;
  // What a process holds already is not let go while it loads.
  if (divided && code == declared_code)
    declared.after_loading = code - parts_of_code(parts_of_loading, process);
  return declared;
}

Bytes decide_budget(std::optional<Bytes> wanted) {
  const MachineLimits limits = probe_limits();
  if (!wanted) return limits.usable;
  const Bytes most = limits.group_limit && round_down(*wanted, page_bytes) <= *limits.group_limit
                         ? limits.usable + charged_ahead
                         : limits.usable;
  // What others leave changes from moment to moment.
  const Bytes advised = limits.usable - limits.usable / 16;
  if (*wanted > most)
    throw Error(
        ErrorCode::machine_limit,
        fmt::format("--memory {} is more than this {} can give: {}", format_bytes(*wanted),
                    limits.group_limit ? "container" : "machine", format_bytes(limits.usable)),
        fmt::format("give --memory {} or less, or leave it out", advised));
  return *wanted;
}

}  // namespace plimsoll
