// The commands: each takes what stands behind its name on the command line and returns the exit
// code. They throw Error.
#pragma once

#include <span>
#include <string>

namespace plimsoll {

using Arguments = std::span<const std::string>;

int run_command(Arguments arguments);
int plan_command(Arguments arguments);
int inspect_command(Arguments arguments);
int tokenize_command(Arguments arguments);
int eval_command(Arguments arguments);
int bench_command(Arguments arguments);
int fit_command(Arguments arguments);
int pull_command(Arguments arguments);
int list_command(Arguments arguments);
int rm_command(Arguments arguments);

}  // namespace plimsoll
