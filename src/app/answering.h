// Answers: what they take of a plan, and how they come.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "app/planning.h"
#include "engine/conversation.h"
#include "engine/reasoning.h"

namespace plimsoll {

/// What a plan for one answer needs: room for a prompt of so many tokens and `max_tokens` behind it
/// (-1: a usual answer), where that is more than what plans take by themselves.
PlanNeeds answer_needs(const OpenModel& model, std::int64_t prompt_tokens, std::int64_t max_tokens);

/// What of a prompt's text and ids a plan with room for it has in its sequence (sequence_bytes).
Bytes planned_bytes(Bytes text, std::int64_t tokens);

/// Before anything is loaded. Throws Error(context_exceeded) where the prompt is longer than the
/// planned context.
void refuse_long_prompt(std::int64_t prompt_tokens, const Plan& plan);

struct Answer {
  Generated generated;  ///< its prompt tokens are those that the session did not have yet
  std::int64_t cached_tokens = 0;  ///< of the prompt, that it had
  ReasoningMarks reasoning;        ///< in its text

  SplitAnswer split() const { return split_reasoning(reasoning, generated.text); }
};

/// The answer to a prompt, or what is written on from it. What the session shares with the prompt
/// stays, the rest of it goes. `options` get what the prompt's chat format asks for: its stops, and
/// to show the control tokens that reasoning stands between. `emit` gets the answer as it comes,
/// reasoning apart; false stops it. Reading a long prompt is shown on the watch, and asks it
/// whether to go on. Throws as generate() does.
Answer answer(Session& session, const ConversationPrompt& prompt, GenerateOptions options,
              const std::function<bool(const ReasoningSplitter::Piece&)>& emit, const Watch& watch);

}  // namespace plimsoll
