// plimsoll run: answers a prompt, writes on from one, or chats, under the line.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "app/answering.h"
#include "app/loading.h"
#include "app/plan_file.h"
#include "app/text_hold.h"
#include "base/cache_folder.h"
#include "base/error.h"
#include "base/numbers.h"
#include "base/process.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/converse.h"
#include "cli/models.h"
#include "cli/run_options.h"
#include "plan/speed.h"
#include "probe/reached.h"
#include "report/line.h"
#include "terminal/input.h"
#include "terminal/json_writer.h"
#include "terminal/output.h"
#include "text/chat_template.h"

namespace plimsoll {
namespace {

std::string peak_report(Bytes budget) {
  const Bytes peak = process_memory().peak;
  return fmt::format("peak {} by the kernel's count, {} {} the line", format_bytes(peak),
                     format_bytes(peak <= budget ? budget - peak : peak - budget),
                     peak <= budget ? "below" : "above");
}

void print_result(const Answer& given, const std::vector<std::string>& notices,
                  const std::string& prompt, const RunOptions& options, const Plan& plan,
                  double load_seconds, const Ledger& ledger) {
  // Everything that is live is in the Ledger, the program itself included: no baseline.
  const MemoryAudit audit = audit_memory(ledger, 0);
  const bool has_marks = !given.reasoning.end.empty();
  const SplitAnswer split = has_marks ? given.split() : SplitAnswer{};  // it may be long
  const Generated& g = given.generated;
  JsonWriter json(options.json_lines);
  json.add_text("text", has_marks ? split.text : g.text);
  json.add("tokens", g.tokens.size());
  json.add("finish_reason", name(g.reason));
  json.add("peak_bytes", process_memory().peak);
  json.add("prefill_tokens_per_second", g.prefill_tokens_per_second());
  json.add("decode_tokens_per_second", g.decode_tokens_per_second());
  json.add_text("prompt", prompt);
  json.add("prompt_tokens", g.prompt_tokens);
  json.add_text("reasoning", split.reasoning);
  json.add("notices", notices);
  json.add_ids("token_ids", g.tokens);
  json.add("seed", options.generate.sampling.seed);
  json.add("context", plan.context);
  json.add("threads", plan.threads);
  json.add("budget_bytes", plan.budget_bytes);
  json.add("predicted_peak_bytes", plan.peak_bytes);
  json.add("bits_per_weight", plan.bits_per_weight);
  json.add("kl_nats", plan.kl_nats);
  json.add("speed_floor",
           plan.speed_floor ? nlohmann::ordered_json(*plan.speed_floor) : nlohmann::ordered_json());
  json.add("load_seconds", load_seconds);
  json.add("first_token_seconds", g.prefill_seconds);
  json.add("ledger_bytes", audit.ledger);
  json.add("unaccounted_bytes", audit.unaccounted);
  json.end();
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
  std::optional<SavedPlan> saved;
  if (options.plan) saved = read_plan(Line({}, 1), *options.plan);
  Host host =
      saved ? options.common.host(saved->budget_bytes(), saved->threads()) : options.common.host();
  offer_to_bring(host, options.common);
  const OpenModel model = open_model(host, options.common.model_path());
  if (options.common.model.empty() && !options.common.json) notice_bundled_model();
  options.decide_sampling(model.file.metadata());
  std::optional<ChatTemplate> chat_template;
  if (!options.raw)
    chat_template.emplace(ChatTemplate::from_metadata(model.file.metadata(), *model.tokenizer));
  const bool uses_chat = chat_template && (options.chat || chat_template->is_from_file());
  options.require_chat(uses_chat);
  TextHold hold(host.line);
  const std::optional<Prompt> prompt = find_prompt(options, uses_chat, hold);

  // Before the plan, so that it counts what they hold.
  std::optional<LineReader> reader;
  if (!prompt)
    reader.emplace(HistoryFile(options.no_history ? std::string() : HistoryFile::usual_path()));
  std::optional<Conversation> conversation;
  if (uses_chat) conversation.emplace(*chat_template, *model.tokenizer);
  ConversationPrompt asked;
  if (conversation) {
    asked = begin_conversation(options, prompt, *conversation, host.line, hold);
  } else if (prompt) {
    hold.grow_to(prompt->text.size());
    asked.tokens = prompt_tokens(*model.tokenizer, prompt->text, false);
  }
  if (uses_chat && !chat_template->is_from_file())
    asked.notices.insert(asked.notices.begin(),
                         fmt::format("the model has no chat template: the format is {}",
                                     chat_template->description()));

  PlanNeeds needs;
  needs.policy = WeightPolicy::fit;
  needs.converses = !prompt;
  // Until the plan has it, which has room for as many tokens.
  Reservation held_text;
  if (prompt) {
    needs = answer_needs(model, std::ssize(asked.tokens), options.generate.max_tokens);
    held_text = hold.settle(planned_bytes(prompt->text.size(), std::ssize(asked.tokens)));
  }
  if (options.common.context) needs.context = options.common.context;
  needs.kv = options.common.kv_tiers();
  std::optional<Machine> machine;
  if (options.speed > 0) {
    machine = machine_for_floor(host, formats_of_any_plan(model.facts));
    needs.speed = {options.speed, &*machine};
  }
  const PlanRequest request = plan_request(host, model, needs);
  held_text = Reservation();
  const Plan plan = saved ? carry_out(model, request, *saved) : make_plan(model.facts, request);
  refuse_unless_it_fits(plan, remedies_for(std::ssize(asked.tokens)));
  refuse_long_prompt(std::ssize(asked.tokens), model, request, plan);
  const std::int64_t trained = model.facts.description.trained_context;
  if (plan.context > trained)
    asked.notices.push_back(fmt::format(
        "beyond {} tokens this model was never trained: expect nonsense there", grouped(trained)));

  const bool json = options.common.json;
  if (!json) {
    for (const std::string& text : asked.notices) notice(text);
    notice_rounding(model, plan);
  }

  const auto context = host.make_context();
  if (json)
    host.watch.notice = [&asked](const std::string& text) { asked.notices.push_back(text); };
  LoadedModel loaded = load_model(host, *context, model, plan, options.keep);
  std::optional<Session> session(*loaded.engine);
  MovingLine line(host, *loaded.engine, request, options.memory_file);
  const Terminal terminal = Terminal::of(STDERR_FILENO);
  if (!json) {
    auto accounts = ledger_accounts(context->ledger);
    // It will be taken as the conversation grows.
    accounts[static_cast<std::size_t>(Account::kv)] = plan.account(Account::kv);
    write_error(draw_line(accounts, plan.budget_bytes, terminal) + "\n\n");
  }

  if (!prompt) {
    Chat chat{host, model, *session, line, options.generate, std::move(conversation)};
    converse(chat, *reader);
    reader.reset();
    write_error(terminal.styled(Style::dim, peak_report(line.highest())) + "\n");
    return 0;
  }

  TextStream stream;
  if (!json && !uses_chat && (stream.is_terminal() || prompt->is_own))
    stream.write_dimmed(prompt->text);
  AnswerStream shown(stream);
  bool interrupted = false;
  Answer given;
  {
    const InterruptGuard interrupt;
    Watch watch = host.watch;
    watch.keep_going = [&] {
      line.between_tokens();
      return !interrupt.interrupted();
    };
    given = answer(
        *session, asked, options.generate,
        [&](const ReasoningSplitter::Piece& piece) {
          if (options.json_lines)
            print_json_line({{piece.is_reasoning ? "reasoning" : "text", piece.text}});
          else if (!json)
            shown.write(piece);
          return true;
        },
        watch);
    interrupted = interrupt.interrupted();
  }
  const Generated& generated = given.generated;
  if (json) {
    print_result(given, asked.notices, prompt->text, options, plan, loaded.seconds,
                 context->ledger);
  } else {
    stream.end_line();
    write_error(
        terminal.styled(Style::dim,
                        fmt::format("\n{}\n{}", speed_report(generated, options.generate.sampling),
                                    peak_report(line.highest()))) +
        "\n");
  }
  if (interrupted) InterruptGuard::end_by_signal();
  // Once nothing is held any more: noting takes memory too.
  session.reset();
  loaded.engine.reset();
  note(generated, model, plan);
  return 0;
}

}  // namespace plimsoll
