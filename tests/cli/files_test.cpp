// Model files as people have them, given to the built program: split ones, in other converters'
// layouts, with other ends. And files that cannot be written.
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "cli/program.h"
#include "support/chain_model.h"
#include "support/split_model.h"
#include "support/temporary_folder.h"

namespace plimsoll::test {
namespace {

namespace fs = std::filesystem;
using Arguments = std::vector<std::string>;

const std::string cases = shared_folder + "/cases/";

std::string text_file() { return PLIMSOLL_MODELS "/README.md"; }

nlohmann::json greedy(const std::string& model, const std::string& prompt, const std::string& tokens,
                      Arguments more = {}) {
  Arguments arguments = {"run",      model,  "--prompt",      prompt, "--tokens",
                         tokens,     "--json", "--temperature", "0"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return run_program(arguments).json();
}

// --- The shared cases ---

class SharedCase : public ::testing::Test {
 protected:
  /// The folder of a case; skips the test where it is not there.
  static bool is_missing(const std::string& name) { return !fs::exists(cases + name); }
};

#define NEED_CASE(name) \
  if (is_missing(name)) GTEST_SKIP() << "needs " << cases << name

TEST_F(SharedCase, GgufSplit) {
  NEED_CASE("gguf-split");
  const std::string folder = cases + "gguf-split/";
  const nlohmann::json whole = greedy(folder + "whole.gguf", "the file", "8");
  ASSERT_EQ(whole["tokens"], 8);
  for (const char* name : {"part-00001-of-00002.gguf", "meta-00001-of-00002.gguf"}) {
    const nlohmann::json found = greedy(folder + name, "the file", "8");
    EXPECT_EQ(found["token_ids"], whole["token_ids"]) << name;
    EXPECT_EQ(found["text"], whole["text"]);
  }
  const Outcome second = run_program({"run", folder + "part-00002-of-00002.gguf", "--prompt", "a"});
  EXPECT_EQ(second.exit_code, 1);
  EXPECT_NE(second.error.find("part 2 of 2"), std::string::npos) << second.error;
  EXPECT_NE(second.error.find("part-00001-of-00002.gguf"), std::string::npos) << second.error;
}

TEST_F(SharedCase, OllamaGemma3Rope) {
  NEED_CASE("gguf-ollama-gemma3-rope");
  for (const char* name : {"ollama.gguf", "standard.gguf"})
    EXPECT_EQ(greedy(cases + "gguf-ollama-gemma3-rope/" + name,
                     "the file is a file and the files are on the file", "4")["token_ids"],
              nlohmann::json({112, 186, 88, 11}))
        << name;
}

TEST_F(SharedCase, OllamaGemma3Vision) {
  NEED_CASE("gguf-ollama-gemma3-vision");
  const std::string folder = cases + "gguf-ollama-gemma3-vision/";
  const nlohmann::json found = greedy(folder + "ollama-4b.gguf", "the file", "40");
  EXPECT_EQ(found["tokens"], 40);
  EXPECT_EQ(found["token_ids"], greedy(folder + "text-part.gguf", "the file", "40")["token_ids"]);
  // What fit makes of it is the text model, in the standard layout.
  const TemporaryFolder made;
  const std::string copy = made.file("copy.gguf");
  ASSERT_EQ(run_program({"fit", folder + "ollama-4b.gguf", "-o", copy, "--size", "1MiB"}).exit_code, 0);
  EXPECT_EQ(greedy(copy, "the file", "40")["token_ids"], found["token_ids"]);
  const nlohmann::json inspected = run_program({"inspect", copy, "--json"}).json();
  EXPECT_EQ(inspected.dump().find("Ollama"), std::string::npos);
  EXPECT_EQ(inspected.dump().find("mm.tokens_per_image"), std::string::npos);
}

TEST_F(SharedCase, StopControlToken) {
  NEED_CASE("stop-control-token");
  const nlohmann::json found = greedy(cases + "stop-control-token/says-user.gguf", "hi", "6",
                                      {"--stop", "<|user|>"});
  EXPECT_EQ(found["finish_reason"], "stop");
  EXPECT_EQ(found["text"], "");
}

TEST_F(SharedCase, FileSizeLimit) {
  NEED_CASE("file-size-limit");
  const TemporaryFolder folder, cache;
  const std::string model = cases + "file-size-limit/model.gguf", out = folder.file("out.gguf");
  const auto limited = [&](Arguments arguments) {
    Invocation invocation{std::move(arguments)};
    invocation.file_size_limit = 0;
    invocation.environment = {{"XDG_CACHE_HOME", cache.path().string()}};
    return run_program(invocation);
  };
  EXPECT_EQ(limited({"plan", model, "--memory", enough_memory}).exit_code, 0);
  EXPECT_EQ(limited({"run", model, "--prompt", "hi", "--tokens", "3"}).exit_code, 0);
  const Outcome fit = limited({"fit", model, "--format", "Q8_0", "--effort", "fast", "-o", out});
  EXPECT_EQ(fit.exit_code, 1);
  EXPECT_NE(fit.error.find("File too large"), std::string::npos) << fit.error;
  EXPECT_EQ(folder.count(), 0u);
}

// --- Split models ---

class SplitModel : public ::testing::Test {
 protected:
  SplitModel() {
    paths_ = split_model(bundled_model, folder_.file("model"), {11, false});
    EXPECT_GT(paths_.size(), 2u);
  }
  Outcome run(Arguments arguments) const {
    Invocation invocation{std::move(arguments)};
    invocation.environment = {{"XDG_CACHE_HOME", cache_.path().string()}};
    return run_program(invocation);
  }

  TemporaryFolder folder_, cache_;
  std::vector<std::string> paths_;
};

TEST_F(SplitModel, IsTheWholeModelInEveryCommand) {
  const std::string& first = paths_.front();
  const auto both = [&](const std::function<nlohmann::json(const std::string&)>& ask) {
    EXPECT_EQ(ask(first), ask(bundled_model));
  };
  both([&](const std::string& model) {
    const nlohmann::json json = greedy(model, "The file system", "24");
    return nlohmann::json{json["text"], json["token_ids"]};
  });
  both([&](const std::string& model) {
    const nlohmann::json json = run({"plan", model, "--memory", enough_memory, "--json"}).json();
    return nlohmann::json{json["fits"], json["context"], json["formats"], json["kl_nats"],
                          json["accounts"]["weights"]};
  });
  both([&](const std::string& model) {
    const nlohmann::json json =
        run({"eval", model, "--text", text_file(), "--chunks", "2", "--json"}).json();
    return nlohmann::json{json["nll"], json["scored_tokens"]};
  });
  both([&](const std::string& model) {
    return run({"tokenize", model, "--text", "The file system", "--json"}).json()["tokens"];
  });
  both([&](const std::string& model) {
    const nlohmann::json json = run({"inspect", model, "--json"}).json();
    EXPECT_EQ(json["container"], model == first ? fmt::format("GGUF version 3 in {} files", paths_.size())
                                                : "GGUF version 3");
    return nlohmann::json{json["parameters"], json["metadata"], json["formats"]};
  });
  EXPECT_EQ(run({"bench", first, "--prompt", "16", "--tokens", "4", "--repeats", "1", "--json"})
                .exit_code,
            0);
  EXPECT_EQ(greedy(folder_.path().string(), "The", "4")["tokens"], 4) << "a folder with one model";
}

TEST_F(SplitModel, FitWritesOneWholeFile) {
  const std::string from_whole = folder_.file("a.gguf"), from_parts = folder_.file("b.gguf");
  for (const auto& [model, out] : {std::pair(bundled_model, from_whole), {paths_[0], from_parts}})
    ASSERT_EQ(run({"fit", model, "-o", out, "--bits", "4.5", "--effort", "fast"}).exit_code, 0);
  EXPECT_EQ(read_file(from_whole), read_file(from_parts));
}

TEST_F(SplitModel, IsRoundedAndKept) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitized program is too large for small budgets";
#endif
  for (const bool keep : {false, true, true}) {
    Arguments arguments = {"run", paths_[0], "--prompt", "The",      "--tokens",
                           "8",   "--json",  "--memory", memory_for_bits(7)};
    if (keep) arguments.push_back("--keep");
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.out;
    EXPECT_EQ(outcome.error, "");
    EXPECT_LT(outcome.json()["bits_per_weight"], 8);
    EXPECT_LE(outcome.json()["peak_bytes"], outcome.json()["budget_bytes"]);
    EXPECT_EQ(fs::exists(cache_.path() / "plimsoll" / "fitted"), keep);
  }
}

TEST_F(SplitModel, ResumedEvaluationsKnowEveryPart) {
  const std::string resume = folder_.file("resume");
  const Arguments arguments = {"eval",     paths_[0], "--text", text_file(), "--chunks",
                               "1",        "--json",  "--resume", resume};
  ASSERT_EQ(run(arguments).exit_code, 0);
  EXPECT_NE(run(arguments).error.find("scored before"), std::string::npos);
  fs::last_write_time(paths_[1], fs::file_time_type::clock::now() + std::chrono::seconds(9));
  EXPECT_EQ(run(arguments).error.find("scored before"), std::string::npos);
}

// --- Stop texts ---

TEST(StopTexts, OfControlTokensEndTheAnswer) {
  const TemporaryFolder folder;
  const std::string model = folder.file("chain.gguf");
  write_chain_model(model, {{"go!", ChainKind::user_defined},
                            {"Hi"},
                            {"<|user|>", ChainKind::control},
                            {"\n"},
                            {"more"}});
  EXPECT_EQ(greedy(model, "go!", "9")["text"], "Hi\nmore");
  for (const char* stop : {"<|user|>", "<|user|>\n", "Hi<|user|>"}) {
    const nlohmann::json json = greedy(model, "go!", "9", {"--stop", stop});
    EXPECT_EQ(json["finish_reason"], "stop") << stop;
    EXPECT_EQ(json["text"], *stop == 'H' ? "" : "Hi") << stop;
  }
}

// --- What cannot be written ---

class Unwritable : public ::testing::Test {
 protected:
  Outcome run(Arguments arguments, std::optional<std::uint64_t> limit = {},
              std::optional<std::string> cache = {}) const {
    Invocation invocation{std::move(arguments)};
    invocation.file_size_limit = limit;
    invocation.environment = {{"XDG_CACHE_HOME", cache.value_or(cache_.path().string())}};
    return run_program(invocation);
  }
  Arguments keeping() const {
    return {"run", "--prompt", "The", "--tokens", "4", "--memory", memory_for_bits(7), "--keep"};
  }
  static void expect_write_failed(const Outcome& outcome) {
    EXPECT_EQ(outcome.exit_code, 1) << outcome.out << outcome.error;
    EXPECT_EQ(outcome.signal, 0);
    EXPECT_EQ(outcome.json()["error"]["code"], "write_failed");
    EXPECT_NE(outcome.json()["error"]["hint"], "");
  }

