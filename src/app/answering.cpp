#include "app/answering.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"

namespace plimsoll {
namespace {

/// Room kept for an answer where nobody says how much.
constexpr std::int64_t usual_answer = 1024;

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

void refuse_long_prompt(std::int64_t length, const Plan& plan) {
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

Answer answer(Session& session, const ConversationPrompt& prompt, GenerateOptions options,
              const std::function<bool(const ReasoningSplitter::Piece&)>& emit,
              const Watch& watch) {
  options = options_for(prompt, std::move(options), session.engine().tokenizer());
  // The last token runs again even where it was there: its logits are wanted.
  const std::span<const TokenId> all(prompt.tokens);
  const std::int64_t kept =
      session.rewind_to_prefix_of(all.first(all.size() - std::min<std::size_t>(1, all.size())));
  ReasoningSplitter splitter(prompt.reasoning);
  const auto pass_on = [&emit](const std::vector<ReasoningSplitter::Piece>& pieces) {
    for (const ReasoningSplitter::Piece& piece : pieces)
      if (emit && !emit(piece)) return false;
    return true;
  };
  Answer answer;
  answer.cached_tokens = kept;
  answer.generated = generate(
      session, all.subspan(static_cast<std::size_t>(kept)), options,
      [&](std::string_view text) { return pass_on(splitter.push(text)) && watch.goes_on(); },
      [&](std::int64_t done, std::int64_t total) {
        watch.show("reading the prompt", Watch::Unit::tokens, done, total);
        return watch.goes_on();
      });
  pass_on(splitter.flush());
  answer.reasoning = prompt.reasoning;
  return answer;
}

}  // namespace plimsoll
