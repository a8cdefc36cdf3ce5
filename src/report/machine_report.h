// The machine that speeds are predicted from, as people read it.
#pragma once

#include <string>

#include "plan/machine.h"
#include "terminal/terminal.h"

namespace plimsoll {

std::string describe_machine(const Machine& machine, const Terminal& terminal);

}  // namespace plimsoll
