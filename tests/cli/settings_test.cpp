// Options that are set by the environment and by the configuration file.
#include "options/settings.h"

#include <gtest/gtest.h>

#include <fstream>
#include <set>

#include "cli/commands.h"
#include "cli/program.h"
#include "support/temporary_folder.h"

namespace plimsoll::test {
namespace {

using Words = std::vector<std::string>;
using Environment = std::vector<std::pair<std::string, std::string>>;

class SettingsOfPrograms : public ::testing::Test {
 protected:
  Outcome call(Words words, const std::string& file, Environment environment = {}) {
    std::ofstream(path()) << file;
    environment.emplace_back("PLIMSOLL_CONFIG", path());
    Invocation invocation{std::move(words)};
    invocation.environment = std::move(environment);
    return run_program(invocation);
  }

  /// The value and the origin of an option of run.
  std::pair<nlohmann::json, std::string> of_run(const std::string& key, const std::string& file,
                                                Environment environment = {}) {
    const Outcome outcome = call({"config", "run", "--json"}, file, std::move(environment));
    const nlohmann::json json = outcome.json();
    if (!json.contains("commands")) return {};
    const nlohmann::json option = json["commands"]["run"][key];
    return {option["value"], option["origin"].get<std::string>()};
  }

  std::string path() const { return folder_.file("config.toml"); }

