// What this processor can do, and which kernels to use. Compiled without instruction-set flags, since it runs first.
#pragma once

#include <string_view>

namespace plimsoll {

/// Kernel families, plainest first.
enum class Isa { reference, avx2, avx512 };
std::string_view name(Isa isa);

/// True if this processor (and operating system state) can run the family. avx512 means F, BW, DQ, VL, VNNI and VBMI
/// together (Ice Lake, Zen 4 and later).
bool cpu_supports(Isa isa);

/// The best supported family, or the one that the environment's PLIMSOLL_ISA names.
/// Throws Error(usage) for an unknown name, Error(machine_limit) for one that this processor lacks.
Isa choose_isa();

}  // namespace plimsoll
