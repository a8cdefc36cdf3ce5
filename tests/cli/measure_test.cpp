// Measuring what rounding costs: inside its line, made once, and used.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "cli/program.h"
#include "support/temporary_folder.h"

namespace plimsoll {
namespace {

using namespace test;

class Measure : public testing::Test {
 protected:
  Outcome run(std::vector<std::string> words) const {
    Invocation invocation{std::move(words)};
    invocation.environment = {{"XDG_CACHE_HOME", cache_.path().string()}};
    return run_program(invocation);
  }
  TemporaryFolder cache_;
};

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST_F(Measure, StaysBelowTheLine) {
  for (const int mib : {16, 17, 20, 32}) {
    const nlohmann::json json =
        run({"measure", bundled_model, "--memory", std::to_string(mib) + "MiB", "--json"}).json();
    ASSERT_TRUE(json.contains("peak_bytes")) << json;
    EXPECT_LE(json["peak_bytes"], mib << 20) << json;
    EXPECT_GE(json["tokens"], 32) << json;
  }
}
#endif

TEST_F(Measure, RefusesWhatCannotFit) {
  const Outcome outcome = run({"measure", bundled_model, "--memory", "5MiB", "--json"});
  EXPECT_EQ(outcome.exit_code, 3);
}

TEST_F(Measure, IsKeptAndUsed) {
  const std::string memory = memory_for_bits(7);
  const auto plan = [&](const char* option) {
    return run({"plan", bundled_model, "--memory", memory, option, "--json"}).json()["quality"];
  };
  EXPECT_EQ(plan("--no-measure"), "prior");
  EXPECT_EQ(run({"measure", bundled_model, "--memory", "32MiB"}).exit_code, 0);
  EXPECT_EQ(plan("--no-measure"), "quick");
}

}  // namespace
}  // namespace plimsoll
