// What a process holds besides the accounts of a plan, and what it may hold at all.
#pragma once

#include <optional>

#include "base/bytes.h"
#include "plan/plan.h"

namespace plimsoll {

/// Whose process this is: this program's own, or one that this code is a guest in (a binding), of
/// which only what the guest adds counts.
enum class Whose { own, shared };

/// What a process is there for: each touches another part of the program.
enum class Work { answering, scoring, benchmarking, measuring, fitting };

/// Declared of a process besides its accounts.
struct Declared {
  Bytes running = 0;
  Bytes after_loading = 0;  ///< of that, what comes only when the weights are loaded
  Bytes of_rounding = 0;    ///< besides, where weights are rounded
};

/// What is declared to be held before a model is open: program and libraries, heap, stacks.
Bytes envelope_bytes(int threads, Whose process);

/// What this process holds besides the text account (program, libraries, stacks, heap), and what of
/// it will still come while running, a prompt of usual length included: declared, and the same from
/// start to start, unless the process holds more than that by now (one's own; of a shared one
/// nobody knows what is whose). `held_text` is what the text account has by now. Call it after the
/// model's header and tokenizer are in memory.
Declared runtime_bytes(const ModelFacts& facts, int threads, Bytes held_text, Whose process,
                       Work work);

/// The budget where the user gave none: what this machine or container really has to give. With
/// one, checks it against that: throws Error(machine_limit) when it is more.
Bytes decide_budget(std::optional<Bytes> wanted);

}  // namespace plimsoll
