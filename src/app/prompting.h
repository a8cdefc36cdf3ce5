// What answering a prompt takes of a plan.
#pragma once

#include <cstdint>

#include "app/planning.h"
#include "engine/conversation.h"

namespace plimsoll {

/// What a plan for one answer needs: room for a prompt of so many tokens and `max_tokens` behind it
/// (-1: a usual answer), where that is more than what plans take by themselves.
PlanNeeds answer_needs(const OpenModel& model, std::int64_t prompt_tokens, std::int64_t max_tokens);

/// What a plan for a conversation needs.
PlanNeeds conversation_needs();

/// Before anything is loaded. Throws Error(context_exceeded) where the prompt is longer than the
/// planned context.
void refuse_long_prompt(std::int64_t prompt_tokens, const Plan& plan);

/// With what a chat format asks for: its stops, and to show the control tokens that reasoning
/// stands between.
GenerateOptions options_for(const ConversationPrompt& prompt, GenerateOptions options,
                            const Tokenizer& tokenizer);

}  // namespace plimsoll
