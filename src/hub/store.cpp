#include "hub/store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "base/error.h"
#include "base/small_file.h"
#include "file/output_file.h"
#include "hub/child.h"
#include "hub/hub_cache.h"
#include "hub/ollama_store.h"
#include "hub/parse_json.h"

namespace plimsoll {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* record_name = "plimsoll.json";
constexpr const char* partial_name = ".partial";

/// As one part of a path: slashes, and what begins a hidden name, are written out.
std::string one_part(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '/' || c == '%' || (c == '.' && out.empty()))
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    else
      out += c;
  }
  constexpr std::size_t longest = 180;
  return out.size() <= longest ? out : out.substr(out.size() - longest);
}

std::string without_ending(std::string_view file) {
  if (file.size() > 5 && file.substr(file.size() - 5) == ".gguf") file.remove_suffix(5);
  constexpr std::size_t tail = 15;  // "-00001-of-00002"
  if (file.size() > tail && file.substr(file.size() - 9, 4) == "-of-")
    file.remove_suffix(tail);
  return std::string(file);
}

/// FNV-1a: tells addresses apart that end alike.
std::uint64_t hash_of(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const unsigned char c : text) hash = (hash ^ c) * 0x100000001b3;
  return hash;
}

[[noreturn]] void fail(const std::string& path, const char* action, int error) {
  throw Error(ErrorCode::write_failed,
              fmt::format("{} cannot {}: {}", path, action, std::generic_category().message(error)),
              "check the folder and its permissions, or set XDG_DATA_HOME to another one");
}

void make_folders(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) fail(path, "be made", error.value());
}

const std::string& store_of(const Places& places) {
  if (places.store.empty())
    throw Error(ErrorCode::write_failed, "there is no folder to keep models in",
                "set HOME or XDG_DATA_HOME");
  return places.store;
}

std::string partial_folder(const Places& places) { return store_of(places) + "/" + partial_name; }

/// Throws where the record has another shape.
StoredModel read_record(const fs::path& folder, const json& record) {
  StoredModel model;
  model.folder = folder.string();
  model.name = record.at("name").get<std::string>();
  model.format = record.at("format").get<std::string>();
  model.time = record.at("time").get<std::int64_t>();
  const auto entry = record.at("entry").get<std::string>();
  if (entry != "." && !is_safe_path(entry)) throw std::invalid_argument("entry");
  model.path = entry == "." ? folder.string() : (folder / entry).string();
  for (const json& file : record.at("files")) {
    const auto path = file.at("path").get<std::string>();
    const auto bytes = file.at("bytes").get<Bytes>();
    if (!is_safe_path(path) || fs::file_size(folder / path) != bytes)
      throw std::invalid_argument("file");
    model.bytes += bytes;
  }
  model.record = record;
  return model;
}

/// Nothing for a folder that is no whole model.
std::optional<StoredModel> read_stored(const fs::path& folder) {
  const auto text = read_small_file((folder / record_name).string(), most_of_own_file);
  if (!text) return {};
  const json record = parse_json(*text);
  try {
    return read_record(folder, record);
  } catch (const std::exception&) {
    return {};  // files are missing or cut: somebody else's doing
  }
}

void collect(const fs::path& folder, int depth, std::vector<StoredModel>& models) {
  if (auto model = read_stored(folder)) {
    models.push_back(std::move(*model));
    return;
  }
  if (depth == 0) return;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error))
    if (entry.is_directory(error) && !entry.path().filename().string().starts_with('.'))
      collect(entry.path(), depth - 1, models);
}

std::vector<StoredModel> own_models(const Places& places) {
  std::vector<StoredModel> models;
  if (!places.store.empty()) collect(places.store, 4, models);
  return models;
}

std::string record_text(const StoredModel& model, const char* key) {
  const auto found = model.record.find(key);
  return found != model.record.end() && found->is_string() ? found->get<std::string>() : "";
}

