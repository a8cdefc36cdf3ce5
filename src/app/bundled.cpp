#include "app/bundled.h"

#include <fmt/format.h>

#include <filesystem>

#include "base/error.h"

namespace plimsoll {
namespace {

std::filesystem::path program_folder() {
  std::error_code error;
  return std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
}

}  // namespace

bool is_in_source_tree() {
  std::error_code error;
  return std::filesystem::exists(program_folder() / "../../run", error);
}

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

}  // namespace plimsoll
