// plimsoll run: answers a prompt, writes on from one, or chats, under the line.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/limits.h"
#include "base/process.h"
#include "cli/bundled.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/converse.h"
#include "cli/input.h"
#include "cli/line.h"
#include "cli/models.h"
#include "cli/output.h"
#include "cli/run_options.h"
#include "cli/speeds.h"
#include "plan/speed.h"
#include "text/chat_template.h"

namespace plimsoll {
namespace {

/// Room kept for an answer where neither --tokens nor --context says how much.
constexpr std::int64_t usual_answer = 1024;

/// What helps where a prompt of so many tokens has to have room.
Remedies remedies_for(std::int64_t prompt) { return {.least_context = std::max<std::int64_t>(prompt, 1)}; }

/// Refuses before anything is loaded what would not fit the planned context.
void check_prompt(std::int64_t prompt, const OpenModel& model, const PlanRequest& request, const Plan& plan) {
  if (prompt <= plan.context) return;
  const std::int64_t most = plan.offered_context;
  std::string hint = fmt::format("give a shorter prompt; at most {} tokens fit this budget and model",
                                 std::max<std::int64_t>(most - 1, 0));
  if (prompt < most) {
    hint = fmt::format("give --context {} (at most {} fit this budget), or a shorter prompt", prompt + 1, most);
  } else if (prompt < model.facts.description.trained_context) {
    PlanRequest longer = request;
    longer.context = prompt + 1;
    const Plan wanted = make_plan(model.facts, longer);
    const Bytes needed = wanted.peak_bytes + wanted.slack_bytes;
    if (!wanted.fits && needed <= probe_limits().usable)
      hint = fmt::format("give --memory {} and --context {}, or a shorter prompt: at most {} tokens fit this budget",
                         needed, prompt + 1, std::max<std::int64_t>(most - 1, 0));
  }
  throw Error(ErrorCode::context_exceeded,
              fmt::format("the prompt has {} tokens, the context {}", prompt, plan.context), hint);
}

std::string peak_report(Bytes budget) {
  const Bytes peak = process_memory().peak;
  return fmt::format("peak {} by the kernel's count, {} {} the line", format_bytes(peak),
                     format_bytes(peak <= budget ? budget - peak : peak - budget),
                     peak <= budget ? "below" : "above");
}

struct Result {
  Generated generated;
  SplitAnswer answer;
  std::vector<std::string> notices;
};

void print_result(const Result& result, const std::string& prompt, const RunOptions& options,
                  const Plan& plan, double load_seconds, const Ledger& ledger) {
  // Everything that is live is in the Ledger, the program itself included: no baseline.
  const MemoryAudit audit = audit_memory(ledger, 0);
  const Generated& g = result.generated;
  const nlohmann::ordered_json json{
      {"text", result.answer.text},
      {"tokens", g.tokens.size()},
      {"finish_reason", name(g.reason)},
      {"peak_bytes", process_memory().peak},
      {"prefill_tokens_per_second", g.prefill_tokens_per_second()},
      {"decode_tokens_per_second", g.decode_tokens_per_second()},
      {"prompt", prompt},
      {"prompt_tokens", g.prompt_tokens},
      {"reasoning", result.answer.reasoning},
      {"notices", result.notices},
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
  options.json_lines ? print_json_line(json) : print_json(json);
}

void print_lines(const std::vector<ReasoningSplitter::Piece>& pieces) {
  for (const ReasoningSplitter::Piece& piece : pieces)
    print_json_line({{piece.is_reasoning ? "reasoning" : "text", piece.text}});
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
           decoded >= least_decoded ? generated.decode_seconds / static_cast<double>(decoded) : 0},
      Noting::aside);
}

}  // namespace

