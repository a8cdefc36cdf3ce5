// run --json-lines: text as it becomes final, then all that --json says.
#include <gtest/gtest.h>

#include <sstream>

#include "cli/program.h"

namespace plimsoll::test {
namespace {

std::vector<nlohmann::json> lines_of(const std::string& out) {
  std::vector<nlohmann::json> lines;
  std::istringstream stream(out);
  for (std::string line; std::getline(stream, line);) {
    lines.push_back(nlohmann::json::parse(line, nullptr, false));
    EXPECT_TRUE(lines.back().is_object()) << line;
  }
  return lines;
}

TEST(JsonLines, PiecesAreTheText) {
  const std::vector<std::string> run{"run",      "--memory",        enough_memory,
                                     "--prompt", "The file system", "--tokens",
                                     "30",       "--seed",          "3"};
  std::vector<std::string> as_lines = run, as_one = run;
  as_lines.push_back("--json-lines");
  as_one.push_back("--json");
  const Outcome outcome = run_program(as_lines);
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(outcome.error, "");
  const std::vector<nlohmann::json> lines = lines_of(outcome.out);
  ASSERT_GT(lines.size(), 10u);
  std::string text;
  for (std::size_t i = 0; i + 1 < lines.size(); ++i) {
    EXPECT_EQ(lines[i].size(), 1u);
    text += lines[i].value("text", "");
  }
  EXPECT_EQ(lines.back()["text"], text);
  const nlohmann::json one = run_program(as_one).json();
  EXPECT_EQ(one["text"], text);
  for (const auto& [key, value] : one.items()) EXPECT_TRUE(lines.back().contains(key)) << key;
}

TEST(JsonLines, NothingIsTakenBack) {
  const Outcome outcome =
      run_program({"run", "--memory", enough_memory, "--prompt", "The file", "--tokens", "40",
                   "--temperature", "0", "--json-lines", "--stop", "the file"});
  const std::vector<nlohmann::json> lines = lines_of(outcome.out);
  ASSERT_FALSE(lines.empty());
  std::string text;
  for (std::size_t i = 0; i + 1 < lines.size(); ++i) text += lines[i].value("text", "");
  EXPECT_EQ(lines.back()["text"], text);
  EXPECT_EQ(text.find("the file"), std::string::npos);
}

TEST(JsonLines, ErrorsAreALineToo) {
  Invocation by_variable{{"run", "--prompt", "a", "--memory", "1MiB"}};
  by_variable.environment = {{"PLIMSOLL_RUN_JSON_LINES", "yes"}};
  for (const Invocation& invocation :
       {Invocation{{"run", "--json-lines", "--prompt", "a", "--memory", "1MiB"}}, by_variable}) {
    const Outcome outcome = run_program(invocation);
    EXPECT_EQ(outcome.exit_code, 3);
    EXPECT_EQ(outcome.error, "");
    const std::vector<nlohmann::json> lines = lines_of(outcome.out);
    ASSERT_EQ(lines.size(), 1u);
    EXPECT_EQ(lines[0]["error"]["code"], "budget_refused");
  }
}

}  // namespace
}  // namespace plimsoll::test
