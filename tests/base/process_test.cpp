#include "base/process.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "base/small_file.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool sanitized = true;
#else
constexpr bool sanitized = false;
#endif

namespace plimsoll {
namespace {

TEST(ProcessMemory, AgreesWithStatm) {
  std::ifstream statm("/proc/self/statm");
  Bytes total_pages = 0, resident_pages = 0;
  ASSERT_TRUE(statm >> total_pages >> resident_pages);
  const Bytes resident = resident_pages * static_cast<Bytes>(sysconf(_SC_PAGESIZE));
  const ProcessMemory memory = process_memory();
  EXPECT_NEAR(static_cast<double>(memory.resident), static_cast<double>(resident), 1.0 * MiB);
  EXPECT_EQ(memory.resident, memory.anonymous + memory.file_mapped);
  EXPECT_GE(memory.peak + MiB, memory.resident);
  EXPECT_GT(memory.page_tables, 0u);
}

TEST(ProcessMemory, PeakStaysWhenMemoryGoes) {
  constexpr Bytes bytes = 32 * MiB;
  {
    const auto block = std::make_unique<char[]>(bytes);
    std::memset(block.get(), 1, bytes);
    EXPECT_GE(process_memory().anonymous, bytes);
  }
  EXPECT_GE(process_memory().peak, bytes);
}

TEST(ConfigureAllocator, MayBeCalledAnyTimeAndTwice) {
  configure_allocator();
  std::vector<std::string> strings(1000, std::string(100, 'x'));
  configure_allocator();
  strings.resize(2000, std::string(1000, 'y'));
  EXPECT_EQ(strings[999].size(), 100u);
}

// However large the folios in the page cache and the windows around a fault are, no more than a mapping is mapped.
TEST(DivideProgram, LeavesSmallMappingsAndNothingOfThemHeld) {
  divide_program();
  ASSERT_TRUE(is_program_divided());
  const auto* const code = reinterpret_cast<const char*>(&divide_program);
  std::ifstream maps("/proc/self/maps");
  std::string line;
  bool found = false;
  while (std::getline(maps, line)) {
    std::uintptr_t begin = 0, end = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx", &begin, &end) != 2) continue;
    const auto address = reinterpret_cast<std::uintptr_t>(code);
    if (address < begin || address >= end) continue;
    found = true;
    EXPECT_LE(end - begin, 16 * KiB) << line;
  }
  EXPECT_TRUE(found);
  if (sanitized) return;
  EXPECT_LT(process_memory().file_mapped, program_bytes() / 2);
}

// Holes of whole pages between blocks that stay, which free() alone leaves with the heap.
TEST(TrimAllocator, GivesHolesBack) {
  if (sanitized) GTEST_SKIP() << "a sanitizer brings its own allocator";
  configure_allocator();
  trim_allocator();
  const Bytes before = process_memory().anonymous;
  std::vector<std::unique_ptr<char[]>> kept, scratch;
  for (int i = 0; i < 500; ++i) {
    scratch.push_back(std::make_unique<char[]>(32 * KiB));
    std::memset(scratch.back().get(), 1, 32 * KiB);
    kept.push_back(std::make_unique<char[]>(64));
  }
  EXPECT_GE(process_memory().anonymous, before + 10 * MiB);  // 15.6 in all
  scratch.clear();
  trim_allocator();
  // A page around each block that stays, at most.
  EXPECT_LE(process_memory().anonymous, before + 500 * 2 * 4 * KiB);
}

TEST(SmallFile, ReadsFieldsAndNumbers) {
  const std::string text = "MemTotalX:  1 kB\nMemTotal:\t 24684084 kB\nlast 17\nempty \nmax max";
  EXPECT_EQ(kib_field(text, "MemTotal:"), 24684084 * KiB);
  EXPECT_EQ(number_field(text, "last"), 17u);
  EXPECT_EQ(number_field(text, "las"), std::nullopt);
  EXPECT_EQ(number_field(text, "empty"), std::nullopt);
  EXPECT_EQ(number_field(text, "max"), std::nullopt);
  EXPECT_EQ(number_field("", "max"), std::nullopt);
  EXPECT_EQ(kib_field("a 18446744073709551615 kB", "a"), std::nullopt);
  EXPECT_EQ(whole_number(" 42\n"), 42u);
  for (const char* bad : {"", "\n", "max", "-1", "4 2", "42x", "18446744073709551616"}) {
    EXPECT_EQ(whole_number(bad), std::nullopt) << bad;
  }
  EXPECT_EQ(read_small_file("/nowhere/at/all"), std::nullopt);
  EXPECT_EQ(read_small_file("/proc"), std::nullopt);
}

TEST(SmallFile, HoldsNoMoreThanItMay) {
  EXPECT_TRUE(read_small_file("/proc/self/status", most_of_own_file));
  EXPECT_EQ(read_small_file("/proc/self/status", 100), std::nullopt);
  restart_peak();
  const Bytes before = process_memory().peak;
  EXPECT_EQ(read_small_file("/dev/zero", 2 * MiB), std::nullopt);  // endless
  EXPECT_LE(process_memory().peak, before + 8 * MiB);
}

TEST(SmallFile, DepthOfJsonIsCounted) {
  EXPECT_FALSE(is_nested_deeper("", 0));
  EXPECT_FALSE(is_nested_deeper("12", 0));
  EXPECT_TRUE(is_nested_deeper("[]", 0));
  EXPECT_FALSE(is_nested_deeper("[[],[],{\"a\":[1]}]", 3));
  EXPECT_TRUE(is_nested_deeper("[[],[],{\"a\":[1]}]", 2));
  EXPECT_FALSE(is_nested_deeper(R"(["[[[[\"[[[["])", 1)) << "brackets in texts count for nothing";
  EXPECT_TRUE(is_nested_deeper(std::string(100, '['), 64));
}

TEST(ProcessMemory, PeakCanBeginAnew) {
  { std::vector<std::uint8_t> large(64 * MiB, 1); }
  const Bytes before = process_memory().peak;
  restart_peak();
  const Bytes after = process_memory().peak;
  if (after == before) GTEST_SKIP() << "the kernel does not restart its count here";
  EXPECT_LT(after, before);
  EXPECT_GE(after + MiB, process_memory().resident);
}

}  // namespace
}  // namespace plimsoll
