// Answers: what they take of a plan, and how they come.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "app/planning.h"
#include "engine/conversation.h"
#include "engine/generation.h"
#include "engine/reasoning.h"

namespace plimsoll {

/// What a plan for one answer needs: room for a prompt of so many tokens and `max_tokens` behind it
/// (-1: a usual answer), where that is more than what plans take by themselves.
PlanNeeds answer_needs(const OpenModel& model, std::int64_t prompt_tokens, std::int64_t max_tokens);

/// What of a prompt's text and ids a plan with room for it has in its sequence (sequence_bytes).
Bytes planned_bytes(Bytes text, std::int64_t tokens);

/// What helps where a prompt of so many tokens has to have room.
Remedies remedies_for(std::int64_t prompt_tokens);

/// Before anything is loaded. Throws Error(context_exceeded), with what would do, where the prompt
/// is longer than the context of `plan`, which is the request's.
void refuse_long_prompt(std::int64_t prompt_tokens, const OpenModel& model,
                        const PlanRequest& request, const Plan& plan);

struct Answer {
  Generated generated;  ///< its prompt tokens are those that the session did not have yet
  std::int64_t cached_tokens = 0;  ///< of the prompt, that it had
  ReasoningMarks reasoning;        ///< in its text

  SplitAnswer split() const { return split_reasoning(reasoning, generated.text); }
};

/// The answer to a prompt as it is made, a token at a time. What the session shares with the prompt
/// stays, the rest of it goes. Refers to the session, which nobody else changes before the end.
class Answering {
 public:
  /// `options` get what the prompt's chat format asks for: its stops, and to show the control tokens
  /// that reasoning stands between. Nothing is computed yet. Throws as generate() does.
  /// One that never rejoins holds the prompt no longer than it is read.
  enum class Turns { alone, may_rejoin };
  Answering(Session& session, const ConversationPrompt& prompt, GenerateOptions options,
            Turns turns = Turns::may_rejoin);

  using Pieces = std::vector<ReasoningSplitter::Piece>;
  /// One token further, the first time behind the prompt. Appends what became final of the answer,
  /// reasoning apart. Reading a long prompt is shown on the watch, and asks it whether to go on, as
  /// every token does. False: that was the end. Throws as generate() does.
  bool step(Pieces& pieces, const Watch& watch);
  /// The session was used for something else between two steps: makes it read again what this answer
  /// stands behind, as reading the prompt does. False: the watch stopped it, and that was the end.
  bool rejoin(const Watch& watch);
  /// Ends it here; appends what was held back.
  void cancel(Pieces& pieces);
  bool has_ended() const { return generation_->has_ended(); }
  /// So far.
  Answer answer() const;
  /// The same, of one that has ended; leaves nothing.
  Answer take();

 private:
  void pass_on(Pieces& pieces);

  Session* session_;
  std::vector<TokenId> prompt_;  ///< of one that may rejoin
  std::int64_t kept_ = 0;
  ReasoningMarks reasoning_;
  ReasoningSplitter splitter_;
  std::unique_ptr<Generation> generation_;
  std::string text_;
};

/// All that is left of it. `emit` gets the answer as it comes; false stops it.
Answer finish(Answering& answering, const std::function<bool(const ReasoningSplitter::Piece&)>& emit,
              const Watch& watch);

/// All of an answer.
Answer answer(Session& session, const ConversationPrompt& prompt, GenerateOptions options,
              const std::function<bool(const ReasoningSplitter::Piece&)>& emit, const Watch& watch);

}  // namespace plimsoll
