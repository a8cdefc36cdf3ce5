// plimsoll version: what this program is, and which kernels it has and takes.
#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "base/cpu.h"
#include "base/error.h"
#include "cli/commands.h"
#include "options/suggest.h"
#include "terminal/output.h"

namespace plimsoll {

int version_command(const Arguments& arguments) {
  bool json = false;
  Options options("version", "The version, and the families of kernels.");
  options.flag("--json", json, "Print one JSON object and nothing else").shared = true;
  if (!options.parse(arguments)) return 0;

  std::vector<std::string> built, supported;
  std::istringstream families(PLIMSOLL_BUILT_ISAS);
  for (std::string family; families >> family;) built.push_back(family);
  for (const Isa isa : supported_isas()) supported.emplace_back(name(isa));
  // A wrong PLIMSOLL_ISA must not hide the version.
  std::string chosen, problem;
  try {
    chosen = name(choose_isa());
  } catch (const Error& error) {
    problem = error.message();
  }
  if (json) {
    print_json({{"version", PLIMSOLL_VERSION},
                {"compiler", PLIMSOLL_COMPILER},
                {"built_isas", built},
                {"supported_isas", supported},
                {"isa", chosen.empty() ? nlohmann::json() : nlohmann::json(chosen)}});
    return 0;
  }
  write_out(
      fmt::format("plimsoll {}\ncompiled by {}, with kernels for {}\n"
                  "this processor runs {}; {}\n",
                  PLIMSOLL_VERSION, PLIMSOLL_COMPILER, joined(built, ", "), joined(supported, ", "),
                  problem.empty() ? chosen + " is used" : problem));
  return 0;
}

}  // namespace plimsoll
