#include "hub/hub_cache.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/small_file.h"
#include "hub/store.h"

namespace plimsoll {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view repo_prefix = "models--";
constexpr std::size_t most_files = 10'000;

/// "ORG/REPO" of "models--ORG--REPO"; models without an owner have no second part.
std::string repo_of(std::string_view folder) {
  std::string repo(folder.substr(repo_prefix.size()));
  if (const std::size_t at = repo.find("--"); at != repo.npos) repo.replace(at, 2, "/");
  return repo;
}

std::string folder_of(const std::string& repo) {
  std::string folder = std::string(repo_prefix) + repo;
  if (const std::size_t at = folder.find('/'); at != folder.npos) folder.replace(at, 1, "--");
  return folder;
}

bool is_commit(std::string_view text) {
  return text.size() == 40 && text.find_first_not_of("0123456789abcdef") == text.npos;
}

/// The commit of a revision; empty where the cache does not know it.
std::string commit_of(const fs::path& repo, const std::string& revision) {
  if (is_commit(revision)) return revision;
  std::string commit = read_small_file((repo / "refs" / revision).string(), most_of_own_file).value_or("");
  while (!commit.empty() && (commit.back() == '\n' || commit.back() == ' ')) commit.pop_back();
  return is_commit(commit) ? commit : "";
}

/// What a snapshot has: links to whole blobs (one that is still coming has another name, and no link).
Repository read_snapshot(const fs::path& snapshot, const std::string& commit) {
  Repository repository;
  repository.commit = commit;
  std::error_code error;
  for (fs::recursive_directory_iterator entry(snapshot, error), end;
       !error && entry != end && repository.files.size() < most_files; entry.increment(error)) {
    std::error_code missing;
    const auto bytes = fs::file_size(entry->path(), missing);
    if (missing || !entry->is_regular_file(missing)) continue;
    RemoteFile file;
    file.path = entry->path().lexically_relative(snapshot).string();
    file.bytes = bytes;
    if (is_safe_path(file.path)) repository.files.push_back(std::move(file));
  }
  return repository;
}

std::int64_t time_of(const fs::path& path) {
  struct stat status;
  return ::stat(path.c_str(), &status) == 0 ? status.st_mtim.tv_sec : 0;
}

StoredModel model_of(const ModelName& name, const fs::path& snapshot, const Choice& choice) {
  StoredModel model;
  model.keeper = Keeper::hub_cache;
  ModelName exact = name;
  exact.quant.clear();
  exact.file = choice.is_folder() ? "" : choice.entry;
  exact.known = nullptr;
  model.name = exact.text();
  model.path = choice.is_folder() ? snapshot.string() : (snapshot / choice.entry).string();
  model.format = choice.is_folder() ? "safetensors" : "GGUF";
  model.bytes = choice.bytes().value_or(0);
  model.time = time_of(choice.is_folder() ? snapshot / choice.files.back().path
                                          : snapshot / choice.entry);
  return model;
}

/// A snapshot may hold some of a folder's files.
bool is_whole(const Choice& choice) {
  return !choice.is_folder() ||
         std::ranges::find(choice.files, "config.json", &RemoteFile::path) != choice.files.end();
}

std::optional<Choice> choose(const Repository& repository, const ModelName& name) {
  try {
    Choice choice = choose_files(repository, name, {});
    if (is_whole(choice)) return choice;
  } catch (const Error&) {
    // Not there.
  }
  return {};
}

}  // namespace

std::vector<StoredModel> hub_cache_models(const std::string& cache) {
  std::vector<StoredModel> models;
  if (cache.empty()) return models;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(cache, error)) {
    const std::string folder = entry.path().filename().string();
    if (!folder.starts_with(repo_prefix)) continue;
    std::error_code no_refs;
    for (const fs::directory_entry& ref : fs::directory_iterator(entry.path() / "refs", no_refs)) {
      ModelName name;
      name.repo = repo_of(folder);
      name.revision = ref.path().filename().string();
      const std::string commit = commit_of(entry.path(), name.revision);
      if (commit.empty()) continue;
      const fs::path snapshot = entry.path() / "snapshots" / commit;
      const Repository repository = read_snapshot(snapshot, commit);
      std::vector<std::string> seen;
      for (const RemoteFile& file : repository.files) {
        if (!file.path.ends_with(".gguf")) continue;
        name.file = file.path;
        const auto choice = choose(repository, name);
        if (!choice || std::ranges::find(seen, choice->entry) != seen.end()) continue;
        seen.push_back(choice->entry);
        models.push_back(model_of(name, snapshot, *choice));
      }
      name.file.clear();
      name.quant = "safetensors";
      if (const auto choice = choose(repository, name))
        models.push_back(model_of(name, snapshot, *choice));
    }
  }
  return models;
}

std::optional<StoredModel> find_in_hub_cache(const std::string& cache, const ModelName& name) {
  if (cache.empty() || name.source != ModelName::Source::hub) return {};
  const fs::path repo = fs::path(cache) / folder_of(name.repo);
  const std::string commit = commit_of(repo, name.revision);
  if (commit.empty()) return {};
  const fs::path snapshot = repo / "snapshots" / commit;
  const auto choice = choose(read_snapshot(snapshot, commit), name);
  if (!choice) return {};
  return model_of(name, snapshot, *choice);
}

}  // namespace plimsoll
