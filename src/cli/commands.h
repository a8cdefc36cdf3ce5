// The commands: each takes what stands behind its name on the command line and returns the exit
// code. They throw Error.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cli/options.h"

namespace plimsoll {

int run_command(const Arguments& arguments);
int plan_command(const Arguments& arguments);
int inspect_command(const Arguments& arguments);
int tokenize_command(const Arguments& arguments);
int eval_command(const Arguments& arguments);
int bench_command(const Arguments& arguments);
int fit_command(const Arguments& arguments);
int pull_command(const Arguments& arguments);
int list_command(const Arguments& arguments);
int rm_command(const Arguments& arguments);
int measure_command(const Arguments& arguments);
int config_command(const Arguments& arguments);
int completion_command(const Arguments& arguments);
int man_command(const Arguments& arguments);
int version_command(const Arguments& arguments);
int help_command(const Arguments& arguments);

struct Example {
  std::string_view line, what;
};

struct Command {
  std::string_view name;
  int (*function)(const Arguments&);
  std::string_view summary;  ///< a line
  std::vector<Example> examples = {};
};

/// All of them, in the order in which they are shown.
std::span<const Command> commands();
std::vector<std::string> command_names();
/// Throws Error(usage) with what may have been meant.
const Command& find_command(std::string_view name);

/// What the command's function declares; runs nothing.
CommandDeclaration declaration_of(const Command& command);
std::vector<CommandDeclaration> declarations();

}  // namespace plimsoll
