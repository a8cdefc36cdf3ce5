#include "report/plan_report.h"

#include <fmt/format.h>

#include <algorithm>

#include "app/planning.h"
#include "base/limits.h"
#include "base/numbers.h"
#include "plan/format_choices.h"
#include "plan/speed.h"
#include "report/line.h"
#include "report/page.h"
#include "terminal/output.h"

namespace plimsoll {
namespace {

constexpr std::string_view plan_maker = "plan";

constexpr std::size_t longest_name = 60;

std::string model_name(const OpenModel& model) {
  const std::string& name = model.facts.description.name;
  return printable_line(name.empty() ? model.file.path() : name, longest_name);
}

/// Why an account is as large as it is.
std::string reason(Account account, const OpenModel& model, const Plan& plan) {
  switch (account) {
    case Account::weights:
      return fmt::format("{} parameters at {:.2f} bits",
                         format_count(static_cast<double>(model.facts.parameters)),
                         plan.bits_per_weight);
    case Account::kv:
      return fmt::format("{} in {} bits",
                         plan.sessions == 1
                             ? fmt::format("{} tokens of context", grouped(plan.context))
                             : fmt::format("{} conversations of {} tokens", grouped(plan.sessions),
                                           grouped(plan.context)),
                         describe(plan.kv));
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
  request.sessions = plan.sessions;
  request.threads = plan.threads;
  request.processors = allowed_processors();
  request.runtime_bytes = plan.process_bytes;
  request.after_loading = plan.account(Account::runtime) - plan.loading_runtime_bytes;
  request.of_rounding = plan.rounding_bytes;
  request.policy = policy;
  return make_plan(model.facts, request).peak_bytes;
}

/// The plans that round, and so have a place on a logarithmic axis.
Plot loss_plot(const PlanReport& report) {
  Plot plot{.title = "What rounding costs",
            .x = {"--memory", Unit::bytes},
            .y = {"KL, nats per token", Unit::plain, true},
            .series = {{"plans", {}, true}}};
  for (const Plan& plan : report.frontier)
    if (plan.kl_nats > 0)
      plot.series[0].points.push_back({static_cast<double>(plan.budget_bytes), plan.kl_nats});
  return plot;
}

Plot speed_plot(const PlanReport& report) {
  Plot plot{.title = "What bytes cost in speed",
            .x = {"--memory", Unit::bytes},
            .y = {"decoding, tokens per second"},
            .series = {{"plans", {}, true}}};
  for (const Plan& plan : report.frontier)
    if (plan.decode_tokens_per_second)
      plot.series[0].points.push_back(
          {static_cast<double>(plan.budget_bytes), *plan.decode_tokens_per_second});
  if (report.plan.speed_floor)
    plot.markers.push_back({"speed floor", *report.plan.speed_floor, false});
  return plot;
}

/// Half a frontier beyond its ends; further away it would squeeze the frontier.
bool is_near_frontier(const PlanReport& report) {
  const Bytes least = report.frontier.front().budget_bytes;
  const Bytes most = report.frontier.back().budget_bytes;
  const Bytes around = (most - least) / 2, budget = report.plan.budget_bytes;
  return budget + around >= least && budget <= most + around;
}

void mark_budget(const PlanReport& report, Plot& plot) {
  if (is_near_frontier(report))
    plot.markers.push_back({"this budget", static_cast<double>(report.plan.budget_bytes)});
}

/// What the plot has no place for.
std::vector<std::string> notes(const PlanReport& report) {
  const Plan& least = report.frontier.front();
  const Plan& most = report.frontier.back();
  const std::string context = grouped(least.context);
  std::string ends = least.sessions == 1 ? fmt::format("with {} tokens of context", context)
                                         : fmt::format("with {} conversations of {} tokens",
                                                       grouped(least.sessions), context);
  ends += fmt::format(": {} at the least", format_bytes(least.budget_bytes));
  if (most.kl_nats == 0)
    ends += fmt::format(", from {} on nothing is lost", format_bytes(most.budget_bytes));
  std::vector<std::string> found = {std::move(ends)};
  if (!is_near_frontier(report))
    found.push_back(fmt::format("this budget, {}, lies far {}",
                                format_bytes(report.plan.budget_bytes),
                                report.plan.budget_bytes > most.budget_bytes ? "above" : "below"));
  return found;
}

Table::Cell bytes_cell(Bytes bytes) { return {format_bytes(bytes), static_cast<double>(bytes)}; }

Table::Cell rate_cell(const std::optional<double>& rate) {
  return rate ? Table::Cell{format_rate(*rate), *rate} : Table::Cell{"unknown"};
}

Table accounts_table(const PlanReport& report) {
  const Plan& plan = report.plan;
  Table table{{"account", "bytes", "for"}, {}};
  for (const Account account : all_accounts)
    if (plan.account(account) > 0)
      table.rows.push_back({{std::string(name(account))},
                            bytes_cell(plan.account(account)),
                            {reason(account, report.model, plan)}});
  table.rows.push_back(
      {{"loading"}, bytes_cell(plan.loading_bytes), {"the most held while the weights are read"}});
  table.rows.push_back({{"peak"}, bytes_cell(plan.peak_bytes), {"with page tables"}});
  return table;
}

/// "attn_q" of "blk.3.attn_q.weight".
std::string kind(const TensorSlot& slot) {
  std::string text = slot.name;
  if (const std::size_t end = text.rfind('.'); end != std::string::npos) text.resize(end);
  return text.substr(text.rfind('.') + 1);
}

/// What the matrices of one group are held in, groups in their order; `group(slot)` names one.
Table formats_table(const PlanReport& report, const char* head, const auto& group) {
  Table table{{head, "parameters", "bytes", "bits", "formats"}, {}};
  const ModelFacts& facts = report.model.facts;
  const std::vector<const Format*> held = formats_held(facts, report.plan.formats);
  struct Group {
    std::string name;
    std::vector<TensorUse> tensors;
    Weights::Formats formats;
  };
  std::vector<Group> groups;
  for (std::size_t i = 0; i < held.size(); ++i) {
    const TensorUse& use = facts.tensors[i];
    if (use.slot.is_vector()) continue;
    const std::string name = group(use.slot);
    auto found = std::ranges::find(groups, name, &Group::name);
    if (found == groups.end()) found = groups.insert(found, {name, {}, {}});
    found->tensors.push_back(use);
    found->formats.push_back(held[i]);
  }
  for (const Group& g : groups) {
    const std::vector<FormatShare> shares = format_shares(g.tensors, g.formats);
    std::int64_t parameters = 0;
    Bytes bytes = 0;
    for (const FormatShare& share : shares) {
      parameters += share.parameters;
      bytes += share.bytes;
    }
    const double bits = 8 * static_cast<double>(bytes) / static_cast<double>(parameters);
    table.rows.push_back(
        {{printable_line(g.name, longest_name)},
         {format_count(static_cast<double>(parameters)), static_cast<double>(parameters)},
         bytes_cell(bytes),
         {fmt::format("{:.2f}", bits), bits},
         {format_mix(shares)}});
  }
  return table;
}

Table frontier_table(std::span<const Plan> frontier) {
  Table table{{"--memory", "weights", "bits", "KL, nats", "decode, tok/s", "prefill, tok/s"}, {}};
  for (const Plan& plan : frontier)
    table.rows.push_back({bytes_cell(plan.budget_bytes),
                          bytes_cell(plan.account(Account::weights)),
                          {fmt::format("{:.2f}", plan.bits_per_weight), plan.bits_per_weight},
                          {plan.kl_nats > 0 ? format_nats(plan.kl_nats) : "0", plan.kl_nats},
                          rate_cell(plan.decode_tokens_per_second),
                          rate_cell(plan.prefill_tokens_per_second)});
  return table;
}

std::string describe_verdict(const Plan& plan) {
  if (!plan.fits)
    return fmt::format("It needs {}; the budget of {} is too small.", format_bytes(plan.peak_bytes),
                       format_bytes(plan.budget_bytes));
  std::string out = fmt::format(
      "Peak {} of {}, {}.", format_bytes(plan.peak_bytes), format_bytes(plan.budget_bytes),
      plan.formats.empty()
          ? std::string("with the file's own weights, nothing rounded")
          : fmt::format(
                "with weights rounded to {:.2f} bits, a predicted loss of {} nats per token",
                plan.bits_per_weight, format_nats(plan.kl_nats)));
  if (plan.decode_tokens_per_second && plan.prefill_tokens_per_second)
    out += fmt::format(" Predicted: {} tokens a second decoding, {} of the prompt.",
                       format_rate(*plan.decode_tokens_per_second),
                       format_rate(*plan.prefill_tokens_per_second));
  if (plan.speed_floor)
    out += fmt::format(" {} tokens a second were asked for{}.", format_rate(*plan.speed_floor),
                       plan.keeps_speed() ? "" : ": out of reach");
  return out;
}

}  // namespace

std::string describe_plan(const PlanReport& report, const Terminal& terminal) {
  const OpenModel& model = report.model;
  const Plan& plan = report.plan;
  const Description& d = model.facts.description;
  std::string out = fmt::format(
      "{}: {}, {} parameters, trained for {} tokens\n\n",
      terminal.styled(Style::strong, model_name(model)), printable_line(d.family, 40),
      format_count(static_cast<double>(model.facts.parameters)), grouped(d.trained_context));
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
    out += fmt::format("  {:<12}{:>9}   {}\n", "formats", "", format_mix(plan.shares));
  }
  const auto speed = [&out](const char* what, const std::optional<double>& value,
                            const std::string& rest) {
    if (value)
      out += fmt::format("  {:<12}{:>9}   tokens a second{}\n", what, format_rate(*value), rest);
  };
  if (report.loading)
    out += fmt::format("  {:<12}{:>7} s   {} GB/s from the file\n", "load",
                       format_rate(report.loading->seconds),
                       format_rate(report.loading->storage_bytes_per_second / 1e9));
  speed("prefill", plan.prefill_tokens_per_second, "");
  speed("decode", plan.decode_tokens_per_second,
        plan.sessions > 1 ? ", each conversation while all are answered" : "");
  speed("speed floor", plan.speed_floor,
        plan.speed_floor ? fmt::format(", {}: {} in this machine's slower moments",
                                       plan.keeps_speed() ? "kept" : "out of reach",
                                       format_rate(*plan.promised_tokens_per_second))
                         : "");

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
  if (plan.offered_context > plan.context && !report.context_given)
    out += fmt::format("\n--context {} would fit as well{}\n", plan.offered_context, rounded);
  else if (plan.offered_context > 0 && plan.offered_context < d.trained_context)
    out += fmt::format("\n--context {} is the most that fits this budget{}\n", plan.offered_context,
                       rounded);
  if (report.frontier.size() > 1) {
    Plot loss = loss_plot(report);
    mark_budget(report, loss);
    out += '\n' + draw_plot(loss, terminal);
    for (const std::string& note : notes(report)) out += note + '\n';
  }
  return out;
}

const OutputKind plan_page_kind = {
    "page of plimsoll plan", [](std::string_view text) { return is_page(text, plan_maker); },
    "name another file, or give --force to replace it"};

std::string plan_page(const PlanReport& report) {
  const OpenModel& model = report.model;
  const Description& d = model.facts.description;
  Page page(model_name(model), plan_maker);
  page.paragraph(fmt::format(
      "{}, {} parameters, trained for {} tokens.", printable_line(d.family, 40),
      format_count(static_cast<double>(model.facts.parameters)), grouped(d.trained_context)));
  page.paragraph(describe_verdict(report.plan));
  page.heading("Memory");
  page.table(accounts_table(report));
  page.heading("Formats");
  page.table(formats_table(report, "tensors", kind));
  page.heading("Formats by layer");
  page.table(formats_table(report, "layer", [](const TensorSlot& slot) {
    return slot.layer < 0 ? std::string("outside") : fmt::format("{}", slot.layer);
  }));
  if (report.frontier.size() > 1) {
    page.heading("Bytes, quality, speed");
    Plot loss = loss_plot(report);
    mark_budget(report, loss);
    page.plot(loss);
    if (Plot speed = speed_plot(report); !speed.series[0].points.empty()) {
      mark_budget(report, speed);
      page.plot(speed);
    }
    for (const std::string& note : notes(report)) page.paragraph(note);
    page.table(frontier_table(report.frontier));
  }
  page.heading("Where the figures come from");
  page.paragraph(fmt::format(
      "Bytes are exact but for what the process holds besides the accounts, which was measured. "
      "Speeds are predicted from what was measured of this machine: decoding behind a prompt of {} "
      "tokens, or what the context has room for.",
      usual_prompt));
  if (report.frontier.size() > 1)
    page.paragraph(
        fmt::format("KL is the divergence per token from the file's own weights, predicted as a "
                    "sum over tensors ({}).",
                    plimsoll::describe(report.frontier.front().quality)));
  return page.html();
}

}  // namespace plimsoll
