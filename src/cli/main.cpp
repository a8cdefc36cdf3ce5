// The program: finds the command, and turns what goes wrong into a message and an exit code (0
// done, 1 a typed error, 2 wrong usage, 3 refused because it can't fit).
#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <new>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/process.h"
#include "base/process.h"
#include "cli/commands.h"
#include "options/help.h"
#include "options/settings.h"
#include "terminal/output.h"

namespace plimsoll {
namespace {

using Words = std::span<const std::string>;

/// One call of the program.
class Program {
 public:
  explicit Program(Words words) : words_(words) {}

  int run() {
    try {
      return dispatch();
    } catch (const Error& error) {
      return fail(error);
    } catch (const std::bad_alloc&) {
      return fail(Error(ErrorCode::machine_limit, "the machine has no more memory to give",
                        "give a smaller --memory, or stop other programs"));
    } catch (const std::exception& error) {
      return fail(Error(ErrorCode::internal, error.what(), "this is a bug in plimsoll"));
    }
  }

 private:
  int dispatch() {
    if (words_.empty()) {
      write_error(overview_text());
      return exit_code(ErrorCode::usage);
    }
    std::string name = words_.front();
    if (name == "-h" || name == "--help") name = "help";
    if (name == "-V" || name == "--version") name = "version";
    if (name.starts_with('-'))
      throw Error(ErrorCode::usage, fmt::format("\"{}\" stands where the command should", name),
                  "as in \"plimsoll run " + name + " ...\"; \"plimsoll help\" lists the commands");
    const CommandTable table = commands();
    const Command& command = table.find(name);
    const Words rest = words_.subspan(1);
    // These help with wrong settings, and must not fail because of them.
    for (const char* plain : {"help", "version", "completion", "man"})
      if (command.name == plain) return command.run(rest);
    if (wants_help(rest)) return command.run(rest);
    settings_ = Settings::read(table.declarations());
    return command.run({rest, *settings_});
  }

  static bool wants_help(Words words) {
    const auto end = std::ranges::find(words, "--");
    return std::any_of(words.begin(), end,
                       [](const std::string& word) { return word == "--help" || word == "-h"; });
  }

  /// Asked of the bare words, since it must be known even where they cannot be parsed.
  std::optional<bool> switched(const std::string& flag) const {
    const auto end = std::ranges::find(words_, "--");
    std::optional<bool> last;
    for (auto word = words_.begin(); word != end; ++word) {
      if (*word == flag) last = true;
      if (word->starts_with(flag + "=")) last = parse_switch(word->substr(flag.size() + 1));
    }
    return last;
  }

  /// On the command line, or set for this command.
  bool wants(const std::string& flag) const {
    if (const std::optional<bool> said = switched(flag)) return *said;
    if (!settings_) return false;
    const CommandTable table = commands();
    const auto command = std::ranges::find(table, words_.front(), &Command::name);
    if (command == table.end()) return false;
    const CommandDeclaration declared = command->declaration();
    const OptionDeclaration* option = declared.find(flag);
    if (!option) return false;
    try {
      const std::optional<Setting> setting = settings_->find(declared.name, *option);
      return setting && parse_switch(setting->values.front()) == true;
    } catch (const Error&) {
      return false;  // a wrong setting: perhaps the very error that is reported
    }
  }

  int fail(const Error& error) const {
    std::string hint = error.hint();
    if (const std::string from = settings_ ? settings_->explain(error.message()) : "";
        !from.empty())
      hint += (hint.empty() ? "" : "; ") + from;
    const bool lines = wants("--json-lines");
    report(Error(error.code(), error.message(), hint), lines || wants("--json"), lines);
    return exit_code(error.code());
  }

  Words words_;
  std::optional<Settings> settings_;
};

}  // namespace
}  // namespace plimsoll

int main(int argc, char** argv) {
  plimsoll::configure_allocator();
  plimsoll::divide_program();
  plimsoll::prepare_streams();
  const std::vector<std::string> arguments(argv + std::min(argc, 1), argv + argc);
  return plimsoll::Program(arguments).run();
}
