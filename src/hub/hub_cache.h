// The cache of the hub's own tools: models--ORG--REPO/{refs,snapshots,blobs}. Read, never written.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "hub/names.h"

namespace plimsoll {

struct StoredModel;

/// The models in it whose files are all there: each GGUF file or whole set of parts, each safetensors folder, of the
/// revisions that have a name. Empty for a folder that is none.
std::vector<StoredModel> hub_cache_models(const std::string& cache);

/// What a name of the hub means there; a repository without a file, what choose_files() takes of what is there.
std::optional<StoredModel> find_in_hub_cache(const std::string& cache, const ModelName& name);

}  // namespace plimsoll