int run_command(const Arguments& arguments) {
  RunOptions options;
  if (!options.parse(arguments)) return 0;
  choose_isa();  // a wrong PLIMSOLL_ISA is refused before anything else
  offer_to_bring(options.common);
  const OpenModel model =
      OpenModel::open(options.common.model_path(), options.common.header_room());
  if (options.common.model.empty() && !options.common.json) notice_bundled_model();
  options.decide_sampling(model.file.metadata());
  std::optional<ChatTemplate> chat_template;
  if (!options.raw)
    chat_template.emplace(ChatTemplate::from_metadata(model.file.metadata(), *model.tokenizer));
  const bool uses_chat = chat_template && (options.chat || chat_template->is_from_file());
  options.require_chat(uses_chat);
  const std::optional<Prompt> prompt = find_prompt(options, uses_chat);

  // Before the plan, so that it counts what they hold.
  std::optional<LineReader> reader;
  if (!prompt)
    reader.emplace(HistoryFile(options.no_history ? std::string() : HistoryFile::usual_path()));
  std::optional<Conversation> conversation;
  if (uses_chat) conversation.emplace(*chat_template, *model.tokenizer);
  ConversationPrompt asked;
  if (conversation) {
    asked = begin_conversation(options, prompt, *conversation);
  } else if (prompt) {
    refuse_long_text(prompt->text.size(), decide_budget(options.common.memory));
    asked.tokens = prompt_tokens(*model.tokenizer, prompt->text, false);
  }
  if (uses_chat && !chat_template->is_from_file())
    asked.notices.insert(asked.notices.begin(),
                         fmt::format("the model has no chat template: the format is {}",
                                     chat_template->description()));

  const std::int64_t trained = model.facts.description.trained_context;
  PlanNeeds needs;
  needs.policy = WeightPolicy::fit;
  if (prompt) {
    const auto length = std::ssize(asked.tokens);
    const std::int64_t answer =
        options.generate.max_tokens >= 0 ? options.generate.max_tokens : usual_answer;
    if (length + answer > default_context && trained > default_context)
      needs.context = std::min(trained, length + answer);
  } else {
    needs.still_to_come =
        conversation_bytes(options.common.context.value_or(std::min(trained, default_context)));
  }
  std::optional<Machine> machine;
  if (options.speed > 0) {
    machine =
        machine_for_floor(formats_of_any_plan(model.facts), decide_budget(options.common.memory),
                          options.common.thread_count());
    needs.speed = {options.speed, &*machine};
  }
  const PlanRequest request = plan_request(model, options.common, needs);
  const Plan plan = make_plan(model.facts, request);
  refuse_unless_it_fits(plan, remedies_for(std::ssize(asked.tokens)));
  check_prompt(std::ssize(asked.tokens), model, request, plan);
  if (plan.context > trained)
    asked.notices.push_back(fmt::format(
        "beyond {} tokens this model was never trained: expect nonsense there", grouped(trained)));

  const bool json = options.common.json;
  if (!json) {
    for (const std::string& text : asked.notices) notice(text);
    notice_rounding(model, plan);
  }

  const auto context = make_context(options.common);
  double load_seconds = 0;
  auto engine = load_engine(*context, model, plan, &load_seconds, options.keep,
                            json ? &asked.notices : nullptr);
  std::optional<Session> session(*engine);
  const Terminal terminal = Terminal::of(STDERR_FILENO);
  if (!json)
    write_error(draw_line(ledger_accounts(context->ledger), plan.budget_bytes, terminal) + "\n\n");

  if (!prompt) {
    Chat chat{model, *session, options.generate, request, std::move(conversation)};
    converse(chat, *reader);
    reader.reset();
    write_error(terminal.styled(Style::dim, peak_report(plan.budget_bytes)) + "\n");
    return 0;
  }

  TextStream stream;
  if (!json && !uses_chat && (stream.is_terminal() || prompt->is_own))
    stream.write_dimmed(prompt->text);
  AnswerStream answer(stream, asked.reasoning);
  ReasoningSplitter lines(asked.reasoning);
  bool interrupted = false;
  Result result;
  {
    const InterruptGuard interrupt;
    result.generated = generate_with_progress(
        *session, asked.tokens, options_for(asked, options.generate, *model.tokenizer),
        [&](std::string_view text) {
          if (options.json_lines)
            print_lines(lines.push(text));
          else if (!json)
            answer.write(text);
          return !interrupt.interrupted();
        },
        [&] { return !interrupt.interrupted(); });
    interrupted = interrupt.interrupted();
  }
  const Generated& generated = result.generated;
  result.answer = split_reasoning(asked.reasoning, generated.text);
  if (options.json_lines) print_lines(lines.flush());
  if (json) {
    result.notices = std::move(asked.notices);
    print_result(result, prompt->text, options, plan, load_seconds, context->ledger);
  } else {
    answer.end();
    write_error(
        terminal.styled(Style::dim,
                        fmt::format("\n{}\n{}", speed_report(generated, options.generate.sampling),
                                    peak_report(plan.budget_bytes))) +
        "\n");
  }
  if (interrupted) InterruptGuard::end_by_signal();
  // Once nothing is held any more: noting takes memory too.
  session.reset();
  engine.reset();
  note(generated, model, plan);
  return 0;
}

}  // namespace plimsoll
