// Files that are written: never one that is read, and another's only when that is asked for.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "cli/commands.h"
#include "cli/program.h"
#include "support/hf_folder_writer.h"
#include "support/split_model.h"
#include "support/synthetic_model.h"
#include "support/temporary_folder.h"

namespace plimsoll::test {
namespace {

namespace fs = std::filesystem;
using Arguments = std::vector<std::string>;

std::string text_file() { return PLIMSOLL_MODELS "/README.md"; }

std::string content(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

class Outputs : public ::testing::Test {
 protected:
  Outputs() {
    SyntheticModel tiny;
    tiny.layers = 1;
    write_synthetic_model(model_, tiny, 1);
    fs::copy_file(text_file(), text_);
  }

  /// Every command that writes a file which its user names, with `out` as that.
  std::vector<std::pair<std::string, Arguments>> writers(const std::string& out) const {
    return {{"fit", {"fit", model_, "--bits", "6", "--effort", "fast", "-o", out}},
            {"plan", {"plan", model_, "--memory", enough_memory, "--html", out}},
            {"eval html", {"eval", bundled_model, "--text", text_, "--chunks", "1", "--html", out}},
            {"eval resume", {"eval", bundled_model, "--text", text_, "--chunks", "1", "--resume", out}}};
  }

  static Arguments with(Arguments arguments, const Arguments& more) {
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }

  /// A typed error with a hint, in `message`; nothing has changed.
  void expect_refused(const Arguments& arguments, const std::string& message,
                      std::optional<int> code = {}) const {
    const std::size_t files = folder_.count();
    const std::string model = content(model_), text = content(text_);
    const Outcome outcome = run_program(with(arguments, {"--json"}));
    EXPECT_TRUE(outcome.exit_code == 1 || outcome.exit_code == 2) << outcome.out << outcome.error;
    if (code) {
      EXPECT_EQ(outcome.exit_code, *code) << outcome.out;
    }
    const nlohmann::json error = outcome.json()["error"];
    EXPECT_NE(error.value("message", "").find(message), std::string::npos) << outcome.out;
    EXPECT_NE(error.value("hint", ""), "") << outcome.out;
    EXPECT_EQ(folder_.count(), files);
    EXPECT_EQ(content(model_), model);
    EXPECT_EQ(content(text_), text);
  }

  TemporaryFolder folder_;
  std::string model_ = folder_.file("model.gguf"), text_ = folder_.file("text.txt");
};

TEST_F(Outputs, AreReplacedOnlyIfTheSameCommandWroteThemUnlessThatIsForced) {
  const std::string out = folder_.file("out");
  for (const auto& [name, command] : writers(out)) {
    for (const std::string& foreign : {std::string("notes\n"), content(bundled_model).substr(0, 5000),
                                       std::string("<!doctype html>\n<p>of somebody else\n"),
                                       std::string("{\"a\": 1}\n"), std::string(1, '\0')}) {
      std::ofstream(out, std::ios::binary) << foreign;
      const Outcome outcome = run_program(command);
      EXPECT_EQ(outcome.exit_code, 1) << name << outcome.error;
      EXPECT_NE(outcome.error.find("--force"), std::string::npos) << name << outcome.error;
      EXPECT_EQ(content(out), foreign) << name;
    }
    // What the hint says.
    EXPECT_EQ(run_program(with(command, {"--force"})).exit_code, 0) << name;
    const std::string made = content(out);
    EXPECT_GT(made.size(), 100u) << name;
    // Its own may be replaced, and so may an empty file.
    EXPECT_EQ(run_program(command).exit_code, 0) << name;
    std::ofstream(out).close();
    EXPECT_EQ(run_program(command).exit_code, 0) << name;
    EXPECT_EQ(content(out).substr(0, 100), made.substr(0, 100)) << name;
    // Those of other commands may not.
    for (const auto& [other, second] : writers(out))
      if (other != name) {
        EXPECT_EQ(run_program(second).exit_code, 1) << other << " over " << name;
      }
    EXPECT_EQ(content(out).substr(0, 100), made.substr(0, 100)) << name;
    fs::remove(out);
  }
}

TEST_F(Outputs, OfAnOlderFileAreKnownByItsFirstKey) {
  // A fitted model that is fitted again says it once.
  const std::string once = folder_.file("once.gguf"), twice = folder_.file("twice.gguf");
  ASSERT_EQ(run_program({"fit", model_, "--bits", "8", "--effort", "fast", "-o", once}).exit_code, 0);
  ASSERT_EQ(run_program({"fit", once, "--bits", "6", "--effort", "fast", "-o", twice}).exit_code, 0);
  const std::string dumped = run_program({"inspect", twice, "--json"}).json()["metadata"].dump();
  const std::size_t first = dumped.find("plimsoll.fit\"");
  EXPECT_NE(first, std::string::npos);
  EXPECT_EQ(dumped.find("plimsoll.fit\"", first + 1), std::string::npos);
}

TEST_F(Outputs, AreNoFilesThatAreReadEvenWhenForced) {
  fs::create_hard_link(model_, folder_.file("hard"));
  fs::create_symlink(model_, folder_.file("soft"));
  fs::create_symlink("soft", folder_.file("softer"));
  fs::create_directory_symlink(".", folder_.file("here"));
  for (const char* spelling : {"model.gguf", "hard", "soft", "softer", "./model.gguf", "here/model.gguf",
                               "here/../model.gguf"}) {
    if (std::string(spelling) == "here/../model.gguf") continue;  // leads out of the folder
    const std::string out = folder_.file(spelling);
    for (const Arguments& force : {Arguments{}, Arguments{"--force"}}) {
      expect_refused(with({"fit", model_, "--bits", "6", "-o", out}, force), "would overwrite", 2);
      expect_refused(with({"plan", model_, "--html", out}, force), "would overwrite", 2);
      for (const char* option : {"--html", "--resume"}) {
        expect_refused(with({"eval", model_, "--text", text_, option, out}, force), "would overwrite", 2);
        expect_refused(with({"eval", bundled_model, model_, "--text", text_, option, out}, force),
                       "would overwrite", 2);
        expect_refused(
            with({"eval", bundled_model, "--against", model_, "--text", text_, option, out}, force),
            "would overwrite", 2);
      }
    }
  }
  for (const Arguments& command :
       {Arguments{"fit", model_, "--bits", "6", "--text", text_, "-o", text_},
        // Where the text would not even be read.
        Arguments{"fit", model_, "--size", "1GiB", "--text", text_, "-o", text_},
        Arguments{"eval", model_, "--text", text_, "--html", text_},
        Arguments{"eval", model_, "--text", text_, "--resume", text_}})
    expect_refused(with(command, {"--force"}), "would overwrite", 2);
}

TEST_F(Outputs, AreNoFittedModelsThatAreRead) {
  // Known as the command's own, and still not to be replaced.
  const std::string fitted = folder_.file("fitted.gguf");
  ASSERT_EQ(run_program({"fit", model_, "--bits", "8", "--effort", "fast", "-o", fitted}).exit_code, 0);
  expect_refused({"fit", fitted, "--bits", "6", "-o", fitted}, "would overwrite", 2);
  const std::string page = folder_.file("page.html");
  ASSERT_EQ(run_program({"eval", bundled_model, "--text", text_, "--chunks", "1", "--html", page}).exit_code, 0);
  expect_refused({"eval", bundled_model, "--text", page, "--html", page}, "would overwrite", 2);
  const std::string found = folder_.file("found");
  ASSERT_EQ(run_program({"eval", bundled_model, "--text", text_, "--chunks", "1", "--resume", found}).exit_code, 0);
  expect_refused({"eval", bundled_model, "--text", found, "--resume", found}, "would overwrite", 2);
}

TEST_F(Outputs, AreNoPartsOrMembersOfModels) {
  const std::vector<std::string> parts = split_model(bundled_model, folder_.file("part"), {20, false});
  for (const std::string& part : parts)
    expect_refused({"plan", parts[0], "--html", part, "--force"}, "would overwrite", 2);
  const TemporaryFolder hf;
  write_hf_folder(model_, hf.path().string());
  for (const auto& entry : fs::directory_iterator(hf.path())) {
    const std::string before = content(entry.path());
    const Outcome outcome = run_program({"plan", hf.path().string(), "--html", entry.path(), "--force"});
    EXPECT_EQ(outcome.exit_code, 2) << entry.path() << outcome.error;
    EXPECT_EQ(content(entry.path()), before);
  }
}

TEST_F(Outputs, AreNotTheConfigurationFile) {
  const std::string config = folder_.file("config.toml");
  std::ofstream(config) << "threads = 1\n";
  for (const auto& [name, command] : writers(config)) {
    Invocation invocation{with(command, {"--force"})};
    invocation.environment = {{"PLIMSOLL_CONFIG", config}};
    const Outcome outcome = run_program(invocation);
    EXPECT_EQ(outcome.exit_code, 2) << name << outcome.error;
    EXPECT_EQ(content(config), "threads = 1\n") << name;
  }
}

TEST_F(Outputs, ThatAreNoFilesAreRefused) {
  const std::string pipe = folder_.file("pipe"), loop = folder_.file("loop");
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  fs::create_symlink("loop", loop);
  const std::string name(255, 'n');
  for (const std::string& out :
       {folder_.path().string(), folder_.file("new/"), folder_.file("no/such"), text_ + "/in",
        std::string("/dev/null"), std::string("/dev/full"), std::string("/dev/stdout"), std::string("/dev/fd/1"),
        std::string("/proc/self/mem"), std::string("/proc/no-file"), std::string(""), std::string("-"), pipe, loop,
        folder_.file(name + "n"), std::string(5000, 'n')})
    for (const auto& [writer, command] : writers(out)) {
      SCOPED_TRACE(writer + " to " + out);
      expect_refused(command, "");
      expect_refused(with(command, {"--force"}), "");
    }
  // The longest name that there is does.
  const std::string longest = folder_.file(name);
  for (const auto& [writer, command] : writers(longest)) {
    EXPECT_EQ(run_program(command).exit_code, 0) << writer;
    fs::remove(longest);
  }
}

TEST_F(Outputs, GoWhereLinksLead) {
  const std::string link = folder_.file("link"), target = folder_.file("target");
  fs::create_symlink("target", link);
  for (const auto& [writer, command] : writers(link)) {
    EXPECT_EQ(run_program(command).exit_code, 0) << writer;
    EXPECT_TRUE(fs::is_symlink(link)) << writer;
    EXPECT_FALSE(fs::is_symlink(target)) << writer;
    EXPECT_GT(content(target).size(), 0u) << writer;
    fs::remove(target);
  }
}

TEST_F(Outputs, OfTwoOptionsAreTwoFiles) {
  fs::create_symlink("both", folder_.file("link"));
  fs::create_directory_symlink(".", folder_.file("here"));
  for (const char* second : {"both", "./both", "here/both", "link", "here/link"})
    expect_refused({"eval", bundled_model, "--text", text_, "--html", folder_.file("both"), "--resume",
                    folder_.file(second)},
                   "name the same file", 2);
  std::ofstream(folder_.file("both")).close();
  fs::create_hard_link(folder_.file("both"), folder_.file("hard"));
  for (const char* second : {"both", "link", "hard"})
    expect_refused({"eval", bundled_model, "--text", text_, "--html", folder_.file("both"), "--resume",
                    folder_.file(second)},
                   "name the same file", 2);
}

TEST_F(Outputs, AreNotWhereStandardOutputGoes) {
  const std::string out = folder_.file("out");
  for (const char* name : {"out", "/dev/stdout"}) {
    Invocation invocation{
        {"plan", model_, "--memory", enough_memory, "--html", *name == '/' ? name : folder_.file(name)}};
    std::ofstream(out).close();
    invocation.output_file = out;
    const Outcome outcome = run_program(invocation);
    EXPECT_EQ(outcome.exit_code, 2) << outcome.error;
    EXPECT_NE(outcome.error.find("standard output"), std::string::npos) << outcome.error;
  }
}

/// `command >> file`.
Outcome appended(const Arguments& arguments, const std::string& file) {
  Invocation invocation{arguments};
  invocation.output_file = file;
  return run_program(invocation);
}

TEST_F(Outputs, OnStandardOutputAreNotWhatIsReadMeanwhile) {
  const std::string model = content(model_), text = content(text_);
  for (const Arguments& command :
       {Arguments{"inspect", model_}, {"plan", model_, "--memory", enough_memory}, {"tokenize", model_, "--text", "a"}}) {
    const Outcome outcome = appended(command, model_);
    EXPECT_EQ(outcome.exit_code, 2) << command[0] << outcome.error;
    EXPECT_EQ(content(model_), model) << command[0];
  }
  // This would go on for ever.
  EXPECT_EQ(appended({"tokenize", model_, "--file", text_}, text_).exit_code, 2);
  EXPECT_EQ(content(text_), text);
  // A text that is read as a whole before may be written on.
  EXPECT_EQ(appended({"run", bundled_model, "--file", text_, "--tokens", "3", "--context", "4000"}, text_).exit_code, 0);
  EXPECT_EQ(content(text_).substr(0, text.size()), text);
  EXPECT_GT(content(text_).size(), text.size());
}

TEST_F(Outputs, OfConversationsLeaveOthersFilesAlone) {
  TerminalProgram program({"run", bundled_model, "--chat", "--no-history"});
  ASSERT_TRUE(program.wait_for("/help"));
  for (const std::string& other : {model_, text_, bundled_model, folder_.path().string(), std::string("/dev/null"),
                                   std::string("-")}) {
    const bool is_file = fs::is_regular_file(other);
    const std::string before = is_file ? content(other) : "";
    program.type("/save " + other + "\n");
    EXPECT_TRUE(program.wait_for("plimsoll:")) << other << program.screen();
    if (is_file) {
      EXPECT_EQ(content(other), before);
    }
  }
  EXPECT_FALSE(fs::exists("-"));
  const std::string own = folder_.file("own.json");
  program.type("/system Be short.\n");
  EXPECT_TRUE(program.wait_for("set;")) << program.screen();
  for (int i = 0; i < 2; ++i) {
    program.type("/save " + own + "\n");
    EXPECT_TRUE(program.wait_for("saved in")) << program.screen();
    program.type("/load " + own + "\n");
    EXPECT_TRUE(program.wait_for("loaded")) << program.screen();
  }
  program.type("/quit\n");
  EXPECT_EQ(program.wait(), 0);
}

TEST_F(Outputs, OfManualPagesLeaveOthersFilesAlone) {
  const TemporaryFolder pages;
  const std::string run = pages.file("plimsoll-run.1");
  std::ofstream(run) << "mine\n";
  EXPECT_EQ(run_program({"man", "--output", pages.path().string()}).exit_code, 1);
  EXPECT_EQ(content(run), "mine\n");
  for (const Arguments& more : {Arguments{"--force"}, Arguments{}})
    EXPECT_EQ(run_program(with({"man", "--output", pages.path().string()}, more)).exit_code, 0);
  EXPECT_NE(content(run), "mine\n");
}

TEST_F(Outputs, ThatMayNotBeWrittenAreLeftAlone) {
  if (::geteuid() == 0) GTEST_SKIP() << "nothing is forbidden to root";
  const std::string out = folder_.file("out");
  std::ofstream(out).close();
  fs::permissions(out, fs::perms::owner_read);
  for (const auto& [writer, command] : writers(out)) expect_refused(command, "cannot be replaced");
}

/// Files that are named by an option are declared as read or written, so that both are checked.
TEST(OutputOptions, SayWhatTheyDoWithFiles) {
  for (const CommandDeclaration& command : commands().declarations())
    for (const OptionDeclaration& option : command.options) {
      if (option.writes) {
        EXPECT_NE(command.find("--force"), nullptr) << command.name;
      }
      const bool names_file = option.placeholder.find("FILE") != std::string::npos ||
                              option.placeholder.find("OUT") != std::string::npos ||
                              option.placeholder == "REFERENCE";
      if (names_file) {
        EXPECT_TRUE(option.reads || option.writes) << command.name << " " << option.name;
      }
    }
}

}  // namespace
}  // namespace plimsoll::test
