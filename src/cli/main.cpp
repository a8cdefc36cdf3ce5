// The program: finds the command, and turns what goes wrong into a message and an exit code (0
// done, 1 a typed error, 2 wrong usage, 3 refused because it can't fit).
#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <new>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/process.h"
#include "cli/commands.h"
#include "cli/output.h"

namespace plimsoll {
namespace {

struct Command {
  std::string_view name;
  int (*function)(Arguments);
  std::string_view summary;
};

constexpr Command commands[] = {
    {"run", run_command, "write on from a prompt, or chat"},
    {"plan", plan_command, "what a model needs, and whether it fits, before anything is loaded"},
    {"eval", eval_command, "perplexity on a text, and the distance from a reference"},
    {"bench", bench_command, "speed, beside the limits of this machine"},
    {"fit", fit_command, "a model rewritten to a number of bytes"},
    {"inspect", inspect_command, "what a model file holds"},
    {"tokenize", tokenize_command, "a text as a model's tokens"},
    {"pull", pull_command, "bring a model by its name"},
    {"list", list_command, "the models on this machine"},
    {"rm", rm_command, "remove a pulled model"},
};

std::string help() {
  std::string text =
      "Plimsoll runs language models on the CPU inside a byte budget that it never exceeds.\n\n"
      "  plimsoll COMMAND [MODEL] [--memory SIZE] ...\n\n";
  for (const Command& command : commands)
    text += fmt::format("  {:<10}{}\n", command.name, command.summary);
  return text + "\n\"plimsoll COMMAND --help\" lists a command's options.\n";
}

int dispatch(Arguments arguments) {
  if (arguments.empty()) {
    write_error(help());
    return exit_code(ErrorCode::usage);
  }
  const std::string& name = arguments.front();
  if (name == "-h" || name == "--help" || name == "help") {
    write_out(help());
    return 0;
  }
  const auto command = std::find_if(std::begin(commands), std::end(commands),
                                    [&](const Command& c) { return c.name == name; });
  if (command == std::end(commands)) {
    std::string known;
    for (const Command& c : commands)
      known += fmt::format("{}{}", known.empty() ? "" : ", ", c.name);
    throw Error(ErrorCode::usage, fmt::format("there is no command \"{}\"", name),
                "the commands are " + known);
  }
  return command->function(arguments.subspan(1));
}

/// Asked of the bare words, since it must be known even where they cannot be parsed.
bool wants_json(Arguments arguments) {
  const auto end = std::find(arguments.begin(), arguments.end(), "--");
  return std::find(arguments.begin(), end, "--json") != end;
}

int guarded(Arguments arguments) {
  const auto fail = [&](const Error& error) {
    report(error, wants_json(arguments));
    return exit_code(error.code());
  };
  try {
    return dispatch(arguments);
  } catch (const Error& error) {
    return fail(error);
  } catch (const std::bad_alloc&) {
    return fail(Error(ErrorCode::machine_limit, "the machine has no more memory to give",
                      "give a smaller --memory, or stop other programs"));
  } catch (const std::exception& error) {
    return fail(Error(ErrorCode::internal, error.what(), "this is a bug in plimsoll"));
  }
}

}  // namespace
}  // namespace plimsoll

int main(int argc, char** argv) {
  plimsoll::configure_allocator();
  plimsoll::prepare_streams();
  const std::vector<std::string> arguments(argv + std::min(argc, 1), argv + argc);
  return plimsoll::guarded(arguments);
}
