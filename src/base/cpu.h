// What this processor can do, and which kernels to use. Compiled without instruction-set flags,
// since it runs first.
#pragma once

#include <string_view>
#include <vector>

namespace plimsoll {

/// Kernel families, plainest first.
enum class Isa { reference, avx2, avx512, neon };
std::string_view name(Isa isa);

/// True if this processor (and operating system state) can run the family. avx512 means F, BW, DQ,
/// VL, VNNI and VBMI together (Ice Lake, Zen 4 and later); neon means with dot products (most of
/// Armv8.2 and later: Cortex-A75, Neoverse N1, Apple M1 and on).
bool cpu_supports(Isa isa);
/// All families that this processor supports, plainest first: reference is always among them.
std::vector<Isa> supported_isas();

/// The best supported family, or the one that the environment's PLIMSOLL_ISA names.
/// Throws Error(usage) for an unknown name, Error(machine_limit) for one that this processor lacks.
Isa choose_isa();

}  // namespace plimsoll
