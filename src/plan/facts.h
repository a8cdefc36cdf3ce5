// What the planner must know of a model file before it can decide.
#pragma once

#include "file/model_file.h"
#include "plan/plan.h"
#include "text/tokenizer.h"

namespace plimsoll {

/// From the header alone; reads no tensor. Refers to the file. Throws as describe() and find_tensors() do.
ModelFacts model_facts(const ModelFile& file, const Tokenizer& tokenizer);

}  // namespace plimsoll
