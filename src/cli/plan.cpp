// plimsoll plan: what a model needs and whether it fits, from its header; how fast, from this
// machine's measurements and samples of the weights.
#include <fmt/format.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "app/forecast.h"
#include "app/plan_file.h"
#include "base/error.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "file/output_file.h"
#include "plan/plan_frontier.h"
#include "report/machine_report.h"
#include "report/plan_report.h"
#include "terminal/output.h"

namespace plimsoll {
namespace {

struct PlanOptions {
  CommonOptions common;
  std::optional<std::int64_t> sessions;
  double speed = 0;  ///< 0: none asked for
  std::optional<OutputPath> html;
  bool chat = false, probe = false;

  /// False when only help was wanted.
  bool parse(const Arguments& arguments) {
    Options options("plan", "What a model needs, and whether it fits, before anything is loaded.");
    common.declare(options);
    common.declare_measuring(options);
    common.declare_kv(options);
    common.declare_context(
        options, "Tokens of context of each conversation; without it, the most useful that fits");
    options.count("--sessions", sessions, 1, most_sessions,
                  "Conversations at the same time (default 1)");
    options.flag("--chat", chat,
                 "Count what a conversation at the terminal holds besides, as run without a prompt "
                 "does");
    options.number("--speed", speed, least_speed, most_speed, speed_help).shared = true;
    options.output("--html", "FILE", html, plan_page_kind,
                   "Also write a web page with the tables and plots");
    options.flag("--probe", probe, "Measure this machine anew, for every format, and show it");
    return options.parse(arguments);
  }

  static constexpr std::int64_t most_sessions = 1024;
};

const Remedies remedies = {.sessions = true};

/// What is shown of it.
class Shown {
 public:
  Shown(const PlanOptions& options, const OpenModel& model, const Forecast& said)
      : options_(options), model_(model), said_(said) {}

  PlanReport report() const {
    return {model_, said_.plan, said_.frontier, options_.common.context.has_value(), said_.loading};
  }

  std::string text() const {
    const Terminal terminal = Terminal::of(STDOUT_FILENO);
    std::string out = describe_plan(report(), terminal);
    if (options_.probe)
      out += said_.machine ? fmt::format("\n{}", describe_machine(*said_.machine, terminal))
                           : "\nThe budget leaves no room to measure this machine.\n";
    return out;
  }

  nlohmann::ordered_json json() const {
    nlohmann::ordered_json json;
    json["model"] = model_.file.path();
    const nlohmann::ordered_json values = plan_json(model_, said_.plan);
    for (const char* key : {"budget_bytes", "peak_bytes", "fits", "context"})
      json[key] = values[key];
    for (const auto& [key, value] : values.items()) json[key] = value;
    const auto& loading = said_.loading;
    json["load_seconds"] = loading ? nlohmann::json(loading->seconds) : nlohmann::json();
    json["storage_bytes_per_second"] =
        loading ? nlohmann::json(loading->storage_bytes_per_second) : nlohmann::json();
    json["frontier"] = frontier_json(said_.frontier);
    if (options_.probe)
      json["machine"] = said_.machine ? to_json(*said_.machine) : nlohmann::json();
    try {
      refuse_unless_it_fits(said_.plan, remedies);
    } catch (const Error& error) {
      json["error"] = error_json(error);
    }
    return json;
  }

 private:
  const PlanOptions& options_;
  const OpenModel& model_;
  const Forecast& said_;
};

}  // namespace

int plan_command(const Arguments& arguments) {
  PlanOptions options;
  if (!options.parse(arguments)) return 0;
  choose_isa();  // a wrong PLIMSOLL_ISA is refused as run would
  Host host = options.common.host();
  const OpenModel model = open_model(host, options.common.model_path());
  std::optional<OutputFile> html;  // a place that cannot be written is known before the work
  if (options.html) html.emplace(*options.html);
  const Forecast said = forecast(host, model,
                                 {.context = options.common.context,
                                  .sessions = options.sessions.value_or(1),
                                  .kv = options.common.kv_tiers(),
                                  .converses = options.chat,
                                  .speed = options.speed,
                                  .all_speeds = options.common.json || options.html.has_value(),
                                  .probe = options.probe});
  const Shown shown(options, model, said);
  if (html) {
    const std::string page = plan_page(shown.report());
    html->append({reinterpret_cast<const std::uint8_t*>(page.data()), page.size()});
    html->commit();
  }
  if (options.common.json) {
    const nlohmann::ordered_json json = shown.json();
    print_json(json);
    return json.contains("error") ? exit_code(ErrorCode::budget_refused) : 0;
  }
  write_out(shown.text());
  refuse_unless_it_fits(said.plan, remedies);
  return 0;
}

}  // namespace plimsoll
