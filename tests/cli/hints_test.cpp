// A refusal offers what would work: every offer is taken up here, by the same command and by
// others.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <regex>
#include <set>

#include "cli/commands.h"
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

/// Options and values that a hint says to give together, by option; an empty value takes it away.
using Offer = std::map<std::string, std::string>;

/// Each part between commas is one, if it names options with values.
std::vector<Offer> offers_of(const std::string& hint) {
  std::vector<Offer> offers;
  const std::regex part_end(", or |; "), valued("(--[a-z-]+) (\\d[0-9.]*|fast)"), left("(?:without|instead of) (--[a-z-]+)");
  for (std::sregex_token_iterator part(hint.begin(), hint.end(), part_end, -1), none; part != none; ++part) {
    const std::string text = *part;
    Offer offer;
    for (std::sregex_iterator found(text.begin(), text.end(), valued), end; found != end; ++found)
      offer[(*found)[1]] = (*found)[2];
    if (offer.empty()) continue;
    for (std::sregex_iterator found(text.begin(), text.end(), left), end; found != end; ++found)
      offer[(*found)[1]] = "";
    offers.push_back(std::move(offer));
  }
  return offers;
}

/// A command line that takes it up.
Arguments taking(Arguments arguments, const Offer& offer) {
  for (const auto& [option, value] : offer) {
    const auto at = std::ranges::find(arguments, option);
    if (at != arguments.end()) arguments.erase(at, at + 2);
    if (!value.empty()) arguments.insert(arguments.end(), {option, value});
  }
  return arguments;
}

std::string shown(const Arguments& arguments) {
  std::string line;
  for (const std::string& word : arguments) line += (line.empty() ? "" : " ") + word.substr(0, 200);
  return line;
}

/// Every option that is named is one of this command's.
void expect_own_options(const std::string& command, const std::string& text) {
  const CommandDeclaration declared = commands().find(command).declaration();
  const std::regex option("--[a-z][a-z-]*");
  // Other commands are named with all that belongs to them.
  const std::string own = std::regex_replace(text, std::regex("\"plimsoll [^\"]*\""), "");
  for (std::sregex_iterator found(own.begin(), own.end(), option), end; found != end; ++found)
    EXPECT_NE(declared.find(found->str()), nullptr) << command << " has no " << found->str() << ": " << text;
}

class Hints : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!budgets_are_real) GTEST_SKIP() << "a sanitized program is too large for small budgets";
  }

  struct Case {
    std::string model, memory;
    std::optional<std::string> context, sessions, speed, threads = "2";
  };

  static Arguments arguments_of(const std::string& command, const Case& c) {
    Arguments arguments{command, c.model, "--memory", c.memory};
    const auto add = [&](const char* option, const std::optional<std::string>& value) {
      if (value) arguments.insert(arguments.end(), {option, *value});
    };
    add("--threads", c.threads);
    add("--context", c.context);
    add("--sessions", c.sessions);
    add("--speed", c.speed);
    if (command == "run") arguments.insert(arguments.end(), {"--prompt", "a", "--tokens", "2"});
    if (command == "bench")
      arguments.insert(arguments.end(), {"--prompt", "8", "--tokens", "2", "--repeats", "1"});
    return arguments;
  }

  static Outcome call(Arguments arguments) {
    arguments.push_back("--json");
    return run_program(arguments);
  }
  static Outcome call(const std::string& command, const Case& c) { return call(arguments_of(command, c)); }

  /// Takes up all that a refusal of the command line offers; how many offers there were. Without
  /// `offers_something`, there may be none.
  static int follow(const Arguments& refused, bool offers_something = true) {
    const Outcome outcome = call(refused);
    if (outcome.exit_code == 0) return 0;
    EXPECT_EQ(outcome.signal, 0) << shown(refused);
    const nlohmann::json error = outcome.json()["error"];
    const std::string hint = error.value("hint", ""), command = refused.front();
    EXPECT_NE(error.value("code", ""), "internal") << shown(refused) << error;
    EXPECT_NE(hint, "") << shown(refused);
    expect_own_options(command, hint + " " + error.value("message", ""));
    const std::vector<Offer> offers = offers_of(hint);
    if (offers_something) {
      EXPECT_FALSE(offers.empty()) << shown(refused) << ": " << hint;
    }
    for (const Offer& offer : offers) {
      Arguments taken = taking(refused, offer);
      Outcome followed = call(taken);
      // A text is refused before there is a plan: what that needs besides is said next.
      if (followed.exit_code == 3 && error.value("message", "").starts_with("tokenizing a text")) {
        const std::vector<Offer> next = offers_of(followed.json()["error"].value("hint", ""));
        EXPECT_FALSE(next.empty()) << followed.out;
        if (!next.empty()) followed = call(taking(taken, next.front()));
      }
      EXPECT_EQ(followed.exit_code, 0) << shown(refused) << ": " << hint << "\n"
                                       << shown(taken) << "\n" << followed.out.substr(0, 2000);
      if (command == "plan" && std::ranges::find(taken, "--sessions") == taken.end()) {
        taken.front() = "run";
        taken.insert(taken.end(), {"--prompt", "a", "--tokens", "2"});
        EXPECT_EQ(call(taken).exit_code, 0) << "run after plan's " << hint;
      }
    }
    return static_cast<int>(offers.size());
  }
  static int follow(const std::string& command, const Case& refused) {
    return follow(arguments_of(command, refused));
  }

  static std::string hint_of(const Arguments& arguments) {
    return call(arguments).json()["error"].value("hint", "");
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
    EXPECT_EQ(call("plan", longer).exit_code, 3) << shown(arguments_of("plan", refused)) << ": " << hint;
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
}

