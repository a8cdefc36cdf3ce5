// plimsoll plan: what a model needs and whether it fits, from its header; how fast, from this
// machine's measurements and samples of the weights.
#include "plan/plan.h"

#include <fmt/format.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/process.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/output.h"
#include "cli/plan_report.h"
#include "cli/speeds.h"
#include "file/output_file.h"
#include "plan/loading_time.h"
#include "plan/plan_frontier.h"
#include "plan/probe.h"
#include "plan/speed.h"

namespace plimsoll {
namespace {

struct PlanOptions {
  CommonOptions common;
  std::optional<std::int64_t> sessions;
  double speed = 0;  ///< 0: none asked for
  std::optional<OutputPath> html;
  bool probe = false;

  /// False when only help was wanted.
  bool parse(const Arguments& arguments) {
    Options options("plan", "What a model needs, and whether it fits, before anything is loaded.");
    common.declare(options);
    common.declare_measuring(options);
    common.declare_context(
        options, "Tokens of context of each conversation; without it, the most useful that fits");
    options.count("--sessions", sessions, 1, most_sessions,
                  "Conversations at the same time (default 1)");
    options.number("--speed", speed, least_speed, most_speed, speed_help).shared = true;
    options.output("--html", "FILE", html, plan_page_kind, "Also write a web page with the tables and plots");
    options.flag("--probe", probe, "Measure this machine anew, for every format, and show it");
    return options.parse(arguments);
  }

  static constexpr std::int64_t most_sessions = 1024;
};

/// One plan of a model, with what it is held against.
class Planning {
 public:
  explicit Planning(const PlanOptions& options)
      : options_(options),
        model_(OpenModel::open(options.common.model_path(), options.common.header_room())) {
    if (options.html) html_.emplace(*options.html);  // known before the work
    PlanNeeds needs;
    needs.policy = WeightPolicy::fit;
    needs.shows_losses = true;
    needs.sessions = options.sessions.value_or(1);
    if (options.speed > 0) {
      machine_ = machine_for_floor(formats_of_any_plan(model_.facts), budget(), threads());
      needs.speed = {options.speed, &*machine_};
    }
    PlanRequest request = plan_request(model_, options.common, needs);
    plan_ = make_plan(model_.facts, request);
    request.context = plan_.context;
    frontier_ = plan_frontier(model_.facts, request);
    measure();
    if (plan_.fits) measure_loading();
  }

  const Plan& plan() const { return plan_; }
  static Remedies remedies() { return {.sessions = true}; }
  PlanReport report() const {
    return {model_, plan_, frontier_, options_.common.context.has_value(), loading_};
  }

  void write_page() {
    if (!html_) return;
    const std::string page = plan_page(report());
    html_->append({reinterpret_cast<const std::uint8_t*>(page.data()), page.size()});
    html_->commit();
  }

  std::string describe() const {
    const Terminal terminal = Terminal::of(STDOUT_FILENO);
    std::string out = describe_plan(report(), terminal);
    if (options_.probe)
      out += machine_ ? fmt::format("\n{}", describe_machine(*machine_, terminal))
                      : "\nThe budget leaves no room to measure this machine.\n";
    return out;
  }

  nlohmann::ordered_json json() const {
    nlohmann::ordered_json json;
    json["model"] = model_.file.path();
    const nlohmann::json values = to_json(plan_);
    for (const char* key : {"budget_bytes", "peak_bytes", "fits", "context"})
      json[key] = values[key];
    for (const auto& [key, value] : values.items()) json[key] = value;
    json["load_seconds"] = loading_ ? nlohmann::json(loading_->seconds) : nlohmann::json();
    json["storage_bytes_per_second"] =
        loading_ ? nlohmann::json(loading_->storage_bytes_per_second) : nlohmann::json();
    json["frontier"] = frontier_json(frontier_);
    if (options_.probe) json["machine"] = machine_ ? to_json(*machine_) : nlohmann::json();
    try {
      refuse_unless_it_fits(plan_, remedies());
    } catch (const Error& error) {
      json["error"] = error_json(error);
    }
    return json;
  }

 private:
  Bytes budget() const { return decide_budget(options_.common.memory); }
  int threads() const { return options_.common.thread_count(); }

  /// Speeds of the plan, and those of the frontier where they are shown: to know all of its formats
  /// may take seconds.
  void measure() {
    const bool all = options_.common.json || options_.html;
    if (!plan_.fits && !all && !options_.probe) return;
    std::vector<FormatId> formats = formats_of(model_.facts, plan_);
    if (options_.probe) formats = matrix_formats();
    if (all)
      for (const Plan& plan : frontier_)
        std::ranges::copy(formats_of(model_.facts, plan), std::back_inserter(formats));
    machine_ = machine_for(formats, budget(), threads(), options_.probe);
    if (!machine_) return;
    if (plan_.fits) predict_speeds(*machine_, model_.facts, plan_);
    if (all)
      for (Plan& plan : frontier_) predict_speeds(*machine_, model_.facts, plan);
  }

  void measure_loading() {
    const auto context = make_context(options_.common);
    const Bytes held = process_memory().resident, all = budget();
    try {
      loading_ = predict_loading(*context, model_.file, model_.facts.tensors, plan_.formats,
                                 all > held ? all - held : 0);
    } catch (const Error&) {
      // What is wrong with the file is for loading to say.
    }
  }

  const PlanOptions& options_;
  OpenModel model_;
  std::optional<Machine> machine_;
  Plan plan_;
  std::vector<Plan> frontier_;
  std::optional<LoadingTime> loading_;
  std::optional<OutputFile> html_;
};

}  // namespace

int plan_command(const Arguments& arguments) {
  PlanOptions options;
  if (!options.parse(arguments)) return 0;
  choose_isa();  // a wrong PLIMSOLL_ISA is refused as run would
  Planning planning(options);
  planning.write_page();
  if (options.common.json) {
    const nlohmann::ordered_json json = planning.json();
    print_json(json);
    return json.contains("error") ? exit_code(ErrorCode::budget_refused) : 0;
  }
  write_out(planning.describe());
  refuse_unless_it_fits(planning.plan(), Planning::remedies());
  return 0;
}

}  // namespace plimsoll
