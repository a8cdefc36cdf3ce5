#include "app/prompting.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"

namespace plimsoll {
namespace {

/// Room kept for an answer where nobody says how much.
constexpr std::int64_t usual_answer = 1024;

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

PlanNeeds conversation_needs() {
  PlanNeeds needs;
  needs.policy = WeightPolicy::fit;
  needs.converses = true;
  return needs;
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

}  // namespace plimsoll
