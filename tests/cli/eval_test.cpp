// plimsoll eval: one model and several, under one budget and several, web pages, and going on after
// an interruption.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "cli/program.h"
#include "support/gguf_bytes.h"
#include "support/temporary_folder.h"

namespace plimsoll::test {
namespace {

using Arguments = std::vector<std::string>;

const std::string text = shared_folder + "/text/valid.txt";

std::string quantised(const std::string& format) {
  return shared_folder + "/models/quantised/plimsoll-docs-4m-" + format + ".gguf";
}

Arguments with(Arguments arguments, const Arguments& more) {
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

void expect_error(const Outcome& outcome, int exit_code, const std::string& code) {
  EXPECT_EQ(outcome.exit_code, exit_code) << outcome.out << outcome.error;
  EXPECT_EQ(outcome.json()["error"].value("code", ""), code) << outcome.out;
}

std::string content(const std::string& path) {
  const auto bytes = read_file(path);
  return {bytes.begin(), bytes.end()};
}

void write_text(const std::string& path, const std::string& what) {
  write_file(path, {reinterpret_cast<const std::uint8_t*>(what.data()), what.size()});
}

TEST(Eval, AgreesWithThePeer) {
  if (!exists(text)) GTEST_SKIP() << "no shared text: " << text;
  const nlohmann::json json =
      run_program({"eval", bundled_model, "--text", text, "--chunks", "60", "--json"}).json();
  EXPECT_EQ(json["scored_tokens"], 7680);
  // As another engine has it for this file, text and number of chunks.
  EXPECT_NEAR(json.value("nll", 0.0), 4.0068, 0.002);
  EXPECT_NEAR(json.value("perplexity", 0.0), 54.97, 0.15);
  for (const char* key : {"kl", "kl_error", "kl_interval", "kl_p99", "kl_max", "same_top"})
    EXPECT_TRUE(json.contains(key) && json[key].is_null()) << key;
  EXPECT_GT(json["nll_error"], 0);
  EXPECT_GT(json["peak_bytes"], 0);
}

TEST(Eval, AgainstAReference) {
  const std::string model = quantised("Q4_0");
  if (!exists(text) || !exists(model)) GTEST_SKIP() << "no shared models: " << model;
  const Arguments common = {"eval",        model,      "--text", text,    "--against",
                            bundled_model, "--chunks", "12",     "--json"};
  const nlohmann::json json = run_program(common).json();
  // 0.0051 to 0.0053 over 60 chunks, by two other engines.
  EXPECT_NEAR(json.value("kl", 0.0), 0.0052, 0.0015);
  EXPECT_NEAR(json.value("same_top", 0.0), 0.944, 0.03);
  EXPECT_LT(json["kl"], json["kl_p99"]);
  EXPECT_LT(json["kl_p99"], json["kl_max"]);
  EXPECT_LT(json["kl_interval"][0], json["kl"]);
  EXPECT_LT(json["same_top"], json["same_top_interval"][1]);
  EXPECT_LE(json["peak_bytes"], json["budget_bytes"]);

  // Both have to fit.
  Arguments small = common;
  small.insert(small.end(), {"--memory", "12MiB"});
  expect_error(run_program(small), 3, "budget_refused");
}

TEST(Eval, TextsThatCannotBeScored) {
  const TemporaryFolder folder;
  write_file(folder.file("short"), std::vector<std::uint8_t>{'h', 'i'});
  expect_error(run_program({"eval", "--text", folder.file("short"), "--json"}), 1, "invalid_text");
  expect_error(run_program({"eval", "--text", folder.file("none"), "--json"}), 1, "file_not_found");
}

/// Several models on a few chunks.
class EvalSeveral : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const std::string& file : {text, quantised("Q2_K"), quantised("Q8_0")})
      if (!exists(file)) GTEST_SKIP() << "no shared inputs: " << file;
  }

  const TemporaryFolder folder;
  const std::string resume = folder.file("found.jsonl");
  const Arguments common = {"--text",   text, "--against", bundled_model,
                            "--chunks", "4",  "--context", "64"};
  const Arguments several = with({"eval", quantised("Q8_0"), quantised("Q2_K")}, common);
};

