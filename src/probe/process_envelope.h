// What a process holds besides the accounts of a plan, and what it may hold at all.
#pragma once

#include <optional>

#include "base/bytes.h"
#include "plan/plan.h"

namespace plimsoll {

/// What this process holds besides the text account (program, libraries, stacks, heap), and what of
/// it will still come while running, a prompt of usual length included: declared, and the same from
/// start to start, unless the process holds more than that by now. Call it after the model's header
/// and tokenizer are in memory.
Bytes runtime_bytes(const ModelFacts& facts, int threads);

/// The budget where the user gave none: what this machine or container really has to give. With
/// one, checks it against that: throws Error(machine_limit) when it is more.
Bytes decide_budget(std::optional<Bytes> wanted);

}  // namespace plimsoll
