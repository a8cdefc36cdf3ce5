// plimsoll bench: speed of prefill and decode, beside the limits of this machine measured in the
// same run.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/bounded.h"
#include "base/error.h"
#include "base/limits.h"
#include "base/process.h"
#include "cli/bench_measure.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/output.h"
#include "cli/suggest.h"
#include "cli/terminal.h"
#include "plan/machine.h"
#include "plan/speed.h"

namespace plimsoll {
namespace {

nlohmann::ordered_json spread_json(const Spread& spread) {
  return {{"median", spread.median()},
          {"min", spread.least()},
          {"max", spread.most()},
          {"values", spread.values}};
}

struct Report {
  const OpenModel* model;
  const Plan* plan;
  Isa isa;
  BenchRequest request;
  BenchResult result;
  PromptWork work;
  double load_seconds = 0;
  Bytes peak = 0;

  const BatchTimings* one() const {
    for (const BatchTimings& batch : result.batches)
      if (batch.batch == 1) return &batch;
    return nullptr;
  }
};

/// The table that people read.
class Table {
 public:
  explicit Table(const Report& report) : r_(report), terminal_(Terminal::of(STDOUT_FILENO)) {}

  std::string text() {
    const Description& d = r_.model->facts.description;
    const Plan& plan = *r_.plan;
    out_ = fmt::format(
        "{}: {} parameters at {:.2f} bits, {} thread{}, {}\n\n",
        terminal_.styled(Style::strong,
                         printable_line(d.name.empty() ? r_.model->file.path() : d.name, 60)),
        format_count(static_cast<double>(r_.model->facts.parameters)), plan.bits_per_weight,
        plan.threads, plan.threads == 1 ? "" : "s", name(r_.isa));
    heading("");
    const std::string limit =
        r_.work.float_operations > r_.work.integer_operations
            ? fmt::format("{} Gop/s, f32", rate(r_.result.float_operations_per_second, 1e9))
            : fmt::format("{} Gop/s, 8-bit", rate(r_.result.integer_operations_per_second, 1e9));
    for (const DepthTimings& t : r_.result.depths) {
      const std::string at = t.depth ? fmt::format(" at {}", grouped(t.depth)) : "";
      row(fmt::format("prefill {}{}", r_.request.prompt, at), t.prefill, 1,
          fmt::format("tok/s  {:.0f} % of {}", 100 * t.compute_fraction.median(), limit));
      row(fmt::format("decode {}{}", r_.request.tokens, at), t.decode, 1,
          fmt::format("tok/s  {:.0f} % of {} GB/s{}", 100 * t.bandwidth_fraction.median(),
                      rate(r_.result.bytes_per_second, 1e9),
                      r_.result.weight_bytes < 64 * MiB
                          ? fmt::format(", read from {}", format_bytes(r_.result.weight_bytes))
                          : ""));
      row(fmt::format("both{}", at), t.mixed, 1, "tok/s");
      row(fmt::format("first token{}", at), t.first_token, 1e3, "ms");
    }
    if (!r_.result.batches.empty()) {
      out_ += "\n";
      heading("tokens in a pass");
    }
    for (const BatchTimings& b : r_.result.batches) {
      const BatchTimings* one = r_.one();
      const auto times = [&](double value) {
        return one && one != &b ? fmt::format("  {:.2f} times one's", value) : std::string();
      };
      row(fmt::format("{} sequence{}", b.batch, b.batch == 1 ? "" : "s"), b.sequences, 1,
          "tok/s" + (one ? times(b.sequences.median() / one->sequences.median()) : ""));
      row(fmt::format("{} of one", b.batch), b.verify, 1e3,
          "ms" + (one ? times(b.verify.median() / one->verify.median()) : ""));
    }
    out_ += fmt::format("\n{:<24}{:>9} ms\n", "load", format_rate(r_.load_seconds * 1e3));
    out_ += fmt::format("{:<24}{:>9} of {}\n", "peak", format_bytes(r_.peak),
                        format_bytes(plan.budget_bytes));
    return out_;
  }

 private:
  static std::string rate(const Spread& spread, double unit) {
    return format_rate(spread.median() / unit);
  }
  void heading(const std::string& what) {
    out_ += terminal_.styled(
                Style::dim, fmt::format("{:<24}{:>9}{:>9}{:>9}", what, "median", "least", "most")) +
            "\n";
  }
  void row(const std::string& what, const Spread& spread, double factor, const std::string& rest) {
    out_ += fmt::format("{:<24}{:>9}{:>9}{:>9} {}\n", what, format_rate(spread.median() * factor),
                        format_rate(spread.least() * factor), format_rate(spread.most() * factor),
                        rest);
  }