  TemporaryFolder folder_, cache_;
};

TEST_F(Unwritable, BeyondTheLimitOfFileSizes) {
  const std::string out = folder_.file("out");
  // At once, or in the middle.
  for (const std::uint64_t limit : {0, 1000, 300'000}) {
    expect_write_failed(
        run({"fit", bundled_model, "--format", "Q8_0", "--effort", "fast", "-o", out, "--json"}, limit));
    EXPECT_EQ(folder_.count(), 0u);
    const Outcome plan = run({"plan", "--no-measure", "--memory", enough_memory}, limit);
    EXPECT_EQ(plan.exit_code, 0) << plan.error;
    EXPECT_EQ(plan.error, "");
    EXPECT_EQ(run({"run", "--prompt", "The", "--tokens", "2"}, limit).exit_code, 0);
    EXPECT_EQ(run({"bench", "--prompt", "8", "--tokens", "2", "--repeats", "1"}, limit).exit_code, 0);
  }
  for (const std::uint64_t limit : {0, 100}) {
    expect_write_failed(run({"plan", "--memory", enough_memory, "--html", out, "--json"}, limit));
    expect_write_failed(
        run({"eval", "--text", text_file(), "--chunks", "1", "--html", out, "--json"}, limit));
    EXPECT_EQ(folder_.count(), 0u);
    expect_write_failed(run(
        {"eval", "--text", text_file(), "--chunks", "1", "--resume", out, "--json"}, limit));
    // It begins as an empty one.
    EXPECT_EQ(folder_.count(), exists(out) ? 1u : 0u);
    if (exists(out)) {
      EXPECT_EQ(fs::file_size(out), 0u);
    }
    fs::remove(out);
  }
  // What was there before is as it was.
  std::ofstream(out) << "before";
  expect_write_failed(
      run({"fit", bundled_model, "--format", "Q8_0", "--effort", "fast", "-o", out, "--json"}, 5000));
  EXPECT_EQ(read_file(out).size(), 6u);
  EXPECT_EQ(folder_.count(), 1u);
}

TEST_F(Unwritable, StandardOutputBeyondTheLimit) {
  const std::string out = folder_.file("out");
  std::ofstream(out).close();
  Invocation invocation{{"inspect", bundled_model}};
  invocation.output_file = out;
  invocation.file_size_limit = 10;
  const Outcome outcome = run_program(invocation);
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_NE(outcome.error.find("File too large"), std::string::npos) << outcome.error;
}

TEST_F(Unwritable, WeightsThatCannotBeKeptAreRoundedInMemory) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitized program is too large for small budgets";
#endif
  const auto expect_goes_on = [](const Outcome& outcome) {
    EXPECT_EQ(outcome.exit_code, 0) << outcome.error;
    EXPECT_NE(outcome.error.find("weights are not kept"), std::string::npos) << outcome.error;
    EXPECT_FALSE(outcome.out.empty());
  };
  for (const std::uint64_t limit : {0, 2'000'000}) {
    expect_goes_on(run(keeping(), limit));
    const fs::path fitted = cache_.path() / "plimsoll" / "fitted";
    EXPECT_TRUE(!fs::exists(fitted) || fs::is_empty(fitted)) << "no half of a file";
  }
  // A cache that is a file, or no folder at all.
  const std::string file = folder_.file("file");
  std::ofstream(file) << "no folder";
  expect_goes_on(run(keeping(), {}, file));
  Invocation homeless{keeping()};
  homeless.missing_environment = {"HOME", "XDG_CACHE_HOME"};
  expect_goes_on(run_program(homeless));
}

TEST_F(Unwritable, NotesThatCannotBeKeptAreDoneWithout) {
  const std::string file = folder_.file("file");
  std::ofstream(file) << "no folder";
  // /proc takes no folders, whoever asks.
  for (const std::string& cache : {file, std::string("/proc/self")}) {
    EXPECT_EQ(run({"plan", "--memory", enough_memory}, {}, cache).exit_code, 0);
    EXPECT_EQ(run({"run", "--prompt", "The", "--tokens", "2"}, {}, cache).exit_code, 0);
    EXPECT_EQ(run({"bench", "--prompt", "8", "--tokens", "2", "--repeats", "1"}, {}, cache).exit_code,
              0);
  }
  for (const Arguments& arguments : {Arguments{"plan", "--memory", enough_memory},
                                     Arguments{"run", "--prompt", "The", "--tokens", "2"}}) {
    Invocation homeless{arguments};
    homeless.missing_environment = {"HOME", "XDG_CACHE_HOME"};
    EXPECT_EQ(run_program(homeless).exit_code, 0);
  }
}

TEST_F(Unwritable, AFullDisk) {
  const TemporaryFolder disk;
  if (::mount("none", disk.path().c_str(), "tmpfs", 0, "size=256k") != 0)
    GTEST_SKIP() << "no right to mount a small disk";
  const Outcome fit = run({"fit", bundled_model, "--format", "Q8_0", "--effort", "fast", "-o",
                           disk.file("out.gguf"), "--json"});
  const std::size_t left = disk.count();
  const Outcome plan = run({"plan", "--memory", enough_memory}, {}, disk.path().string());
  const Outcome keep = run(keeping(), {}, disk.path().string());
  ::umount2(disk.path().c_str(), MNT_DETACH);
  expect_write_failed(fit);
  EXPECT_NE(fit.out.find("No space left"), std::string::npos) << fit.out;
  EXPECT_EQ(left, 0u);
  EXPECT_EQ(plan.exit_code, 0);
  EXPECT_EQ(keep.exit_code, 0) << keep.error;
}

// --- Outputs that are inputs ---

class Overwriting : public ::testing::Test {
 protected:
  Overwriting() {
    fs::copy_file(bundled_model, model_);
    fs::copy_file(text_file(), text_);
    fs::create_hard_link(model_, folder_.file("hard.gguf"));
    fs::create_symlink("model.gguf", folder_.file("soft.gguf"));
    fs::create_hard_link(text_, folder_.file("hard.txt"));
    fs::create_symlink("text.txt", folder_.file("soft.txt"));
  }
  void expect_refused(const Arguments& arguments) {
    const auto before = read_file(model_), text = read_file(text_);
    const Outcome outcome = run_program(arguments);
    EXPECT_EQ(outcome.exit_code, 2) << outcome.error;
    EXPECT_NE(outcome.error.find("would overwrite"), std::string::npos) << outcome.error;
    EXPECT_EQ(read_file(model_), before);
    EXPECT_EQ(read_file(text_), text);
    EXPECT_EQ(folder_.count(), 6u) << "nothing was written";
  }

