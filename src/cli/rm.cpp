// plimsoll rm: removes a model of the own store.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/commands.h"
#include "app/model_names.h"
#include "cli/models.h"
#include "terminal/input.h"
#include "terminal/output.h"

namespace plimsoll {
namespace {

using Json = nlohmann::ordered_json;

struct RemoveOptions {
  std::string name;
  bool yes = false, json = false;

  bool parse(const Arguments& arguments) {
    Options options("rm",
                    "Removes a pulled model, or what an interrupted pull has left. What other programs keep is only "
                    "shown.");
    options.positional("NAME", name, "As plimsoll list shows it");
    options.flag("--yes", yes, "Do not ask");
    options.flag("--json", json, "Print one JSON object and nothing else");
    if (!options.parse(arguments)) return false;
    if (name.empty())
      throw Error(ErrorCode::usage, "there is no model to remove",
                  "name one as plimsoll list shows it");
    return true;
  }
};

[[noreturn]] void refuse_other_keeper(const StoredModel& model) {
  throw Error(ErrorCode::not_available,
              fmt::format("{} is not this program's own: it is in {}, at {}", model.name,
                          model.keeper == Keeper::ollama ? "Ollama's store" : "the hub's cache", model.path),
              model.keeper == Keeper::ollama ? "remove it with: ollama rm"
                                             : "remove it with the tool that brought it, or by hand");
}

[[noreturn]] void refuse_absent(const RemoveOptions& options, const Places& places) {
  std::vector<std::string> names;
  for (const StoredModel& model : stored_models(places))
    if (model.keeper == Keeper::own) names.push_back(model.name);
  const std::vector<std::string> near = nearest_names(options.name, names);
  throw Error(ErrorCode::not_available, fmt::format("{} is not in the store", options.name),
              near.empty() ? std::string("plimsoll list shows what is")
                           : fmt::format("did you mean {}?", near.front()));
}

}  // namespace

int rm_command(const Arguments& arguments) {
  RemoveOptions options;
  if (!options.parse(arguments)) return 0;
  const Places places = Places::from_environment();
  const ModelName name = model_name(options.name, places);
  const std::optional<StoredModel> model = find_stored(places, name);
  if (!model || model->keeper != Keeper::own) {
    if (remove_unfinished(places, name)) {
      options.json ? print_json({{"name", options.name}, {"removed", false}, {"unfinished_removed", true}})
                   : write_out("What an interrupted pull had left is removed.\n");
      return 0;
    }
    if (model) refuse_other_keeper(*model);
    refuse_absent(options, places);
  }
  if (!options.yes) {
    if (options.json || !standard_input_is_terminal())
      throw Error(ErrorCode::usage, fmt::format("nobody is there to ask whether {} may go", model->name),
                  "give --yes");
    if (!confirm(fmt::format("Remove {} ({})?", printable_line(model->name, 200), format_bytes(model->bytes)),
                 false))
      return 0;
  }
  remove_stored(places, *model);
  remove_unfinished(places, name);
  options.json ? print_json({{"name", model->name}, {"removed", true}, {"bytes", model->bytes}})
               : write_out(fmt::format("{} is removed: {}\n", printable_line(model->name, 200),
                                       format_bytes(model->bytes)));
  return 0;
}

}  // namespace plimsoll
