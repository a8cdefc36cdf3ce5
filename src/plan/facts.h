// What the planner must know of a model file and of this process before it can decide.
#pragma once

#include "base/bytes.h"
#include "file/model_file.h"
#include "plan/plan.h"
#include "text/tokenizer.h"

namespace plimsoll {

/// From the header alone; reads no tensor. Refers to the file. Throws as describe() and find_tensors() do.
ModelFacts model_facts(const ModelFile& file, const Tokenizer& tokenizer);

/// What this process holds besides the text account (program, libraries, stacks, heap), and what of
/// it will still come while running, a prompt of usual length included: declared, and the same from
/// start to start, unless the process holds more than that by now. Call it after the model's header
/// and tokenizer are in memory. `counted_elsewhere`: of what it holds, what other accounts or other
/// plans have.
Bytes runtime_bytes(const ModelFacts& facts, int threads, Bytes counted_elsewhere = 0);

/// The budget where the user gave none: what this machine or container really has to give. With
/// one, checks it against that: throws Error(machine_limit) when it is more.
Bytes decide_budget(std::optional<Bytes> wanted);

}  // namespace plimsoll
