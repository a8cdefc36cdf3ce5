// Where models are on this machine and where they come from, as the environment says.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace plimsoll {

struct Places {
  std::string store;                       ///< this program's own folder of models
  std::string hub_cache;                   ///< of the hub's own tools: read, never written
  std::vector<std::string> ollama_stores;  ///< likewise, the first that exist
  std::string endpoint;                    ///< of the hub, without a slash at its end
  std::optional<std::string> token;        ///< for the endpoint, and for no other host
  bool offline = false;                    ///< nothing may be asked of any server

  /// XDG_DATA_HOME, HF_HOME, HF_HUB_CACHE (before HUGGINGFACE_HUB_CACHE), XDG_CACHE_HOME, OLLAMA_MODELS, HF_ENDPOINT,
  /// HF_TOKEN (before HUGGING_FACE_HUB_TOKEN, before the file HF_TOKEN_PATH), HF_HUB_OFFLINE: what the hub's own library
  /// reads (huggingface_hub/constants.py). A place is empty where neither a variable nor HOME says it.
  static Places from_environment();
};

}  // namespace plimsoll
