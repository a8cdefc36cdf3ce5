// plimsoll inspect: what a model file holds.
#include <unistd.h>

#include "cli/commands.h"
#include "cli/common.h"
#include "file/model_file.h"
#include "report/file_report.h"
#include "terminal/output.h"
#include "terminal/terminal.h"

namespace plimsoll {

int inspect_command(const Arguments& arguments) {
  CommonOptions common;
  bool tensors = false;
  Options options("inspect",
                  "What a model file holds. Works on every GGUF file, also on those that cannot be "
                  "run.");
  options.positional("MODEL", common.model, model_help).shared = true;
  options.flag("--tensors", tensors, "List every tensor");
  options
      .flag("--json", common.json,
            "Print one JSON object and nothing else: everything, arrays in full")
      .shared = true;
  if (!options.parse(arguments)) return 0;

  const Host host = common.host();
  const ModelFile file = host.line.read_header(
      [&common](Bytes room) { return ModelFile::open(common.model_path(), room); }, false);
  if (common.json)
    write_file_json(file);
  else
    write_out(describe_file(file, tensors, Terminal::of(STDOUT_FILENO)));
  return 0;
}

}  // namespace plimsoll
