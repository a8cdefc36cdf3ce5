// plimsoll run from a script's side.
#include <gtest/gtest.h>

#include <fstream>

#include "cli/program.h"
#include "support/temporary_folder.h"

namespace plimsoll::test {
namespace {

using Arguments = std::vector<std::string>;

Outcome run(Arguments arguments, const std::string& input = {}) {
  arguments.insert(arguments.begin(), "run");
  return run_program(Invocation{std::move(arguments), input});
}

std::string error_code(const Outcome& outcome) {
  return outcome.json().value("error", nlohmann::json::object()).value("code", "");
}

TEST(Run, JsonHasEveryKeyOfTheContract) {
  const Outcome outcome = run({"--prompt", "The kernel", "--tokens", "5", "--json"});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(outcome.error, "");
  const nlohmann::json json = outcome.json();
  for (const char* key :
       {"text", "tokens", "finish_reason", "peak_bytes", "prefill_tokens_per_second",
        "decode_tokens_per_second", "seed", "token_ids", "context", "budget_bytes",
        "predicted_peak_bytes", "load_seconds", "first_token_seconds", "ledger_bytes",
        "unaccounted_bytes", "prompt_tokens", "prompt"})
    EXPECT_TRUE(json.contains(key)) << key;
  EXPECT_EQ(json["tokens"], 5);
  EXPECT_EQ(json["token_ids"].size(), 5u);
  EXPECT_EQ(json["finish_reason"], "length");
  EXPECT_FALSE(json["text"].get<std::string>().empty());
}

TEST(Run, WritesTheKnownStory) {
  const std::string model = shared_folder + "/models/stories260k-f32.gguf";
  if (!exists(model)) GTEST_SKIP() << "no shared models: " << model;
  const Outcome outcome = run({model, "--prompt", "Once upon a time", "--temperature", "0",
                               "--tokens", "40", "--memory", enough_memory});
  EXPECT_EQ(outcome.exit_code, 0);
  // The same in llama.cpp and in llama2.c; a pipe gets the new text alone.
  EXPECT_EQ(outcome.out.rfind(", there was a little girl named Lily. She loved to play outside in "
                              "the park.",
                              0),
            0u)
      << outcome.out;
  EXPECT_NE(outcome.error.find("weights"), std::string::npos) << "the line";
  EXPECT_NE(outcome.error.find("by the kernel's count"), std::string::npos);
}

TEST(Run, PromptFromAPipe) {
  const Arguments greedy = {"--temperature", "0", "--tokens", "12", "--json"};
  Arguments with_prompt = greedy;
  with_prompt.insert(with_prompt.end(), {"--prompt", "The page cache"});
  const nlohmann::json piped = run(greedy, "The page cache").json();
  EXPECT_EQ(piped["token_ids"], run(with_prompt).json()["token_ids"]);
  EXPECT_EQ(piped["prompt_tokens"], run(with_prompt).json()["prompt_tokens"]);
}

TEST(Run, ThreadsDoNotChangeTheText) {
  const auto ids = [](const char* threads) {
    return run({"--prompt", "The page cache", "--temperature", "0", "--tokens", "24", "--threads",
                threads, "--json"})
        .json()["token_ids"];
  };
  const nlohmann::json one = ids("1");
  EXPECT_EQ(one.size(), 24u);
  EXPECT_EQ(ids("2"), one);
  EXPECT_EQ(ids("3"), one);
}

TEST(Run, TheSameSeedGivesTheSameText) {
  const auto sampled = [](const Arguments& more) {
    Arguments arguments = {"--prompt", "A list", "--tokens", "24", "--temperature", "1", "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run(arguments).json();
  };
  const nlohmann::json first = sampled({"--seed", "7"});
  EXPECT_EQ(first["seed"], 7);
  EXPECT_EQ(sampled({"--seed", "7", "--threads", "1"})["token_ids"], first["token_ids"]);
  EXPECT_NE(sampled({"--seed", "8"})["token_ids"], first["token_ids"]);
  // Without one, the seed is shown and can be used again.
  const nlohmann::json random = sampled({});
  EXPECT_EQ(sampled({"--seed", random["seed"].dump()})["token_ids"], random["token_ids"]);
}

TEST(Run, StopTextsEndTheAnswer) {
  const Arguments greedy = {"--prompt", "The page cache", "--temperature", "0", "--tokens",
                            "40",       "--json"};
  const std::string whole = run(greedy).json()["text"];
  ASSERT_GT(whole.size(), 12u);
  const std::string stop = whole.substr(6, 3);
  Arguments stopped = greedy;
  stopped.insert(stopped.end(), {"--stop", "never to be found", "--stop", stop});
  const nlohmann::json json = run(stopped).json();
  EXPECT_EQ(json["text"], whole.substr(0, whole.find(stop)));
  EXPECT_EQ(json["finish_reason"], "stop");
}

TEST(Run, WithoutAnyPromptTheBundledModelWrites) {
  for (const bool closed : {false, true}) {
    Invocation invocation{{"run", "--tokens", "8"}};
    invocation.closed_input = closed;
    const Outcome outcome = run_program(invocation);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.error;
    EXPECT_EQ(outcome.out.rfind("The kernel keeps", 0), 0u) << outcome.out;
    EXPECT_GT(outcome.out.size(), 48u);
  }
}

TEST(Run, AnEmptyPromptIsAnErrorForOtherModels) {
  const Outcome outcome = run({bundled_model, "--json"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(error_code(outcome), "empty_prompt");
}

TEST(Run, AnEmptyPromptThatIsGivenBeginsAtBos) {
  const nlohmann::json json =
      run({"--prompt", "", "--tokens", "4", "--temperature", "0", "--json"}).json();
  EXPECT_EQ(json["tokens"], 4);
  EXPECT_EQ(json["prompt_tokens"], 1);
}

TEST(Run, ZeroTokensOnlyReadThePrompt) {
  const nlohmann::json json = run({"--prompt", "The", "--tokens", "0", "--json"}).json();
  EXPECT_EQ(json["tokens"], 0);
  EXPECT_EQ(json["text"], "");
  EXPECT_EQ(json["finish_reason"], "length");
}

TEST(Run, PromptLongerThanTheContextIsRefused) {
  std::string prompt;
  for (int i = 0; i < 400; ++i) prompt += "word ";
  for (const Arguments& arguments :
       {Arguments{"--prompt", prompt, "--json"},
        Arguments{"--prompt", "one two three four five", "--context", "4", "--json"}}) {
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.exit_code, 1);
    EXPECT_EQ(error_code(outcome), "context_exceeded");
  }
  const Outcome piped = run({"--json"}, prompt);
  EXPECT_EQ(piped.exit_code, 1);
  EXPECT_EQ(error_code(piped), "context_exceeded");
}

TEST(Run, AFullContextEndsTheText) {
  const nlohmann::json json =
      run({"--prompt", "one", "--context", "12", "--temperature", "0", "--json"}).json();
  EXPECT_EQ(json["finish_reason"], "length");
  EXPECT_EQ(json["context"], 12);
  EXPECT_LE(json["tokens"].get<int>() + json["prompt_tokens"].get<int>(), 13);
}

TEST(Run, InvalidUtf8IsRefused) {
  EXPECT_EQ(error_code(run({"--prompt", "caf\xE9 noir", "--json"})), "invalid_text");
  EXPECT_EQ(error_code(run({"--json"}, "caf\xE9 noir")), "invalid_text");
}

TEST(Run, HugeInputIsRefusedBeforeItIsHeld) {
  const Outcome outcome = run({"--memory", "24MiB", "--json"}, std::string(8 << 20, 'a'));
  EXPECT_EQ(outcome.exit_code, 3);
  EXPECT_EQ(error_code(outcome), "budget_refused");
}

TEST(Run, BudgetsAreHeldOrRefused) {
  for (const char* memory : {"1KiB", "1MiB", "6MiB"}) {
    const Outcome outcome = run({"--prompt", "a", "--memory", memory, "--json"});
    EXPECT_EQ(outcome.exit_code, 3) << memory;
    EXPECT_EQ(error_code(outcome), "budget_refused") << memory;
  }
  EXPECT_EQ(error_code(run({"--prompt", "a", "--memory", "1024TiB", "--json"})), "machine_limit");
  const nlohmann::json json =
      run({"--prompt", "The page cache", "--tokens", "16", "--memory", enough_memory, "--json"})
          .json();
  EXPECT_LE(json["peak_bytes"], json["budget_bytes"]);
  EXPECT_LE(json["predicted_peak_bytes"], json["budget_bytes"]);
}

TEST(Run, ChatAnswersWhatIsPiped) {
  const nlohmann::json json =
      run({"--chat", "--tokens", "6", "--temperature", "0", "--json"}, "What is a page?").json();
  EXPECT_EQ(json["tokens"], 6);
  EXPECT_GT(json["prompt_tokens"], 5);
}

/// A file that is gone with it.
class TextFile {
 public:
  explicit TextFile(const std::string& text) : path_(folder_.path() / "text") {
    std::ofstream(path_) << text;
  }
  const std::string& path() const { return path_; }

 private:
  TemporaryFolder folder_;
  std::string path_;
};

TEST(Run, APromptCanBeAQuestionInAChat) {
  const Arguments greedy = {"--tokens", "6", "--temperature", "0", "--json"};
  const auto with = [&](const Arguments& more, const std::string& input = {}) {
    Arguments arguments = greedy;
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run(arguments, input).json();
  };
  const nlohmann::json asked = with({"--chat", "--prompt", "What is a page?"});
  const nlohmann::json raw = with({"--raw", "--prompt", "What is a page?"});
  EXPECT_GT(asked["prompt_tokens"], raw["prompt_tokens"]);
  EXPECT_EQ(asked["prompt"], "What is a page?");
  EXPECT_EQ(asked["reasoning"], "");
  ASSERT_EQ(asked["notices"].size(), 1u);
  EXPECT_NE(asked["notices"][0].get<std::string>().find("no chat template"), std::string::npos);
  EXPECT_EQ(with({"--chat"}, "What is a page?")["token_ids"], asked["token_ids"]);
  // The bundled model has no template: it writes on.
  EXPECT_EQ(with({"--prompt", "What is a page?"})["token_ids"], raw["token_ids"]);
  EXPECT_TRUE(raw["notices"].empty());

  const nlohmann::json told =
      with({"--chat", "--prompt", "What is a page?", "--system", "Be brief."});
  EXPECT_GT(told["prompt_tokens"], asked["prompt_tokens"]);
  const TextFile messages(
      R"([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is a page?"}])");
  const nlohmann::json listed = with({"--chat", "--messages", messages.path()});
  EXPECT_EQ(listed["token_ids"], told["token_ids"]);
  EXPECT_EQ(listed["prompt_tokens"], told["prompt_tokens"]);
  const TextFile first(R"({"messages": [{"role": "system", "content": "Be brief."}]})");
  EXPECT_EQ(
      with({"--chat", "--messages", first.path(), "--prompt", "What is a page?"})["token_ids"],
      told["token_ids"]);
}

TEST(Run, PromptsFromFiles) {
  const TextFile one("The page cache\n"), two("keeps pages"), broken("caf\xE9");
  const auto prompt = [&](const Arguments& more, const std::string& input = {}) {
    Arguments arguments = {"--tokens", "1", "--temperature", "0", "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run(arguments, input).json()["prompt"];
  };
  EXPECT_EQ(prompt({"--file", one.path()}), "The page cache\n");
  EXPECT_EQ(prompt({"--file", one.path(), "--file", two.path()}), "The page cache\n\nkeeps pages");
  EXPECT_EQ(prompt({"--file", two.path(), "--prompt", "Sum up:"}), "Sum up:\n\nkeeps pages");
  EXPECT_EQ(prompt({"--file", "-", "--prompt", "Sum up:"}, "piped"), "Sum up:\n\npiped");
  EXPECT_EQ(error_code(run({"--file", broken.path(), "--json"})), "invalid_text");
  EXPECT_EQ(error_code(run({"--file", "/nowhere/at/all", "--json"})), "file_not_found");
  EXPECT_EQ(error_code(run({"--file", "/", "--json"})), "file_unreadable");
}

TEST(Run, WhatOnlyChatsHaveIsRefusedElsewhere) {
  const TextFile messages(R"([{"role": "user", "content": "Hi"}])"), text("Hello");
  for (const Arguments& arguments :
       {Arguments{"--prompt", "a", "--system", "Be brief.", "--json"},
        Arguments{"--messages", messages.path(), "--json"},
        Arguments{"--prompt", "a", "--raw", "--think", "on", "--json"},
        Arguments{"--prompt", "a", "--template-variable", "a=b", "--json"},
        Arguments{"--prompt", "a", "--chat", "--think", "perhaps", "--json"},
        Arguments{"--prompt", "a", "--chat", "--template-variable", "a", "--json"},
        Arguments{"--prompt", "a", "--chat", "--template-variable", "=a", "--json"},
        Arguments{"--prompt", "a", "--chat", "--template-variable", "{\"a\":", "--json"}}) {
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.exit_code, 2) << outcome.out;
    EXPECT_EQ(error_code(outcome), "usage") << outcome.out;
  }
  EXPECT_EQ(error_code(run({"--chat", "--messages", text.path(), "--json"})), "file_corrupt");
  const TextFile none("{\"messages\": 7}");
  EXPECT_EQ(error_code(run({"--chat", "--messages", none.path(), "--json"})), "file_corrupt");
  for (const char* variable : {"date=26 Jul 2024", "deep={\"a\": [1]}", "{\"a\": 1, \"b\": \"c\"}"})
    EXPECT_EQ(run({"--chat", "--prompt", "a", "--tokens", "1", "--template-variable", variable,
                   "--think", "off", "--json"})
                  .exit_code,
              0)
        << variable;
}

TEST(Run, AReaderThatLeavesEndsItQuietly) {
  Invocation invocation{{"run", "--prompt", "The", "--tokens", "20"}};
  invocation.closed_output = true;
  EXPECT_EQ(run_program(invocation).exit_code, 0);
}

/// plan --json > FILE, run --plan FILE: the same weights, the same text, and no other budget.
TEST(Run, DoesExactlyWhatAPlanSays) {
  const TemporaryFolder folder;
  const std::string plan_file = folder.file("plan.json");
  const std::string little = enough_memory == "32MiB" ? "14MiB" : enough_memory;
  std::ofstream(plan_file)
      << run_program({"plan", "--memory", little, "--threads", "1", "--json"}).out;
  const std::vector<std::string> asked = {"run",           "--prompt", "The kernel", "--tokens",
                                          "16",            "--json",   "--temperature", "0"};
  const auto run = [&asked](std::vector<std::string> more) {
    more.insert(more.begin(), asked.begin(), asked.end());
    return run_program(more);
  };
  const nlohmann::json planned = run({"--plan", plan_file}).json();
  ASSERT_TRUE(planned.contains("text")) << planned;
  const nlohmann::json direct = run({"--memory", little, "--threads", "1"}).json();
  EXPECT_EQ(planned["text"], direct["text"]);
  for (const char* key : {"budget_bytes", "threads", "context", "bits_per_weight", "kl_nats"})
    EXPECT_EQ(planned[key], direct[key]) << key;
  EXPECT_EQ(run({"--plan", plan_file, "--memory", little}).exit_code, 2);
  EXPECT_EQ(run({"--plan", folder.file("none.json")}).json()["error"]["code"], "file_not_found");
}

}  // namespace
}  // namespace plimsoll::test
