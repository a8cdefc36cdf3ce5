// Predicted speeds of a plan.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/weights.h"
#include "plan/machine.h"
#include "plan/plan.h"

namespace plimsoll {

/// Tokens of the prompt that speeds are said of, where the context has room for them; decoding is
/// behind it.
constexpr std::int64_t usual_prompt = 512;

/// By position in the facts' tensors: each one's format in memory, given a plan's (empty: the
/// file's).
std::vector<const Format*> formats_held(const ModelFacts& facts, const Weights::Formats& formats);

/// Fills in the plan's two speeds. The machine knows the formats of all of its products.
void predict_speeds(const Machine& machine, const ModelFacts& facts, Plan& plan);

/// What the machine must know for a plan, and for any plan of a model.
std::vector<FormatId> formats_of(const ModelFacts& facts, const Plan& plan);
std::vector<FormatId> formats_of_any_plan(const ModelFacts& facts);

}  // namespace plimsoll
