// What a process holds beside weights, cache and activations is part of its plan as well.
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "base/bytes.h"
#include "cli/program.h"
#include "support/synthetic_model.h"
#include "support/temporary_folder.h"

namespace plimsoll::test {
namespace {

namespace fs = std::filesystem;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool is_sanitized = true;
#else
constexpr bool is_sanitized = false;
#endif

class Memory : public ::testing::Test {
 protected:
  void SetUp() override {
    if (is_sanitized) GTEST_SKIP() << "a sanitized program holds many times as much";
  }
  const TemporaryFolder folder_;
};

/// Small, and trained for a long context; a token is a byte.
std::string long_model(const TemporaryFolder& folder) {
  SyntheticModel model;
  model.layers = 1;
  model.width = 64;
  model.heads = 2;
  model.kv_heads = 1;
  model.feed_forward = 64;
  model.vocabulary = 300;
  model.context = 131072;
  const std::string path = folder.file("long.gguf");
  write_synthetic_model(path, model, 2);
  return path;
}

TEST_F(Memory, ALongPromptIsPartOfThePlan) {
  const std::string model = long_model(folder_);
  const std::string context = "40032";
  std::string text;
  while (text.size() < 40000) text += "The kernel writes every page that it has changed to the disk. ";
  text.resize(40000);
  const Outcome plan = run_program({"plan", model, "--context", context, "--threads", "2", "--json"});
  const auto planned = plan.json()["peak_bytes"].get<std::uint64_t>();
  for (const bool json : {true, false}) {
    std::vector<std::string> words = {"run",       model,       "--memory",       std::to_string(planned),
                                      "--context", context,     "--threads",      "2",
                                      "--tokens",  "24",        "--temperature",  "0"};
    if (json) words.push_back("--json");
    const Outcome outcome = run_program({.arguments = words, .input = text});
    ASSERT_EQ(outcome.exit_code, 0) << outcome.error;
    if (!json) {
      EXPECT_NE(outcome.error.find("below the line"), std::string::npos) << outcome.error;
      continue;
    }
    const nlohmann::json result = outcome.json();
    EXPECT_EQ(result["predicted_peak_bytes"], planned) << "plan and run agree";
    EXPECT_LE(result["peak_bytes"].get<std::uint64_t>(), planned);
    EXPECT_EQ(result["prompt"], text);
    EXPECT_EQ(result["token_ids"].size(), result["tokens"]);
  }
}

TEST_F(Memory, APlanForAConversationSaysSo) {
  const std::string model = long_model(folder_);
  const auto peak = [&](std::vector<std::string> more) {
    std::vector<std::string> words = {"plan", model, "--context", "4096", "--threads", "1", "--json"};
    words.insert(words.end(), more.begin(), more.end());
    return run_program(words).json()["peak_bytes"].get<std::uint64_t>();
  };
  const std::uint64_t alone = peak({}), conversation = peak({"--chat"});
  EXPECT_GT(conversation, alone + 4096 * 32);
  EXPECT_LT(conversation, alone + MiB);
}

TEST_F(Memory, ALongKeyIsShownAsItIsRead) {
  std::ifstream source(bundled_model, std::ios::binary);
  std::string bytes{std::istreambuf_iterator<char>(source), {}};
  const auto number = [](auto value) {
    return std::string(reinterpret_cast<const char*>(&value), sizeof value);
  };
  constexpr std::size_t counts = 16, keys_begin = 24, alignment = 32;
  std::uint64_t keys;
  std::memcpy(&keys, bytes.data() + counts, sizeof keys);
  const std::string name = "general.long";
  const std::string head = number(std::uint64_t{name.size()}) + name + number(std::uint32_t{8});
  std::size_t length = 8 * MiB;
  length += alignment - (head.size() + sizeof(std::uint64_t) + length) % alignment;
  const std::string path = folder_.file("key.gguf");
  std::ofstream(path, std::ios::binary)
      << bytes.substr(0, counts) << number(keys + 1) << head << number(std::uint64_t{length})
      << std::string(length, '\x01') << bytes.substr(keys_begin);
  // Six bytes of JSON for each of its own: no room for a document of them.
  const Outcome outcome = run_program({.arguments = {"inspect", path, "--json"}, .data_limit = 48 * MiB});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.error;
  EXPECT_EQ(outcome.json()["metadata"][name].get<std::string>().size(), length);
}

/// Files that this program wrote into a cache, each followed by `more` bytes of numbers.
void grow(const fs::path& cache, std::size_t more) {
  int grown = 0;
  for (const auto& entry : fs::recursive_directory_iterator(cache)) {
    if (entry.path().extension() != ".json") continue;
    std::ifstream file(entry.path(), std::ios::binary);
    std::string text{std::istreambuf_iterator<char>(file), {}};
    text.resize(text.find_last_of('}'));
    text += ", \"more\": [";
    while (text.size() < more) text += "1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,";
    std::ofstream(entry.path(), std::ios::binary) << text << "1]}";
    ++grown;
  }
  EXPECT_GE(grown, 2) << "a machine and a quality";
}

TEST_F(Memory, LongFilesInTheCacheAreNotRead) {
  const std::string cache = folder_.file("cache");
  const auto run = [&](const std::string& command) {
    std::vector<std::string> words = {command, bundled_model, "--threads", "2", "--json"};
    if (command == "run") words.insert(words.end(), {"--memory", "16MiB", "--prompt", "The", "--tokens", "20", "--no-measure"});
    const Outcome outcome = run_program({.arguments = words, .environment = {{"XDG_CACHE_HOME", cache}}});
    EXPECT_EQ(outcome.exit_code, 0) << outcome.error << outcome.out;
    return outcome.json();
  };
  run("measure");
  run("plan");
  run("run");
  grow(cache, 12 * MiB);
  const nlohmann::json with_long = run("run");
  EXPECT_LE(with_long["peak_bytes"].get<std::uint64_t>(), 16 * MiB);
  EXPECT_LE(with_long["peak_bytes"].get<std::uint64_t>(), with_long["predicted_peak_bytes"].get<std::uint64_t>());
}

}  // namespace
}  // namespace plimsoll::test
