#include "base/cpu.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace plimsoll {
namespace {

/// Sets PLIMSOLL_ISA for a scope.
class ForcedIsa {
 public:
  explicit ForcedIsa(const char* value) {
    if (const char* before = std::getenv("PLIMSOLL_ISA")) before_ = before;
    set(value);
  }
  ~ForcedIsa() { set(before_ ? before_->c_str() : nullptr); }
  ForcedIsa(const ForcedIsa&) = delete;
  ForcedIsa& operator=(const ForcedIsa&) = delete;

 private:
  static void set(const char* value) {
    if (value != nullptr) {
      setenv("PLIMSOLL_ISA", value, 1);
    } else {
      unsetenv("PLIMSOLL_ISA");
    }
  }
  std::optional<std::string> before_;
};

/// The kernel's list of features; empty where there is none by this architecture's name (an
/// emulator shows its host's).
std::string kernel_flags() {
#if defined(__aarch64__)
  constexpr std::string_view key = "Features";
#else
  constexpr std::string_view key = "flags";
#endif
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(key)) return line + " ";
  }
  return "";
}

bool has_flags(const std::string& flags, const std::string& words) {
  std::istringstream stream(words);
  for (std::string word; stream >> word;) {
    if (flags.find(" " + word + " ") == std::string::npos) return false;
  }
  return true;
}

TEST(Cpu, AgreesWithTheKernel) {
  EXPECT_TRUE(cpu_supports(Isa::reference));
  const std::string flags = kernel_flags();
  if (flags.empty()) GTEST_SKIP() << "/proc/cpuinfo names no features of this architecture";
#if defined(__aarch64__)
  EXPECT_EQ(cpu_supports(Isa::neon), has_flags(flags, "asimd asimddp"));
#else
  EXPECT_EQ(cpu_supports(Isa::avx2), has_flags(flags, "avx2 fma f16c bmi1 bmi2"));
  EXPECT_EQ(cpu_supports(Isa::avx512),
            has_flags(flags,
                      "avx2 fma f16c bmi1 bmi2 avx512f avx512bw avx512cd avx512dq avx512vl "
                      "avx512_vnni avx512vbmi avx512_vbmi2 avx512_bitalg avx512_vpopcntdq "
                      "avx512ifma gfni vaes vpclmulqdq"));
#endif
}

constexpr Isa all_isas[] = {Isa::reference, Isa::avx2, Isa::avx512, Isa::neon};

TEST(Cpu, FamiliesBelongToOneArchitecture) {
#if defined(__aarch64__)
  EXPECT_FALSE(cpu_supports(Isa::avx2));
  EXPECT_FALSE(cpu_supports(Isa::avx512));
#else
  EXPECT_FALSE(cpu_supports(Isa::neon));
#endif
}

TEST(Cpu, ChoosesTheBestThatIsSupported) {
  const ForcedIsa none(nullptr);
  const Isa isa = choose_isa();
  EXPECT_TRUE(cpu_supports(isa));
  const std::vector<Isa> supported = supported_isas();
  EXPECT_EQ(supported.front(), Isa::reference);
  EXPECT_EQ(supported.back(), isa);
  for (const Isa other : all_isas) {
    EXPECT_EQ(std::ranges::count(supported, other), cpu_supports(other) ? 1 : 0) << name(other);
    EXPECT_TRUE(other <= isa || !cpu_supports(other)) << name(other);
  }
  const ForcedIsa empty("");
  EXPECT_EQ(choose_isa(), isa);
}

TEST(Cpu, ForcedFamilyIsTakenOrRefusedLoudly) {
  for (const Isa isa : all_isas) {
    const ForcedIsa forced(std::string(name(isa)).c_str());
    if (cpu_supports(isa)) {
      EXPECT_EQ(choose_isa(), isa);
      continue;
    }
    try {
      choose_isa();
      ADD_FAILURE() << name(isa);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::machine_limit);
    }
  }
  const ForcedIsa unknown("sse9");
  try {
    choose_isa();
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::usage);
    EXPECT_NE(error.message().find("sse9"), std::string::npos);
  }
}

}  // namespace
}  // namespace plimsoll
