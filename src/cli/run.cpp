// plimsoll run: writes on from a prompt, or chats, under the line.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <random>

#include "base/error.h"
#include "base/process.h"
#include "cli/bundled.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/converse.h"
#include "cli/input.h"
#include "cli/line.h"
#include "cli/output.h"
#include "cli/speeds.h"
#include "plan/speed.h"
#include "text/chat_template.h"

namespace plimsoll {
namespace {

/// What the bundled model writes on from when nobody says anything.
constexpr const char* first_sentence = "The kernel keeps a list of the pages that";
constexpr std::int64_t first_tokens = 128;
/// How long a pipe may stay silent before the bundled model begins by itself.
constexpr double patience_seconds = 3;
/// Room kept for an answer where neither --tokens nor --context says how much.
constexpr std::int64_t usual_answer = 1024;

struct RunOptions {
  CommonOptions common;
  std::optional<std::string> prompt;
  bool chat = false, keep = false, json_lines = false;
  double speed = 0;  ///< 0: none asked for
  std::optional<std::int64_t> tokens, top_k, seed;
  GenerateOptions generate;

  /// False when only help was wanted.
  bool parse(const Arguments& arguments);
};

bool RunOptions::parse(const Arguments& arguments) {
  Options options("run",
                  "Writes on from a prompt, or chats, inside a byte budget. Without a prompt: what "
                  "comes in on standard input, or a conversation at the terminal.");
  SamplingOptions& sampling = generate.sampling;
  common.declare(options);
  common.declare_context(options,
                         "Tokens of context; without it, the most useful number that fits");
  options.text("--prompt", "TEXT", prompt, "The text to write on from, as it stands");
  options.flag("--chat", chat, "Answer in the model's own chat format");
  options.exclusive("--prompt", "--chat");
  options.count("--tokens", tokens, 0, std::int64_t{1} << 30,
                "Stop after this many; without it, at the model's own end or a full context");
  options.texts("--stop", "TEXT", generate.stops,
                "End before this text; may be given several times");
  options.number(
      "--temperature", sampling.temperature, 0, 100,
      fmt::format("0 always takes the likeliest token (default {})", sampling.temperature));
  options.count("--top-k", top_k, 0, std::int64_t{1} << 30,
                fmt::format("Only the K likeliest; 0 for all (default {})", sampling.top_k));
  options.number(
      "--top-p", sampling.top_p, 0, 1,
      fmt::format("Only the likeliest that make up P together (default {})", sampling.top_p));
  options.number("--min-p", sampling.min_p, 0, 1,
                 fmt::format("Only those with P times the likeliest one's probability (default {})",
                             sampling.min_p));
  options.number("--repeat-penalty", sampling.repetition_penalty, 0, 100,
                 fmt::format("Divides what was said lately; 1 for none (default {})",
                             sampling.repetition_penalty));
  options.count("--seed", seed, 0, std::numeric_limits<std::int64_t>::max(),
                "The same seed gives the same text; without it, a random one");
  options.number("--speed", speed, least_speed, most_speed, speed_help).shared = true;
  options.flag("--keep", keep,
               "Keep weights that are rounded to fit in a file, for the next run with this budget");
  options.flag("--json-lines", json_lines,
               "As --json, but first an object {\"text\"} a line for each piece of text when it is "
               "final, and the last object on a line too");
  if (!options.parse(arguments)) return false;

  if (json_lines) common.json = true;
  if (tokens) generate.max_tokens = *tokens;
  if (top_k) sampling.top_k = *top_k;
  // 32 bits, so that every reader of JSON takes the number as it is.
  sampling.seed = seed ? static_cast<std::uint64_t>(*seed) : std::random_device()();
  check(sampling);
  return true;
}

bool has_chat_template(const OpenModel& model) {
  return model.file.metadata().contains("tokenizer.chat_template");
}

ChatFormat chat_format(const OpenModel& model) {
  return detect_chat_format(model.file.metadata().string("tokenizer.chat_template").value_or(""));
}

struct Prompt {
  std::string text;
  bool is_own = false;  ///< this program's own sentence: part of what it prints
};

/// Empty for a conversation at the terminal.
std::optional<Prompt> find_prompt(RunOptions& options) {
  if (options.prompt) return Prompt{*options.prompt};
  const bool bundled = options.common.model.empty() && !options.chat;
  if (!standard_input_is_terminal()) {
    const bool silent = bundled && !standard_input_speaks(patience_seconds);
    if (silent)
      notice(fmt::format("nothing on standard input for {} s: beginning with a sentence of my own",
                         patience_seconds));
    const Bytes budget = decide_budget(options.common.memory);
    std::string text;
    if (!silent) text = read_standard_input([&](Bytes size) { refuse_long_text(size, budget); });
    if (!text.empty()) return Prompt{std::move(text)};
    if (!bundled)
      throw Error(ErrorCode::empty_prompt, "the prompt on standard input is empty",
                  "give --prompt, or pipe some text in");
  } else if (!bundled) {
    if (options.common.json)
      throw Error(ErrorCode::usage, "--json prints one answer: there is no prompt for it",
                  "give --prompt, or pipe the prompt in");
    return std::nullopt;
  }
  if (options.generate.max_tokens < 0) options.generate.max_tokens = first_tokens;
  return Prompt{first_sentence, true};
}

std::vector<TokenId> tokens_of(const OpenModel& model, RunOptions& options,
                               const std::string& prompt) {
  refuse_long_text(prompt.size(), decide_budget(options.common.memory));
  if (!options.chat) return prompt_tokens(*model.tokenizer, prompt, false);
  const ChatFormat format = chat_format(model);
  if (const std::string_view stop = chat_stop_text(format); !stop.empty())
    options.generate.stops.emplace_back(stop);
  const ChatMessage message{"user", prompt};
  return prompt_tokens(*model.tokenizer, render_chat(format, {&message, 1}), true);
}

/// Refuses before anything is loaded what would not fit the planned context.
void check_prompt(std::size_t prompt, const Plan& plan) {
  const auto length = static_cast<std::int64_t>(prompt);
  if (length <= plan.context) return;
  throw Error(
      ErrorCode::context_exceeded,
      fmt::format("the prompt has {} tokens, the context {}", length, plan.context),
      length < plan.offered_context
          ? fmt::format("give --context {} (at most {} fit this budget), or a shorter prompt",
                        length + 1, plan.offered_context)
          : fmt::format("give a shorter prompt; at most {} tokens fit this budget and model",
                        plan.offered_context));
}

std::string peak_report(Bytes budget) {
  const Bytes peak = process_memory().peak;
  return fmt::format("peak {} by the kernel's count, {} {} the line", format_bytes(peak),
                     format_bytes(peak <= budget ? budget - peak : peak - budget),
                     peak <= budget ? "below" : "above");
}

void print_result(const Generated& g, const std::string& prompt, const RunOptions& options,
                  const Plan& plan, double load_seconds, const Ledger& ledger) {
  // Everything that is live is in the Ledger, the program itself included: no baseline.
  const MemoryAudit audit = audit_memory(ledger, 0);
  const nlohmann::ordered_json result{
      {"text", g.text},
      {"tokens", g.tokens.size()},
      {"finish_reason", name(g.reason)},
      {"peak_bytes", process_memory().peak},
      {"prefill_tokens_per_second", g.prefill_tokens_per_second()},
      {"decode_tokens_per_second", g.decode_tokens_per_second()},
      {"prompt", prompt},
      {"prompt_tokens", g.prompt_tokens},
      {"token_ids", g.tokens},
      {"seed", options.generate.sampling.seed},
      {"context", plan.context},
      {"threads", plan.threads},
      {"budget_bytes", plan.budget_bytes},
      {"predicted_peak_bytes", plan.peak_bytes},
      {"bits_per_weight", plan.bits_per_weight},
      {"kl_nats", plan.kl_nats},
      {"speed_floor",
       plan.speed_floor ? nlohmann::ordered_json(*plan.speed_floor) : nlohmann::ordered_json()},
      {"load_seconds", load_seconds},
      {"first_token_seconds", g.prefill_seconds},
      {"ledger_bytes", audit.ledger},
      {"unaccounted_bytes", audit.unaccounted}};
  options.json_lines ? print_json_line(result) : print_json(result);
}

/// For coming predictions.
void note(const Generated& generated, const OpenModel& model, const Plan& plan) {
  const auto decoded = static_cast<std::int64_t>(generated.tokens.size()) - 1;
  note_reached(
      cache_folder(), model.facts, plan,
      {.prompt_tokens = generated.prompt_tokens,
       .prefill = generated.prefill_seconds,
       .depth = generated.prompt_tokens + decoded / 2,
       .decode =
           decoded >= least_decoded ? generated.decode_seconds / static_cast<double>(decoded) : 0});
}

}  // namespace

int run_command(const Arguments& arguments) {
  RunOptions options;
  if (!options.parse(arguments)) return 0;
  choose_isa();  // a wrong PLIMSOLL_ISA is refused before anything else
  const OpenModel model = OpenModel::open(options.common.model_path());
  if (options.common.model.empty() && !options.common.json) notice_bundled_model();
  const std::optional<Prompt> prompt = find_prompt(options);
  std::vector<TokenId> tokens;
  PlanNeeds needs;
  needs.policy = WeightPolicy::fit;
  if (prompt) {
    tokens = tokens_of(model, options, prompt->text);
    const auto length = static_cast<std::int64_t>(tokens.size());
    const std::int64_t answer =
        options.generate.max_tokens >= 0 ? options.generate.max_tokens : usual_answer;
    const std::int64_t trained = model.facts.description.trained_context;
    if (length + answer > default_context && trained > default_context)
      needs.context = std::min(trained, length + answer);
  }
  std::optional<Machine> machine;
  if (options.speed > 0) {
    machine =
        machine_for_floor(formats_of_any_plan(model.facts), decide_budget(options.common.memory),
                          options.common.thread_count());
    needs.speed = {options.speed, &*machine};
  }
  const Plan plan = plan_model(model, options.common, needs);
  refuse_unless_it_fits(plan);
  check_prompt(tokens.size(), plan);
  if (const std::int64_t trained = model.facts.description.trained_context;
      plan.context > trained && !options.common.json)
    notice(fmt::format("beyond {} tokens this model was never trained: expect nonsense there",
                       grouped(trained)));

  if (!options.common.json) notice_rounding(model, plan);

  const auto context = make_context(options.common);
  double load_seconds = 0;
  auto engine = load_engine(*context, model, plan, &load_seconds, options.keep);
  std::optional<Session> session(*engine);
  const bool json = options.common.json;
  const Terminal terminal = Terminal::of(STDERR_FILENO);
  if (!json)
    write_error(draw_line(ledger_accounts(context->ledger), plan.budget_bytes, terminal) + "\n\n");

  if (!prompt) {
    const bool chat = options.chat || has_chat_template(model);
    converse(*session, options.generate, chat ? std::optional(chat_format(model)) : std::nullopt);
    write_error(terminal.styled(Style::dim, peak_report(plan.budget_bytes)) + "\n");
    return 0;
  }

  TextStream stream;
  if (!json && !options.chat && (stream.is_terminal() || prompt->is_own))
    stream.write_dimmed(prompt->text);
  const Generated generated =
      generate_with_progress(*session, tokens, options.generate, [&](std::string_view text) {
        if (options.json_lines)
          print_json_line({{"text", text}});
        else if (!json)
          stream.write(text);
        return true;
      });
  // Once nothing is held any more: noting takes memory too.
  const auto finish = [&] {
    session.reset();
    engine.reset();
    note(generated, model, plan);
    return 0;
  };
  if (json) {
    print_result(generated, prompt->text, options, plan, load_seconds, context->ledger);
    return finish();
  }
  stream.end_line();
  std::string seed;
  if (options.generate.sampling.temperature > 0)
    seed = fmt::format(", seed {}", options.generate.sampling.seed);
  write_error(terminal.styled(Style::dim, fmt::format("\n{}{}\n{}", speed_report(generated), seed,
                                                      peak_report(plan.budget_bytes))) +
              "\n");
  return finish();
}

}  // namespace plimsoll
