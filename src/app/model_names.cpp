#include "app/model_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "app/planning.h"
#include "base/error.h"
#include "file/input_file.h"
#include "fit/quality_file.h"
#include "hub/names.h"

namespace plimsoll {
namespace {

std::vector<std::string> names_to_suggest(const Places& places) {
  std::vector<std::string> names;
  for (const KnownModel& known : known_models()) {
    const std::string family(known.name.substr(0, known.name.find(':')));
    if (names.empty() || names.back() != family) names.push_back(family);
    names.emplace_back(known.name);
  }
  for (const StoredModel& model : stored_models(places)) names.push_back(model.name);
  return names;
}

/// "did you mean smollm2:135m, smollm2:360m? ".
std::string suggestion(const std::string& text, const Places& places) {
  const std::vector<std::string> near = nearest_names(text, names_to_suggest(places));
  std::string out;
  for (const std::string& name : near) out += (out.empty() ? "did you mean " : ", ") + name;
  if (!out.empty()) out += "? ";
  return out;
}

[[noreturn]] void refuse_absent(const std::string& model, const ModelName& name,
                                const Places& places) {
  const bool could_be_path = name.known == nullptr && name.source == ModelName::Source::hub &&
                             model.find(':') == std::string::npos;
  const std::string near = name.known == nullptr ? suggestion(model, places) : "";
  throw Error(
      ErrorCode::not_available,
      could_be_path
          ? fmt::format("{}: no such file or folder, and no model of that name on this machine",
                        model)
          : fmt::format("{} is not on this machine", model),
      name.source == ModelName::Source::ollama
          ? fmt::format("{}Ollama itself brings its models: ollama pull {}", near, name.repo)
          : fmt::format("{}bring it with: plimsoll pull {}", near, quoted_for_shell(model)));
}

}  // namespace

ModelName model_name(const std::string& text, const Places& places) {
  if (auto name = parse_model_name(text, places.endpoint)) return std::move(*name);
  throw Error(
      ErrorCode::usage, fmt::format("\"{}\" is no model's name", text),
      suggestion(text, places) +
          "names are like smollm2, ORG/REPO, ORG/REPO:FILE.gguf or ORG/REPO:Q4_K_M; plimsoll "
          "list --known shows the short ones");
}

std::string resolve_model(const std::string& model) {
  if (file_exists(model)) return model;
  const Places places = Places::from_environment();
  const std::optional<ModelName> name = parse_model_name(model, places.endpoint);
  if (!name) {
    const std::string near = suggestion(model, places);
    if (near.empty()) return model;
    throw Error(ErrorCode::file_not_found,
                fmt::format("{}: no such file, and no model's name that is known", model),
                near + "plimsoll list shows what is here");
  }
  if (auto stored = find_stored(places, *name)) return stored->path;
  refuse_absent(model, *name, places);
}

Plan plan_headers(Host& host, const std::string& path) {
  const OpenModel model = open_model(host, path);
  PlanRequest request = plan_request(host, model, {});
  request.policy = WeightPolicy::fit;
  if (const auto note = model.file.metadata().string(quality_key))
    request.quality = parse_quality(*note, model.facts.tensors);
  return make_plan(model.facts, request);
}

std::string quoted_for_shell(const std::string& text) {
  const bool is_plain =
      text.find_first_not_of(
          "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:@%+=,") == text.npos;
  if (is_plain) return text;
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

}  // namespace plimsoll
