// The commands: each takes what stands behind its name on the command line and returns the exit
// code. They throw Error.
#pragma once

#include "options/command.h"

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
int version_command(const Arguments& arguments);

/// All of them, in the order in which they are shown.
CommandTable commands();

}  // namespace plimsoll
