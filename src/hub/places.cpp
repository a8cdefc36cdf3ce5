#include "hub/places.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>

#include "base/small_file.h"

namespace plimsoll {
namespace {

constexpr const char* public_hub = "https://huggingface.co";

/// Empty where a variable is missing or empty.
std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

/// "~" and "~/" at the beginning, as shells expand them.
std::string expanded(const std::string& path) {
  if (path == "~" || path.starts_with("~/")) return variable("HOME") + path.substr(1);
  return path;
}

/// `folder`/`below`, or nothing of nothing.
std::string inside(const std::string& folder, const char* below) {
  return folder.empty() ? "" : folder + "/" + below;
}

std::string first_of(std::initializer_list<std::string> choices) {
  for (const std::string& choice : choices)
    if (!choice.empty()) return expanded(choice);
  return "";
}

bool is_true(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return std::toupper(c); });
  return text == "1" || text == "ON" || text == "YES" || text == "TRUE";
}

std::optional<std::string> trimmed_token(std::string token) {
  const auto is_space = [](unsigned char c) { return std::isspace(c) != 0; };
  std::erase_if(token, is_space);
  // Whatever else would end the header line it goes into is no token.
  if (token.empty() || !std::ranges::all_of(token, [](unsigned char c) { return std::isgraph(c); }))
    return {};
  return token;
}

}  // namespace

Places Places::from_environment() {
  Places places;
  const std::string home = variable("HOME");
  places.store =
      inside(first_of({variable("XDG_DATA_HOME"), inside(home, ".local/share")}), "plimsoll/models");

  const std::string cache = first_of({variable("XDG_CACHE_HOME"), inside(home, ".cache")});
  const std::string hub_home = first_of({variable("HF_HOME"), inside(cache, "huggingface")});
  places.hub_cache = first_of(
      {variable("HF_HUB_CACHE"), variable("HUGGINGFACE_HUB_CACHE"), inside(hub_home, "hub")});

  if (const std::string models = variable("OLLAMA_MODELS"); !models.empty())
    places.ollama_stores = {expanded(models)};
  else
    for (const std::string& folder :
         {inside(home, ".ollama/models"), std::string("/usr/share/ollama/.ollama/models")})
      if (!folder.empty()) places.ollama_stores.push_back(folder);

  places.endpoint = first_of({variable("HF_ENDPOINT"), public_hub});
  while (places.endpoint.ends_with('/')) places.endpoint.pop_back();

  places.token = trimmed_token(first_of({variable("HF_TOKEN"), variable("HUGGING_FACE_HUB_TOKEN")}));
  if (const std::string file = first_of({variable("HF_TOKEN_PATH"), inside(hub_home, "token")});
      !places.token && !file.empty())
    places.token = trimmed_token(read_small_file(file, most_of_own_file).value_or(""));

  places.offline = is_true(first_of({variable("HF_HUB_OFFLINE"), variable("TRANSFORMERS_OFFLINE")}));
  return places;
}

}  // namespace plimsoll