TEST_F(EvalSeveral, AgreesWithEachAlone) {
  const nlohmann::json json = run_program(with(several, {"--json"})).json();
  ASSERT_EQ(json["models"].size(), 2u) << json;
  for (const auto& [index, format] : {std::pair{0, "Q8_0"}, {1, "Q2_K"}}) {
    const nlohmann::json& model = json["models"][static_cast<std::size_t>(index)];
    const nlohmann::json alone =
        run_program(with({"eval", quantised(format), "--json"}, common)).json();
    EXPECT_EQ(model["model"], quantised(format));
    for (const auto& [key, value] : alone.items()) {
      ASSERT_TRUE(model.contains(key)) << key;
      if (key != "peak_bytes" && key != "predicted_peak_bytes" && key != "budget_bytes") {
        EXPECT_EQ(model[key], value) << key;
      }
    }
    EXPECT_GT(model["file_bytes"], 2 << 20);
    EXPECT_LE(model["peak_bytes"], json["peak_bytes"]);
    EXPECT_LE(model["predicted_peak_bytes"], json["predicted_peak_bytes"]);
  }
  EXPECT_LT(json["models"][0]["kl"], json["models"][1]["kl"]);

  const Outcome plain = run_program(several);
  EXPECT_EQ(plain.exit_code, 0) << plain.error;
  EXPECT_NE(plain.out.find("same top"), std::string::npos) << plain.out;
  EXPECT_NE(plain.out.find("\nQ2_K "), std::string::npos) << plain.out;
  EXPECT_EQ(plain.out.find("docs-4m"), std::string::npos) << plain.out;
}

TEST_F(EvalSeveral, TheLargestPairIsPredictedAndHeld) {
  const nlohmann::json free = run_program(with(several, {"--json"})).json();
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  EXPECT_LE(free["peak_bytes"], free["predicted_peak_bytes"]);
#endif
  // 64 KiB: two starts of a process do not hold the same to the page.
  const std::string enough =
      std::to_string(free["predicted_peak_bytes"].get<std::int64_t>() + (64 << 10));
  const nlohmann::json bound = run_program(with(several, {"--json", "--memory", enough})).json();
  ASSERT_TRUE(bound.contains("models")) << bound;
  for (std::size_t i = 0; i < 2; ++i)
    EXPECT_NEAR(bound["models"][i].value("kl", 0.0), free["models"][i].value("kl", 0.0), 1e-4);
  // Too little even for rounded weights: refused before anything is done.
  expect_error(run_program(with(several, {"--json", "--resume", resume, "--memory", "8MiB"})), 3,
               "budget_refused");
  EXPECT_FALSE(exists(resume));
}

TEST_F(EvalSeveral, WritesAPage) {
  const std::string page = folder.file("page.html");
  EXPECT_EQ(run_program(with(several, {"--html", page})).exit_code, 0);
  const std::string html = content(page);
  for (const char* part : {"<!doctype html>", "Q2_K", "Q8_0", "<svg", "KL, nats per token"})
    EXPECT_NE(html.find(part), std::string::npos) << part;
  // Known before the work, and nothing is left behind.
  expect_error(run_program(with(several, {"--json", "--html", folder.file("no/page.html")})), 1,
               "write_failed");
  expect_error(run_program(with(several, {"--json", "--html", folder.path().string()})), 1,
               "write_failed");
  EXPECT_EQ(folder.count(), 1u);
}

