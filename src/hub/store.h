// The models on this machine: this program's own store, and what the hub's tools and Ollama have, which is only read.
//
// The store holds one folder per model: hf/ORG/REPO/WHAT, url/HOST/WHAT, package/WHAT, each with the model's files as they
// are and plimsoll.json, which says what they are. A folder comes into being whole, by one rename: what is being downloaded
// stands in .partial/ until all of it is there and checked.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "hub/choice.h"
#include "hub/names.h"
#include "hub/places.h"

namespace plimsoll {

enum class Keeper { own, hub_cache, ollama };

struct StoredModel {
  std::string name;    ///< parse_model_name() of it leads here again
  std::string path;    ///< what ModelFile opens
  std::string folder;  ///< of the own store: all of the model
  std::string format;  ///< "GGUF", "safetensors"
  Keeper keeper = Keeper::own;
  Bytes bytes = 0;
  std::int64_t time = 0;  ///< seconds since 1970: when it came
  nlohmann::json record;  ///< of the own store: plimsoll.json
};

/// All of them, whole ones alone, by name.
std::vector<StoredModel> stored_models(const Places& places);

/// The one that a name means: of the own store before the hub's cache. A name without file or quantisation means the newest
/// that is there.
std::optional<StoredModel> find_stored(const Places& places, const ModelName& name);

/// Removes one of the own store: from its place at once, then from the disk. Throws Error(write_failed).
void remove_stored(const Places& places, const StoredModel& model);

/// Of what a name and the choice for it will be in the store, below its folder: "hf/ORG/REPO/FILE". Of a packaged file
/// without a choice.
std::string store_key(const ModelName& name, const Choice* choice);

/// Where what is coming for a key of the store stands until it is whole.
std::string staging_folder(const Places& places, const std::string& key);

/// The only one at work on a model: holds a lock in .partial/ while it lives. Throws Error(write_failed), and
/// Error(interrupted) while it waits for another one; `waiting` is called before it does.
class Staging {
 public:
  Staging(const Places& places, const std::string& key, const std::function<void()>& waiting);
  ~Staging();
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  const std::string& folder() const { return folder_; }        ///< for what is coming
  const std::string& destination() const { return target_; }  ///< where commit() puts it

  /// Writes `record` into the folder and makes it the model, in the place of an earlier one. Throws Error(write_failed).
  void commit(const nlohmann::json& record);
  /// Removes the folder.
  void discard();

 private:
  std::string folder_, target_, lock_path_;
  int lock_ = -1;
};

/// A folder for a model's headers, locked while it lives and removed with everything in it; those that nobody holds any more
/// are removed when one is made.
class Preview {
 public:
  explicit Preview(const Places& places);
  ~Preview();
  Preview(const Preview&) = delete;
  Preview& operator=(const Preview&) = delete;
  const std::string& folder() const { return folder_; }

 private:
  std::string folder_;
  int lock_ = -1;
};

/// Removes what a pull of this name has left unfinished; false where there is nothing. Throws as Staging does.
bool remove_unfinished(const Places& places, const ModelName& name);

}  // namespace plimsoll
