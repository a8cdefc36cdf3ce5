// A model by name, brought onto this machine in two steps: what it is, and its header, before anything big is asked for; then
// the files. Both run in children, so that this process never holds what downloading takes.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "hub/choice.h"
#include "hub/download.h"
#include "hub/store.h"

namespace plimsoll {

/// How a pull tells what it does; called in the children.
struct PullWatch {
  Notice notice;
  /// Of all files: done, all (0 where nobody knows), and when it is over clear() is called.
  std::function<void(Bytes, Bytes)> progress;
  std::function<void()> clear;
};

struct PullSettings {
  HttpSettings http = {};
  RetryPolicy retry = {};
};

/// What is to be had.
struct Offer {
  ModelName name;
  std::string commit;
  Choice choice;                     ///< empty for a packaged file
  const PackagedFile* packaged = nullptr;
  /// Where a ModelFile of the headers alone can be opened; empty for a packaged file, and where the headers could not be
  /// read or are not asked for.
  std::string preview_path;
  Bytes header_bytes_received = 0;
  Bytes bytes_here = 0;  ///< of its files, from a pull that was interrupted

  /// All of it; nothing where the server does not say.
  std::optional<Bytes> bytes() const;
  bool is_checked() const;  ///< there is a sum to check every file against
};

/// Asks what `name` is, chooses its files, and puts their headers (of a folder: all that is small) into `preview`. With a
/// packaged file, asks nobody. `headers` false leaves them out. Throws Error as list_repository, choose_files and
/// HeaderReader do.
Offer prepare_pull(const Places& places, const ModelName& name, const Room& room, bool headers,
                   const Preview& preview, const PullWatch& watch, const PullSettings& settings = {});

/// Downloads, checks and stores it; waits for another pull of the same and then takes what that has brought, unless `again`
/// (an update of what is there). Throws Error as download(), fetch_packaged() and Staging do.
StoredModel finish_pull(const Places& places, const Offer& offer, bool again, const PullWatch& watch,
                        const PullSettings& settings = {});

/// Whether `model` of the own store is what `offer` would bring, by the sums of its files.
bool is_same(const StoredModel& model, const Offer& offer);

}  // namespace plimsoll