  const Report& r_;
  Terminal terminal_;
  std::string out_;
};

nlohmann::ordered_json json(const Report& r) {
  const DepthTimings& first = r.result.depths.front();
  nlohmann::ordered_json depths = nlohmann::json::array(), batches = nlohmann::json::array();
  for (const DepthTimings& t : r.result.depths)
    depths.push_back({{"depth", t.depth},
                      {"prefill_tokens_per_second", t.prefill.median()},
                      {"decode_tokens_per_second", t.decode.median()},
                      {"mixed_tokens_per_second", t.mixed.median()},
                      {"bandwidth_fraction", t.bandwidth_fraction.median()},
                      {"integer_fraction", t.compute_fraction.median()},
                      {"prefill", spread_json(t.prefill)},
                      {"decode", spread_json(t.decode)}});
  for (const BatchTimings& b : r.result.batches)
    batches.push_back({{"batch", b.batch},
                       {"sequences_tokens_per_second", b.sequences.median()},
                       {"verify_seconds", b.verify.median()},
                       {"sequences", spread_json(b.sequences)},
                       {"verify", spread_json(b.verify)}});
  return {{"prefill_tokens_per_second", first.prefill.median()},
          {"decode_tokens_per_second", first.decode.median()},
          {"mixed_tokens_per_second", first.mixed.median()},
          {"bandwidth_fraction", first.bandwidth_fraction.median()},
          {"integer_fraction", first.compute_fraction.median()},
          {"peak_bytes", r.peak},
          {"predicted_peak_bytes", r.plan->peak_bytes},
          {"budget_bytes", r.plan->budget_bytes},
          {"load_seconds", r.load_seconds},
          {"first_token_seconds", first.first_token.median()},
          {"prompt_tokens", r.request.prompt},
          {"tokens", r.request.tokens},
          {"repeats", r.request.repeats},
          {"threads", r.plan->threads},
          {"isa", name(r.isa)},
          {"prefill", spread_json(first.prefill)},
          {"decode", spread_json(first.decode)},
          {"first_token", spread_json(first.first_token)},
          {"depths", depths},
          {"batches", batches},
          {"weight_bytes_per_token", r.result.weight_bytes},
          {"operations_per_prompt_token", r.work.integer_operations + r.work.float_operations},
          {"read_bytes_per_second", r.result.bytes_per_second.median()},
          {"integer_operations_per_second", r.result.integer_operations_per_second.median()},
          {"float_operations_per_second", r.result.float_operations_per_second.median()}};
}

/// For coming predictions.
void note(const Report& report) {
  const DepthTimings& first = report.result.depths.front();
  if (first.depth != 0) return;
  const BenchRequest& request = report.request;
  note_reached(cache_folder(), report.model->facts, *report.plan,
               {.prompt_tokens = request.prompt,
                .prefill = static_cast<double>(request.prompt) / first.prefill.median(),
                .depth = request.prompt + request.tokens / 2,
                .decode = request.tokens >= least_decoded ? 1 / first.decode.median() : 0},
               Noting::believed);
}

/// Whether there is room for what is asked for, and what there would be room for.
class Room {
 public:
  Room(const OpenModel& model, const PlanRequest& request) : model_(model), request_(request) {}

  static std::int64_t most_rows(const BenchRequest& bench) {
    std::int64_t most = 1;
    for (const std::int64_t batch : bench.batches) most = std::max(most, batch);
    return most;
  }

  /// With what one process and the next differ by to spare.
  bool holds(const BenchRequest& bench, Bytes budget) const {
    PlanRequest request = request_;
    request.budget = budget;
    request.context = bench.context(model_.facts.description);
    request.logit_rows = most_rows(bench);
    request.runtime_bytes += request.runtime_slack;
    const Plan plan = make_plan(model_.facts, request);
    return plan.fits && plan.chunk_tokens >= request.logit_rows;
  }

  /// The budget that would do; empty where the machine has no such.
  std::optional<Bytes> memory_for(const BenchRequest& bench) const {
    constexpr Bytes step = 64 * KiB;
    Bytes low = request_.budget, high = probe_limits().usable;
    if (!holds(bench, high)) return {};
    while (high - std::min(low, high) > step) {
      const Bytes middle = low + (high - low) / 2;
      (holds(bench, middle) ? high : low) = middle;
    }
    return high;
  }

