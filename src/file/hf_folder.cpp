#include "file/hf_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <utility>

#include "base/error.h"
#include "file/header_bytes.h"
#include "file/hf_config.h"
#include "file/hf_generation.h"
#include "file/hf_tensors.h"
#include "file/hf_tokenizer.h"
#include "file/safetensors.h"

namespace plimsoll {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view weights_suffix = ".safetensors";
constexpr std::string_view index_suffix = ".safetensors.index.json";
constexpr const char* weights_name = "model.safetensors";
constexpr const char* index_name = "model.safetensors.index.json";

/// A folder that has no model in it, with a hint by what it has instead.
[[noreturn]] void refuse(const fs::path& folder, const char* missing) {
  std::string hint =
      "name a .gguf file, or a folder with config.json, tokenizer.json and "
      "model.safetensors";
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (name.ends_with(".gguf")) hint = "name the .gguf file inside it";
    if (name.ends_with(".bin") || name.ends_with(".pth"))
      hint = "convert its weights to safetensors first";
  }
  throw Error(
      ErrorCode::file_unreadable,
      fmt::format("{}: wanted a model, found a directory without {}", folder.string(), missing),
      hint);
}

/// The file that the weights begin with: an index, or a file of its own.
fs::path find_weights(const fs::path& path, const fs::path& folder) {
  // One of several files stands for all of them.
  if (path != folder && path.string().ends_with(weights_suffix) &&
      path.filename().string().find("-of-") == std::string::npos)
    return path;
  if (path.string().ends_with(index_suffix)) return path;
  if (file_exists(folder / index_name)) return folder / index_name;
  if (path != folder) return path;
  if (!file_exists(folder / weights_name)) refuse(folder, weights_name);
  return folder / weights_name;
}

/// The folder's own name, or in the library's cache (models--OWNER--NAME/snapshots/HASH) the
/// model's.
std::string model_name(const fs::path& folder) {
  std::error_code error;
  const fs::path whole = fs::absolute(folder, error).lexically_normal();
  const fs::path last = whole.has_filename() ? whole : whole.parent_path();
  if (last.parent_path().filename() != "snapshots") return last.filename().string();
  const std::string cached = last.parent_path().parent_path().filename().string();
  const std::size_t dashes = cached.rfind("--");
  return dashes == cached.npos ? cached : cached.substr(dashes + 2);
}

/// What a folder may have beside tensors that is read; anything else in it is not the model's.
constexpr std::array<std::string_view, 12> descriptions = {"config.json",
                                                           "generation_config.json",
                                                           "tokenizer.json",
                                                           "tokenizer_config.json",
                                                           "special_tokens_map.json",
                                                           "added_tokens.json",
                                                           "vocab.json",
                                                           "merges.txt",
                                                           "vocab.txt",
                                                           "tokenizer.model",
                                                           "chat_template.json",
                                                           "chat_template.jinja"};

/// Of all that is no tensors: configurations, vocabularies, templates, and the headers of files
/// with tensors.
void refuse_long_descriptions(const fs::path& folder, Bytes room) {
  std::error_code error;
  Bytes total = 0;
  for (const auto& entry : fs::directory_iterator(folder.empty() ? "." : folder, error)) {
    const fs::path name = entry.path().extension();
    const bool describes =
        std::ranges::find(descriptions, entry.path().filename().string()) != descriptions.end() ||
        entry.path().string().ends_with(index_suffix);
    if (!entry.is_regular_file(error)) continue;
    if (describes) {
      const auto bytes = entry.file_size(error);
      if (!error) total += bytes;
    } else if (name == weights_suffix) {
      const InputFile file(entry.path().string());
      std::uint64_t header = 0;
      if (file.size() >= sizeof header) file.read(0, sizeof header, &header);
      total += std::min<Bytes>(header, std::min(file.size(), longest_safetensors_header));
    }
  }
  if (total > room) throw HeaderRefusal(folder.string(), total, room);
}

}  // namespace

bool names_hf_folder(const std::string& path) {
  std::error_code error;
  return path.ends_with(weights_suffix) || path.ends_with(index_suffix) ||
         fs::is_directory(path, error);
}

HfFolder open_hf_folder(const std::string& path, Bytes room) {
  std::error_code error;
  const fs::path folder =
      fs::is_directory(path, error) ? fs::path(path) : fs::path(path).parent_path();
  const fs::path weights = find_weights(path, folder);
  if (!file_exists(weights))
    throw Error(ErrorCode::file_not_found, fmt::format("{}: no such file", weights.string()),
                "check the path of the model file");
  refuse_long_descriptions(folder, room);
  const std::string config_path = (folder / "config.json").string();
  const auto config = read_json_object(config_path);
  if (!config) refuse(folder.empty() ? fs::path(".") : folder, "config.json");

  MetadataBuilder metadata;
  const HfModel model = add_hf_config(*config, config_path, model_name(folder), metadata);
  HfTensors tensors = convert_hf_tensors(open_safetensors_index(weights.string()), model, path);
  const auto embedding = std::ranges::find(tensors.names, "token_embd.weight");
  if (embedding == tensors.names.end())
    throw Error(
        ErrorCode::invalid_model,
        fmt::format("{}: wanted a tensor model.embed_tokens.weight, found none", weights.string()),
        "the model is incomplete: download it again");
  // No more tokens than the embedding has rows for, whatever the tokenizer has besides.
  const std::int64_t rows =
      tensors.tensors[static_cast<std::size_t>(embedding - tensors.names.begin())].rows();
  if (model.vocabulary > 0 && model.vocabulary != rows)
    throw Error(ErrorCode::invalid_model,
                fmt::format("{}: key \"vocab_size\" is {}, and the embedding has {} rows",
                            config_path, model.vocabulary, rows),
                "config.json is of another model");
  add_hf_tokenizer(folder, *config, rows, metadata);
  add_hf_generation(folder, metadata);
  const std::uint64_t keys = metadata.keys();
  return {metadata.take(), keys, std::move(tensors.bytes), std::move(tensors.tensors),
          std::move(tensors.names)};
}

}  // namespace plimsoll
