// plimsoll plan: what a model needs and whether it fits, from its header alone.
#include "plan/plan.h"

#include <fmt/format.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/common.h"
#include "cli/line.h"
#include "cli/output.h"
#include "cli/speeds.h"

namespace plimsoll {
namespace {

/// Why an account is as large as it is.
std::string reason(Account account, const OpenModel& model, const Plan& plan) {
  switch (account) {
    case Account::weights:
      return fmt::format("{} parameters at {:.2f} bits",
                         format_count(static_cast<double>(model.facts.parameters)),
                         plan.bits_per_weight);
    case Account::kv:
      return fmt::format("{} tokens of context", grouped(plan.context));
    case Account::activations:
      return fmt::format("{} tokens at a time, {} thread{}", plan.chunk_tokens, plan.threads,
                         plan.threads == 1 ? "" : "s");
    case Account::text:
      return "tokenizer and file header";
    case Account::runtime:
      return "program, libraries, stacks, heap";
    default:
      return "";
  }
}

/// The least that a context needs, whatever the budget.
Bytes least_bytes(const OpenModel& model, const Plan& plan, std::int64_t context,
                  WeightPolicy policy) {
  PlanRequest request;
  request.budget = 1;
  request.context = context;
  request.threads = plan.threads;
  request.runtime_bytes = plan.process_bytes;
  request.policy = policy;
  return make_plan(model.facts, request).peak_bytes;
}

std::string describe_plan(const OpenModel& model, const Plan& plan, bool context_given) {
  const Terminal terminal = Terminal::of(STDOUT_FILENO);
  const Description& d = model.facts.description;
  std::string out = fmt::format(
      "{}: {}, {} parameters, trained for {} tokens\n\n",
      terminal.styled(Style::strong,
                      printable_line(d.name.empty() ? model.file.path() : d.name, 60)),
      printable_line(d.family, 40), format_count(static_cast<double>(model.facts.parameters)),
      grouped(d.trained_context));
  out += draw_bar(plan.accounts, plan.budget_bytes, terminal) + "\n\n";
  for (const Account account : all_accounts) {
    if (plan.account(account) == 0) continue;
    out += fmt::format("{} {:<12}{:>9}   {}\n", account_cell(account, terminal), name(account),
                       format_bytes(plan.account(account)), reason(account, model, plan));
  }
  const bool fits = plan.fits;
  const Bytes distance =
      fits ? plan.budget_bytes - plan.peak_bytes : plan.peak_bytes - plan.budget_bytes;
  out += fmt::format("  {:<12}{:>9}   {}\n", "peak", format_bytes(plan.peak_bytes),
                     terminal.styled(fits ? Style::strong : Style::alarm,
                                     fmt::format("{} {} the line", format_bytes(distance),
                                                 fits ? "below" : "above")));
  out += fmt::format("  {:<12}{:>9}   {}\n", "loading", format_bytes(plan.loading_bytes),
                     "the most held while the weights are read");
  if (plan.formats.empty()) {
    out += fmt::format("  {:<12}{:>9}   {}\n", "quality", "exact",
                       "the file's own weights, nothing rounded");
  } else {
    out += fmt::format("  {:<12}{:>9}   nats lost by rounding, predicted ({})\n", "quality",
                       format_nats(plan.kl_nats), describe(plan.quality));
    out += fmt::format("  {:<12}{:>9}   {}\n", "formats", "", format_mix(plan));
  }
  const auto speed = [&out](const char* what, const std::optional<double>& value) {
    if (value) out += fmt::format("  {:<12}{:>9}   tokens a second\n", what, format_rate(*value));
  };
  speed("prefill", plan.prefill_tokens_per_second);
  speed("decode", plan.decode_tokens_per_second);

  if (plan.context > d.trained_context)
    out += fmt::format("\nbeyond {} tokens this model was never trained: expect nonsense there\n",
                       grouped(d.trained_context));
  out += fmt::format("\n{:>9}   {:<16}{}\n", "context", "least --memory", "without rounding");
  for (const std::int64_t divisor : {16, 4, 1}) {
    const std::int64_t context = d.trained_context / divisor;
    if (context < 1) continue;
    const Bytes least = least_bytes(model, plan, context, WeightPolicy::fit);
    out += fmt::format("{:>9}   {:<16}{}{}\n", grouped(context), format_bytes(least),
                       format_bytes(least_bytes(model, plan, context, WeightPolicy::exact)),
                       least <= plan.budget_bytes ? "" : ", more than this budget");
  }
  out += fmt::format("    rounded as far as that, the loss is {} nats\n",
                     format_nats(plan.least_kl_nats));
  const char* rounded = plan.formats.empty() ? "" : ", with more rounding";
  if (plan.largest_context > plan.context && !context_given)
    out += fmt::format("\n--context {} would fit as well{}\n", plan.largest_context, rounded);
  else if (plan.largest_context > 0 && plan.largest_context < d.trained_context)
    out += fmt::format("\n--context {} is the most that fits this budget{}\n", plan.largest_context,
                       rounded);
  return out;
}

/// A run has read its prompt (some thousand tokens) and more options before it measures itself.
constexpr Bytes prompt_allowance = 320 * KiB;

}  // namespace

int plan_command(Arguments arguments) {
  CommonOptions common;
  bool probe = false;
  Options options("plan", "What a model needs, and whether it fits, before anything is loaded.");
  common.declare(options);
  common.declare_context(options,
                         "Tokens of context; without it, the most useful number that fits");
  options.flag("--probe", probe, "Measure this machine anew, for every format, and show it");
  if (!options.parse(arguments)) return 0;

  choose_isa();  // a wrong PLIMSOLL_ISA is refused as run would
  const OpenModel model = OpenModel::open(common.model_path());
  Plan plan =
      plan_model(model, common, {.policy = WeightPolicy::fit, .still_to_come = prompt_allowance});
  std::optional<Machine> machine;
  if (plan.fits || probe) machine = machine_for(model, plan, probe);
  if (machine && plan.fits) predict_speeds(*machine, model, plan);
  if (common.json) {
    nlohmann::ordered_json json;
    json["model"] = model.file.path();
    const nlohmann::json values = to_json(plan);
    for (const char* key : {"budget_bytes", "peak_bytes", "fits", "context"})
      json[key] = values[key];
    for (const auto& [key, value] : values.items()) json[key] = value;
    if (probe) json["machine"] = machine ? to_json(*machine) : nlohmann::json();
    try {
      refuse_unless_it_fits(plan);
    } catch (const Error& error) {
      json["error"] = error_json(error);
    }
    print_json(json);
    return plan.fits ? 0 : exit_code(ErrorCode::budget_refused);
  }
  write_out(describe_plan(model, plan, common.context.has_value()));
  if (machine && probe)
    write_out(fmt::format("\n{}", describe_machine(*machine, Terminal::of(STDOUT_FILENO))));
  else if (probe)
    write_out("\nThe budget leaves no room to measure this machine.\n");
  refuse_unless_it_fits(plan);
  return 0;
}

}  // namespace plimsoll