  TemporaryFolder folder_;
  std::string model_ = folder_.file("model.gguf"), text_ = folder_.file("text.txt");
};

TEST_F(Overwriting, IsRefusedBeforeAnythingIsWritten) {
  for (const char* name : {"model.gguf", "hard.gguf", "soft.gguf", "./model.gguf"}) {
    const std::string out = folder_.file(name);
    expect_refused({"fit", model_, "-o", out, "--bits", "4", "--effort", "fast"});
    expect_refused({"plan", model_, "--memory", enough_memory, "--html", out});
    expect_refused({"eval", model_, "--text", text_, "--html", out});
    expect_refused({"eval", bundled_model, "--against", model_, "--text", text_, "--html", out});
  }
  for (const char* name : {"text.txt", "hard.txt", "soft.txt"}) {
    const std::string out = folder_.file(name);
    expect_refused({"fit", model_, "-o", out, "--bits", "4", "--text", text_});
    expect_refused({"eval", model_, "--text", text_, "--html", out});
    expect_refused({"eval", model_, "--text", text_, "--resume", out});
  }
  // Through a link, the other way round.
  expect_refused({"fit", folder_.file("soft.gguf"), "-o", model_, "--bits", "4"});
  const Outcome twice = run_program({"eval", model_, "--text", text_, "--html", folder_.file("new"),
                                     "--resume", folder_.file("./new")});
  EXPECT_EQ(twice.exit_code, 2);
  EXPECT_FALSE(exists(folder_.file("new")));
}

TEST_F(Overwriting, OfAnyPartOfASplitModel) {
  const TemporaryFolder folder;
  const std::vector<std::string> paths = split_model(bundled_model, folder.file("model"), {20, false});
  const auto before = read_file(paths[1]);
  const Outcome outcome = run_program({"fit", paths[0], "-o", paths[1], "--bits", "4"});
  EXPECT_EQ(outcome.exit_code, 2) << outcome.error;
  EXPECT_EQ(read_file(paths[1]), before);
}

}  // namespace
}  // namespace plimsoll::test
