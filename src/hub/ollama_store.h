// Ollama's store: manifests that name blobs. Read, never written.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "hub/names.h"

namespace plimsoll {

struct StoredModel;

/// The models in the first of the stores that is there, whose weights are there.
std::vector<StoredModel> ollama_models(const std::vector<std::string>& stores);

std::optional<StoredModel> find_in_ollama(const std::vector<std::string>& stores, const ModelName& name);

}  // namespace plimsoll
