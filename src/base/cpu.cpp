#include "base/cpu.h"

#include <fmt/format.h>

#include <cstdint>
#include <cstdlib>

#include "base/error.h"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

namespace plimsoll {
namespace {

struct Features {
  bool avx2 = false;
  bool avx512 = false;
  bool neon = false;
};

#if defined(__x86_64__)

/// Which register states the operating system saves: extended control register 0.
std::uint64_t extended_control() {
  std::uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low | (static_cast<std::uint64_t>(high) << 32);
}

bool all_set(std::uint64_t value, std::uint64_t mask) { return (value & mask) == mask; }

/// Bit names and places: Intel 64 and IA-32 Software Developer's Manual, volume 2A, CPUID; volume
/// 1, 13.3 (XCR0). Every extension that the compiler may use in a family's folder is asked for, not
/// only those used by name.
Features probe_features() {
  Features found;
  unsigned eax, ebx, ecx, edx;
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0) return found;
  constexpr unsigned xsave_enabled = bit_OSXSAVE;
  constexpr unsigned leaf1_avx2 = bit_FMA | bit_AVX | bit_F16C | bit_SSE4_2 | bit_POPCNT;
  constexpr unsigned leaf1_avx512 = bit_AES | bit_PCLMUL;
  if (!all_set(ecx, xsave_enabled | leaf1_avx2)) return found;
  const bool aes = all_set(ecx, leaf1_avx512);

  const std::uint64_t saved = extended_control();
  constexpr std::uint64_t ymm_state = 0x06;  // SSE and AVX
  constexpr std::uint64_t zmm_state = 0xe0;  // mask registers, upper halves, registers 16 to 31
  if (!all_set(saved, ymm_state)) return found;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0) return found;
  found.avx2 = all_set(ebx, bit_AVX2 | bit_BMI | bit_BMI2);
  found.avx512 = found.avx2 && aes && all_set(saved, zmm_state) &&
                 all_set(ebx, bit_AVX512F | bit_AVX512BW | bit_AVX512CD | bit_AVX512DQ |
                                  bit_AVX512VL | bit_AVX512IFMA) &&
                 all_set(ecx, bit_AVX512VNNI | bit_AVX512VBMI | bit_AVX512VBMI2 | bit_AVX512BITALG |
                                  bit_AVX512VPOPCNTDQ | bit_GFNI | bit_VAES | bit_VPCLMULQDQ);
  return found;
}

#elif defined(__aarch64__)

/// NEON itself belongs to AArch64; its dot products came with Armv8.2.
Features probe_features() {
  Features found;
  found.neon = (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
  return found;
}

#else

Features probe_features() { return {}; }

#endif

constexpr Isa families[] = {Isa::reference, Isa::avx2, Isa::avx512, Isa::neon};

}  // namespace

std::string_view name(Isa isa) {
  switch (isa) {
    case Isa::reference:
      return "reference";
    case Isa::avx2:
      return "avx2";
    case Isa::avx512:
      return "avx512";
    case Isa::neon:
      return "neon";
  }
  return "reference";
}

bool cpu_supports(Isa isa) {
  switch (isa) {
    case Isa::reference:
      return true;
    case Isa::avx2:
      return probe_features().avx2;
    case Isa::avx512:
      return probe_features().avx512;
    case Isa::neon:
      return probe_features().neon;
  }
  return false;
}

std::vector<Isa> supported_isas() {
  std::vector<Isa> result;
  for (const Isa isa : families)
    if (cpu_supports(isa)) result.push_back(isa);
  return result;
}

Isa choose_isa() {
  const char* forced = std::getenv("PLIMSOLL_ISA");
  if (forced == nullptr || *forced == '\0') {
    return supported_isas().back();
  }
  for (const Isa isa : families) {
    if (name(isa) != forced) continue;
    if (cpu_supports(isa)) return isa;
    throw Error(ErrorCode::machine_limit,
                fmt::format("PLIMSOLL_ISA asks for {}, which this processor lacks", forced),
                "unset PLIMSOLL_ISA, and the best supported kernels are used");
  }
  throw Error(ErrorCode::usage, fmt::format("PLIMSOLL_ISA is \"{}\"", forced),
              "it may be reference, avx2, avx512 or neon");
}

}  // namespace plimsoll