  /// What to ask for so that `most` tokens of context and the budget are enough; empty where nothing
  /// does.
  std::string less(BenchRequest bench, std::int64_t most) const {
    std::vector<std::string> parts;
    const std::int64_t depth = *std::ranges::max_element(bench.depths), tokens = bench.tokens;
    if (depth + bench.prompt + tokens > most) {
      if (most < 2) return {};
      const bool is_depth = bench.prompt + tokens <= most;
      bench.depths = {is_depth ? most - bench.prompt - tokens : 0};
      bench.tokens = std::min(tokens, most - 1);
      bench.prompt = std::min(bench.prompt, most - bench.tokens);
      if (depth > 0) parts.push_back(fmt::format("--depths {}", bench.depths.front()));
      if (!is_depth) parts.push_back(fmt::format("--prompt {}", bench.prompt));
      if (bench.tokens < tokens) parts.push_back(fmt::format("--tokens {}", bench.tokens));
    }
    if (!bench.batches.empty() && !holds(bench, request_.budget)) {
      std::int64_t batch = most_rows(bench);
      do bench.batches = {--batch};
      while (batch > 0 && (bench.context(model_.facts.description) > most || !holds(bench, request_.budget)));
      if (batch == 0) return {};
      parts.push_back(fmt::format("--batches {}", batch));
    }
    return parts.empty() ? std::string() : joined(parts, " and ") + " or less";
  }

 private:
  const OpenModel& model_;
  const PlanRequest& request_;
};

/// Refuses what there is no room for, and passes of more tokens than the plan has room for.
void check_room(const OpenModel& model, const PlanRequest& request, const Plan& plan,
                const BenchRequest& bench) {
  const std::int64_t rows = Room::most_rows(bench);
  if (plan.fits && rows <= plan.chunk_tokens) return;
  const Room room(model, request);
  Remedies remedies{.context = false};
  Plan refused = plan;
  // Fewer workers leave room for a small chunk, which may be less than a pass.
  if (rows > 1) refused.offered_threads = 0;
  remedies.memory = room.memory_for(bench).value_or(most_bytes);
  if (std::string less = room.less(bench, plan.fits ? plan.context : plan.offered_context); !less.empty())
    remedies.more.push_back(std::move(less));
  refuse_unless_it_fits(refused, remedies);
  throw Error(ErrorCode::budget_refused,
              fmt::format("a pass of {} tokens does not fit: the plan has chunks of {}", rows,
                          plan.chunk_tokens),
              offer_remedies(refused, remedies));
}

}  // namespace

int bench_command(const Arguments& arguments) {
  CommonOptions common;
  std::optional<std::int64_t> prompt, tokens, repeats;
  Report report{};
  BenchRequest& request = report.request;
  Options options("bench", "Speed, beside the limits of this machine measured in the same run.");
  common.declare(options);
  common.declare_measuring(options);
  constexpr std::int64_t most = std::int64_t{1} << 24;
  options.count("--prompt", prompt, 1, most, "Tokens of the prompt (default 512)");
  options.count("--tokens", tokens, 1, most, "Tokens that are decoded behind it (default 64)");
  options.count("--repeats", repeats, 1, 1000, "Measurements; medians are reported (default 5)");
  options.counts("--depths", request.depths, 0, most,
                 "Tokens that are there before the prompt (default 0), as in 0,1024,4096,16384");
  options.counts("--batches", request.batches, 1, 256,
                 "Tokens in one pass, of as many sequences and of one, as in 1,2,4,8,16");
  if (!options.parse(arguments)) return 0;
  request.prompt = prompt.value_or(request.prompt);
  request.tokens = tokens.value_or(request.tokens);
  request.repeats = repeats.value_or(request.repeats);
  if (request.depths.empty()) request.depths = {0};

  choose_isa();
  const OpenModel model = OpenModel::open(common.model_path(), common.header_room());
  PlanNeeds needs;
  needs.context = request.context(model.facts.description);
  needs.policy = WeightPolicy::fit;
  for (const std::int64_t batch : request.batches)
    needs.logit_rows = std::max(needs.logit_rows, batch);
  const PlanRequest wanted = plan_request(model, common, needs);
  const Plan plan = make_plan(model.facts, wanted);
  check_room(model, wanted, plan, request);

  const auto context = make_context(common);
  report.model = &model;
  report.plan = &plan;
  report.isa = context->kernels.isa;
  report.work = prompt_work(model, plan);
  if (!common.json) notice_rounding(model, plan);
  auto engine = load_engine(*context, model, plan, &report.load_seconds);
  {
    ProgressBar bar("measuring", ProgressBar::Unit::tokens);
    report.result =
        measure(*engine, report.work, request, [&](std::int64_t done, std::int64_t all) {
          bar.update(static_cast<std::uint64_t>(done), static_cast<std::uint64_t>(all));
        });
  }
  report.peak = process_memory().peak;
  engine.reset();  // noting takes memory too
  note(report);
  if (common.json)
    print_json(json(report));
  else
    write_out(Table(report).text());
  return 0;
}

}  // namespace plimsoll