/// Whether `model` of the own store is what `name` means.
bool is_meant(const StoredModel& model, const ModelName& name) {
  if (name.known != nullptr && record_text(model, "known") == name.known->name) return true;
  if (name.source == ModelName::Source::url) return record_text(model, "url") == name.url;
  if (name.source != ModelName::Source::hub || record_text(model, "repo") != name.repo) return false;
  if (record_text(model, "revision") != name.revision && record_text(model, "commit") != name.revision)
    return false;
  const std::string entry = record_text(model, "entry");
  if (!name.file.empty()) {
    const auto files = model.record.find("files");
    return files != model.record.end() &&
           std::ranges::any_of(*files, [&](const json& f) { return f["path"] == name.file; });
  }
  if (name.quant.empty()) return true;
  const ModelName wanted = name;
  Repository as_one;
  for (const json& file : model.record["files"]) {
    RemoteFile remote;
    remote.path = file["path"].get<std::string>();
    remote.bytes = file["bytes"].get<Bytes>();
    as_one.files.push_back(remote);
  }
  try {
    choose_files(as_one, wanted, {});
    return true;
  } catch (const Error&) {
    return false;
  }
}

int rename_exchange(const std::string& from, const std::string& to) {
  return static_cast<int>(::syscall(SYS_renameat2, AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(),
                                    RENAME_EXCHANGE));
}

/// `path` goes out of sight at once, and then from the disk.
void remove_folder(const Places& places, const std::string& path) {
  make_folders(partial_folder(places));
  std::string away = partial_folder(places) + "/removed-XXXXXX";
  if (::mkdtemp(away.data()) == nullptr) fail(away, "be made", errno);
  if (std::rename(path.c_str(), (away + "/model").c_str()) != 0) {
    const int error = errno;
    ::rmdir(away.c_str());
    fail(path, "be removed", error);
  }
  std::error_code ignored;
  fs::remove_all(away, ignored);
}

/// A folder that is locked while this lives; not at all where it cannot be.
class FileLock {
 public:
  explicit FileLock(const std::string& folder)
      : fd_(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
    if (fd_ >= 0) ::flock(fd_, LOCK_EX);
  }
  ~FileLock() {
    if (fd_ >= 0) ::close(fd_);
  }
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  int fd_;
};

/// Folders that became empty, up to the store's own.
void remove_empty_parents(const Places& places, fs::path folder) {
  std::error_code ignored;
  const fs::path top(places.store);
  for (folder = folder.parent_path(); folder != top && folder.string().size() > top.string().size();
       folder = folder.parent_path())
    if (!fs::remove(folder, ignored) || ignored) return;
}

}  // namespace

std::vector<StoredModel> stored_models(const Places& places) {
  std::vector<StoredModel> models = own_models(places);
  std::ranges::move(hub_cache_models(places.hub_cache), std::back_inserter(models));
  std::ranges::move(ollama_models(places.ollama_stores), std::back_inserter(models));
  std::ranges::stable_sort(models, [](const StoredModel& a, const StoredModel& b) {
    return std::tie(a.keeper, a.name) < std::tie(b.keeper, b.name);
  });
  return models;
}

std::optional<StoredModel> find_stored(const Places& places, const ModelName& name) {
  if (name.source == ModelName::Source::ollama) return find_in_ollama(places.ollama_stores, name);
  std::optional<StoredModel> best;
  for (StoredModel& model : own_models(places))
    if (is_meant(model, name) && (!best || model.time > best->time)) best = std::move(model);
  if (best || name.source == ModelName::Source::url) return best;
  return find_in_hub_cache(places.hub_cache, name);
}

void remove_stored(const Places& places, const StoredModel& model) {
  remove_folder(places, model.folder);
  remove_empty_parents(places, model.folder);
}

std::string store_key(const ModelName& name, const Choice* choice) {
  if (choice == nullptr)
    return fmt::format("package/{}-{}", name.known->packaged->package, name.known->packaged->version);
  const std::string what =
      choice->is_folder() ? "safetensors" : one_part(without_ending(choice->entry));
  if (name.source == ModelName::Source::url) {
    const std::size_t host = name.url.find("://") + 3;
    return fmt::format("url/{}/{}-{:08x}",
                       one_part(name.url.substr(host, name.url.find_first_of("/?", host) - host)), what,
                       static_cast<std::uint32_t>(hash_of(name.url)));
  }
  const std::string key = fmt::format("hf/{}/{}", name.repo, what);
  return name.revision == "main" ? key : fmt::format("{}@{}", key, one_part(name.revision));
}

std::string staging_folder(const Places& places, const std::string& key) {
  return partial_folder(places) + "/" + one_part(key);
}

