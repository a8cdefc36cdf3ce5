#include "app/instance.h"

#include <fmt/format.h>

#include <random>

#include "app/bundled.h"
#include "app/model_names.h"
#include "app/text_hold.h"
#include "base/error.h"
#include "base/limits.h"
#include "engine/sampling_defaults.h"
#include "plan/speed.h"
#include "text/utf8.h"

namespace plimsoll {
namespace {

int worker_count(int wanted) { return wanted > 0 ? wanted : probe_limits().default_threads; }

std::string path_of(const std::string& model) {
  return model.empty() ? bundled_model_path() : resolve_model(model);
}

}  // namespace

Instance::Instance(const std::string& model, InstanceOptions options)
    : host_(options.memory, worker_count(options.threads), options.process),
      model_(open_model(host_, path_of(model))),
      chat_template_(ChatTemplate::from_metadata(model_.file.metadata(), *model_.tokenizer)) {
  host_.watch = std::move(options.watch);
  choose_isa();  // a wrong PLIMSOLL_ISA is refused before anything else
}

Forecast Instance::forecast(const ForecastRequest& request) {
  Forecast said = plimsoll::forecast(host_, model_, request);
  if (is_loaded()) host_.line.settle(engine().plan());  // planning counted what comes before that
  return said;
}

void Instance::load(const LoadRequest& request) {
  if (is_loaded())
    throw Error(ErrorCode::usage, "the model is loaded already", "open it anew for another plan");
  PlanNeeds needs;
  needs.policy = WeightPolicy::fit;
  needs.context = request.context;
  needs.sessions = request.sessions;
  needs.kv = request.kv;
  std::optional<Machine> machine;
  if (request.speed > 0) {
    machine = machine_for_floor(host_, formats_of_any_plan(model_.facts));
    needs.speed = {request.speed, &*machine};
  }
  const PlanRequest asked = plan_request(host_, model_, needs);
  const Plan plan =
      request.plan ? carry_out(model_, asked, *request.plan) : make_plan(model_.facts, asked);
  refuse_unless_it_fits(plan);
  context_ = host_.make_context();
  loaded_ = load_model(host_, *context_, model_, plan, request.keep);
  line_ = std::make_unique<MovingLine>(host_, *loaded_.engine, asked);
}

void Instance::move_line(Bytes budget) {
  engine();  // throws before load()
  line_->move_to(budget);
  line_->finish();
}

const Engine& Instance::engine() const {
  if (!is_loaded()) throw Error(ErrorCode::usage, "the model is not loaded", "load it first");
  return *loaded_.engine;
}

std::unique_ptr<Session> Instance::open_session() const {
  return std::make_unique<Session>(engine());
}

SamplingOptions Instance::usual_sampling() const {
  SamplingOptions sampling = sampling_defaults(model_.file.metadata());
  sampling.seed = std::random_device()();
  return sampling;
}

ConversationPrompt Instance::prompt_of(const Question& question) const {
  ConversationPrompt prompt;
  const bool has_messages = question.messages.is_array() && !question.messages.empty();
  if (!question.tokens.empty()) {
    if (has_messages || !question.text.empty())
      throw Error(ErrorCode::usage, "a prompt of tokens has no text and no messages beside it",
                  "leave one of them out");
    prompt.tokens = question.tokens;
    return prompt;
  }
  if (const auto at = find_invalid_utf8(question.text))
    throw Error(ErrorCode::invalid_text, fmt::format("the prompt is not UTF-8 at byte {}", *at));
  if (question.raw && has_messages)
    throw Error(ErrorCode::usage, "messages are for chats, raw is without a chat format",
                "leave one of them out");
  if (question.raw || (!has_messages && !chat_template_.is_from_file())) {
    prompt.tokens = prompt_tokens(*model_.tokenizer, question.text, false);
    return prompt;
  }
  Conversation conversation(chat_template_, *model_.tokenizer);
  if (has_messages) conversation.set_messages(question.messages);
  conversation.set_settings(question.settings);
  // A whole conversation is given each time: nothing of it is forgotten in silence.
  constexpr std::int64_t any_length = std::numeric_limits<std::int64_t>::max();
  return question.text.empty() && has_messages ? conversation.prompt(any_length)
                                               : conversation.ask(question.text, any_length);
}

std::unique_ptr<Answering> Instance::begin(Session& session, const Question& question) {
  check(question.generate.sampling);
  TextHold hold(host_.line);
  // As text: the document that it came from was the caller's.
  const Bytes of_messages = question.messages.is_null() ? 0 : question.messages.dump().size();
  hold.grow_to(question.text.size() + of_messages);
  const ConversationPrompt prompt = prompt_of(question);
  for (const std::string& text : prompt.notices) host_.watch.tell(text);
  const std::int64_t context = session.engine().plan().context;
  if (std::ssize(prompt.tokens) > context)
    throw Error(
        ErrorCode::context_exceeded,
        fmt::format("the prompt has {} tokens, the context {}", prompt.tokens.size(), context),
        "give a shorter prompt, or load with a longer context");
  return std::make_unique<Answering>(session, prompt, question.generate);
}

Answer Instance::ask(Session& session, const Question& question,
                     const std::function<bool(const ReasoningSplitter::Piece&)>& emit,
                     const std::function<bool()>& keep_going) {
  Watch watch = host_.watch;
  if (keep_going) watch.keep_going = keep_going;
  const std::unique_ptr<Answering> answering = begin(session, question);
  return finish(*answering, emit, watch);
}

}  // namespace plimsoll
