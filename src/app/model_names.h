// MODEL as people say it: a path, or the name of a model that is on this machine or can be brought.
#pragma once

#include <string>

#include "app/host.h"
#include "hub/store.h"
#include "plan/plan.h"

namespace plimsoll {

/// What `model` stands for, as ModelFile opens it: an existing path is itself; otherwise it is a
/// name, and the model is looked for in the own store, the hub's cache and Ollama's. What can only
/// be a path is returned as it is. Throws Error(not_available), with the command to give, for a
/// model that is not here, Error(file_not_found), with what may have been meant, and Error(usage)
/// as parse_model_name does. Asks no server.
std::string resolve_model(const std::string& model);

/// The name that `text` is. Throws Error(usage), with what may have been meant, for anything else.
ModelName model_name(const std::string& text, const Places& places);

/// The plan of headers that were brought alone: nothing is read of the tensors, which are not
/// there. Throws as open_model does.
Plan plan_headers(Host& host, const std::string& path);

/// As a shell takes it for one word.
std::string quoted_for_shell(const std::string& text);

}  // namespace plimsoll