 private:
  TemporaryFolder folder_;
};

TEST_F(SettingsOfPrograms, WhatCountsMore) {
  using Pair = std::pair<nlohmann::json, std::string>;
  const std::string both = "threads = 3\n[run]\nthreads = 4\n";
  EXPECT_EQ(of_run("top-k", ""), Pair(40, "default"));
  EXPECT_EQ(of_run("threads", ""), Pair(nullptr, "not set"));
  EXPECT_EQ(of_run("threads", "threads = 3\n"), Pair(3, path() + ":1"));
  EXPECT_EQ(of_run("threads", both), Pair(4, path() + ":3"));
  EXPECT_EQ(of_run("threads", both, {{"PLIMSOLL_THREADS", "5"}}), Pair(5, "PLIMSOLL_THREADS"));
  EXPECT_EQ(of_run("threads", both, {{"PLIMSOLL_THREADS", "5"}, {"PLIMSOLL_RUN_THREADS", "6"}}),
            Pair(6, "PLIMSOLL_RUN_THREADS"));
  EXPECT_EQ(of_run("threads", both, {{"PLIMSOLL_THREADS", ""}}), Pair(4, path() + ":3"))
      << "an empty variable sets nothing";
  // The command line before all.
  const Words run{"run", "--prompt", "a", "--tokens", "1", "--json"};
  EXPECT_EQ(call(run, both).json()["threads"], 4);
  Words with_flag = run;
  with_flag.insert(with_flag.end(), {"--threads", "2"});
  EXPECT_EQ(call(with_flag, both, {{"PLIMSOLL_RUN_THREADS", "5"}}).json()["threads"], 2);
}

TEST_F(SettingsOfPrograms, AllKindsOfValues) {
  const nlohmann::json json =
      call({"run"},
           "model = \"" + bundled_model + "\"\nmemory = \"" + enough_memory +
               "\"\n[run]\nprompt = \"The file\"\ntokens = 5\ntemperature = 0.0\njson = true\n"
               "seed = 7\nstop = [\"zzz\", \"\\n\\n\"]\n")
          .json();
  EXPECT_EQ(json["tokens"], 5);
  EXPECT_EQ(json["seed"], 7);
  EXPECT_EQ(json["prompt"], "The file");
  const nlohmann::json depths =
      call({"bench", "--repeats", "1", "--prompt", "4", "--tokens", "2", "--json"},
           "[bench]\ndepths = [0, 8]\n")
          .json();
  EXPECT_EQ(depths["depths"].size(), 2u);
  EXPECT_EQ(call({"bench", "--repeats", "1", "--prompt", "4", "--tokens", "2", "--json"}, "",
                 {{"PLIMSOLL_BENCH_DEPTHS", "0,4,8"}})
                .json()["depths"]
                .size(),
            3u);
}

TEST_F(SettingsOfPrograms, SwitchesGoBothWays) {
  const std::string on = "json = true\n";
  EXPECT_TRUE(call({"tokenize", "--text", "a"}, on).out.starts_with("{"));
  EXPECT_FALSE(call({"tokenize", "--text", "a", "--json=false"}, on).out.starts_with("{"));
  EXPECT_FALSE(
      call({"tokenize", "--text", "a"}, on, {{"PLIMSOLL_JSON", "no"}}).out.starts_with("{"));
  EXPECT_TRUE(call({"tokenize", "--text", "a"}, "", {{"PLIMSOLL_TOKENIZE_JSON", "1"}})
                  .out.starts_with("{"));
  // Errors follow.
  const Outcome wrong = call({"plan", "no-such.gguf"}, on);
  EXPECT_EQ(wrong.json()["error"]["code"], "file_not_found");
  EXPECT_EQ(call({"plan", "no-such.gguf", "--json=false"}, on).out, "");
}

TEST_F(SettingsOfPrograms, OfTwoThatExcludeEachOtherTheStrongerStays) {
  const std::string chat = "[run]\nchat = true\n";
  const Words run{"run", "--prompt", "a", "--tokens", "1", "--json"};
  EXPECT_EQ(call(run, chat).exit_code, 0);
  EXPECT_EQ(call({"tokenize", "--json"}, "[tokenize]\ntext = \"a\"\nfile = \"b\"\n").exit_code, 2);
  EXPECT_EQ(
      call({"tokenize", "--json"}, "[tokenize]\nfile = \"b\"\n", {{"PLIMSOLL_TOKENIZE_TEXT", "a"}})
          .json()["count"],
      1);
}

TEST_F(SettingsOfPrograms, WrongOnesNameWhereTheyStand) {
  struct Case {
    std::string file, line, part;
  };
  for (const Case& c : std::vector<Case>{
           {"memory = \"lots\"\n", ":1", "--memory"},
           {"\n\nthreads = 0\n", ":3", "--threads"},
           {"[run]\ntokens = \"x\"\n", ":2", "--tokens"},
           {"[run]\ntokens = 1.5\n", ":2", "--tokens"},
           {"[run]\ntokens = [1, 2]\n", ":2", "--tokens"},
           {"[run]\njson = \"perhaps\"\n", ":2", "--json"},
           {"[run]\nstop = [\"a\", \"\"]\n", ":2", "--stop"},
           {"[run]\nseed = 1999-01-01\n", ":2", "seed"},
           {"[run]\ntop-p = 0\n", ":2", "top-p"},
           {"[run]\ntempreature = 1\n", ":2", "temperature"},
           {"[rnu]\n", ":1", "run"},
           {"memroy = \"1GiB\"\n", ":1", "memory"},
           {"\ntemperature = 1\n", ":2", "[run]"},
           {"[run.deep]\na = 1\n", ":1", "section"},
           {"memory = 1GiB\n", ":1", "quotes"},
           {"[run\n", ":1", ""},
           {"threads = 1\nthreads = 2\n", ":2", ""},
           {"memory = \"1024TiB\"\n", ":1", "--memory"},
           {"model = \"a\"\nmodel.b = 1\n", ":2", ""},
       }) {
    const Outcome outcome = call({"run", "--prompt", "a"}, c.file);
    EXPECT_EQ(outcome.exit_code, c.file.find("1024TiB") == std::string::npos ? 2 : 1) << c.file;
    EXPECT_EQ(outcome.out, "") << c.file;
    EXPECT_NE(outcome.error.find(path() + c.line), std::string::npos) << c.file << outcome.error;
    EXPECT_NE(outcome.error.find(c.part), std::string::npos) << c.file << outcome.error;
  }
  const Outcome variable = call({"run", "--json"}, "", {{"PLIMSOLL_RUN_TOKENS", "many"}});
  EXPECT_NE(variable.json()["error"].value("message", "").find("PLIMSOLL_RUN_TOKENS"),
            std::string::npos);
}

TEST_F(SettingsOfPrograms, StrangeFiles) {
  EXPECT_EQ(call({"tokenize", "--text", "a"}, std::string("\0\0\0", 3)).exit_code, 2);
  EXPECT_EQ(call({"tokenize", "--text", "a"}, "\xFF\xFE").exit_code, 2);
  EXPECT_EQ(call({"tokenize", "--text", "a"}, std::string(2 << 20, '#')).exit_code, 2);
  EXPECT_EQ(call({"tokenize", "--text", "a"}, "a = " + std::string(100000, '[')).exit_code, 2);
  EXPECT_EQ(call({"tokenize", "--text", "a"}, "\xEF\xBB\xBF# only a comment").exit_code, 0);
  EXPECT_EQ(call({"tokenize", "--text", "a"}, "[run]\nstop = []\n").exit_code, 0);
  for (const char* missing : {"/no/such/file.toml", "/"}) {
    Invocation invocation{{"tokenize", "--text", "a", "--json"}};
    invocation.environment = {{"PLIMSOLL_CONFIG", missing}};
    const Outcome outcome = run_program(invocation);
    EXPECT_EQ(outcome.exit_code, 1) << missing;
    EXPECT_NE(outcome.json()["error"].value("message", "").find(missing), std::string::npos);
    invocation.arguments = {"help"};
    EXPECT_EQ(run_program(invocation).exit_code, 0) << "help works with wrong settings";
    invocation.arguments = {"run", "--help"};
    EXPECT_EQ(run_program(invocation).exit_code, 0);
    invocation.arguments = {"--version"};
    EXPECT_EQ(run_program(invocation).exit_code, 0);
  }
}

TEST_F(SettingsOfPrograms, MistypedVariablesAreSaid) {
  const Outcome outcome = call({"tokenize", "--text", "a"}, "",
                               {{"PLIMSOLL_MEMROY", "1GiB"}, {"PLIMSOLL_SHARED", "x"}});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_NE(outcome.error.find("did you mean PLIMSOLL_MEMORY"), std::string::npos) << outcome.error;
  EXPECT_EQ(outcome.error.find("PLIMSOLL_SHARED"), std::string::npos) << outcome.error;
}

TEST_F(SettingsOfPrograms, WhatConfigPrintsIsAFile) {
  const std::string file =
      "memory = \"1.2GiB\"\n[run]\nstop = [\"a \\\"b\\\" \\\\\", \"\\u0001\\u007F \\n\"]\nkeep = "
      "true\n"
      "[fit]\neffort = \"fast\"\n";
  const Outcome first = call({"config"}, file);
  EXPECT_EQ(first.exit_code, 0) << first.error;
  const Outcome second = call({"config", "--json"}, first.out);
  EXPECT_EQ(second.exit_code, 0) << second.out << first.out;
  nlohmann::json expected = call({"config", "--json"}, file).json(), found = second.json();
  for (nlohmann::json* all : {&expected, &found})
    for (auto& command : (*all)["commands"])
      for (auto& option : command) option.erase("origin");
  EXPECT_EQ(found, expected);
  EXPECT_EQ(call({"config", "rnu"}, "").exit_code, 2);
}

TEST(Settings, NamesAreUniqueAndNobodyElses) {
  // Those that other parts of the project read.
  std::set<std::string> seen{"PLIMSOLL_CONFIG",      "PLIMSOLL_ISA",      "PLIMSOLL_SHARED",
                             "PLIMSOLL_MEMORY_RUNS", "PLIMSOLL_FAMILIES", "PLIMSOLL_MODELS"};
  std::set<std::string> shared;
  for (const CommandDeclaration& command : commands().declarations()) {
    for (const OptionDeclaration& option : command.options) {
      EXPECT_FALSE(option.help.empty()) << command.name << " " << option.name;
      if (!option.can_be_set()) continue;
      EXPECT_TRUE(seen.insert(variable_of(command.name, option)).second)
          << variable_of(command.name, option);
      if (!option.shared || !shared.insert(option.key()).second) continue;
      EXPECT_TRUE(seen.insert(variable_of("", option)).second) << variable_of("", option);
    }
  }
  EXPECT_TRUE(seen.contains("PLIMSOLL_MODEL"));
  EXPECT_TRUE(seen.contains("PLIMSOLL_MEMORY"));
  EXPECT_TRUE(seen.contains("PLIMSOLL_RUN_TOP_K"));
}

}  // namespace
}  // namespace plimsoll::test
