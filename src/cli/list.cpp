// plimsoll list: the models on this machine, and the short names.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "hub/store.h"
#include "options/options.h"
#include "terminal/output.h"
#include "terminal/terminal.h"

namespace plimsoll {
namespace {

using Json = nlohmann::ordered_json;

std::string day(std::int64_t seconds) {
  const std::time_t time = seconds;
  std::tm parts{};
  if (::localtime_r(&time, &parts) == nullptr) return "";
  char text[16];
  return {text, std::strftime(text, sizeof(text), "%Y-%m-%d", &parts)};
}

std::string_view keeper_name(Keeper keeper) {
  switch (keeper) {
    case Keeper::own:
      return "own";
    case Keeper::hub_cache:
      return "hub_cache";
    default:
      return "ollama";
  }
}

/// Of the own store, the short name stands beside the long one where it was pulled by it.
std::string shown_name(const StoredModel& model) { return printable_line(model.name, 120); }

int list_known(bool json, const Places& places) {
  Json array = Json::array();
  std::string text;
  for (const KnownModel& known : known_models()) {
    ModelName name;
    name.repo = known.repo;
    name.file = known.file;
    name.known = &known;
    const bool is_here = find_stored(places, name).has_value();
    array.push_back({{"name", known.name}, {"repo", known.repo}, {"file", known.file},
                     {"summary", known.summary}, {"here", is_here}});
    text += fmt::format("{:<15}  {:<34}  {}{}\n", known.name, known.summary, known.repo,
                        is_here ? "  (here)" : "");
  }
  json ? print_json({{"known", array}}) : write_out(text);
  return 0;
}

}  // namespace

int list_command(const Arguments& arguments) {
  bool json = false, known = false;
  Options options("list",
                  "The models on this machine that have a name: pulled ones, and those in the hub's own cache and "
                  "in Ollama's store, which are used from there.");
  options.flag("--known", known, "The short names that pull knows, instead");
  options.flag("--json", json, "Print one JSON object and nothing else");
  if (!options.parse(arguments)) return 0;
  const Places places = Places::from_environment();
  if (known) return list_known(json, places);

  const std::vector<StoredModel> models = stored_models(places);
  if (json) {
    Json array = Json::array();
    for (const StoredModel& model : models)
      array.push_back({{"name", model.name},
                       {"bytes", model.bytes},
                       {"path", model.path},
                       {"format", model.format},
                       {"keeper", keeper_name(model.keeper)},
                       {"time", model.time}});
    print_json({{"models", array}, {"store", places.store}});
    return 0;
  }
  if (models.empty()) {
    write_out("No models yet. plimsoll pull smollm2 brings a small one; plimsoll list --known shows more names.\n");
    return 0;
  }
  const Terminal terminal = Terminal::of(STDOUT_FILENO);
  std::size_t widest = 0;
  for (const StoredModel& model : models)
    widest = std::max(widest, shown_name(model).size());
  for (const StoredModel& model : models) {
    write_out(fmt::format("{:<{}}  {:>9}  {:<11}  {}\n", shown_name(model), widest,
                          format_bytes(model.bytes), model.format, day(model.time)));
    write_out(terminal.styled(Style::dim, fmt::format("  {}", printable_line(model.path, 500))) + "\n");
  }
  return 0;
}

}  // namespace plimsoll
