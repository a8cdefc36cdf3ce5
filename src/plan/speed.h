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

/// Tokens that have to be decoded for their rate to mean something.
constexpr std::int64_t least_decoded = 16;

/// What a plan reached of one session, in seconds; 0 where it was not seen.
struct ReachedSeconds {
  std::int64_t prompt_tokens = 0;
  double prefill = 0;      ///< of the prompt
  std::int64_t depth = 0;  ///< in the middle of decoding
  double decode = 0;       ///< of a token
};
/// Whether what was noted counts from now on. An answer is only noted, so that the same command
/// gives the same plan however often it is run; a measurement that was asked for changes what is
/// believed.
enum class Noting { aside, believed };
/// Notes it beside the machine's file in `folder`, where there is one that knows the plan's formats.
/// Believed, it and all that was noted aside since the last measurement become part of the machine,
/// for coming predictions. Nothing that another process notes at the same time is lost.
void note_reached(const std::string& folder, const ModelFacts& facts, const Plan& plan,
                  const ReachedSeconds& reached, Noting noting);

}  // namespace plimsoll
