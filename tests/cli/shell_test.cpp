// What the declarations become for shells and readers: completions, manual pages, and the
// installation.
#include <gtest/gtest.h>

#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "cli/commands.h"
#include "cli/program.h"
#include "support/temporary_folder.h"

namespace plimsoll::test {
namespace {

namespace fs = std::filesystem;

bool has_tool(const std::string& name) {
  return std::system(("command -v " + name + " >/dev/null 2>&1").c_str()) == 0;
}

std::string read_text(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// Exit code and output of a shell command.
std::pair<int, std::string> shell(const std::string& command) {
  const TemporaryFolder folder;
  const std::string log = folder.file("log");
  const int status = std::system(("{ " + command + "\n} >" + log + " 2>&1").c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read_text(log)};
}

std::string script(const TemporaryFolder& folder, const std::string& name) {
  const std::string path = folder.file("completion." + name);
  const Outcome outcome = run_program({"completion", name});
  EXPECT_EQ(outcome.exit_code, 0);
  std::ofstream(path) << outcome.out;
  return path;
}

TEST(Completion, BashCompletesCommandsOptionsAndValues) {
  if (!has_tool("bash")) GTEST_SKIP() << "no bash";
  const TemporaryFolder folder;
  const std::string path = script(folder, "bash");
  write_file(folder.file("model.gguf"), {});
  write_file(folder.file("text.txt"), {});
  EXPECT_EQ(shell("bash -n " + path), std::make_pair(0, std::string()));
  const auto complete = [&](const std::string& words) {
    return shell("cd " + folder.path().string() + " && bash -c 'source " + path + "; COMP_WORDS=(" +
                 words +
                 "); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _plimsoll; echo \"${COMPREPLY[*]}\"'")
        .second;
  };
  EXPECT_EQ(complete("plimsoll pla"), "plan\n");
  EXPECT_EQ(complete("plimsoll fit --eff"), "--effort\n");
  EXPECT_EQ(complete("plimsoll fit --effort \"\""), "fast thorough\n");
  EXPECT_EQ(complete("plimsoll fit --effort = th"), "thorough\n");
  EXPECT_EQ(complete("plimsoll fit --effort ="), "fast thorough\n");
  EXPECT_EQ(complete("plimsoll run m"), "model.gguf\n");
  EXPECT_EQ(complete("plimsoll eval --text te"), "text.txt\n");
  EXPECT_EQ(complete("plimsoll run --memory \"\""), "\n") << "a size cannot be guessed";
  EXPECT_EQ(complete("plimsoll help ev"), "eval\n");
  EXPECT_EQ(complete("plimsoll completion \"\""), "bash zsh fish\n");
  if (!has_tool("shellcheck")) return;
  EXPECT_EQ(shell("shellcheck -s bash " + path), std::make_pair(0, std::string()));
}

TEST(Completion, ZshReadsItsScript) {
  if (!has_tool("zsh")) GTEST_SKIP() << "no zsh";
  const TemporaryFolder folder;
  const std::string path = script(folder, "zsh");
  EXPECT_EQ(shell("zsh -n " + path), std::make_pair(0, std::string()));
  // Loaded as functions of a search path are, and registered by its first line.
  fs::create_directory(folder.file("functions"));
  fs::rename(path, folder.file("functions/_plimsoll"));
  const auto [status, out] =
      shell("HOME=" + folder.path().string() + " zsh -f -c 'fpath=(" + folder.file("functions") +
            " $fpath); autoload -Uz compinit; compinit -u -d " + folder.file("dump") +
            "; echo $_comps[plimsoll]; autoload +X _plimsoll'");
  EXPECT_EQ(status, 0) << out;
  EXPECT_EQ(out, "_plimsoll\n");
}

TEST(Completion, FishCompletes) {
  if (!has_tool("fish")) GTEST_SKIP() << "no fish";
  const TemporaryFolder folder;
  const std::string path = script(folder, "fish");
  write_file(folder.file("model.gguf"), {});
  const auto complete = [&](const std::string& line) {
    return shell("cd " + folder.path().string() + " && HOME=" + folder.path().string() +
                 " XDG_CONFIG_HOME= fish -c 'source " + path + "; complete -C \"plimsoll " + line +
                 "\"'")
        .second;
  };
  EXPECT_EQ(complete("pla").substr(0, 5), "plan\t");
  EXPECT_EQ(complete("fit --eff").substr(0, 9), "--effort\t");
  const std::string efforts = complete("fit --effort ");
  EXPECT_NE(efforts.find("fast\t"), std::string::npos) << efforts;
  EXPECT_NE(complete("run mod").find("model.gguf"), std::string::npos);
  EXPECT_EQ(complete("help ev").substr(0, 4), "eval");
  EXPECT_EQ(complete("help run --mem"), "") << "run is not the command here";
}

TEST(Completion, WrongShellsAreUsage) {
  EXPECT_EQ(run_program({"completion"}).exit_code, 2);
  const Outcome outcome = run_program({"completion", "bahs"});
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_NE(outcome.error.find("bash?"), std::string::npos) << outcome.error;
}

TEST(Man, PagesHaveEveryOptionAndAreSound) {
  const TemporaryFolder folder;
  ASSERT_EQ(run_program({"man", "--output", folder.path().string()}).exit_code, 0);
  for (const CommandDeclaration& command : commands().declarations()) {
    const std::string page = read_text(folder.file("plimsoll-" + command.name + ".1"));
    EXPECT_EQ(page, run_program({"man", command.name}).out);
    for (const OptionDeclaration& option : command.options)
      EXPECT_NE(
          page.find(option.is_positional() ? "Ar " + option.name : "Fl " + option.name.substr(1)),
          std::string::npos)
          << command.name << " " << option.name;
  }
  EXPECT_EQ(read_text(folder.file("plimsoll.1")), run_program({"man"}).out);
  if (!has_tool("mandoc")) GTEST_SKIP() << "no mandoc to judge the pages";
  // Two pages may refer to each other wherever they are.
  const auto [status, out] = shell("mandoc -Tlint -Wstyle " + folder.path().string() +
                                   "/*.1 | grep -v 'referenced manual not found'; true");
  EXPECT_EQ(status, 0);
  EXPECT_EQ(out, "");
}

TEST(Help, OfACommandIsTheSameBothWays) {
  for (const std::string& name : commands().names()) {
    const Outcome help = run_program({"help", name});
    EXPECT_EQ(help.exit_code, 0);
    EXPECT_EQ(help.out, run_program({name, "--help"}).out) << name;
    EXPECT_NE(help.out.find("plimsoll " + name), std::string::npos);
  }
  EXPECT_EQ(run_program({"help", "rnu"}).exit_code, 2);
}

TEST(Help, MistypedWordsAreUnderstood) {
  const auto hint = [](std::vector<std::string> words) { return run_program(words).error; };
  EXPECT_NE(hint({"rnu"}).find("did you mean run?"), std::string::npos);
  EXPECT_NE(hint({"run", "--temprature", "0"}).find("did you mean --temperature?"),
            std::string::npos);
  EXPECT_NE(hint({"run", "--memroy=1GiB"}).find("did you mean --memory?"), std::string::npos);
  EXPECT_NE(hint({"fit", "x", "--effort", "thorogh"}).find("did you mean thorough?"),
            std::string::npos);
  EXPECT_NE(hint({"fit", "x", "--format", "q4_kz"}).find("did you mean Q4_K?"), std::string::npos);
  EXPECT_NE(hint({"--memory", "1GiB"}).find("command"), std::string::npos);
}

TEST(Help, TheOverviewNamesWhereToBegin) {
  const Outcome outcome = run_program(std::vector<std::string>{});
  EXPECT_EQ(outcome.exit_code, 2);
  for (const char* part : {"plimsoll run", "plimsoll plan", "plimsoll help"})
    EXPECT_NE(outcome.error.find(part), std::string::npos) << part;
  EXPECT_LE(std::count(outcome.error.begin(), outcome.error.end(), '\n'), 12);
}

TEST(Version, IsThatOfTheProject) {
  for (const char* word : {"--version", "-V", "version"}) {
    const Outcome outcome = run_program({word});
    EXPECT_EQ(outcome.exit_code, 0);
    EXPECT_EQ(outcome.out.rfind("plimsoll " PLIMSOLL_VERSION "\n", 0), 0u) << outcome.out;
  }
  const nlohmann::json json = run_program({"--version", "--json"}).json();
  EXPECT_EQ(json["version"], PLIMSOLL_VERSION);
  EXPECT_EQ(json["built_isas"][0], "reference");
  EXPECT_EQ(json["supported_isas"].back(), json["isa"]);
  Invocation forced{{"--version", "--json"}};
  forced.environment = {{"PLIMSOLL_ISA", "reference"}};
  EXPECT_EQ(run_program(forced).json()["isa"], "reference");
  forced.environment = {{"PLIMSOLL_ISA", "abacus"}};
  EXPECT_TRUE(run_program(forced).json()["isa"].is_null());
}

void install(const std::string& prefix, const std::string& before = "") {
  const auto [status, out] =
      shell(before + " " PLIMSOLL_CMAKE " --install " PLIMSOLL_BUILD " --prefix " + prefix);
  EXPECT_EQ(status, 0) << out;
}

TEST(Installation, CanBeMovedAndFindsItsModel) {
  const TemporaryFolder folder;
  install(folder.file("first"));
  fs::rename(folder.file("first"), folder.file("second"));
  for (const char* path :
       {"bin/plimsoll", "share/man/man1/plimsoll.1", "share/man/man1/plimsoll-run.1",
        "share/bash-completion/completions/plimsoll", "share/zsh/site-functions/_plimsoll",
        "share/fish/vendor_completions.d/plimsoll.fish",
        "share/plimsoll/models/plimsoll-docs-4m-f16.gguf"})
    EXPECT_TRUE(fs::is_regular_file(folder.file("second") / fs::path(path))) << path;
  if (fs::exists(PLIMSOLL_BUILD "/libplimsoll.so"))  // sanitised builds have none
    EXPECT_TRUE(fs::is_regular_file(folder.file("second") + "/include/plimsoll.h"));
  for (const auto& entry : fs::recursive_directory_iterator(folder.file("second"))) {
    const std::string name = entry.path().filename().string();
    const std::string extension = entry.path().extension().string();
    const bool is_library =
        extension == ".a" || (name.find(".so") != std::string::npos && !name.starts_with("libplimsoll.so"));
    EXPECT_TRUE(name.find("_tests") == std::string::npos && !is_library &&
                name.find("gtest") == std::string::npos &&
                name.find("make_model") == std::string::npos)
        << entry.path() << " is no part of an installation";
  }
  const auto [status, out] = shell(folder.file("second") + "/bin/plimsoll inspect --json");
  EXPECT_EQ(status, 0) << out;
  EXPECT_EQ(nlohmann::json::parse(out)["path"],
            folder.file("second") + "/share/plimsoll/models/plimsoll-docs-4m-f16.gguf");
  EXPECT_EQ(read_text(folder.file("second") + "/share/plimsoll/models/plimsoll-docs-4m-f16.gguf"),
            read_text(bundled_model));
  // In the same test, since two installations of one build at once would disturb each other.
  install("/usr", "DESTDIR=" + folder.file("stage"));
  EXPECT_TRUE(fs::exists(folder.file("stage/usr/bin/plimsoll")));
  EXPECT_TRUE(fs::exists(folder.file("stage/usr/share/man/man1/plimsoll-plan.1")));
}

TEST(Installation, AProgramAloneFindsTheModelOfItsBuild) {
  const TemporaryFolder folder;
  fs::copy_file(PLIMSOLL_BINARY, folder.file("plimsoll"));
  const auto [status, out] = shell(folder.file("plimsoll") + " inspect --json");
  EXPECT_EQ(status, 0) << out;
  EXPECT_EQ(nlohmann::json::parse(out)["path"],
            fs::path(bundled_model).lexically_normal().string());
}

}  // namespace
}  // namespace plimsoll::test
