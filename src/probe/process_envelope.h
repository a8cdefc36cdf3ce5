// What a process holds besides the accounts of a plan, and what it may hold at all.
#pragma once

#include <optional>

#include "base/bytes.h"
#include "plan/plan.h"

namespace plimsoll {

/// Whose process this is: this program's own, or one that this code is a guest in (a binding), of
/// which only what the guest adds counts.
enum class Whose { own, shared };

/// What is declared to be held before a model is open: program and libraries, heap, stacks.
Bytes envelope_bytes(int threads, Whose process);

/// What this process holds besides the text account (program, libraries, stacks, heap), and what of
/// it will still come while running, a prompt of usual length included: declared, and the same from
/// start to start, unless the process holds more than that by now (one's own; of a shared one
/// nobody knows what is whose). `held_text` is what the text account has by now. Call it after the
/// model's header and tokenizer are in memory.
Bytes runtime_bytes(const ModelFacts& facts, int threads, Bytes held_text, Whose process);

/// The budget where the user gave none: what this machine or container really has to give. With
/// one, checks it against that: throws Error(machine_limit) when it is more.
Bytes decide_budget(std::optional<Bytes> wanted);

}  // namespace plimsoll