TEST_F(EvalSeveral, GoesOnWhereItStopped) {
  const Arguments command = with(several, {"--json", "--resume", resume});
  const nlohmann::json whole = run_program(command).json();
  std::string found = content(resume);
  ASSERT_EQ(std::count(found.begin(), found.end(), '\n'), 2);

  // Nothing is left to do: not even the reference is loaded.
  const Outcome again = run_program(command);
  EXPECT_NE(again.error.find("4 of 4 chunks were scored before"), std::string::npos) << again.error;
  const nlohmann::json same = again.json();
  for (std::size_t i = 0; i < 2; ++i)
    for (const char* key :
         {"nll", "nll_error", "kl", "kl_error", "kl_p99", "kl_max", "same_top", "reference_nll"})
      EXPECT_EQ(same["models"][i][key], whole["models"][i][key]) << key;

  // Only the first was finished.
  write_text(resume, found.substr(0, found.find('\n') + 1));
  const Outcome half = run_program(command);
  EXPECT_EQ(half.json()["models"][1]["kl"], whole["models"][1]["kl"]);
  EXPECT_EQ(half.error.find("Q2_K"), std::string::npos) << half.error;

  // Other inputs: evaluated from the start; what is there stays.
  const Outcome other = run_program({"eval", quantised("Q8_0"), "--text", text, "--chunks", "2",
                                     "--context", "32", "--json", "--resume", resume});
  EXPECT_NE(other.error.find("2 evaluations of other inputs"), std::string::npos) << other.error;
  EXPECT_EQ(other.json()["scored_tokens"], 32);
  found = content(resume);
  EXPECT_EQ(std::count(found.begin(), found.end(), '\n'), 3);
}

TEST_F(EvalSeveral, GoesOnInTheMiddleOfAModel) {
  // What four chunks of four have found is what four of six have: 128 and 192 tokens have as many
  // above the 99th percentile.
  const auto run = [&](const std::string& chunks, const std::string& file) {
    return run_program({"eval", quantised("Q2_K"), "--text", text, "--against", bundled_model,
                        "--context", "64", "--chunks", chunks, "--resume", file, "--json"});
  };
  const nlohmann::json whole = run("6", resume).json();
  nlohmann::json line = nlohmann::json::parse(content(resume));
  run("4", folder.file("four"));
  line["scores"] = nlohmann::json::parse(content(folder.file("four")))["scores"];
  write_text(resume, line.dump() + "\n");
  const Outcome rest = run("6", resume);
  EXPECT_NE(rest.error.find("4 of 6 chunks were scored before"), std::string::npos) << rest.error;
  for (const char* key : {"nll", "nll_error", "kl", "kl_error", "kl_p99", "kl_max", "same_top"})
    EXPECT_EQ(rest.json()[key], whole[key]) << key;
}

TEST_F(EvalSeveral, BrokenResumeFilesAreNamedAndKept) {
  const Arguments command = with({"eval", quantised("Q2_K"), "--json", "--resume", resume}, common);
  run_program(command);
  const std::string good = content(resume);
  nlohmann::json impossible = nlohmann::json::parse(good);
  impossible["scores"]["nll"]["chunks"] = 99;
  nlohmann::json wrong_type = nlohmann::json::parse(good);
  wrong_type["scores"]["kl"]["mean"] = "much";
  for (const std::string& broken :
       {good.substr(0, good.size() / 2), std::string("{}\n"), std::string("[1, 2]\n"),
        std::string("\n"), std::string("\0\xFF", 2), good + "garbage", impossible.dump() + "\n",
        wrong_type.dump() + "\n"}) {
    write_text(resume, broken);
    const Outcome outcome = run_program(command);
    expect_error(outcome, 1, "file_corrupt");
    EXPECT_NE(outcome.out.find(resume), std::string::npos) << outcome.out;
    EXPECT_EQ(content(resume), broken);
  }
  expect_error(run_program(with(several, {"--json", "--resume", folder.file("no/found")})), 1,
               "write_failed");
  expect_error(run_program(with(several, {"--json", "--resume", folder.path().string()})), 1,
               "write_failed");
  // Whatever it is, with --force it starts over.
  for (const std::string& other : {std::string("notes\n"), good.substr(0, good.size() / 2)}) {
    write_text(resume, other);
    EXPECT_EQ(run_program(with(command, {"--force"})).exit_code, 0);
    EXPECT_EQ(content(resume).substr(0, 10), good.substr(0, 10));
  }
}

