// Budgets that the file's own weights do not fit: rounded while loading, held, kept, and said.
#include <gtest/gtest.h>

#include <filesystem>

#include "cli/program.h"
#include "support/temporary_folder.h"

namespace plimsoll::test {
namespace {

using Arguments = std::vector<std::string>;

/// Sanitizers multiply what a process holds: no small budget fits then.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool budgets_are_real = false;
#else
constexpr bool budgets_are_real = true;
#endif

class Fitting : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!budgets_are_real) GTEST_SKIP() << "a sanitized program is too large for small budgets";
  }

  Outcome run(Arguments arguments) {
    arguments.insert(arguments.begin(), "run");
    Invocation invocation{std::move(arguments)};
    invocation.environment = {{"XDG_CACHE_HOME", cache_.path().string()}};
    return run_program(invocation);
  }

  static nlohmann::json plan(const std::string& memory) {
    return run_program({"plan", "--memory", memory, "--json"}).json();
  }

  std::vector<std::filesystem::path> kept_files() const {
    std::vector<std::filesystem::path> files;
    const std::filesystem::path folder = cache_.path() / "plimsoll" / "fitted";
    if (std::filesystem::exists(folder))
      for (const auto& entry : std::filesystem::directory_iterator(folder))
        files.push_back(entry.path());
    return files;
  }

  TemporaryFolder cache_;
};

TEST_F(Fitting, SmallBudgetsAreHeld) {
  double bits = 17;
  for (const double wanted : {16, 12, 9, 7, 5, 4, 3}) {
    const std::string memory = memory_for_bits(wanted);
    const Outcome outcome = run({"--prompt", "The file system", "--tokens", "24", "--temperature",
                                 "0", "--memory", memory, "--json"});
    ASSERT_EQ(outcome.exit_code, 0) << memory << outcome.out;
    EXPECT_EQ(outcome.error, "");
    const nlohmann::json json = outcome.json();
    EXPECT_EQ(json["tokens"], 24);
    EXPECT_FALSE(json["text"].get<std::string>().empty());
    EXPECT_LE(json["peak_bytes"], json["budget_bytes"]) << memory;
    EXPECT_LE(json["predicted_peak_bytes"], json["budget_bytes"]) << memory;
    EXPECT_LE(json["bits_per_weight"].get<double>(), bits) << memory;
    bits = json["bits_per_weight"];
  }
  EXPECT_LT(bits, 8);
}

TEST_F(Fitting, WhatIsGivenUpIsSaid) {
  const Outcome outcome = run({"--prompt", "The", "--tokens", "1", "--memory", memory_for_bits(7)});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_NE(outcome.error.find("rounded to fit"), std::string::npos) << outcome.error;
  EXPECT_NE(outcome.error.find("nats"), std::string::npos) << outcome.error;

  const nlohmann::json fitted = plan(memory_for_bits(7));
  EXPECT_TRUE(fitted["fits"]);
  EXPECT_GT(fitted["kl_nats"], 0);
  EXPECT_NE(fitted["quality"], "exact");
  EXPECT_GT(fitted["formats"].size(), 1u);
  const nlohmann::json exact = plan("32MiB");
  EXPECT_EQ(exact["kl_nats"], 0);
  EXPECT_EQ(exact["quality"], "exact");
  EXPECT_TRUE(exact["formats"].contains("F16"));
}

TEST_F(Fitting, BelowTheLeastItIsRefusedWithTheLeast) {
  const Outcome outcome = run({"--prompt", "a", "--memory", "6MiB", "--json"});
  EXPECT_EQ(outcome.exit_code, 3);
  const nlohmann::json refused = plan("6MiB");
  EXPECT_FALSE(refused["fits"]);
  EXPECT_GT(refused["least_bytes"], 6 << 20);
  EXPECT_GT(refused["least_kl_nats"], 0);
  EXPECT_NE(refused["error"]["message"].get<std::string>().find("nats"), std::string::npos);
}

TEST_F(Fitting, WeightsAreKeptOnlyWhenAsked) {
  Arguments arguments = {"--prompt", "The", "--tokens", "4", "--memory", memory_for_bits(7), "--json"};
  EXPECT_EQ(run(arguments).exit_code, 0);
  EXPECT_TRUE(kept_files().empty());
  arguments.push_back("--keep");
  const nlohmann::json json = run(arguments).json();
  EXPECT_EQ(json["tokens"], 4);
  EXPECT_LE(json["peak_bytes"], json["budget_bytes"]);
  ASSERT_EQ(kept_files().size(), 1u);
  const std::string path = kept_files().front();
  // That, where and how much was kept is said, and that it is used.
  EXPECT_NE(json["notices"].dump().find("rounded weights in " + path), std::string::npos) << json;
  const nlohmann::json again = run(arguments).json();
  EXPECT_NE(again["notices"].dump().find("were kept in " + path), std::string::npos) << again;
  EXPECT_EQ(kept_files().size(), 1u);
  arguments.resize(arguments.size() - 2);  // no --keep, no --json
  const Outcome outcome = run(arguments);
  EXPECT_NE(outcome.error.find("were kept in " + path), std::string::npos) << outcome.error;
}

}  // namespace
}  // namespace plimsoll::test