/// What each worker takes is named where it is the cost.
TEST_F(Hints, OfThreadsWork) {
  int offers = 0;
  for (const char* threads : {"8", "48", "256"})
    for (const char* memory : {"9MiB", "13MiB", "16MiB", "26MiB"})
      for (const std::optional<std::string>& context : {std::optional<std::string>(), {"2000"}}) {
        const Case refused{bundled_model, memory, context, {}, {}, threads};
        offers += follow("plan", refused);
        offers += follow("run", refused);
      }
  EXPECT_GT(offers, 20);
  const std::string hint = hint_of(arguments_of("run", {bundled_model, "16MiB", {}, {}, {}, "256"}));
  EXPECT_NE(hint.find("--threads"), std::string::npos) << hint;
  EXPECT_EQ(hint_of(arguments_of("run", {bundled_model, "4MiB", {}, {}, {}, "1"})).find("--threads"),
            std::string::npos);
}

TEST_F(Hints, OfLongBenchesWork) {
  const auto bench = [](const Arguments& more) {
    Arguments arguments{"bench", bundled_model, "--threads", "2", "--repeats", "1"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  };
  int offers = 0;
  for (const char* memory : {"9MiB", "10MiB"}) {
    for (const char* depths : {"2000", "0,20,2500"})
      offers += follow(bench({"--memory", memory, "--prompt", "8", "--tokens", "2", "--depths", depths}));
    offers += follow(bench({"--memory", memory, "--prompt", "2500", "--tokens", "2"}));
    offers += follow(bench({"--memory", memory, "--prompt", "2500", "--tokens", "2", "--depths", "7"}));
    offers += follow(bench({"--memory", memory, "--prompt", "8", "--tokens", "2", "--batches", "1,48"}));
    offers += follow(bench({"--memory", memory, "--prompt", "8", "--tokens", "2", "--batches", "24"}));
  }
  EXPECT_GT(offers, 10);
}

TEST_F(Hints, OfEvaluationsWork) {
  const TemporaryFolder folder;
  const std::string text = folder.file("text");
  {
    std::ofstream words(text);
    for (int i = 0; i < 3000; ++i) words << "The file system has " << i << " pages.\n";
  }
  const auto eval = [&](const Arguments& more) {
    Arguments arguments{"eval", bundled_model, "--text", text, "--threads", "2", "--chunks", "2"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  };
  int offers = 0;
  for (const char* memory : {"11MiB", "14MiB", "20MiB", "11MiB,40MiB"})
    for (const char* context : {"64", "1000"}) {
      offers += follow(eval({"--memory", memory, "--context", context}));
      offers += follow(eval({"--memory", memory, "--context", context, "--against", bundled_model}));
    }
  offers += follow({"eval", bundled_model, "--text", text, "--chunks", "2", "--memory", "16MiB", "--threads", "100"});
  EXPECT_GT(offers, 12);
}

TEST_F(Hints, OfMeasuringWork) {
  int offers = 0;
  for (const char* threads : {"1", "2", "64"})
    for (const char* memory : {"4MiB", "12MiB", "20MiB", "32MiB"})
      offers += follow({"measure", bundled_model, "--memory", memory, "--threads", threads});
  EXPECT_GT(offers, 5);
}

TEST_F(Hints, OfFitsWork) {
  const TemporaryFolder folder;
  const std::string out = folder.file("out.gguf"), tiny = folder.file("tiny.gguf"), text = folder.file("text");
  SyntheticModel shape;
  shape.layers = 2;
  write_synthetic_model(tiny, shape, 2);
  {
    std::ofstream words(text);
    for (int i = 0; i < 4000; ++i) words << "some words " << i << "\n";
  }
  const auto fit = [&](const std::string& model, const Arguments& more) {
    Arguments arguments{"fit", model, "-o", out, "--threads", "2"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  };
  int offers = 0;
  // Fitting thoroughly takes long: that its advice is enough is for fitting_test.cpp.
  for (const std::string& model : {bundled_model, tiny}) {
    if (model == tiny) {  // the smallest formats are searched for long
      offers += follow(fit(model, {"--effort", "fast", "--size", "1000"}));
      offers += follow(fit(model, {"--effort", "fast", "--bits", "1.1"}));
    }
    for (const char* memory : {"2MiB", "4MiB", "5MiB"}) {
      offers += follow(fit(model, {"--effort", "fast", "--bits", "6", "--memory", memory}));
      offers += follow(fit(model, {"--effort", "fast", "--memory", memory}));
    }
    offers += follow({"fit", model, "-o", out, "--effort", "fast", "--bits", "6", "--memory", "18MiB", "--threads", "64"});
  }
  for (const Arguments& more : {Arguments{}, {"--text", text}}) {
    Arguments arguments = fit(tiny, {"--bits", "6", "--memory", "14MiB"});
    arguments.insert(arguments.end(), more.begin(), more.end());
    const std::string hint = hint_of(arguments);
    expect_own_options("fit", hint);
    for (const Offer& offer : offers_of(hint))
      if (offer.contains("--effort")) {
        EXPECT_EQ(call(taking(arguments, offer)).exit_code, 0) << hint;
        ++offers;
      }
  }
  EXPECT_GT(offers, 8);
}

TEST_F(Hints, OfPromptsThatAreTooLongWork) {
  std::string prompt;
  for (int i = 0; i < 100; ++i) prompt += "the file is here. ";
  int offers = 0;
  for (const char* memory : {"12.5MiB", "14MiB"})
    for (const std::optional<std::string>& context : {std::optional<std::string>(), {"100"}, {"60000"}}) {
      Arguments arguments{"run", bundled_model, "--threads", "2", "--memory", memory, "--prompt", prompt, "--tokens", "2"};
      if (context) arguments.insert(arguments.end(), {"--context", *context});
      offers += follow(arguments, false);
    }
  // A model that was trained for more than the budget has room for.
  const TemporaryFolder folder;
  const std::string model = folder.file("long.gguf");
  SyntheticModel shape;
  shape.layers = 8;
  shape.context = 32768;
  write_synthetic_model(model, shape, 2);
  for (const char* memory : {"14MiB", "24MiB"})
    offers += follow({"run", model, "--threads", "2", "--memory", memory, "--prompt", prompt, "--tokens", "2"}, false);
  EXPECT_GT(offers, 3);
}

/// A text that takes more than there is: what it is said to take is enough.
TEST_F(Hints, OfTextsThatAreTooLongWork) {
  const TemporaryFolder folder;
  const std::string text = folder.file("text");
  {
    std::ofstream words(text);
    for (int i = 0; i < 100'000; ++i) words << "some words " << i << "\n";
  }
  int offers = 0;
  for (const char* memory : {"13MiB", "20MiB"}) {
    offers += follow({"eval", bundled_model, "--text", text, "--chunks", "1", "--threads", "2", "--memory", memory}, false);
  }
  EXPECT_GT(offers, 1);
}

TEST_F(Hints, OfTokenizingWork) {
  for (const char* memory : {"1KiB", "2MiB", "4MiB", "5MiB"})
    EXPECT_EQ(follow({"tokenize", bundled_model, "--text", "The page", "--memory", memory}), 1) << memory;
}

/// A piece of text that cannot be cut takes working memory for all of it.
TEST_F(Hints, OfPiecesWork) {
  const TemporaryFolder folder;
  const std::string text = folder.file("text");
  std::string letters;
  while (letters.size() < 3'000'000) letters += "acgt";
  const auto write = [&](std::size_t line) {
    std::ofstream out(text);
    for (std::size_t at = 0; at < letters.size(); at += line) out << letters.substr(at, line) << "\n";
  };
  for (const char* memory : {"13MiB", "16MiB", "24MiB"}) {
    write(letters.size());
    const Arguments arguments{"tokenize", bundled_model, "--file", text, "--memory", memory};
    EXPECT_GT(follow(arguments), 0) << memory;
    const Outcome refused = run_program(arguments);  // the table
    std::smatch found;
    ASSERT_TRUE(std::regex_search(refused.error, found, std::regex("lines of at most (\\d+) bytes"))) << refused.error;
    write(std::stoull(found[1]));
    EXPECT_EQ(run_program(arguments).exit_code, 0) << memory << refused.error;
  }
}

TEST_F(Hints, OfWhatNoMachineHasWork) {
  for (const char* command : {"run", "plan", "bench", "measure", "eval", "fit"}) {
    Arguments arguments{command, bundled_model, "--memory", "1000TiB"};
    if (*command == 'e') arguments.insert(arguments.end(), {"--text", PLIMSOLL_MODELS "/README.md", "--chunks", "1"});
    if (*command == 'f') arguments.insert(arguments.end(), {"-o", "/tmp/never", "--size", "10"});
    const std::string hint = hint_of(arguments);
    EXPECT_FALSE(offers_of(hint).empty()) << command << hint;
    expect_own_options(command, hint);
    if (*command == 'p') {
      EXPECT_EQ(follow(arguments), 1);
    }
  }
  // More than there is is not offered.
  for (const char* command : {"run", "plan"}) {
    Arguments arguments{command, bundled_model, "--context", "1000000000", "--threads", "2"};
    if (*command == 'r') arguments.insert(arguments.end(), {"--prompt", "The"});
    EXPECT_EQ(hint_of(arguments).find("--memory"), std::string::npos) << hint_of(arguments);
    EXPECT_NE(hint_of(arguments).find("--context"), std::string::npos) << hint_of(arguments);
  }
}

/// Whatever option a text of the program names is declared by one of its commands.
TEST(HintTexts, NameOptionsThatExist) {
  std::set<std::string> known{"--help", "--version", "--install"};
  for (const CommandDeclaration& command : commands().declarations())
    for (const OptionDeclaration& option : command.options) known.insert(option.name);
  const std::regex texts("\"(?:[^\"\\\\]|\\\\.)*\""), option("--[a-z][a-z-]+");
  int files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(PLIMSOLL_MODELS "/../src")) {
    if (entry.path().extension() != ".cpp") continue;
    if (entry.path().filename() == "package.cpp") continue;     // another program's
    if (entry.path().filename() == "completion.cpp") continue;  // what shells have
    if (entry.path().filename() == "suggest.cpp") continue;     // what users mistype
    ++files;
    std::ifstream file(entry.path());
    for (std::string line; std::getline(file, line);) {
      if (line.find("//") < line.find('"')) continue;
      for (std::sregex_iterator text(line.begin(), line.end(), texts), end; text != end; ++text) {
        const std::string literal = text->str();
        for (std::sregex_iterator found(literal.begin(), literal.end(), option); found != end; ++found)
          EXPECT_TRUE(known.contains(found->str())) << entry.path() << ": " << line;
      }
    }
  }
  EXPECT_GT(files, 100);
}

TEST_F(Hints, OfSpeedFloorsWork) {
  EXPECT_EQ(follow("plan", {bundled_model, "24MiB", {}, {}, "1000000"}), 1);
}

}  // namespace
}  // namespace plimsoll::test
