// The machine that speeds are predicted from.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "plan/machine.h"
#include "terminal/terminal.h"

namespace plimsoll {

/// What is known of this machine, for these formats. Measures what was not (with `anew`,
/// everything) inside the budget: without a speed floor, call it after planning, since it touches
/// code and memory that a run does not. Empty where the budget has no room.
std::optional<Machine> machine_for(std::span<const FormatId> formats, Bytes budget, int threads,
                                   bool anew = false);

/// The same, for planning with a floor. Throws Error(budget_refused) where the budget has no room.
Machine machine_for_floor(std::span<const FormatId> formats, Bytes budget, int threads);

/// As people read it.
std::string describe_machine(const Machine& machine, const Terminal& terminal);

}  // namespace plimsoll
