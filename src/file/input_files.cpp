#include "file/input_files.h"

#include <fmt/format.h>

#include <filesystem>

#include "base/error.h"
#include "file/output_file.h"

namespace plimsoll {

void refuse_to_overwrite(std::string_view option, const std::string& output,
                         std::span<const std::string> inputs) {
  for (const std::string& input : inputs)
    if (is_same_file(output, input))
      throw Error(ErrorCode::usage,
                  fmt::format("{} {} would overwrite a file that is read: {}", option, output,
                              input),
                  "name another file to write");
}

std::vector<std::string> input_files(const ModelFile& model) {
  namespace fs = std::filesystem;
  std::vector<std::string> files = model.files();
  std::error_code error;
  const bool is_folder = fs::is_directory(model.path(), error);
  if (!is_folder && !model.path().ends_with(".safetensors") && !model.path().ends_with(".json"))
    return files;
  const fs::path parent = is_folder ? fs::path(model.path()) : fs::path(model.path()).parent_path();
  for (const auto& entry : fs::directory_iterator(parent.empty() ? "." : parent, error))
    for (const char* read : {".json", ".jinja", ".model", ".txt", ".safetensors"})
      if (entry.path().extension() == read) files.push_back(entry.path().string());
  return files;
}

}  // namespace plimsoll
