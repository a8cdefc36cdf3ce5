#include "hub/ollama_store.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/small_file.h"
#include "hub/parse_json.h"
#include "hub/store.h"

namespace plimsoll {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* model_layer = "application/vnd.ollama.image.model";
/// Left out of names.
constexpr std::string_view own_host = "registry.ollama.ai", own_owner = "library";

/// manifests/HOST/OWNER/MODEL/TAG is a JSON object whose layers name their blobs by digest.
std::optional<StoredModel> read_manifest(const fs::path& store, const fs::path& manifest) {
  const auto text = read_small_file(manifest.string(), most_of_own_file);
  const json parsed = parse_json(text.value_or(""));
  StoredModel model;
  try {
    for (const json& layer : parsed.at("layers")) {
      if (layer.at("mediaType") != model_layer) continue;
      std::string digest = layer.at("digest").get<std::string>();
      std::ranges::replace(digest, ':', '-');
      if (!is_safe_path(digest) || digest.find('/') != digest.npos) return {};
      model.path = (store / "blobs" / digest).string();
      model.bytes = layer.at("size").get<Bytes>();
    }
  } catch (const json::exception&) {
    return {};
  }
  std::error_code error;
  if (model.path.empty() || fs::file_size(model.path, error) != model.bytes || error) return {};

  std::vector<std::string> parts;
  for (const fs::path& part : manifest.lexically_relative(store / "manifests")) parts.push_back(part.string());
  if (parts.size() < 3) return {};
  const std::string tag = parts.back();
  parts.pop_back();
  if (parts.front() == own_host) parts.erase(parts.begin());
  if (parts.size() > 1 && parts.front() == own_owner) parts.erase(parts.begin());
  model.name = "ollama:";
  for (std::size_t i = 0; i < parts.size(); ++i) model.name += fmt::format("{}{}", i > 0 ? "/" : "", parts[i]);
  model.name += ':';
  model.name += tag;
  model.keeper = Keeper::ollama;
  model.format = "GGUF";
  struct stat status;
  if (::stat(manifest.c_str(), &status) == 0) model.time = status.st_mtim.tv_sec;
  return model;
}

}  // namespace

std::vector<StoredModel> ollama_models(const std::vector<std::string>& stores) {
  std::vector<StoredModel> models;
  for (const std::string& store : stores) {
    std::error_code error;
    for (fs::recursive_directory_iterator entry(fs::path(store) / "manifests", error), end;
         !error && entry != end; entry.increment(error)) {
      if (!entry->is_regular_file(error)) continue;
      if (auto model = read_manifest(store, entry->path())) models.push_back(std::move(*model));
    }
    if (!models.empty()) break;
  }
  return models;
}

std::optional<StoredModel> find_in_ollama(const std::vector<std::string>& stores, const ModelName& name) {
  for (StoredModel& model : ollama_models(stores))
    if (model.name == name.text()) return std::move(model);
  return {};
}

}  // namespace plimsoll