Staging::Staging(const Places& places, const std::string& key, const std::function<void()>& waiting)
    : folder_(staging_folder(places, key)),
      target_(store_of(places) + "/" + key),
      lock_path_(folder_ + ".lock") {
  make_folders(partial_folder(places));
  bool told = false;
  for (;;) {
    lock_ = ::open(lock_path_.c_str(), O_CREAT | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (lock_ < 0) fail(lock_path_, "be made", errno);
    int locked = ::flock(lock_, LOCK_EX | LOCK_NB);
    while (locked != 0 && (errno == EWOULDBLOCK || errno == EINTR)) {
      if (!told) waiting();
      told = true;
      stop_if_interrupted();
      locked = ::flock(lock_, LOCK_EX);
    }
    if (locked != 0) {
      const int error = errno;
      ::close(lock_);
      fail(lock_path_, "be locked", error);
    }
    // The one before removes the file when it is done: then this lock is on nothing.
    struct stat held, there;
    if (::fstat(lock_, &held) == 0 && ::stat(lock_path_.c_str(), &there) == 0 &&
        held.st_ino == there.st_ino)
      break;
    ::close(lock_);
  }
  try {
    make_folders(folder_);
  } catch (...) {
    ::close(lock_);
    throw;
  }
}

Staging::~Staging() {
  ::rmdir(folder_.c_str());  // an empty one alone
  ::unlink(lock_path_.c_str());
  ::close(lock_);
}

void Staging::discard() {
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
}

void Staging::commit(const json& record) {
  const std::string text = record.dump(1) + "\n";
  OutputFile file(OutputPath::own(folder_ + "/" + record_name));
  file.append({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
  file.commit();
  make_folders(fs::path(target_).parent_path().string());
  if (std::rename(folder_.c_str(), target_.c_str()) != 0) {
    if (errno != ENOTEMPTY && errno != EEXIST) fail(target_, "be put in its place", errno);
    if (rename_exchange(folder_, target_) != 0) {
      // A file system without exchange: for a moment there is none.
      const std::string old = folder_ + ".old";
      if (std::rename(target_.c_str(), old.c_str()) != 0 ||
          std::rename(folder_.c_str(), target_.c_str()) != 0)
        fail(target_, "be replaced", errno);
      std::error_code ignored;
      fs::remove_all(old, ignored);
    }
    discard();
  }
  const int parent = ::open(fs::path(target_).parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (parent >= 0) {
    ::fsync(parent);
    ::close(parent);
  }
}

Preview::Preview(const Places& places) {
  const std::string partial = partial_folder(places);
  make_folders(partial);
  // Nobody removes a folder that has just been made and is not locked yet.
  const FileLock making(partial);
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(partial, ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("removed-")) fs::remove_all(entry.path(), ignored);
    if (!name.starts_with("preview-")) continue;
    const int held = ::open(entry.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (held >= 0 && ::flock(held, LOCK_EX | LOCK_NB) == 0) fs::remove_all(entry.path(), ignored);
    if (held >= 0) ::close(held);
  }
  folder_ = partial + "/preview-XXXXXX";
  if (::mkdtemp(folder_.data()) == nullptr) fail(folder_, "be made", errno);
  lock_ = ::open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (lock_ >= 0) ::flock(lock_, LOCK_EX | LOCK_NB);
}

Preview::~Preview() {
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
  if (lock_ >= 0) ::close(lock_);
}

bool remove_unfinished(const Places& places, const ModelName& name) {
  std::error_code ignored;
  if (places.store.empty()) return false;
  std::vector<std::string> beginnings;
  if (name.known != nullptr && name.known->packaged != nullptr)
    beginnings.push_back(one_part(store_key(name, nullptr)));
  if (name.source == ModelName::Source::hub)
    beginnings.push_back(name.file.empty() ? one_part(fmt::format("hf/{}/", name.repo))
                                           : one_part(fmt::format("hf/{}/{}", name.repo,
                                                                  one_part(without_ending(name.file)))));
  bool any = false;
  for (const fs::directory_entry& entry : fs::directory_iterator(partial_folder(places), ignored)) {
    const std::string found = entry.path().filename().string();
    if (!entry.is_directory(ignored)) continue;
    for (const std::string& begin : beginnings)
      if (found.starts_with(begin)) {
        const int lock = ::open((entry.path().string() + ".lock").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0644);
        if (lock >= 0 && ::flock(lock, LOCK_EX | LOCK_NB) == 0) {
          fs::remove_all(entry.path(), ignored);
          ::unlink((entry.path().string() + ".lock").c_str());
          any = true;
        }
        if (lock >= 0) ::close(lock);
        break;
      }
  }
  return any;
}

}  // namespace plimsoll