TEST_F(EvalSeveral, OtherVocabulariesAreRefused) {
  const std::string stories = shared_folder + "/models/stories260k-f32.gguf";
  if (!exists(stories)) GTEST_SKIP() << "no shared model: " << stories;
  expect_error(run_program({"eval", bundled_model, stories, "--text", text, "--json"}), 1,
               "invalid_model");
  expect_error(run_program({"eval", bundled_model, "--against", stories, "--text", text, "--json"}),
               1, "invalid_model");
}

/// The bundled model beside itself, under several budgets. Nothing that was measured before counts.
class EvalBudgets : public ::testing::Test {
 protected:
  void SetUp() override {
    if (enough_memory != "32MiB")
      GTEST_SKIP() << "a sanitized program is too large for small budgets";
  }

  Outcome eval(const std::string& budgets, const Arguments& more) const {
    Invocation invocation{with(
        {"eval", bundled_model, "--against", bundled_model, "--text", PLIMSOLL_MODELS "/README.md",
         "--context", "64", "--chunks", "3", "--memory", budgets},
        more)};
    invocation.environment = {{"XDG_CACHE_HOME", folder.file("cache")}};
    return run_program(invocation);
  }

  const TemporaryFolder folder;
  const std::string resume = folder.file("found.jsonl");
};

TEST_F(EvalBudgets, EachRowIsHeldToItsOwn) {
  const nlohmann::json refused = eval("4MiB", {"--json"}).json();
  const std::string hint = refused["error"]["hint"], give = "give --memory ";
  ASSERT_EQ(hint.find(give), 0u) << refused;
  const auto above_the_least = [&](std::int64_t kib) {
    return std::to_string(std::stoll(hint.substr(give.size())) + (kib << 10));
  };
  // The smallest comes behind larger ones and before them.
  const std::vector<std::string> budgets = {above_the_least(1280), "32MiB", above_the_least(640),
                                            above_the_least(2560), above_the_least(0)};
  std::string all = budgets.front();
  for (std::size_t i = 1; i < budgets.size(); ++i) all += "," + budgets[i];
  const nlohmann::json json = eval(all, {"--json"}).json();
  ASSERT_EQ(json["models"].size(), budgets.size()) << json;
  EXPECT_EQ(json["budget_bytes"], 32 << 20);
  std::map<std::int64_t, double> kl;
  for (std::size_t i = 0; i < budgets.size(); ++i) {
    const nlohmann::json& row = json["models"][i];
    const nlohmann::json alone = eval(budgets[i], {"--json"}).json();
    EXPECT_EQ(row["budget_bytes"], alone["budget_bytes"]);
    EXPECT_LE(row["peak_bytes"], row["budget_bytes"]);
    EXPECT_LE(row["peak_bytes"], row["predicted_peak_bytes"]);
    EXPECT_LE(row["predicted_peak_bytes"], row["budget_bytes"]);
    // What a process holds differs by some pages.
    const double weights = alone["weight_bytes"].get<double>();
    EXPECT_NEAR(row["weight_bytes"].get<double>(), weights, 0.25 * (1 << 20));
    std::int64_t of_formats = 0;
    for (const auto& [format, bytes] : row["formats"].items())
      of_formats += bytes.get<std::int64_t>();
    EXPECT_EQ(row["weight_bytes"], of_formats);
    kl[row["weight_bytes"].get<std::int64_t>()] = row["kl"].get<double>();

    const bool exact = budgets[i] == "32MiB";
    // Where there is no room to measure, it goes by what is usual.
    if (exact)
      EXPECT_EQ(row["quality"], "exact");
    else
      EXPECT_TRUE(row["quality"] == "prior" || row["quality"] == "quick") << row;
    const double predicted = row["predicted_kl_nats"].get<double>();
    if (exact) {
      EXPECT_EQ(predicted, 0);
      EXPECT_NEAR(row["kl"].get<double>(), 0, 1e-9);
    } else {
      // The prior is a guess, and 96 tokens are few.
      EXPECT_NEAR(std::log(row["kl"].get<double>() / predicted), 0, std::log(3));
    }
  }
  // More bytes, less loss.
  EXPECT_EQ(kl.size(), budgets.size());
  for (auto row = std::next(kl.begin()); row != kl.end(); ++row)
    EXPECT_LT(row->second, std::prev(row)->second) << row->first;
}

