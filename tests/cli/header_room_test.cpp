// What a model says of itself is held against --memory before it is read.
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "cli/program.h"
#include "support/temporary_folder.h"

namespace plimsoll::test {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t long_bytes = std::size_t{48} << 20;

std::string content(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// The bundled model with one more key, a string of some `length` bytes.
void write_with_long_key(const std::string& path, std::size_t length) {
  std::string bytes = content(bundled_model);
  constexpr std::size_t counts = 16, keys_begin = 24, alignment = 32;
  std::uint64_t keys;
  std::memcpy(&keys, bytes.data() + counts, sizeof keys);
  ++keys;
  std::memcpy(bytes.data() + counts, &keys, sizeof keys);
  const std::string name = "general.description_that_is_long";
  const auto number = [](auto value) {
    return std::string(reinterpret_cast<const char*>(&value), sizeof value);
  };
  std::string entry = number(std::uint64_t{name.size()}) + name + number(std::uint32_t{8});
  length += alignment - (entry.size() + sizeof(std::uint64_t) + length) % alignment;
  entry += number(std::uint64_t{length});
  std::ofstream file(path, std::ios::binary);
  file << bytes.substr(0, keys_begin) << entry << std::string(length, 'x')
       << bytes.substr(keys_begin);
}

void expect_refused(const Outcome& outcome, const std::string& command) {
  EXPECT_EQ(outcome.exit_code, 3) << command << outcome.error;
  EXPECT_NE(outcome.error.find("what it says of itself takes 48."), std::string::npos)
      << command << outcome.error;
  EXPECT_NE(outcome.error.find("--memory"), std::string::npos) << command << outcome.error;
}

TEST(HeaderRoom, ALongKeyIsRefusedByEveryCommand) {
  const TemporaryFolder folder;
  const std::string model = folder.file("long.gguf");
  write_with_long_key(model, long_bytes);
  for (const std::vector<std::string>& command : std::vector<std::vector<std::string>>{
           {"plan", model},
           {"run", model, "--prompt", "The"},
           {"tokenize", model, "--text", "The"},
           {"eval", model, "--text", PLIMSOLL_MODELS "/README.md"},
           {"bench", model},
           {"measure", model},
           {"fit", model, "--bits", "4", "-o", folder.file("fitted.gguf")}}) {
    std::vector<std::string> words = command;
    words.insert(words.end(), {"--memory", "64MiB"});
    expect_refused(run_program(words), command[0]);
  }
  // With room for it, it is a model like any other.
  const Outcome outcome = run_program({"plan", model, "--memory", "400MiB", "--json"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.error;
  EXPECT_TRUE(outcome.json()["fits"]);
}

TEST(HeaderRoom, ALongTokenizerIsRefused) {
  const TemporaryFolder folder;
  std::ofstream(folder.file("config.json")) << "{}";
  std::ofstream(folder.file("model.safetensors")) << "";
  std::ofstream(folder.file("tokenizer.json"))
      << "{\"x\":\"" << std::string(long_bytes, 'x') << "\"}";
  expect_refused(run_program({"plan", folder.path().string(), "--memory", "64MiB"}), "plan");
}

}  // namespace
}  // namespace plimsoll::test
