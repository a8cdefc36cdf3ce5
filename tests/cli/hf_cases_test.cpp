// Folders of the shared cases whose configuration decides what is said.
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "program.h"

namespace plimsoll::test {
namespace {

nlohmann::json run_folder(const std::string& folder, const std::string& prompt, int tokens) {
  const Outcome outcome = run_program({"run", folder, "--prompt", prompt, "--tokens",
                                       std::to_string(tokens), "--temperature", "0", "--json"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.error;
  return outcome.json();
}

/// Each line of `expected`: a folder's name, then the tokens that greedy decoding gives.
void compare_with_expected(const std::string& name) {
  const std::string folder = shared_folder + "/cases/" + name;
  std::ifstream expected(folder + "/expected");
  if (!expected) GTEST_SKIP() << "no " << folder << "/expected";
  int cases = 0;
  for (std::string line; std::getline(expected, line); ++cases) {
    const std::size_t end = line.find(' ');
    const auto wanted = nlohmann::json::parse(line.substr(line.find('[')));
    const auto found =
        run_folder(folder + "/" + line.substr(0, end),
                   "a long text that goes on beyond the window of eight tokens", 8);
    EXPECT_EQ(found.at("token_ids"), wanted) << line;
  }
  EXPECT_GT(cases, 0);
}

TEST(SharedCases, ConfigurationKeysAreFollowed) { compare_with_expected("hf-config-keys-ignored"); }

TEST(SharedCases, MistralSeesItsWindowOnly) { compare_with_expected("hf-mistral-window"); }

TEST(SharedCases, EveryConfiguredEndEndsTheText) {
  const std::string folder = shared_folder + "/cases/hf-several-eos";
  if (!exists(folder)) GTEST_SKIP() << "no " << folder;
  for (const char* name : {"generation-list", "config-list", "generation-differs"}) {
    const auto found = run_folder(folder + "/" + name, "hi", 6);
    EXPECT_EQ(found.at("finish_reason"), "stop") << name;
    EXPECT_EQ(found.at("tokens"), 0) << name;
  }
}

}  // namespace
}  // namespace plimsoll::test
