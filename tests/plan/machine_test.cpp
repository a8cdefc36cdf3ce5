// The machine's file, and what measuring gives on any machine.
#include "plan/machine.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "plan/probe.h"
#include "support/temporary_folder.h"

namespace plimsoll {
namespace {

using test::TemporaryFolder;

constexpr Bytes room = 24 * MiB;

MachineKey plain_key(int threads) {
  MachineKey key = machine_key(threads);
  key.isa = supported_isas().back();
  return key;
}

/// The only file in a folder.
std::string file_in(const std::string& folder) {
  return std::filesystem::directory_iterator(folder)->path().string();
}
std::string text_of(const std::string& path) {
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

void expect_rate(double value) {
  EXPECT_TRUE(std::isfinite(value));
  EXPECT_GT(value, 0);
}

TEST(Machine, IsMeasuredOnceAndKept) {
  const TemporaryFolder temporary;
  const std::string folder = temporary.file("cache");
  const std::vector<FormatId> formats{FormatId::Q4_0, FormatId::F16, FormatId::Q4_0};
  const auto machine = find_machine(folder, plain_key(2), formats, room, false);
  ASSERT_TRUE(machine);
  EXPECT_EQ(machine->speeds.size(), 2u);
  EXPECT_EQ(machine->formats.size(), 2u);
  EXPECT_EQ(machine->find(FormatId::Q6_K), nullptr);
  for (const double value :
       {machine->element_seconds, machine->quantise_seconds, machine->key_seconds,
        machine->query_seconds, machine->prefill_query_seconds})
    expect_rate(value);
  for (const WorkerSpeeds& speeds : machine->speeds) {
    expect_rate(speeds.read_bytes_per_second);
    expect_rate(speeds.cached_read_bytes_per_second);
    expect_rate(speeds.dispatch_seconds);
    EXPECT_GE(speeds.product_start_seconds, speeds.dispatch_seconds);
    EXPECT_GT(speeds.compute_factor, 0);
    EXPECT_LE(speeds.compute_factor, speeds.workers);
  }
  for (const FormatSpeed& speed : machine->formats) {
    for (const double value : speed.weight_seconds) expect_rate(value);
    ASSERT_EQ(speed.bandwidth_fractions.size(), 2u);
    EXPECT_LE(speed.bandwidth_fractions[0], speed.bandwidth_fractions[1]);
  }

  const auto kept = load_machine(folder, machine->key);
  ASSERT_TRUE(kept);
  EXPECT_EQ(to_json(*kept), to_json(*machine));
  EXPECT_EQ(to_json(*find_machine(folder, machine->key, formats, room, false)), to_json(*machine));
  // A format more is all that is measured then; without room, nothing can be.
  const std::vector<FormatId> more{FormatId::Q8_0};
  EXPECT_FALSE(find_machine(folder, machine->key, more, 1 * MiB, false));
  const auto completed = find_machine(folder, machine->key, more, room, false);
  ASSERT_TRUE(completed && completed->find(FormatId::Q8_0));
  EXPECT_EQ(completed->formats.size(), 3u);
  EXPECT_EQ(completed->element_seconds, machine->element_seconds);
  EXPECT_TRUE(find_machine(folder, machine->key, formats, 1 * MiB, false));
  // What was measured with less room knows less of memory.
  const auto larger = find_machine(folder, machine->key, formats, 2 * room, false);
  ASSERT_TRUE(larger);
  EXPECT_GT(larger->probe_bytes, machine->probe_bytes);
  EXPECT_EQ(larger->formats.size(), 3u);
  EXPECT_EQ(temporary.count(), 1u);
}

TEST(Machine, AFileThatIsNotOfThisMachineIsMeasuredAgain) {
  const TemporaryFolder temporary;
  const std::string folder = temporary.path();
  const MachineKey key = plain_key(1);
  const std::vector<FormatId> formats{FormatId::Q8_0};
  ASSERT_TRUE(find_machine(folder, key, formats, room, false));
  const std::string path = file_in(folder), good = text_of(path);
  ASSERT_TRUE(load_machine(folder, key));
  std::vector<MachineKey> others(3, key);
  others[0].processor += " II";
  others[1].version += "-next";
  others[2].processors += 0.5;
  for (const MachineKey& other : others) EXPECT_FALSE(load_machine(folder, other));
  const auto changed = [&](auto change) {
    nlohmann::json json = nlohmann::json::parse(good);
    change(json);
    return json.dump();
  };
  for (const std::string& bad : std::vector<std::string>{
           "", "{", "[]", "null", good.substr(0, good.size() / 2), std::string(100, '\0'),
           changed([](auto& j) {
             j["batches"] = {1, 2};
           }),
           changed([](auto& j) { j["speeds"] = nlohmann::json::array(); }),
           changed([](auto& j) { j["speeds"][0]["read_bytes_per_second"] = 0; }),
           changed([](auto& j) { j["speeds"][0].erase("workers"); }),
           changed([](auto& j) { j["element_seconds"] = "fast"; }),
           changed([](auto& j) { j["formats"]["Q9_9"] = j["formats"]["Q8_0"]; }),
           changed([](auto& j) { j["formats"]["Q8_0"]["weight_seconds"][3] = -1; }),
           changed([](auto& j) { j["formats"]["Q8_0"]["bandwidth_fractions"] = {}; })}) {
    std::ofstream(path) << bad;
    EXPECT_FALSE(load_machine(folder, key)) << bad;
  }
  ASSERT_TRUE(find_machine(folder, key, formats, room, false));
  EXPECT_TRUE(load_machine(folder, key));
}

TEST(Machine, AFolderThatCannotBeWrittenIsNoError) {
  const TemporaryFolder temporary;
  std::ofstream(temporary.file("file")) << "not a folder";
  const std::vector<FormatId> formats{FormatId::F16};
  for (const std::string& folder : {temporary.file("file"), std::string()})
    EXPECT_TRUE(find_machine(folder, plain_key(1), formats, room, false));
}

TEST(Machine, TheCacheIsWhereTheUserWantsIt) {
  const char* const names[] = {"XDG_CACHE_HOME", "HOME"};
  std::optional<std::string> before[2];
  for (int i = 0; i < 2; ++i)
    if (const char* value = std::getenv(names[i])) before[i] = value;
  ::setenv("HOME", "/home/someone", 1);
  ::setenv("XDG_CACHE_HOME", "/somewhere", 1);
  EXPECT_EQ(cache_folder(), "/somewhere/plimsoll");
  ::setenv("XDG_CACHE_HOME", "relative", 1);
  EXPECT_EQ(cache_folder(), "/home/someone/.cache/plimsoll");
  ::unsetenv("XDG_CACHE_HOME");
  ::unsetenv("HOME");
  EXPECT_EQ(cache_folder(), "");
  for (int i = 0; i < 2; ++i)
    if (before[i]) ::setenv(names[i], before[i]->c_str(), 1);
}

// Most of what is met, not the last, and each kind apart.
TEST(Machine, TheMiddleOfWhatWasReachedLatelyCounts) {
  Machine machine;
  EXPECT_EQ(machine.usual_reach(2, WeightPlace::memory, Phase::decode), 1);
  machine.note({2, WeightPlace::memory, 0, 0.5});
  EXPECT_EQ(machine.usual_reach(2, WeightPlace::memory, Phase::decode), 0.75) << "half of the way";
  EXPECT_EQ(machine.usual_reach(2, WeightPlace::memory, Phase::prefill), 1) << "was not seen";
  EXPECT_EQ(machine.usual_reach(1, WeightPlace::memory, Phase::decode), 1);
  EXPECT_EQ(machine.usual_reach(2, WeightPlace::cache, Phase::decode), 1);
  machine.note({2, WeightPlace::cache, 3, 3});
  for (int i = 0; i < 100; ++i) machine.note({2, WeightPlace::memory, 1.1, i % 9 == 0 ? 4.0 : 0.8});
  EXPECT_EQ(machine.usual_reach(2, WeightPlace::memory, Phase::decode), 0.8);
  EXPECT_EQ(machine.usual_reach(2, WeightPlace::cache, Phase::prefill), 2);
  EXPECT_LE(machine.reached.size(), 10u);
}

// A quarter up from the slowest of what was noted and 1, each kind apart.
TEST(Machine, PromisesCountOnTheSlowerMoments) {
  Machine machine;
  EXPECT_EQ(machine.cautious().usual_reach(2, WeightPlace::memory, Phase::decode),
            1 / promise_margin);
  for (const double reach : {1.3, 0.7, 1.2, 0.8, 1.1, 0.9, 1.0, 1.4, 1.5})
    machine.note({2, WeightPlace::memory, 2 * reach, reach});
  EXPECT_DOUBLE_EQ(machine.usual_reach(2, WeightPlace::memory, Phase::decode), 1.05);
  const Machine slow = machine.cautious();
  EXPECT_DOUBLE_EQ(slow.usual_reach(2, WeightPlace::memory, Phase::decode), 0.925 / promise_margin);
  EXPECT_DOUBLE_EQ(slow.usual_reach(2, WeightPlace::memory, Phase::prefill), 1.65 / promise_margin);
  EXPECT_DOUBLE_EQ(slow.usual_reach(1, WeightPlace::memory, Phase::decode), 1 / promise_margin);
  EXPECT_DOUBLE_EQ(slow.usual_reach(2, WeightPlace::cache, Phase::decode), 1 / promise_margin);
}

TEST(Machine, WhatWasReachedIsKeptAndChecked) {
  const TemporaryFolder folder;
  const FormatId formats[] = {FormatId::Q4_0};
  std::optional<Machine> machine =
      find_machine(folder.path().string(), plain_key(1), formats, room, false);
  ASSERT_TRUE(machine);
  machine->note({1, WeightPlace::memory, 0.9, 0});
  const std::optional<Machine> again = parse_machine(to_json(*machine).dump());
  ASSERT_TRUE(again);
  EXPECT_EQ(again->usual_reach(1, WeightPlace::memory, Phase::prefill), 0.95);
  EXPECT_EQ(again->usual_reach(1, WeightPlace::memory, Phase::decode), 1);
  nlohmann::json bad = to_json(*machine);
  bad["reached"][0]["prefill"] = -1;
  EXPECT_FALSE(parse_machine(bad.dump()));
}

}  // namespace
}  // namespace plimsoll
