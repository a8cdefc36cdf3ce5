// plimsoll pull: brings a model by its name, after saying what it needs and whether it fits.
#include "hub/pull.h"

#include <fmt/format.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "app/model_names.h"
#include "app/planning.h"
#include "base/error.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/models.h"
#include "terminal/output.h"

namespace plimsoll {
namespace {

using Json = nlohmann::ordered_json;

struct PullOptions {
  CommonOptions common;
  bool check = false, anyway = false, update = false;

  bool parse(const Arguments& arguments) {
    Options options("pull",
                    "Brings a model onto this machine, after saying what it needs and whether it fits. A pull that "
                    "was interrupted goes on from where it was.");
    options.positional("NAME", common.model,
                       "A known name (smollm2), ORG/REPO, ORG/REPO:FILE.gguf or ORG/REPO:Q4_K_M on the hub, each "
                       "with @REVISION, or the address of a file");
    common.declare_running(options);
    options.flag("--check", check, "Only say what it is, what it needs, and whether it fits");
    options.flag("--anyway", anyway, "Download it even where it does not fit, or is of no known kind");
    options.flag("--update", update, "Look for a newer one where it is here already");
    options.exclusive("--check", "--update");
    if (!options.parse(arguments)) return false;
    if (common.model.empty())
      throw Error(ErrorCode::usage, "there is no model to pull",
                  "give a name, as in plimsoll pull smollm2; plimsoll list --known shows the short ones");
    return true;
  }
};

Json model_json(const StoredModel& model) {
  return {{"name", model.name}, {"path", model.path}, {"bytes", model.bytes}, {"format", model.format}};
}

class Pulling {
 public:
  explicit Pulling(const PullOptions& options)
      : options_(options),
        host_(options.common.host()),
        places_(Places::from_environment()),
        name_(model_name(options.common.model, places_)) {}

  int run() {
    const std::optional<StoredModel> here = find_stored(places_, name_);
    if (here && !options_.check && !(options_.update && here->keeper == Keeper::own))
      return tell_here(*here);
    const Preview preview(places_);
    const Offer offer = look(preview);
    if (here && is_same(*here, offer) && !options_.check) return tell_here(*here);
    announce(offer);
    if (options_.check) return tell_checked(offer);
    if (report_.error && !options_.anyway) throw *report_.error;
    const StoredModel model =
        bring(places_, offer, options_.update, host_, [this](const Offer& other) {
          announce(other);
          if (report_.error && !options_.anyway) throw *report_.error;
        });
    return tell_brought(model, offer);
  }

 private:
  Offer look(const Preview& preview) {
    try {
      return offer_of(places_, name_, host_, preview, true);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::file_corrupt || !options_.anyway) throw;
      notice(error.message());
    }
    return offer_of(places_, name_, host_, preview, false);
  }

  void say(const std::string& text) const {
    if (!options_.common.json) write_out(text + "\n");
  }

  void announce(const Offer& offer) {
    report_ = report_offer(offer, host_, Terminal::of(STDOUT_FILENO));
    say(report_.what);
    if (report_.error && !report_.plan && options_.anyway)
      notice(fmt::format("{}: it may not run here", report_.error->message()));
    received_ = offer.header_bytes_received;
  }

  int tell_here(const StoredModel& model) const {
    if (options_.common.json) {
      Json json = model_json(model);
      json["downloaded"] = false;
      print_json(json);
      return 0;
    }
    say(fmt::format("{} is here{}: {}", printable_line(model.name, 200),
                    model.keeper == Keeper::hub_cache ? ", in the hub's cache"
                    : model.keeper == Keeper::ollama  ? ", in Ollama's store"
                                                      : "",
                    model.path));
    return 0;
  }

  void add_plan(Json& json) const {
    json["header_bytes_received"] = received_;
    json["fits"] = report_.plan ? Json(report_.plan->fits) : Json();
    json["plan"] = report_.plan ? Json(to_json(*report_.plan)) : Json();
  }

  int tell_checked(const Offer& offer) const {
    if (options_.common.json) {
      Json json{{"name", offer.name.text()},
                {"bytes", offer.bytes() ? Json(*offer.bytes()) : Json()},
                {"bytes_here", offer.bytes_here},
                {"entry", offer.choice.entry},
                {"commit", offer.commit},
                {"why", offer.choice.why},
                {"downloaded", false}};
      add_plan(json);
      if (report_.error) json["error"] = error_json(*report_.error);
      print_json(json);
      return report_.error ? exit_code(report_.error->code()) : 0;
    }
    if (report_.error) throw *report_.error;
    return 0;
  }

  int tell_brought(const StoredModel& model, const Offer& offer) {
    if (!report_.plan && !report_.error) plan_brought(model);
    if (!offer.is_checked() && !options_.common.json)
      notice("nobody publishes a checksum of it: its size alone is checked");
    if (options_.common.json) {
      Json json = model_json(model);
      json["downloaded"] = true;
      json["checked"] = offer.is_checked() ? "sum" : "size";
      add_plan(json);
      print_json(json);
      return 0;
    }
    say(model.path);
    return 0;
  }

  /// What could not be said before.
  void plan_brought(const StoredModel& model) {
    try {
      const OpenModel opened = open_model(host_, model.path);
      PlanNeeds needs;
      needs.policy = WeightPolicy::fit;
      report_.plan = plan_model(host_, opened, needs);
      say(describe_fit(*report_.plan));
    } catch (const Error& error) {
      notice(error.message());
    }
  }

  const PullOptions& options_;
  Host host_;
  Places places_;
  ModelName name_;
  OfferReport report_;
  Bytes received_ = 0;
};

}  // namespace

int pull_command(const Arguments& arguments) {
  PullOptions options;
  if (!options.parse(arguments)) return 0;
  return Pulling(options).run();
}

}  // namespace plimsoll
