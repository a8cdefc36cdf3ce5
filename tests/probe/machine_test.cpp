// The machine's file, and what measuring gives on any machine.
#include "probe/machine_file.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include <sys/wait.h>
#include <unistd.h>

#include "base/cache_folder.h"
#include "plan/speed.h"
#include "probe/probe.h"
#include "probe/reached.h"
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

/// The only document in a folder.
std::string file_in(const std::string& folder) {
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    if (entry.path().extension() == ".json") return entry.path().string();
  return {};
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

/// A model of one matrix and a plan of it, for what is noted of its speed.
struct Noted {
  TemporaryFolder folder;
  std::string cache = folder.path().string();
  TensorInfo info{.name = "m",
                  .format = &format(FormatId::Q4_0),
                  .rank = 2,
                  .shape = {256, 256, 1, 1},
                  .offset = 0,
                  .bytes = 256 * 144};
  ModelFacts facts;
  Plan plan;
  MachineKey key = machine_key(2);

  Noted() {
    Description& d = facts.description;
    d.layers = 1, d.width = 256, d.heads = d.kv_heads = 4, d.head_dim = 64;
    d.feed_forward = 256, d.vocabulary = 256, d.trained_context = 1024;
    d.per_layer.resize(1), d.ropes.resize(1);
    facts.tensors.push_back({{Role::q, 0, "m", 256, 256, true}, &info});
    plan.threads = 2;
    plan.context = 1024;
    plan.chunk_tokens = 256;
    const FormatId formats[] = {FormatId::Q4_0};
    EXPECT_TRUE(find_machine(cache, key, formats, room, false));
  }
  void note(double slower, Noting noting) const {
    note_reached(cache, facts, plan, {.depth = 16, .decode = 1e-6 * slower}, noting);
  }
  double speed() const {
    Plan predicted = plan;
    predict_speeds(*load_machine(cache, key), facts, predicted);
    return *predicted.decode_tokens_per_second;
  }
};

// The same command gives the same plan, whatever was answered in between.
TEST(Machine, AnswersAreNotedAndChangeNoPlan) {
  const Noted noted;
  const double before = noted.speed();
  for (int i = 1; i <= 20; ++i) {
    noted.note(100.0 * i, Noting::aside);
    EXPECT_EQ(noted.speed(), before);
  }
  // A measurement counts, and what was noted before it with it.
  noted.note(50, Noting::believed);
  const std::optional<Machine> machine = load_machine(noted.cache, noted.key);
  EXPECT_EQ(machine->reached.size(), 9u);
  EXPECT_NE(noted.speed(), before);
  EXPECT_TRUE(load_notes(noted.cache, *machine).empty());
  // Measured anew, nothing of that is left.
  const FormatId formats[] = {FormatId::Q4_0};
  noted.note(50, Noting::aside);
  const std::optional<Machine> again = find_machine(noted.cache, noted.key, formats, room, true);
  ASSERT_TRUE(again);
  EXPECT_TRUE(again->reached.empty());
  EXPECT_TRUE(load_notes(noted.cache, *again).empty());
}

TEST(Machine, ProcessesThatNoteAtTheSameTimeLoseNothing) {
  const Noted noted;
  std::vector<pid_t> children;
  for (int i = 0; i < 9; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      noted.note(100 + i, Noting::aside);
      ::_exit(0);
    }
    ASSERT_GT(child, 0);
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
  std::set<double> reached;
  for (const ReachedSpeed& speed : load_notes(noted.cache, *load_machine(noted.cache, noted.key)))
    reached.insert(speed.decode);
  EXPECT_EQ(reached.size(), 9u);
}

// Two that measured at once go on with the same numbers.
TEST(Machine, WhatOneMeasuredFirstBothGoOnWith) {
  const TemporaryFolder folder;
  const std::string cache = folder.path().string();
  const FormatId first[] = {FormatId::Q4_0}, second[] = {FormatId::Q8_0};
  std::vector<pid_t> children;
  ASSERT_TRUE(find_machine(cache, plain_key(1), first, room, false));
  for (const FormatId format : {FormatId::Q8_0, FormatId::Q6_K, FormatId::Q5_0}) {
    const pid_t child = ::fork();
    if (child == 0) {
      const FormatId wanted[] = {format};
      ::_exit(find_machine(cache, plain_key(1), wanted, room, false) ? 0 : 1);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 0;
    ::waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
  }
  const std::optional<Machine> machine = load_machine(cache, plain_key(1));
  ASSERT_TRUE(machine);
  EXPECT_EQ(machine->formats.size(), 4u);
  EXPECT_EQ(to_json(*find_machine(cache, plain_key(1), second, room, false)), to_json(*machine));
}

}  // namespace
}  // namespace plimsoll
