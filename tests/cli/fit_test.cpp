// plimsoll fit, as its users run it.
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>

#include "cli/program.h"
#include "support/temporary_folder.h"

namespace plimsoll::test {
namespace {

class FitCommand : public testing::Test {
 protected:
  Outcome fit(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"fit", bundled_model, "-o", output_});
    return run_program(arguments);
  }
  TemporaryFolder folder_;
  std::string output_ = folder_.file("fitted.gguf");
};

TEST_F(FitCommand, FastFilesKeepTheirSizeAndRun) {
  const double parameters =
      run_program({"inspect", bundled_model, "--json"}).json()["parameters"].get<double>();
  for (const double bits : {2.2, 3.0, 4.5, 6.0, 8.5}) {
    const nlohmann::json json =
        fit({"--bits", std::to_string(bits), "--effort", "fast", "--json"}).json();
    const auto target = static_cast<std::uintmax_t>(bits / 8 * parameters);
    EXPECT_EQ(json["file_bytes"], std::filesystem::file_size(output_));
    EXPECT_EQ(json["target_bytes"], target) << json;
    EXPECT_LE(json["file_bytes"], target);
    EXPECT_GE(json["file_bytes"].get<double>(), 0.97 * static_cast<double>(target));
    EXPECT_EQ(json["quality"], "quick");
    EXPECT_GT(json["kl_nats"], 0);
    const nlohmann::json run =
        run_program({"run", output_, "--prompt", "A file", "--tokens", "4", "--json"}).json();
    EXPECT_EQ(run["tokens"], 4) << run;
  }
}

