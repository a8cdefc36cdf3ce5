// plimsoll bench: speed of prefill and decode, beside the limits of this machine measured in the
// same run.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>

#include "base/error.h"
#include "base/process.h"
#include "cli/bench_probe.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "model/tensors.h"
#include "plan/facts.h"

namespace plimsoll {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// One quantity over all repeats.
struct Spread {
  std::vector<double> values;

  double median() const {
    std::vector<double> sorted = values;
    std::sort(sorted.begin(), sorted.end());
    const std::size_t middle = sorted.size() / 2;
    return sorted.size() % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  }
  double least() const { return *std::min_element(values.begin(), values.end()); }
  double most() const { return *std::max_element(values.begin(), values.end()); }
};

nlohmann::ordered_json spread_json(const Spread& spread) {
  return {{"median", spread.median()},
          {"min", spread.least()},
          {"max", spread.most()},
          {"values", spread.values}};
}

/// What one token takes, whatever the speed. The embedding matrix is looked up, not multiplied,
/// and a prompt's tokens need no logits but the last one's.
struct Work {
  Bytes weight_bytes = 0;         ///< read to decode one token
  double prefill_operations = 0;  ///< products and sums of a prompt's token in the matrices
};

Work work_of(const OpenModel& model) {
  Work work;
  const Description& d = model.facts.description;
  for (const TensorUse& use : find_tensors(model.file, d)) {
    if (use.slot.is_vector()) continue;
    const bool embedding = use.slot.role == Role::token_embedding;
    if (!embedding || d.tied_output) work.weight_bytes += Matrix::memory_bytes(*use.info);
    if (!embedding && use.slot.role != Role::output)
      work.prefill_operations +=
          2.0 * static_cast<double>(use.slot.rows) * static_cast<double>(use.slot.columns);
  }
  return work;
}

struct Timings {
  Spread prefill, decode;  ///< tokens per second
  Spread first_token;      ///< seconds from an empty cache to the first token
};

/// Likeliest token, as greedy decoding takes it.
TokenId likeliest(std::span<const float> logits) {
  return static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

Timings measure(Session& session, std::span<const TokenId> prompt, std::int64_t tokens,
                std::int64_t repeats) {
  Timings timings;
  ProgressBar bar("measuring", ProgressBar::Unit::tokens);
  const std::int64_t each = static_cast<std::int64_t>(prompt.size()) + tokens;
  // The first pass warms up caches and page tables.
  for (std::int64_t repeat = -1; repeat < repeats; ++repeat) {
    session.clear();
    auto start = Clock::now();
    session.append(prompt);
    TokenId token = likeliest(session.logits());
    const double first = seconds_since(start);
    start = Clock::now();
    for (std::int64_t i = 0; i < tokens; ++i) {
      session.append({&token, 1});
      token = likeliest(session.logits());
    }
    const double decode = seconds_since(start);
    bar.update(static_cast<std::uint64_t>((repeat + 2) * each),
               static_cast<std::uint64_t>((repeats + 1) * each));
    if (repeat < 0) continue;
    timings.first_token.values.push_back(first);
    timings.prefill.values.push_back(static_cast<double>(prompt.size()) / first);
    timings.decode.values.push_back(static_cast<double>(tokens) / decode);
  }
  return timings;
}

/// Any tokens do, as long as they are the same in every run.
std::vector<TokenId> bench_prompt(std::int64_t count, std::int64_t vocabulary) {
  std::mt19937_64 random(1876);  // the year of the load line's law
  std::vector<TokenId> prompt(static_cast<std::size_t>(count));
  for (TokenId& token : prompt)
    token = static_cast<TokenId>(random() % static_cast<std::uint64_t>(vocabulary));
  return prompt;
}

struct Result {
  Timings timings;
  MachineSpeed machine;
  double bandwidth_fraction = 0, integer_fraction = 0;
  double load_seconds = 0;
  Bytes peak = 0;
  std::int64_t prompt = 0, tokens = 0;
};

std::string human(const Result& r, const OpenModel& model, const Plan& plan, Isa isa) {
  const Terminal terminal = Terminal::of(STDOUT_FILENO);
  std::string out =
      fmt::format("{}: {} parameters at {:.2f} bits, {} thread{}, {}\n\n",
                  terminal.styled(Style::strong, printable_line(model.facts.description.name.empty()
                                                                    ? model.file.path()
                                                                    : model.facts.description.name,
                                                                60)),
                  format_count(static_cast<double>(model.facts.parameters)), plan.bits_per_weight,
                  plan.threads, plan.threads == 1 ? "" : "s", name(isa));
  out += terminal.styled(Style::dim,
                         fmt::format("{:<14}{:>9}{:>9}{:>9}", "", "median", "least", "most")) +
         "\n";
  const auto row = [&out](const std::string& what, const Spread& spread, const std::string& rest) {
    out += fmt::format("{:<14}{:>9}{:>9}{:>9} {}\n", what, format_rate(spread.median()),
                       format_rate(spread.least()), format_rate(spread.most()), rest);
  };
  row(fmt::format("prefill {}", r.prompt), r.timings.prefill,
      fmt::format("tok/s  {:.0f} % of {} Gop/s, 8-bit", 100 * r.integer_fraction,
                  format_rate(r.machine.integer_operations_per_second / 1e9)));
  row(fmt::format("decode {}", r.tokens), r.timings.decode,
      r.machine.bytes_per_second > 0
          ? fmt::format("tok/s  {:.0f} % of {} GB/s{}", 100 * r.bandwidth_fraction,
                        format_rate(r.machine.bytes_per_second / 1e9),
                        r.machine.streamed_bytes < 64 * MiB
                            ? fmt::format(", read from {}", format_bytes(r.machine.streamed_bytes))
                            : "")
          : "tok/s");
  Spread first = r.timings.first_token;
  for (double& value : first.values) value *= 1e3;
  row("first token", first, "ms");
  out += fmt::format("{:<14}{:>9} ms\n", "load", format_rate(r.load_seconds * 1e3));
  out += fmt::format("{:<14}{:>9} of {}\n", "peak", format_bytes(r.peak),
                     format_bytes(plan.budget_bytes));
  return out;
}

}  // namespace

int bench_command(Arguments arguments) {
  CommonOptions common;
  std::optional<std::int64_t> prompt_count, token_count, repeats;
  Options options("bench", "Speed, beside the limits of this machine measured in the same run.");
  common.declare(options);
  options.count("--prompt", prompt_count, 1, std::int64_t{1} << 24,
                "Tokens of the prompt (default 512)");
  options.count("--tokens", token_count, 1, std::int64_t{1} << 24,
                "Tokens that are decoded behind it (default 64)");
  options.count("--repeats", repeats, 1, 1000, "Measurements; medians are reported (default 5)");
  if (!options.parse(arguments)) return 0;
  Result result;
  result.prompt = prompt_count.value_or(512);
  result.tokens = token_count.value_or(64);

  choose_isa();
  const OpenModel model = OpenModel::open(common.model_path());
  const std::vector<TokenId> prompt =
      bench_prompt(result.prompt, model.facts.description.vocabulary);
  PlanNeeds needs;
  needs.context = result.prompt + result.tokens;
  const Plan plan = plan_model(model, common, needs);
  refuse_unless_it_fits(plan);

  const auto context = make_context(common);
  {
    const auto engine = load_engine(*context, model, plan, &result.load_seconds);
    Session session(*engine);
    result.timings = measure(session, prompt, result.tokens, repeats.value_or(5));
  }
  // Before the probe takes memory of its own: the model's peak is what is asked for. The model is
  // gone by then, so that the probe stays inside the budget too.
  const ProcessMemory memory = process_memory();
  result.peak = memory.peak;
  const Bytes held = memory.resident + memory.page_tables + 4 * MiB;
  result.machine =
      measure_machine(*context, plan.budget_bytes > held ? plan.budget_bytes - held : 0);

  const Work work = work_of(model);
  if (result.machine.bytes_per_second > 0)
    result.bandwidth_fraction = static_cast<double>(work.weight_bytes) *
                                result.timings.decode.median() / result.machine.bytes_per_second;
  result.integer_fraction = work.prefill_operations * result.timings.prefill.median() /
                            result.machine.integer_operations_per_second;
  if (!common.json) {
    write_out(human(result, model, plan, context->kernels.isa));
    return 0;
  }
  print_json({{"prefill_tokens_per_second", result.timings.prefill.median()},
              {"decode_tokens_per_second", result.timings.decode.median()},
              {"bandwidth_fraction", result.machine.bytes_per_second > 0
                                         ? nlohmann::ordered_json(result.bandwidth_fraction)
                                         : nlohmann::ordered_json()},
              {"integer_fraction", result.integer_fraction},
              {"peak_bytes", result.peak},
              {"predicted_peak_bytes", plan.peak_bytes},
              {"budget_bytes", plan.budget_bytes},
              {"load_seconds", result.load_seconds},
              {"first_token_seconds", result.timings.first_token.median()},
              {"prompt_tokens", result.prompt},
              {"tokens", result.tokens},
              {"repeats", repeats.value_or(5)},
              {"threads", plan.threads},
              {"isa", name(context->kernels.isa)},
              {"prefill", spread_json(result.timings.prefill)},
              {"decode", spread_json(result.timings.decode)},
              {"first_token", spread_json(result.timings.first_token)},
              {"weight_bytes_per_token", work.weight_bytes},
              {"operations_per_prompt_token", work.prefill_operations},
              {"read_bytes_per_second", result.machine.bytes_per_second},
              {"streamed_bytes", result.machine.streamed_bytes},
              {"integer_operations_per_second", result.machine.integer_operations_per_second}});
  return 0;
}

}  // namespace plimsoll
