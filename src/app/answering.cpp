#include "app/answering.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "base/error.h"
#include "base/limits.h"

namespace plimsoll {
namespace {

/// Room kept for an answer where nobody says how much.
constexpr std::int64_t usual_answer = 1024;

std::function<bool(std::int64_t, std::int64_t)> reading_on(const Watch& watch) {
  return [&watch](std::int64_t done, std::int64_t total) {
    watch.show("reading the prompt", Watch::Unit::tokens, done, total);
    return watch.goes_on();
  };
}

GenerateOptions options_for(const ConversationPrompt& prompt, GenerateOptions options,
                            const Tokenizer& tokenizer) {
  options.stops.insert(options.stops.end(), prompt.stops.begin(), prompt.stops.end());
  for (const std::string& mark : {prompt.reasoning.begin, prompt.reasoning.end}) {
    if (mark.empty()) continue;
    const std::vector<TokenId> tokens = tokenizer.encode(mark, true);
    if (std::any_of(tokens.begin(), tokens.end(),
                    [&](TokenId token) { return tokenizer.is_control(token); }))
      options.show_special = true;
  }
  return options;
}

}  // namespace

PlanNeeds answer_needs(const OpenModel& model, std::int64_t prompt_tokens,
                       std::int64_t max_tokens) {
  PlanNeeds needs;
  needs.policy = WeightPolicy::fit;
  const std::int64_t trained = model.facts.description.trained_context;
  const std::int64_t length = prompt_tokens + (max_tokens >= 0 ? max_tokens : usual_answer);
  if (length > default_context && trained > default_context)
    needs.context = std::min(trained, length);
  return needs;
}

Bytes planned_bytes(Bytes text, std::int64_t tokens) {
  const Bytes ids = static_cast<Bytes>(tokens) * sizeof(TokenId);
  return std::min(text + ids, sequence_bytes(tokens) - ids);
}

Remedies remedies_for(std::int64_t prompt_tokens) {
  return {.least_context = std::max<std::int64_t>(prompt_tokens, 1)};
}

void refuse_long_prompt(std::int64_t prompt, const OpenModel& model, const PlanRequest& request,
                        const Plan& plan) {
  if (prompt <= plan.context) return;
  const std::int64_t most = plan.offered_context;
  std::string hint =
      fmt::format("give a shorter prompt; at most {} tokens fit this budget and model",
                  std::max<std::int64_t>(most - 1, 0));
  if (prompt < most) {
    hint = fmt::format("give --context {} (at most {} fit this budget), or a shorter prompt",
                       prompt + 1, most);
  } else if (prompt < model.facts.description.trained_context) {
    PlanRequest longer = request;
    longer.context = prompt + 1;
    const Plan wanted = make_plan(model.facts, longer);
    const Bytes needed = wanted.peak_bytes + wanted.slack_bytes;
    if (!wanted.fits && needed <= probe_limits().usable)
      hint = fmt::format(
          "give --memory {} and --context {}, or a shorter prompt: at most {} tokens fit this "
          "budget",
          needed, prompt + 1, std::max<std::int64_t>(most - 1, 0));
  }
  throw Error(ErrorCode::context_exceeded,
              fmt::format("the prompt has {} tokens, the context {}", prompt, plan.context), hint);
}

Answering::Answering(Session& session, const ConversationPrompt& prompt, GenerateOptions options,
                     Turns turns)
    : session_(&session), reasoning_(prompt.reasoning), splitter_(prompt.reasoning) {
  if (turns == Turns::may_rejoin) prompt_ = prompt.tokens;
  // The last token runs again even where it was there: its logits are wanted.
  const std::span<const TokenId> all(prompt.tokens);
  kept_ = session.resume(all.first(all.size() - std::min<std::size_t>(1, all.size())));
  generation_ = std::make_unique<Generation>(
      session, std::vector<TokenId>(all.begin() + kept_, all.end()),
      options_for(prompt, std::move(options), session.engine().tokenizer()));
}

bool Answering::step(Pieces& pieces, const Watch& watch) {
  if (generation_->has_ended()) return false;
  const bool goes_on = generation_->step(text_, reading_on(watch));
  if (goes_on && !watch.goes_on()) {
    cancel(pieces);
    return false;
  }
  pass_on(pieces);
  return goes_on;
}

bool Answering::rejoin(const Watch& watch) {
  if (generation_->has_ended()) return true;
  // The last token is read by the next step.
  const std::vector<TokenId>& said = generation_->generated().tokens;
  std::vector<TokenId> tokens = prompt_;
  if (!said.empty()) tokens.insert(tokens.end(), said.begin(), said.end() - 1);
  const std::int64_t kept = session_->resume(tokens);
  if (session_
          ->append(std::span(tokens).subspan(static_cast<std::size_t>(kept)), reading_on(watch))
          .is_complete)
    return true;
  Pieces unseen;
  cancel(unseen);
  return false;
}

void Answering::cancel(Pieces& pieces) {
  if (generation_->has_ended()) return;
  generation_->cancel(text_);
  pass_on(pieces);
}

void Answering::pass_on(Pieces& pieces) {
  const auto add = [&pieces](Pieces more) {
    std::ranges::move(more, std::back_inserter(pieces));
  };
  add(splitter_.push(text_));
  text_.clear();
  if (generation_->has_ended()) add(splitter_.flush());
}

Answer Answering::answer() const { return {generation_->generated(), kept_, reasoning_}; }

Answer Answering::take() { return {generation_->take(), kept_, std::move(reasoning_)}; }

Answer finish(Answering& answering, const std::function<bool(const ReasoningSplitter::Piece&)>& emit,
              const Watch& watch) {
  Answering::Pieces pieces;
  const auto pass_on = [&] {
    const bool wanted =
        std::ranges::all_of(pieces, [&](const auto& piece) { return !emit || emit(piece); });
    pieces.clear();
    return wanted;
  };
  while (answering.step(pieces, watch))
    if (!pass_on()) answering.cancel(pieces);
  pass_on();
  return answering.take();
}

Answer answer(Session& session, const ConversationPrompt& prompt, GenerateOptions options,
              const std::function<bool(const ReasoningSplitter::Piece&)>& emit,
              const Watch& watch) {
  Answering answering(session, prompt, std::move(options), Answering::Turns::alone);
  return finish(answering, emit, watch);
}

}  // namespace plimsoll