TEST_F(FitCommand, ATargetAboveTheOriginalIsACopy) {
  const Outcome outcome = fit({"--size", "20MB"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.error;
  EXPECT_NE(outcome.error.find("copying"), std::string::npos) << outcome.error;
  EXPECT_NE(outcome.out.find("loses nothing"), std::string::npos) << outcome.out;
  const nlohmann::json eval =
      run_program({"eval", output_, "--against", bundled_model, "--text",
                   PLIMSOLL_MODELS "/README.md", "--context", "32", "--json"})
          .json();
  EXPECT_EQ(eval["kl"], 0) << eval;
}

TEST_F(FitCommand, ATargetBelowTheSmallestNamesIt) {
  const Outcome outcome = fit({"--size", "500KB", "--effort", "fast", "--json"});
  EXPECT_EQ(outcome.exit_code, 3);
  const nlohmann::json error = outcome.json()["error"];
  EXPECT_EQ(error["code"], "budget_refused");
  EXPECT_NE(error["message"].get<std::string>().find("nats"), std::string::npos) << error;
  EXPECT_FALSE(std::filesystem::exists(output_));
  // What it names works.
  const std::string hint = error["hint"];
  const std::string least = hint.substr(hint.find("--size ") + 7, hint.find(" or") - 12);
  EXPECT_EQ(fit({"--size", std::to_string(std::stoll(least)), "--effort", "fast"}).exit_code, 0)
      << hint;
}

TEST_F(FitCommand, ForAMemoryLimitTheFileRunsInside) {
  const nlohmann::json json = fit({"--memory", "14MiB", "--effort", "fast", "--json"}).json();
  ASSERT_TRUE(json.contains("file_bytes")) << json;
  const nlohmann::json run = run_program({"run", output_, "--memory", "14MiB", "--prompt", "A file",
                                          "--tokens", "8", "--json"})
                                 .json();
  EXPECT_EQ(run["tokens"], 8) << run;
  EXPECT_EQ(run["kl_nats"], 0) << "rounded again: " << run;
  EXPECT_LE(run["peak_bytes"], 14 << 20);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST_F(FitCommand, BesideASizeMemoryBoundsTheFittingItself) {
  TemporaryFolder cache;  // nothing is known of the model
  const auto fit_within = [&](const std::string& memory) {
    Invocation invocation{
        {"fit", bundled_model, "-o", output_, "--bits", "4.5", "--memory", memory, "--json"}};
    invocation.environment = {{"XDG_CACHE_HOME", cache.path().string()}};
    return run_program(invocation);
  };
  // At once, before anything was measured or written, with hints that work.
  const Outcome refused = fit_within("30MiB");
  EXPECT_EQ(refused.exit_code, 3);
  const nlohmann::json error = refused.json()["error"];
  EXPECT_EQ(error["code"], "budget_refused") << refused.out;
  EXPECT_FALSE(std::filesystem::exists(output_));
  EXPECT_EQ(cache.count(), 0u);
  const std::string hint = error["hint"];
  EXPECT_NE(hint.find("--effort fast"), std::string::npos) << hint;
  const std::string least = hint.substr(hint.find("--memory ") + 9, hint.find(" or") - 14);
  const nlohmann::json json = fit_within(std::to_string(std::stoll(least))).json();
  ASSERT_TRUE(json.contains("peak_bytes")) << json << hint;
  EXPECT_EQ(json["quality"], "own_text");
  EXPECT_LE(json["peak_bytes"], std::stoll(least));
  const nlohmann::json fast =
      fit({"--bits", "4.5", "--memory", "40MiB", "--effort", "fast", "--json"}).json();
  ASSERT_TRUE(fast.contains("peak_bytes")) << fast;
  EXPECT_LE(fast["peak_bytes"], 40 << 20);
  // Fast has a least, too.
  const nlohmann::json little =
      fit({"--bits", "4.5", "--memory", "3MiB", "--effort", "fast", "--json"}).json()["error"];
  EXPECT_EQ(little["code"], "budget_refused") << little;
  const std::string least_fast = little["hint"].get<std::string>().substr(14);
  const nlohmann::json again =
      fit({"--bits", "4.5", "--memory", std::to_string(std::stoll(least_fast)), "--effort", "fast",
           "--json"})
          .json();
  ASSERT_TRUE(again.contains("peak_bytes")) << again << little;
  EXPECT_LE(again["peak_bytes"], std::stoll(least_fast));
}
#endif

// What the header tells is refused before anything is measured.
TEST_F(FitCommand, WhatIsTooSmallIsRefusedAtOnce) {
  TemporaryFolder cache;
  for (const auto& [option, value] :
       {std::pair("--bits", "1.2"), {"--size", "500KB"}, {"--memory", "6MiB"}}) {
    Invocation invocation{{"fit", bundled_model, "-o", output_, option, value, "--json"}};
    invocation.environment = {{"XDG_CACHE_HOME", cache.path().string()}};
    const auto start = std::chrono::steady_clock::now();
    const Outcome outcome = run_program(invocation);
    EXPECT_EQ(outcome.exit_code, 3) << outcome.out;
    EXPECT_EQ(outcome.json()["error"]["code"], "budget_refused");
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
    EXPECT_EQ(cache.count(), 0u) << "nothing was measured or written";
    EXPECT_FALSE(std::filesystem::exists(output_));
  }
}

TEST_F(FitCommand, OneFormatForAll) {
  for (const char* name : {"Q4_K", "Q4_0", "IQ4_XS"}) {
    const nlohmann::json json = fit({"--format", name, "--effort", "fast", "--json"}).json();
    ASSERT_TRUE(json.contains("formats")) << json;
    EXPECT_EQ(json["formats"].size(), 2u) << "beside F32: " << json;
    EXPECT_TRUE(json["formats"].contains(name)) << json;
    EXPECT_GT(json["kl_nats"], 0);
  }
  const Outcome unknown = fit({"--format", "Q4_7", "--json"});
  EXPECT_EQ(unknown.exit_code, 2);
  EXPECT_NE(unknown.json()["error"]["hint"].get<std::string>().find("IQ4_XS"), std::string::npos);
}

// Dense formats and those that nobody would choose are written when they are asked for.
TEST_F(FitCommand, TheFormatThatIsNamedIsWritten) {
  for (const char* name : {"f32", "BF16", "F16", "tq1_0", "TQ2_0", "nvfp4"}) {
    std::string upper = name;
    for (char& c : upper) c = static_cast<char>(std::toupper(c));
    const nlohmann::json json = fit({"--format", name, "--effort", "fast", "--json"}).json();
    ASSERT_TRUE(json.contains("formats")) << name << json;
    EXPECT_TRUE(json["formats"].contains(upper)) << name << json;
    EXPECT_EQ(json["formats"].size(), upper == "F32" ? 1u : 2u) << "beside F32: " << json;
    EXPECT_EQ(json["file_bytes"], std::filesystem::file_size(output_)) << name;
    EXPECT_EQ(json["kl_nats"].is_null(), upper.starts_with("TQ") || upper == "NVFP4") << json;
    EXPECT_NE(run_program({"inspect", output_, "--json"}).out.find("\"" + upper + "\""),
              std::string::npos);
  }
}

TEST_F(FitCommand, DenseFormatsHoldTheSourcesValues) {
  const std::string wide = folder_.file("wide.gguf");
  const nlohmann::json json = fit({"--format", "F32", "--json"}).json();
  EXPECT_EQ(json["kl_nats"], 0) << json;
  std::filesystem::rename(output_, wide);
  const nlohmann::json eval =
      run_program({"eval", wide, "--against", bundled_model, "--text", PLIMSOLL_MODELS "/README.md",
                   "--context", "32", "--json"})
          .json();
  EXPECT_LT(eval["kl"], 1e-6) << eval;
  // From coded weights to dense ones, and back to where there is nothing smaller.
  ASSERT_EQ(fit({"--format", "q4_k", "--effort", "fast"}).exit_code, 0);
  const std::string coded = folder_.file("coded.gguf");
  std::filesystem::rename(output_, coded);
  for (const char* name : {"F16", "Q8_0"}) {
    const nlohmann::json again =
        run_program({"fit", coded, "-o", output_, "--format", name, "--effort", "fast", "--json"})
            .json();
    EXPECT_TRUE(again["formats"].contains(name)) << again;
    EXPECT_FALSE(again["formats"].contains("Q4_K")) << again;
  }
}

TEST_F(FitCommand, MixesOfLlamaCppMeanTheirSize) {
  const double parameters =
      run_program({"inspect", bundled_model, "--json"}).json()["parameters"].get<double>();
  for (const auto& [name, bits] : {std::pair("Q4_K_M", 4.8944), std::pair("q3_k_l", 4.2979)}) {
    const Outcome outcome = fit({"--format", name, "--effort", "fast", "--json"});
    const nlohmann::json json = outcome.json();
    ASSERT_TRUE(json.contains("file_bytes")) << json;
    EXPECT_EQ(json["target_bytes"], static_cast<std::uintmax_t>(bits / 8 * parameters)) << json;
    EXPECT_LE(json["file_bytes"], json["target_bytes"]);
  }
  EXPECT_NE(fit({"--format", "q4_k_m", "--effort", "fast"}).error.find("4.89 bits"),
            std::string::npos);
}

TEST_F(FitCommand, AFormatThatNoRowDividesIsRefusedByName) {
  const std::string stories = shared_folder + "/models/stories260k-f32.gguf";
  if (!exists(stories)) GTEST_SKIP() << "no shared models";
  const Outcome outcome =
      run_program({"fit", stories, "-o", output_, "--format", "Q4_K", "--json"});
  EXPECT_EQ(outcome.exit_code, 1);
  const nlohmann::json error = outcome.json()["error"];
  EXPECT_EQ(error["code"], "unsupported_format");
  EXPECT_NE(error["message"].get<std::string>().find("Q4_K"), std::string::npos) << error;
  EXPECT_NE(error["hint"].get<std::string>().find("Q4_0"), std::string::npos) << error;
  EXPECT_EQ(error["hint"].get<std::string>().find("IQ4_XS"), std::string::npos) << error;
  EXPECT_FALSE(std::filesystem::exists(output_));
  // Some of its rows do, and the others are told of.
  const nlohmann::json json =
      run_program({"fit", stories, "-o", output_, "--format", "Q4_0", "--effort", "fast", "--json"})
          .json();
  EXPECT_GT(json["tensors_without_format"], 0) << json;
}

// One file for many budgets: what is loaded of its codes is what was rounded for so few bits.
TEST_F(FitCommand, NestedFilesLoadWithFewerBits) {
  const nlohmann::json fitted = fit({"--format", "NEST8", "--json"}).json();
  ASSERT_TRUE(fitted.contains("kl_nats")) << fitted;
  EXPECT_TRUE(fitted["formats"].contains("NEST8")) << fitted;
  const auto eval = [&](const std::string& model, const std::string& memory) {
    return run_program({"eval", model, "--against", bundled_model, "--text",
                        PLIMSOLL_MODELS "/README.md", "--context", "64", "--memory", memory,
                        "--json"})
        .json();
  };
  const auto plan = [&](const std::string& memory) {
    return run_program({"plan", output_, "--memory", memory, "--json"}).json();
  };
  const nlohmann::json whole = plan("64MiB");
  EXPECT_EQ(whole["kl_nats"], 0);
  // Room for half of the lower bits; the measured quality came with the file.
  auto room = whole["accounts"]["weights"].get<std::int64_t>() * 3 / 4 + (1 << 20);
  for (const char* account : {"runtime", "text", "kv"})
    room += whole["accounts"][account].get<std::int64_t>();
  const nlohmann::json half = plan(std::to_string(room));
  EXPECT_EQ(half["quality"], "own_text") << half;
  EXPECT_TRUE(half["formats"].contains("NEST4") || half["formats"].contains("NEST6")) << half;
  EXPECT_GT(half["kl_nats"], 0);
  EXPECT_LT(half["kl_nats"], fitted["kl_nats_of_leading_bits"]);
  // The leading bits as a file of their own: as good as a file that was fitted for so few.
  const std::string cut = folder_.file("cut.gguf"), alone = folder_.file("alone.gguf");
  for (const auto& [source, path] :
       {std::pair(output_, cut), std::pair(std::string(bundled_model), alone)}) {
    std::vector<std::string> arguments = {"fit", source, "-o", path, "--format", "NEST4"};
    if (path == cut) arguments.insert(arguments.end(), {"--effort", "fast"});
    ASSERT_EQ(run_program(arguments).exit_code, 0);
  }
  EXPECT_EQ(eval(cut, "64MiB")["kl"], eval(alone, "64MiB")["kl"]);
  const double kl_whole = eval(output_, "64MiB")["kl"].get<double>();
  EXPECT_LT(kl_whole, 1e-3);
  EXPECT_GE(kl_whole, 0);
}

TEST_F(FitCommand, RowsThatNoBlockDividesStayDense) {
  const std::string stories = shared_folder + "/models/stories260k-f32.gguf";
  if (!exists(stories)) GTEST_SKIP() << "no shared models";
  for (const char* effort : {"fast", "thorough"}) {
    const nlohmann::json json = run_program({"fit", stories, "-o", output_, "--size", "300KB",
                                             "--effort", effort, "--json"})
                                    .json();
    EXPECT_EQ(json["kept_tensors"], 5) << json;
    EXPECT_LE(json["file_bytes"], 300000) << json;
    EXPECT_TRUE(json["formats"].contains("F16")) << json;
  }
}

TEST_F(FitCommand, WrongUsageIsSaid) {
  EXPECT_EQ(fit({}).exit_code, 2);
  EXPECT_EQ(fit({"--size", "2MB", "--bits", "4"}).exit_code, 2);
  EXPECT_EQ(fit({"--size", "2MB", "--effort", "some"}).exit_code, 2);
  EXPECT_EQ(fit({"--size", "2MB", "--format", "Q4_K"}).exit_code, 2);
  EXPECT_EQ(fit({"--size", "2MB", "--effort", "fast", "--text", bundled_model}).exit_code, 2);
  EXPECT_EQ(run_program({"fit", bundled_model, "--size", "2MB"}).exit_code, 2);
  const Outcome nowhere =
      run_program({"fit", bundled_model, "--size", "2MB", "-o", "/nowhere/x.gguf", "--json"});
  EXPECT_EQ(nowhere.exit_code, 1);
  EXPECT_EQ(nowhere.json()["error"]["code"], "write_failed");
  const Outcome text = fit({"--size", "2MB", "--text", "/dev/null", "--json"});
  EXPECT_EQ(text.json()["error"]["code"], "invalid_text") << text.out;
}

}  // namespace
}  // namespace plimsoll::test
