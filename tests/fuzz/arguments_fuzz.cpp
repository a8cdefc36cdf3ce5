// Any command line through the real commands, in an empty folder and with no model to be found: each ends in help or in a
// typed error, before any work.
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/error.h"
#include "cli/commands.h"

using namespace plimsoll;

namespace {

void enter_empty_folder() {
  char folder[] = "/tmp/plimsoll-fuzz-XXXXXX";
  if (!mkdtemp(folder) || chdir(folder) != 0) std::abort();
  setenv("PLIMSOLL_MODEL", "no-such-model", 1);
  const int null = open("/dev/null", O_RDWR);
  dup2(null, STDIN_FILENO);
  dup2(null, STDOUT_FILENO);
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  enter_empty_folder();
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using Command = int (*)(const Arguments&);
  constexpr std::array<Command, 6> commands = {run_command,      plan_command, inspect_command,
                                               tokenize_command, eval_command, bench_command};
  if (size < 1) return 0;
  std::vector<std::string> arguments(1);
  for (std::size_t i = 1; i < size; ++i) {
    if (data[i] == '\n')
      arguments.emplace_back();
    else if (data[i] != '/' && data[i] != 0)  // no path leads out of the folder
      arguments.back() += static_cast<char>(data[i]);
  }
  try {
    commands[data[0] % commands.size()](arguments);
  } catch (const Error& error) {
    if (error.code() == ErrorCode::internal) std::abort();
  }
  for (const std::string& argument : arguments) {
    try {
      if (parse_bytes(argument) == 0) std::abort();
    } catch (const Error& error) {
      if (error.code() != ErrorCode::usage) std::abort();
    }
  }
  return 0;
}
