// plimsoll fit, as its users run it.
#include <gtest/gtest.h>

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
    EXPECT_EQ(json["quality"], "prior");
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
