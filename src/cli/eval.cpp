// plimsoll eval: how likely a text is to a model, and how far the model is from a reference.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/process.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/input.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "engine/evaluate.h"
#include "plan/facts.h"

namespace plimsoll {
namespace {

/// Rows of logits that are looked at together.
constexpr std::int64_t scored_rows = 64;
constexpr std::int64_t default_chunk = 256;
/// Of a normal distribution: 95 % lie within this many standard errors.
constexpr double interval = 1.96;

struct EvalOptions {
  CommonOptions common;
  std::optional<std::string> text, reference;
  std::optional<std::int64_t> chunks;

  bool parse(Arguments arguments) {
    Options options("eval",
                    "Perplexity on a text, in chunks that begin with BOS and whose second half is "
                    "scored; with a reference, also the KL divergence from it.");
    common.declare(options);
    options.count("--context", common.context, 4, std::int64_t{1} << 30,
                  fmt::format("Tokens per chunk (default {})", default_chunk));
    options.text("--text", "FILE", text, "The text (required)");
    options.text("--against", "REFERENCE", reference,
                 "A second model file, to compare with; both must fit the budget");
    options.count("--chunks", chunks, 1, std::int64_t{1} << 30,
                  "Use only the first N chunks of the text");
    if (!options.parse(arguments)) return false;
    if (!text) throw Error(ErrorCode::usage, "there is no text to score", "give --text FILE");
    return true;
  }
};

/// One for each model, together inside the budget.
struct Plans {
  Plan model;
  std::optional<Plan> reference;

  Bytes peak_bytes() const { return model.peak_bytes + (reference ? reference->peak_bytes : 0); }
};

/// Throws Error(budget_refused).
Plans make_plans(const OpenModel& model, const std::optional<OpenModel>& reference,
                 const CommonOptions& common, Bytes budget) {
  PlanNeeds needs, reference_needs;
  needs.logit_rows = reference_needs.logit_rows = scored_rows;
  // Without a budget the question is how good the file is, not how good it is here.
  if (common.memory) needs.policy = WeightPolicy::fit;
  reference_needs.counts_process = false;
  Plans plans;
  const auto plan_both = [&](Bytes for_reference) {
    reference_needs.budget = for_reference;
    plans.reference = plan_model(*reference, common, reference_needs);
    needs.counted_elsewhere = reference->facts.text_bytes;
    needs.budget = budget - std::min(budget, plans.reference->peak_bytes);
    plans.model = plan_model(model, common, needs);
  };
  if (!reference) {
    needs.budget = budget;
    plans.model = plan_model(model, common, needs);
  } else {
    plan_both(budget);
    // The reference took what it liked: now the least that it can do with.
    if (!plans.model.fits) {
      plan_both(1);
      plan_both(plans.reference->peak_bytes);
    }
  }
  if (!plans.model.fits) {
    Plan both = plans.model;
    both.peak_bytes = plans.peak_bytes();
    both.budget_bytes = budget;
    both.largest_context = 0;
    refuse_unless_it_fits(both);
  }
  return plans;
}

std::string human(const Evaluation& e, Bytes budget) {
  std::string out;
  const auto row = [&out](const char* name, const std::string& value, const std::string& rest) {
    out += fmt::format("{:<11}{:>10}  {}\n", name, value, rest);
  };
  const char* about = Terminal::of(STDOUT_FILENO).utf8 ? "±" : "+-";
  const double low = std::exp(e.nll - interval * e.nll_error);
  const double high = std::exp(e.nll + interval * e.nll_error);
  row("perplexity", fmt::format("{:.3f}", e.perplexity()),
      fmt::format("{:.3f} to {:.3f}", low, high));
  row("nll", fmt::format("{:.4f}", e.nll),
      fmt::format("{} {:.4f} nats per token", about, interval * e.nll_error));
  if (e.has_reference) {
    row("kl", fmt::format("{:.6f}", e.kl),
        fmt::format("{} {:.6f} nats per token from the reference", about, interval * e.kl_error));
    row("same top", fmt::format("{:.2f} %", 100 * e.same_top),
        "of positions have the same likeliest token");
  }
  row("scored", grouped(e.scored_tokens), "tokens; intervals hold 95 %");
  row("peak", format_bytes(process_memory().peak), fmt::format("of {}", format_bytes(budget)));
  return out;
}

}  // namespace

int eval_command(Arguments arguments) {
  EvalOptions options;
  if (!options.parse(arguments)) return 0;
  CommonOptions& common = options.common;
  if (!common.context) common.context = default_chunk;
  choose_isa();
  const Bytes budget = decide_budget(common.memory);

  const OpenModel model = OpenModel::open(common.model_path());
  std::optional<OpenModel> reference;
  if (options.reference) reference = OpenModel::open(*options.reference);
  std::vector<TokenId> ids;
  {
    const std::string text =
        read_text_file(*options.text, [&](Bytes size) { refuse_long_text(size, budget); });
    ids = model.tokenizer->encode(text);
    ids.shrink_to_fit();
  }

  const Plans plans = make_plans(model, reference, common, budget);
  const Plan& plan = plans.model;
  if (!common.json) notice_rounding(model, plan);

  const auto context = make_context(common);
  context->ledger.set_budget(budget);
  const auto engine = load_engine(*context, model, plan);
  std::unique_ptr<Engine> reference_engine;
  std::optional<Session> reference_session;
  if (reference) {
    reference_engine = load_engine(*context, *reference, *plans.reference);
    reference_session.emplace(*reference_engine);
  }
  Session session(*engine);
  EvaluateOptions evaluate_options;
  evaluate_options.context = *common.context;
  evaluate_options.chunks = options.chunks.value_or(0);
  Evaluation result;
  {
    ProgressBar bar("scoring", ProgressBar::Unit::chunks);
    result = evaluate(*engine, session, reference_session ? &*reference_session : nullptr, ids,
                      evaluate_options, [&bar](std::int64_t chunk, std::int64_t chunks) {
                        bar.update(static_cast<std::uint64_t>(chunk),
                                   static_cast<std::uint64_t>(chunks));
                      });
  }
  if (!common.json) {
    write_out(human(result, budget));
    return 0;
  }
  const auto with_reference = [&](double value) {
    return result.has_reference ? nlohmann::ordered_json(value) : nlohmann::ordered_json();
  };
  print_json({{"scored_tokens", result.scored_tokens},
              {"nll", result.nll},
              {"nll_error", result.nll_error},
              {"perplexity", result.perplexity()},
              {"kl", with_reference(result.kl)},
              {"kl_error", with_reference(result.kl_error)},
              {"same_top", with_reference(result.same_top)},
              {"context", *common.context},
              {"peak_bytes", process_memory().peak},
              {"budget_bytes", budget},
              {"bits_per_weight", plan.bits_per_weight},
              {"kl_nats", plan.kl_nats},
              {"predicted_peak_bytes", plans.peak_bytes()}});
  return 0;
}

}  // namespace plimsoll
