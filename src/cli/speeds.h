// Predicted speeds of a plan, and the machine that they are predicted from.
#pragma once

#include <optional>
#include <string>

#include "cli/terminal.h"
#include "engine/engine.h"
#include "plan/machine.h"
#include "plan/plan.h"

namespace plimsoll {

/// What is known of this machine, for the formats that the model has in memory. Measures what was
/// not (with `anew`, everything and every format) inside the plan's budget: call it after planning,
/// since it touches code and memory that a run does not. Empty where the budget has no room.
std::optional<Machine> machine_for(const OpenModel& model, const Plan& plan, bool anew);

/// Fills in the plan's two speeds, of a prompt of bench's default length and of decoding behind it.
void predict_speeds(const Machine& machine, const OpenModel& model, Plan& plan);

/// As people read it.
std::string describe_machine(const Machine& machine, const Terminal& terminal);

}  // namespace plimsoll
