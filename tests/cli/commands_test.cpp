// Every command with good and bad input: exit codes, JSON and nothing else on standard output.
#include <gtest/gtest.h>

#include <fstream>
#include <regex>
#include <sstream>

#include "cli/program.h"
#include "support/gguf_bytes.h"
#include "support/temporary_folder.h"

namespace plimsoll::test {
namespace {

using Arguments = std::vector<std::string>;

void expect_error(const Outcome& outcome, int exit_code, const std::string& code) {
  EXPECT_EQ(outcome.exit_code, exit_code) << outcome.out << outcome.error;
  const nlohmann::json json = outcome.json();
  ASSERT_TRUE(json.contains("error")) << outcome.out;
  EXPECT_EQ(json["error"].value("code", ""), code);
  EXPECT_FALSE(json["error"].value("message", "").empty());
  EXPECT_TRUE(json["error"].contains("hint"));
}

TEST(Commands, HelpIsOnStandardOutput) {
  for (const Arguments& arguments :
       {Arguments{"--help"}, Arguments{"help"}, Arguments{"run", "--help"}, Arguments{"plan", "-h"},
        Arguments{"inspect", "--help"}, Arguments{"tokenize", "--help"},
        Arguments{"eval", "--help"}, Arguments{"bench", "--help"}}) {
    const Outcome outcome = run_program(arguments);
    EXPECT_EQ(outcome.exit_code, 0);
    EXPECT_NE(outcome.out.find("plimsoll"), std::string::npos);
    EXPECT_EQ(outcome.error, "");
    std::istringstream lines(outcome.out);
    for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 100u) << line;
  }
}

TEST(Commands, WrongUsageIsExitTwo) {
  const std::string text = "--text";
  for (const Arguments& arguments : std::vector<Arguments>{
           {},
           {"bogus"},
           {"serve"},
           {"run", "--bogus"},
           {"run", "one.gguf", "two.gguf"},
           {"run", "--memory", "abc"},
           {"run", "--memory", "0"},
           {"run", "--memory", "-1"},
           {"run", "--memory", "1.5"},
           {"run", "--memory", "64EiB"},
           {"run", "--memory", ""},
           {"run", "--memory="},
           {"run", "--memory"},
           {"run", "--memory", "1GiB", "--memory", "2GiB"},
           {"run", "--threads", "0"},
           {"run", "--threads", "257"},
           {"run", "--threads", "two"},
           {"run", "--context", "0"},
           {"run", "--context", "99999999999999999999"},
           {"run", "--tokens", "-1"},
           {"run", "--tokens", "1.5"},
           {"run", "--tokens", ""},
           {"run", "--temperature", "-0.1"},
           {"run", "--temperature", "nan"},
           {"run", "--temperature", "hot"},
           {"run", "--top-k", "-1"},
           {"run", "--top-p", "0"},
           {"run", "--top-p", "1.1"},
           {"run", "--min-p", "-1"},
           {"run", "--repeat-penalty", "0"},
           {"run", "--seed", "-1"},
           {"run", "--stop", ""},
           {"run", "--raw", "--chat"},
           {"plan", "--memory", "lots"},
           {"plan", "--context", "0"},
           {"plan", "--sessions", "0"},
           {"plan", "--speed", "0"},
           {"tokenize", text, "a", "--file", "b"},
           {"eval"},
           {"eval", text, "x", "--context", "3"},
           {"eval", text, "x", "--chunks", "0"},
           {"eval", text, "x", bundled_model, bundled_model},
           {"eval", text, "x", "a.gguf", "./a.gguf"},
           {"eval", text, "x", "--memory", "1GiB,"},
           {"eval", text, "x", "--memory", "1GiB,2GiB,1024MiB"},
           {"bench", "--repeats", "0"},
           {"bench", "--prompt", "0"},
           {"bench", "--depths", "1,,2"},
           {"bench", "--depths", "-1"},
           {"bench", "--batches", "0"},
           {"bench", "--batches", "4,"},
           {"bench", "--batches", "four"},
           {"inspect", "--bogus"},
       }) {
    const Outcome plain = run_program(arguments);
    EXPECT_EQ(plain.exit_code, 2) << testing::PrintToString(arguments) << plain.error;
    EXPECT_EQ(plain.out, "") << testing::PrintToString(arguments);
    EXPECT_FALSE(plain.error.empty());
    if (arguments.empty()) continue;
    Arguments with_json = arguments;
    with_json.insert(with_json.begin() + 1, "--json");
    const Outcome json = run_program(with_json);
    expect_error(json, 2, "usage");
    EXPECT_EQ(json.error, "");
  }
}

TEST(Commands, UnreadableModelsAreTypedErrors) {
  const TemporaryFolder folder;
  write_file(folder.file("empty.gguf"), {});
  const std::vector<std::uint8_t> noise(1000, 7);
  write_file(folder.file("noise.gguf"), noise);
  std::vector<std::uint8_t> half = read_file(bundled_model);
  half.resize(half.size() / 2);
  write_file(folder.file("half.gguf"), half);
  for (const Arguments& command :
       {Arguments{"run", "--prompt", "a"}, Arguments{"plan"}, Arguments{"inspect"},
        Arguments{"tokenize", "--text", "a"}, Arguments{"eval", "--text", bundled_model},
        Arguments{"bench"}}) {
    const auto with = [&](const std::string& model) {
      Arguments arguments = command;
      arguments.insert(arguments.end(), {"--json", model});
      return run_program(arguments);
    };
    expect_error(with(folder.file("missing.gguf")), 1, "file_not_found");
    expect_error(with(folder.path().string()), 1, "file_unreadable");
    expect_error(with(folder.file("empty.gguf")), 1, "file_corrupt");
    expect_error(with(folder.file("noise.gguf")), 1, "file_corrupt");
    expect_error(with(folder.file("half.gguf")), 1, "file_corrupt");
  }
}

TEST(Commands, ErrorsForPeopleAreOnStandardError) {
  const Outcome outcome = run_program({"plan", "no-such-file.gguf"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(outcome.out, "");
  EXPECT_EQ(outcome.error.rfind("plimsoll: ", 0), 0u) << outcome.error;
  EXPECT_EQ(outcome.error.find('\x1b'), std::string::npos);
}

TEST(Commands, BundledModelCanBeReplacedByTheEnvironment) {
  Invocation invocation{{"plan", "--json"}};
  invocation.environment = {{"PLIMSOLL_MODEL", "no-such-file.gguf"}};
  expect_error(run_program(invocation), 1, "file_not_found");
}

TEST(Commands, UnknownInstructionSetIsUsage) {
  for (const Arguments& command : {Arguments{"run", "--prompt", "a"}, Arguments{"plan"},
                                   Arguments{"bench"}, Arguments{"eval", "--text", "x"}}) {
    Invocation invocation{command};
    invocation.arguments.push_back("--json");
    invocation.environment = {{"PLIMSOLL_ISA", "abacus"}};
    expect_error(run_program(invocation), 2, "usage");
  }
}

TEST(Plan, SaysWhatTheContractNames) {
  const nlohmann::json json = run_program({"plan", "--memory", enough_memory, "--json"}).json();
  for (const char* key :
       {"budget_bytes", "peak_bytes", "accounts", "context", "prefill_tokens_per_second",
        "decode_tokens_per_second", "kl_nats", "bits_per_weight", "fits"})
    EXPECT_TRUE(json.contains(key)) << key;
  EXPECT_GE(json["budget_bytes"], 32 << 20);
  EXPECT_EQ(json["fits"], true);
  EXPECT_LE(json["peak_bytes"], json["budget_bytes"]);
  EXPECT_GT(json["accounts"]["weights"], 8'000'000);  // 4.2 million numbers of two bytes
  EXPECT_FALSE(json.contains("machine"));
}

TEST(Plan, MeasuresTheMachineOnceAndPredictsSpeeds) {
  const Arguments plan{"plan", "--memory", enough_memory, "--threads", "2", "--json"};
  const nlohmann::json first = run_program(plan).json();
  EXPECT_GT(first["prefill_tokens_per_second"], 0);
  EXPECT_GT(first["decode_tokens_per_second"], 0);
  const nlohmann::json second = run_program(plan).json();
  EXPECT_EQ(second["prefill_tokens_per_second"], first["prefill_tokens_per_second"]);
  EXPECT_EQ(second["decode_tokens_per_second"], first["decode_tokens_per_second"]);
  // Measuring, which takes MiB, does not change what is predicted of memory.
  EXPECT_NEAR(second["peak_bytes"].get<double>(), first["peak_bytes"].get<double>(), 256 << 10);
  const Outcome plain = run_program({"plan", "--memory", enough_memory, "--threads", "2"});
  EXPECT_NE(plain.out.find("tokens a second"), std::string::npos) << plain.out;
}

TEST(Plan, ShowsTheMachine) {
  const nlohmann::json json =
      run_program({"plan", "--memory", enough_memory, "--threads", "1", "--probe", "--json"})
          .json();
  const nlohmann::json& machine = json["machine"];
  EXPECT_EQ(machine["key"]["threads"], 1);
  ASSERT_EQ(machine["speeds"].size(), 1u);
  EXPECT_GT(machine["speeds"][0]["read_bytes_per_second"], 0);
  for (const char* format : {"F32", "F16", "BF16", "Q4_0", "Q6_K", "MXFP4"})
    EXPECT_TRUE(machine["formats"].contains(format)) << format;
  const Outcome plain =
      run_program({"plan", "--memory", enough_memory, "--threads", "1", "--probe"});
  EXPECT_NE(plain.out.find("IQ4_NL"), std::string::npos) << plain.out;
}

TEST(Plan, RefusalHasThePlanAndTheError) {
  for (const char* memory : {"1KiB", "4MiB"}) {
    const Outcome outcome = run_program({"plan", "--memory", memory, "--json"});
    EXPECT_EQ(outcome.exit_code, 3);
    const nlohmann::json json = outcome.json();
    EXPECT_EQ(json["fits"], false);
    EXPECT_GT(json["peak_bytes"], json["budget_bytes"]);
    EXPECT_EQ(json["error"]["code"], "budget_refused");
    const Outcome plain = run_program({"plan", "--memory", memory});
    EXPECT_EQ(plain.exit_code, 3);
    EXPECT_NE(plain.out.find("above the line"), std::string::npos) << plain.out;
    EXPECT_EQ(plain.error.rfind("plimsoll: ", 0), 0u);
  }
}

TEST(Plan, ShowsTheFrontier) {
  const Arguments plan{"plan", "--memory", enough_memory, "--threads", "2"};
  Arguments as_json = plan;
  as_json.push_back("--json");
  const nlohmann::json json = run_program(as_json).json();
  const nlohmann::json& frontier = json["frontier"];
  ASSERT_GE(frontier.size(), 12u);
  for (std::size_t i = 0; i < frontier.size(); ++i) {
    for (const char* key : {"peak_bytes", "weight_bytes", "bits_per_weight",
                            "decode_tokens_per_second", "prefill_tokens_per_second"})
      EXPECT_GT(frontier[i][key], 0) << key;
    if (i == 0) continue;
    EXPECT_GT(frontier[i]["peak_bytes"], frontier[i - 1]["peak_bytes"]);
    EXPECT_LT(frontier[i]["kl_nats"], frontier[i - 1]["kl_nats"]);
  }
  EXPECT_EQ(frontier.back()["kl_nats"], 0);
  EXPECT_EQ(frontier.back()["weight_bytes"], json["accounts"]["weights"]);
  const Outcome plain = run_program(plan);
  EXPECT_NE(plain.out.find("KL, nats per token"), std::string::npos) << plain.out;
  EXPECT_NE(plain.out.find("nothing is lost"), std::string::npos) << plain.out;
}

TEST(Plan, WritesAPage) {
  const TemporaryFolder folder;
  const std::string page = folder.file("plan.html");
  const Arguments plan{"plan", "--memory", enough_memory, "--json", "--html"};
  const auto with = [&plan](const std::string& path) {
    Arguments arguments = plan;
    arguments.push_back(path);
    return run_program(arguments);
  };
  EXPECT_EQ(with(page).exit_code, 0);
  std::ifstream file(page);
  const std::string html(std::istreambuf_iterator<char>(file), {});
  for (const char* part : {"<!doctype html>", "weights", "attn_q", "F16", "<svg",
                           "KL, nats per token", "tokens per second", "measured quickly"})
    EXPECT_NE(html.find(part), std::string::npos) << part;
  for (const char* part : {" src=", " href=", "url(", "http:", "https:"})
    EXPECT_EQ(html.find(part), std::string::npos) << part;
  expect_error(with(folder.file("no/plan.html")), 1, "write_failed");
  expect_error(with(folder.path().string()), 1, "write_failed");
}

TEST(Plan, SpeedFloorsAreKeptOrRefused) {
  const TemporaryFolder cache;  // no other test measures the machine anew meanwhile
  const auto with = [&cache](const std::string& command, const std::string& speed) {
    Invocation invocation{
        {command, "--memory", enough_memory, "--threads", "2", "--json", "--speed", speed}};
    if (command == "run")
      invocation.arguments.insert(invocation.arguments.end(), {"--prompt", "a", "--tokens", "1"});
    invocation.environment = {{"XDG_CACHE_HOME", cache.path().string()}};
    return run_program(invocation);
  };
  // Measuring the machine stays below the line as well.
  const nlohmann::json first = with("run", "0.01").json();
  EXPECT_LE(first["peak_bytes"], first["budget_bytes"]);
  const nlohmann::json slow = with("plan", "0.01").json();
  EXPECT_EQ(slow["quality"], "exact");
  EXPECT_EQ(slow["speed_floor"], 0.01);
  const std::string own = std::to_string(slow["decode_tokens_per_second"].get<double>());
  const nlohmann::json faster = with("plan", own).json();
  EXPECT_GT(faster["kl_nats"], 0);
  EXPECT_GT(faster["decode_tokens_per_second"], slow["decode_tokens_per_second"]);
  EXPECT_GT(with("run", own).json()["kl_nats"], 0);
  for (const char* command : {"plan", "run"}) {
    const Outcome refused = with(command, "1000000");
    EXPECT_EQ(refused.exit_code, 3);
    const nlohmann::json error = refused.json()["error"];
    EXPECT_EQ(error["code"], "budget_refused");
    EXPECT_NE(error["message"].get<std::string>().find("best"), std::string::npos) << error;
  }
}

// What was answered in between, and how fast, changes nothing.
TEST(Plan, TheSameFloorGivesTheSamePlan) {
  const TemporaryFolder cache;
  const auto with = [&cache](std::vector<std::string> arguments) {
    Invocation invocation{std::move(arguments)};
    invocation.arguments.insert(invocation.arguments.end(),
                                {"--memory", enough_memory, "--threads", "2", "--json"});
    invocation.environment = {{"XDG_CACHE_HOME", cache.path().string()}};
    return run_program(invocation).json();
  };
  const nlohmann::json any = with({"plan", "--speed", "0.01"});
  const std::string floor = std::to_string(any["decode_tokens_per_second"].get<double>());
  const auto plan = [&] {
    const nlohmann::json found = with({"plan", "--speed", floor});
    return nlohmann::json{found["formats"], found["kl_nats"], found["decode_tokens_per_second"]};
  };
  const nlohmann::json before = plan();
  std::string prompt;
  for (int i = 0; i < 200; ++i) prompt += "file ";
  for (int i = 0; i < 3; ++i) {
    const nlohmann::json run = with({"run", "--prompt", prompt, "--tokens", "20"});
    EXPECT_EQ(run["finish_reason"], "length") << run;
    EXPECT_EQ(plan(), before);
  }
}

TEST(Plan, SessionsMultiplyTheCache) {
  const auto plan = [](const std::string& sessions) {
    return run_program({"plan", "--json", "--context", "256", "--sessions", sessions}).json();
  };
  const nlohmann::json one = plan("1"), eight = plan("8");
  EXPECT_EQ(one["sessions"], 1);
  EXPECT_EQ(eight["sessions"], 8);
  EXPECT_EQ(eight["context"], 256);
  // In whole steps of 16 KiB, each time.
  const auto all = eight["accounts"]["kv"].get<std::int64_t>(),
             single = one["accounts"]["kv"].get<std::int64_t>();
  EXPECT_LE(all, 8 * single);
  EXPECT_GT(all, 8 * (single - 16 * 1024));
  const Outcome plain = run_program({"plan", "--context", "256", "--sessions", "8"});
  EXPECT_NE(plain.out.find("8 conversations of 256 tokens"), std::string::npos) << plain.out;
}

TEST(Plan, MoreThanTheMachineHasIsRefused) {
  expect_error(run_program({"plan", "--memory", "1024TiB", "--json"}), 1, "machine_limit");
}

TEST(Plan, LongerContextTakesMore) {
  const auto peak = [](const char* context) {
    return run_program({"plan", "--json", "--context", context}).json()["peak_bytes"].get<double>();
  };
  EXPECT_LT(peak("256") + (8 << 20), peak("16384"));
}

TEST(Inspect, ShowsMetadataAndTensors) {
  const nlohmann::json json = run_program({"inspect", bundled_model, "--json"}).json();
  EXPECT_EQ(json["metadata"]["general.architecture"], "llama");
  EXPECT_EQ(json["metadata"]["tokenizer.ggml.tokens"].size(), 4096u);
  EXPECT_EQ(json["description"]["layers"], 4);
  EXPECT_EQ(json["runs"], true);
  EXPECT_EQ(json["tensors"].size(), 38u);
  const Outcome plain = run_program({"inspect", bundled_model});
  EXPECT_NE(plain.out.find("general.license"), std::string::npos);
  EXPECT_EQ(plain.out.find("blk.3.ffn_down.weight"), std::string::npos);
  const Outcome tensors = run_program({"inspect", bundled_model, "--tensors"});
  EXPECT_NE(tensors.out.find("blk.3.ffn_down.weight"), std::string::npos);
}

TEST(Inspect, VocabularyOnlyFiles) {
  const std::string path = shared_folder + "/vocab/gpt-2.gguf";
  if (!exists(path)) GTEST_SKIP() << "no shared vocabularies: " << path;
  const nlohmann::json json = run_program({"inspect", path, "--json"}).json();
  EXPECT_EQ(json["runs"], false);
  EXPECT_TRUE(json["tensors"].empty());
  EXPECT_TRUE(json["description"].is_null());
  EXPECT_EQ(json["metadata"]["tokenizer.ggml.model"], "gpt2");
  const Outcome plain = run_program({"inspect", path});
  EXPECT_EQ(plain.exit_code, 0);
  EXPECT_NE(plain.out.find("vocabulary only"), std::string::npos);
}

TEST(Inspect, UnknownArchitecturesAndHostileTexts) {
  const TemporaryFolder folder;
  GgufBytes file(1, 2);
  file.key("general.architecture", 8).string("mystery");
  file.key("note\x1b[2J", 8).string("clears \x1b[2J the screen, \xFF is no text");
  file.tensor("weights", {32, 2}, 0, 0).pad().data(256);
  write_file(folder.file("mystery.gguf"), file.bytes());
  const nlohmann::json json =
      run_program({"inspect", folder.file("mystery.gguf"), "--json"}).json();
  EXPECT_EQ(json["runs"], false);
  EXPECT_NE(json.value("problem", "").find("mystery"), std::string::npos);
  EXPECT_EQ(json["metadata"]["general.architecture"], "mystery");
  EXPECT_EQ(json["tensors"][0]["shape"], (std::vector<int>{32, 2}));
  const Outcome plain = run_program({"inspect", folder.file("mystery.gguf"), "--tensors"});
  EXPECT_EQ(plain.exit_code, 0);
  EXPECT_NE(plain.out.find("cannot be run"), std::string::npos);
  EXPECT_EQ(plain.out.find('\x1b'), std::string::npos) << "controls the reader's terminal";
  expect_error(run_program({"run", folder.file("mystery.gguf"), "--prompt", "a", "--json"}), 1,
               "unsupported_model");
}

TEST(Inspect, ClosedPipeEndsQuietly) {
  Invocation invocation{{"inspect", bundled_model, "--json"}};
  invocation.closed_output = true;
  const Outcome outcome = run_program(invocation);
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(outcome.error, "");
}

TEST(Inspect, FullDiskIsAnError) {
  if (!exists("/dev/full")) GTEST_SKIP() << "no /dev/full";
  Invocation invocation{{"inspect", bundled_model}};
  invocation.output_file = "/dev/full";
  const Outcome outcome = run_program(invocation);
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_NE(outcome.error.find("standard output"), std::string::npos);
}

TEST(Tokenize, AgreesWithPublishedIds) {
  const std::string vocabulary = shared_folder + "/vocab/llama-spm.gguf";
  if (!exists(vocabulary)) GTEST_SKIP() << "no shared vocabularies: " << vocabulary;
  // Texts that hold no separator of the list's own.
  std::ifstream texts(vocabulary + ".inp"), ids(vocabulary + ".out");
  std::string text, line;
  int compared = 0;
  for (std::string part; std::getline(texts, part);) {
    if (part != "__ggml_vocab_test__") {
      text += (text.empty() ? "" : "\n") + part;
      continue;
    }
    ASSERT_TRUE(std::getline(ids, line));
    if (!text.empty() && text.find('\n') == std::string::npos && compared < 12) {
      std::istringstream numbers(line);
      std::vector<int> expected;
      for (int id; numbers >> id;) expected.push_back(id);
      const nlohmann::json json =
          run_program({"tokenize", vocabulary, "--json", "--text", text}).json();
      EXPECT_EQ(json["tokens"].get<std::vector<int>>(), expected) << text;
      EXPECT_EQ(json["count"], expected.size());
      EXPECT_EQ(json["pieces"].size(), expected.size());
      ++compared;
    }
    text.clear();
  }
  EXPECT_GE(compared, 5);
}

TEST(Tokenize, TextFileAndPipeAreTheSame) {
  const TemporaryFolder folder;
  const std::string text = "Grüße, 世界!\nSecond line.\n";
  write_file(folder.file("text"),
             {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
  const nlohmann::json from_text = run_program({"tokenize", "--text", text, "--json"}).json();
  EXPECT_EQ(run_program({"tokenize", "--file", folder.file("text"), "--json"}).json(), from_text);
  EXPECT_EQ(run_program(Invocation{{"tokenize", "--json"}, text}).json(), from_text);
  EXPECT_GT(from_text["count"], 0);
  const Outcome plain = run_program({"tokenize", "--text", text});
  EXPECT_EQ(plain.exit_code, 0);
  EXPECT_EQ(std::count(plain.out.begin(), plain.out.end(), '\n'),
            from_text["count"].get<std::int64_t>() + 1);
}

TEST(Tokenize, TextsLongerThanTheLine) {
  // 3 MB in a process that may hold 16 MiB: in parts, with the ids of the whole.
  const TemporaryFolder folder;
  std::string text;
  for (int i = 0; text.size() < 3'000'000; ++i)
    text += "The ship " + std::to_string(i) + (i % 7 ? " sails; " : " sinks.\n");
  write_file(folder.file("text"),
             {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
  const Arguments command = {"tokenize", "--file", folder.file("text"), "--memory", "16MiB"};
  const Outcome table = run_program(command);
  ASSERT_EQ(table.exit_code, 0) << table.error;
  Arguments whole = {"tokenize", "--file", folder.file("text"), "--json"};
  const nlohmann::json ids = run_program(whole).json();
  std::istringstream lines(table.out);
  std::size_t count = 0;
  for (std::string line; std::getline(lines, line) && !line.ends_with(" tokens"); ++count)
    ASSERT_EQ(std::stoll(line), ids["tokens"][count].get<std::int64_t>()) << count;
  EXPECT_EQ(count, ids["count"].get<std::size_t>());

  // What has to be held at once is refused by its size.
  expect_error(run_program({"tokenize", "--file", "/dev/zero", "--memory", "16MiB", "--json"}), 3,
               "budget_refused");
  const std::string input = "\"" + std::string(4'000'000, 'a') + "\"\n\"b\"";
  const auto lines_within = [&](const std::string& memory, const std::string& requests) {
    return run_program(Invocation{{"tokenize", "--json-lines", "--memory", memory}, requests});
  };
  const Outcome line = lines_within("16MiB", input);
  EXPECT_EQ(line.exit_code, 3) << line.error;
  // What would do instead does.
  std::smatch shorter, more;
  ASSERT_TRUE(std::regex_search(line.out, shorter, std::regex("of at most (\\d+) bytes"))) << line.out;
  ASSERT_TRUE(std::regex_search(line.out, more, std::regex("--memory (\\d+) or more"))) << line.out;
  const auto expect_tokens = [](const Outcome& outcome, std::size_t bytes) {
    EXPECT_EQ(outcome.exit_code, 0) << outcome.error;
    std::istringstream answers(outcome.out);
    std::string first;
    std::getline(answers, first);
    const nlohmann::json json = nlohmann::json::parse(first, nullptr, false);
    ASSERT_TRUE(json.contains("tokens")) << first.substr(0, 1000);
    EXPECT_GT(json["tokens"].size(), bytes / 100);
  };
  expect_tokens(lines_within(more[1], input), 4'000'000);
  const std::size_t most = std::stoull(shorter[1]);
  EXPECT_EQ(lines_within("16MiB", "\"" + std::string(most - 2, 'a') + "\"").exit_code, 0);
  EXPECT_EQ(lines_within("16MiB", "\"" + std::string(most, 'a') + "\"").exit_code, 3);

  // A request that is held but has no room to be tokenized is answered with what would do.
  const Outcome piece = lines_within("13MiB", "\"" + std::string(most - 2, 'a') + "\"");
  const nlohmann::json answer = nlohmann::json::parse(piece.out, nullptr, false);
  if (answer.is_object() && answer.contains("error")) {
    const std::string hint = answer["error"]["hint"];
    ASSERT_TRUE(std::regex_search(hint, more, std::regex("--memory (\\d+) or more"))) << hint;
    expect_tokens(lines_within(more[1], "\"" + std::string(most - 2, 'a') + "\""), most);
  }
}

TEST(Tokenize, EmptyAndBrokenTexts) {
  const nlohmann::json empty = run_program({"tokenize", "--text", "", "--json"}).json();
  EXPECT_EQ(empty["count"], 0);
  EXPECT_TRUE(empty["tokens"].empty());
  expect_error(run_program({"tokenize", "--text", "a\xFF", "--json"}), 1, "invalid_text");
  expect_error(run_program({"tokenize", "--file", "no-such-file", "--json"}), 1, "file_not_found");
  expect_error(run_program({"tokenize", "--file", "/", "--json"}), 1, "file_unreadable");
}

TEST(Bench, ReportsMediansAndLimits) {
  const Arguments command = {"bench",     "--prompt", "32",       "--tokens",   "4",
                             "--repeats", "2",        "--memory", enough_memory};
  Arguments with_json = command;
  with_json.push_back("--json");
  const nlohmann::json json = run_program(with_json).json();
  ASSERT_TRUE(json.contains("prefill")) << json;
  for (const char* key :
       {"prefill_tokens_per_second", "decode_tokens_per_second", "bandwidth_fraction",
        "integer_fraction", "peak_bytes", "load_seconds", "first_token_seconds"})
    EXPECT_GT(json.value(key, 0.0), 0) << key;
  EXPECT_EQ(json["prefill"]["values"].size(), 2u);
  EXPECT_LE(json["prefill"]["min"], json["prefill"]["median"]);
  EXPECT_LE(json["peak_bytes"], json["budget_bytes"]);
  const Outcome plain = run_program(command);
  EXPECT_EQ(plain.exit_code, 0);
  EXPECT_NE(plain.out.find("tok/s"), std::string::npos);
  expect_error(run_program({"bench", "--memory", "1MiB", "--json"}), 3, "budget_refused");
}

TEST(Bench, DepthsAndBatches) {
  const Outcome outcome =
      run_program({"bench", "--prompt", "8", "--tokens", "3", "--repeats", "2", "--memory",
                   enough_memory, "--depths", "64,0", "--batches", "1,5", "--json"});
  const nlohmann::json json = outcome.json();
  ASSERT_TRUE(json.contains("depths")) << json;
  ASSERT_EQ(json["depths"].size(), 2u);
  EXPECT_EQ(json["depths"][0]["depth"], 0);
  EXPECT_EQ(json["depths"][1]["depth"], 64);
  for (const auto& depth : json["depths"]) {
    EXPECT_GT(depth["decode_tokens_per_second"], 0);
    EXPECT_EQ(depth["decode"]["values"].size(), 2u);
  }
  ASSERT_EQ(json["batches"].size(), 2u);
  EXPECT_EQ(json["batches"][1]["batch"], 5);
  EXPECT_GT(json["batches"][1]["sequences_tokens_per_second"], 0);
  EXPECT_GT(json["batches"][1]["verify_seconds"], 0);
  EXPECT_LE(json["peak_bytes"], json["predicted_peak_bytes"]);
}

}  // namespace
}  // namespace plimsoll::test
