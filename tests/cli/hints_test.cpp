// A refusal offers what would work: every offer is taken up here, by the same command and by
// others.
#include <gtest/gtest.h>

#include <optional>
#include <regex>

#include "cli/program.h"
#include "support/synthetic_model.h"
#include "support/temporary_folder.h"

namespace plimsoll::test {
namespace {

using Arguments = std::vector<std::string>;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool budgets_are_real = false;
#else
constexpr bool budgets_are_real = true;
#endif

/// What a hint offers: each pair is to be given together; nothing in one stays as it was.
struct Offer {
  std::optional<std::string> memory, context, speed;
};

std::vector<Offer> offers_of(const std::string& hint) {
  std::vector<Offer> offers;
  std::smatch found;
  if (std::regex_search(hint, found, std::regex("--memory (\\d+) or more")))
    offers.push_back({found[1], {}, {}});
  if (std::regex_search(hint, found, std::regex("--context (\\d+) or less")))
    offers.push_back({{}, found[1], {}});
  if (std::regex_search(hint, found, std::regex("or (\\d+) and --context (\\d+)")))
    offers.push_back({found[1], found[2], {}});
  if (std::regex_search(hint, found, std::regex("--speed ([0-9.]+) or less")))
    offers.push_back({{}, {}, found[1]});
  return offers;
}

class Hints : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!budgets_are_real) GTEST_SKIP() << "a sanitized program is too large for small budgets";
  }

  struct Case {
    std::string model, memory;
    std::optional<std::string> context, sessions, speed;
  };

  static Outcome call(const std::string& command, const Case& c) {
    Arguments arguments{command, c.model, "--memory", c.memory, "--threads", "2", "--json"};
    const auto add = [&](const char* option, const std::optional<std::string>& value) {
      if (value) arguments.insert(arguments.end(), {option, *value});
    };
    add("--context", c.context);
    add("--sessions", c.sessions);
    add("--speed", c.speed);
    if (command == "run") arguments.insert(arguments.end(), {"--prompt", "a", "--tokens", "2"});
    if (command == "bench")
      arguments.insert(arguments.end(), {"--prompt", "8", "--tokens", "2", "--repeats", "1"});
    return run_program(arguments);
  }

  static std::string shown(const Case& c) {
    return c.model + " --memory " + c.memory + " --context " + c.context.value_or("-") +
           " --sessions " + c.sessions.value_or("-");
  }

  /// Takes up all that a refusal of the case offers; how many offers there were.
  static int follow(const std::string& command, const Case& refused) {
    const Outcome outcome = call(command, refused);
    if (outcome.exit_code == 0) return 0;
    EXPECT_EQ(outcome.exit_code, 3) << shown(refused) << outcome.out;
    const std::string hint = outcome.json()["error"].value("hint", "");
    const std::vector<Offer> offers = offers_of(hint);
    EXPECT_FALSE(offers.empty()) << shown(refused) << ": " << hint;
    for (const Offer& offer : offers) {
      Case taken = refused;
      if (offer.memory) taken.memory = *offer.memory;
      if (offer.context) taken.context = *offer.context;
      if (offer.speed) taken.speed = *offer.speed;
      const Outcome followed = call(command, taken);
      EXPECT_EQ(followed.exit_code, 0) << command << " " << shown(refused) << ": " << hint << "\n"
                                       << followed.out;
      if (command == "plan" && !refused.sessions) {
        EXPECT_EQ(call("run", taken).exit_code, 0) << "run after plan's " << hint;
      }
    }
    return static_cast<int>(offers.size());
  }

  /// Contexts that are offered for the budget as it is are the longest that fit, but for what is
  /// kept to spare.
  static void expect_longest(const Case& refused) {
    nlohmann::json plan = call("plan", refused).json();
    if (!plan.contains("error")) return;
    std::smatch found;
    const std::string hint = plan["error"].value("hint", "");
    if (!std::regex_search(hint, found, std::regex("--context (\\d+) or less"))) return;
    const std::int64_t offered = std::stoll(found[1]);
    const std::int64_t bytes_per_token =
        plan["accounts"]["kv"].get<std::int64_t>() / plan["context"].get<std::int64_t>();
    Case longer = refused;
    longer.context =
        std::to_string(offered + (512 << 10) / std::max<std::int64_t>(bytes_per_token, 1));
    if (std::stoll(*longer.context) >= plan["context"]) return;
    EXPECT_EQ(call("plan", longer).exit_code, 3) << shown(refused) << ": " << hint;
  }
};

TEST_F(Hints, OfTheBundledModelWork) {
  int offers = 0;
  for (const char* memory : {"1MiB", "11MiB", "12.4MiB", "12600KiB", "13MiB", "18MiB", "20MiB"})
    for (const std::optional<std::string>& context :
         {std::optional<std::string>(), {"64"}, {"400"}, {"4096"}, {"100000"}}) {
      const Case refused{bundled_model, memory, context, {}, {}};
      offers += follow("plan", refused);
      offers += follow("run", refused);
      expect_longest(refused);
    }
  EXPECT_GT(offers, 60);
}

TEST_F(Hints, OfSmallAndRandomModelsWork) {
  const TemporaryFolder folder;
  std::vector<std::string> models;
  if (const std::string path = shared_folder + "/models/stories260k-f32.gguf"; exists(path))
    models.push_back(path);
  SyntheticModel wide;
  wide.width = 512;
  wide.feed_forward = 1408;
  wide.context = 2048;
  wide.format = FormatId::Q4_0;
  models.push_back(folder.file("wide.gguf"));
  write_synthetic_model(models.back(), wide, 2);
  SyntheticModel gemma;
  gemma.family = "gemma3";
  gemma.layers = 7;
  gemma.window = 32;
  gemma.tied = true;
  models.push_back(folder.file("gemma.gguf"));
  write_synthetic_model(models.back(), gemma, 2);
  int offers = 0;
  for (const std::string& model : models)
    for (const char* memory : {"2MiB", "12MiB", "14MiB", "20MiB"})
      for (const std::optional<std::string>& context :
           {std::optional<std::string>(), {"700"}, {"20000"}}) {
        const Case refused{model, memory, context, {}, {}};
        offers += follow("plan", refused);
        offers += follow("run", refused);
        expect_longest(refused);
      }
  EXPECT_GT(offers, 30);
}

TEST_F(Hints, OfSessionsAndBenchesWork) {
  int offers = 0;
  for (const char* memory : {"4MiB", "13MiB", "20MiB"})
    for (const std::optional<std::string>& context : {std::optional<std::string>(), {"2000"}})
      offers += follow("plan", {bundled_model, memory, context, "8", {}});
  offers += follow("bench", {bundled_model, "4MiB", {}, {}, {}});
  EXPECT_GT(offers, 5);
  EXPECT_EQ(call("bench", {bundled_model, "4MiB", {}, {}, {}}).out.find("--context"),
            std::string::npos)
      << "bench has no such option";
}

TEST_F(Hints, OfSpeedFloorsWork) {
  EXPECT_EQ(follow("plan", {bundled_model, "24MiB", {}, {}, "1000000"}), 1);
}

}  // namespace
}  // namespace plimsoll::test
