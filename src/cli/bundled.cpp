#include "cli/bundled.h"

#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>

#include "base/error.h"
#include "terminal/output.h"
#include "terminal/terminal.h"

namespace plimsoll {
namespace {

std::filesystem::path program_folder() {
  std::error_code error;
  return std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
}

}  // namespace

std::string bundled_model_path() {
  constexpr const char* name = "plimsoll-docs-4m-f16.gguf";
  std::error_code error;
  std::string looked;
  for (const std::filesystem::path& folder :
       {program_folder() / "../share/plimsoll/models", program_folder() / "../../models",
        std::filesystem::path(PLIMSOLL_SOURCE_MODELS)}) {
    const std::filesystem::path path = (folder / name).lexically_normal();
    if (std::filesystem::exists(path, error)) return path.string();
    looked += (looked.empty() ? "" : ", ") + path.parent_path().string();
  }
  throw Error(
      ErrorCode::file_not_found, fmt::format("the bundled model {} is in none of {}", name, looked),
      "name a model file, set PLIMSOLL_MODEL to one, or install with \"cmake --install\", which "
      "puts it beside the program");
}

void notice_bundled_model() {
  if (!Terminal::of(STDERR_FILENO).is_terminal) return;
  std::error_code error;
  const bool in_tree = std::filesystem::exists(program_folder() / "../../run", error);
  notice(
      fmt::format("the bundled model has 4.2 million parameters: it writes like documentation, and "
                  "knows nothing; a real one: {} smollm2",
                  in_tree ? "./run" : "plimsoll run"));
}

}  // namespace plimsoll
