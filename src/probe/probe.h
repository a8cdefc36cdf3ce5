// Measures this machine with the kernels that will run, on made-up weights.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "plan/machine.h"

namespace plimsoll {

/// Every format that matrices may have in memory.
std::vector<FormatId> matrix_formats();

/// A machine that knows these formats: the one kept in `folder`, completed where it lacks some, or
/// measured where there is none (or `anew`). Takes up to a few tenths of a second for each format,
/// and holds no more than `room` bytes meanwhile, all given back afterwards. What was measured is
/// kept. Empty where it takes measuring and the room is too small for it.
std::optional<Machine> find_machine(const std::string& folder, const MachineKey& key,
                                    std::span<const FormatId> formats, Bytes room, bool anew);

}  // namespace plimsoll
