// Speeds that models reached, noted for coming predictions.
#pragma once

#include <cstdint>
#include <string>

#include "plan/plan.h"

namespace plimsoll {

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
/// Notes it beside the machine's file in `folder`, where there is one that knows the plan's
/// formats. Believed, it and all that was noted aside since the last measurement become part of the
/// machine, for coming predictions. Nothing that another process notes at the same time is lost.
void note_reached(const std::string& folder, const ModelFacts& facts, const Plan& plan,
                  const ReachedSeconds& reached, Noting noting);

}  // namespace plimsoll