TEST_F(EvalBudgets, TheOneThatIsTooSmallIsNamed) {
  const Outcome refused = eval("32MiB,9MiB", {"--json", "--resume", resume});
  expect_error(refused, 3, "budget_refused");
  EXPECT_FALSE(exists(resume));
  const nlohmann::json error = refused.json()["error"];
  const std::string message = error["message"], hint = error["hint"];
  EXPECT_NE(message.find(bundled_model + " under 9.00 MiB: needs "), std::string::npos) << message;
  // What it asks for is enough; 64 KiB: two starts of a process do not hold the same to the page.
  const std::string give = "give --memory ";
  ASSERT_EQ(hint.find(give), 0u) << hint;
  const std::int64_t enough = std::stoll(hint.substr(give.size())) + (64 << 10);
  const nlohmann::json json = eval("32MiB," + std::to_string(enough), {"--json"}).json();
  ASSERT_TRUE(json.contains("models")) << json;
  EXPECT_EQ(json["models"][1]["budget_bytes"], enough);
  EXPECT_LE(json["models"][1]["peak_bytes"], enough);
}

TEST_F(EvalBudgets, TableAndPageTellThemApart) {
  const std::string page = folder.file("page.html");
  const Outcome plain = eval("22.65MiB,21.15MiB", {"--html", page});
  EXPECT_EQ(plain.exit_code, 0) << plain.error;
  for (const char* part :
       {"budget ", "predicted", "\n22.6 MiB ", "\n21.1 MiB ", "weights in memory"})
    EXPECT_NE(plain.out.find(part), std::string::npos) << part << plain.out;
  const std::string html = content(page);
  for (const char* part : {"under 2 budgets", "22.6 MiB", "21.1 MiB", "-f16, predicted",
                           "formats in memory", "prior: kind and depth of tensors"})
    EXPECT_NE(html.find(part), std::string::npos) << part;
  // Alone there is nothing to tell apart.
  const std::string alone = eval("21.15MiB", {}).out;
  EXPECT_NE(alone.find("nats lost by rounding (prior"), std::string::npos) << alone;
  // Names that round to the same are given in bytes.
  const std::string close = eval("25165824,25165825", {}).out;
  EXPECT_NE(close.find("\n25,165,825 B "), std::string::npos) << close;
}

TEST_F(EvalBudgets, GoOnWhereTheyStopped) {
  const auto count = [this] {
    const std::string found = content(resume);
    return std::count(found.begin(), found.end(), '\n');
  };
  const nlohmann::json whole = eval("22.65MiB,32MiB", {"--json", "--resume", resume}).json();
  ASSERT_EQ(count(), 2);
  // One is known, one is new.
  const Outcome other = eval("32MiB,21.65MiB", {"--json", "--resume", resume});
  EXPECT_NE(other.error.find("under 32.0 MiB: 3 of 3 chunks were scored before"), std::string::npos)
      << other.error;
  EXPECT_EQ(other.json()["models"][0]["kl"], whole["models"][1]["kl"]);
  EXPECT_GT(other.json()["models"][1]["kl"], whole["models"][0]["kl"]);
  EXPECT_EQ(count(), 3);
  // As many bits in other formats are another evaluation.
  std::string found = content(resume);
  nlohmann::json first = nlohmann::json::parse(found.substr(0, found.find('\n')));
  first["inputs"]["formats"] = "0123456789abcdef";
  write_text(resume, first.dump() + "\n");
  const Outcome again = eval("22.65MiB", {"--json", "--resume", resume});
  EXPECT_EQ(again.error.find("scored before"), std::string::npos) << again.error;
  EXPECT_EQ(count(), 2);
}

}  // namespace
}  // namespace plimsoll::test
