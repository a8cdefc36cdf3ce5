// A conversation with a chat model: its messages, and the ids that stand for them in the model.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/engine.h"
#include "engine/reasoning.h"
#include "engine/transcript.h"
#include "text/chat_template.h"

namespace plimsoll {

/// What a template gets besides the messages.
struct ChatSettings {
  std::optional<bool> thinking;      ///< empty: the template's default
  nlohmann::ordered_json tools;      ///< array, or null
  nlohmann::ordered_json variables;  ///< object, or null
};

/// What the model reads before it answers.
struct ConversationPrompt {
  std::vector<TokenId> tokens;  ///< of the whole conversation
  std::vector<std::string> stops;
  ReasoningMarks reasoning;
  std::vector<std::string> notices;
  std::int64_t forgotten = 0;  ///< turns, to make room
};
/// A value; refers to template and tokenizer. What the model said stays in the ids that it said it
/// in. Whatever throws leaves the conversation as it was.
class Conversation {
 public:
  Conversation(const ChatTemplate& chat_template, const Tokenizer& tokenizer);

  const nlohmann::ordered_json& messages() const { return messages_; }
  const ChatSettings& settings() const { return settings_; }
  void set_settings(ChatSettings settings);
  /// Throws as check_messages does. `token_ids`, if given, has for each message null or the ids
  /// that it was said in; those that do not spell the message's text, or cannot have been said, are
  /// not used.
  void set_messages(nlohmann::ordered_json messages, const nlohmann::ordered_json& token_ids = {});
  /// For each message null or the ids that it was said in.
  nlohmann::ordered_json token_ids() const;

  /// The system text at the beginning; empty without one.
  std::string system() const;
  /// Empty: none.
  void set_system(const std::string& text);

  /// Adds a message of the user and gives the prompt for an answer, see prompt(). Throws
  /// Error(invalid_text) for broken UTF-8 besides.
  ConversationPrompt ask(const std::string& text, std::int64_t context);
  /// The prompt for an answer to the messages (or, behind an answer, for its continuation) in
  /// `context` tokens. Where an answer of decent size would have no room any more, the oldest turns
  /// are forgotten (never the last one, nor system texts before the first), a quarter of the
  /// context at once. Throws Error(context_exceeded) when the last turn alone is too long,
  /// Error(usage) in the template's words when it refuses the conversation.
  ConversationPrompt prompt(std::int64_t context);
  /// Adds what the model said behind the last prompt, whole or cut off.
  void answered(const Generated& generated, const ReasoningMarks& reasoning);
  /// Takes back the last answer, so that prompt() asks for another one. False where there is none.
  bool take_back_answer();
  /// Forgets everything but the system text.
  void clear();

 private:
  ChatPrompt render(const nlohmann::ordered_json& messages) const;
  /// Of messages that changed elsewhere than at their end: what the model said keeps its ids.
  Transcript read_again(const nlohmann::ordered_json& messages,
                        const std::vector<std::vector<TokenId>>& said) const;

  const ChatTemplate* template_;
  const Tokenizer* tokenizer_;
  ChatSettings settings_;
  nlohmann::ordered_json messages_ = nlohmann::ordered_json::array();
  std::vector<std::vector<TokenId>>
      said_;  ///< the ids of each message; empty where the model did not say it
  Transcript transcript_;
  bool is_changed_ = false;  ///< other than at its end, since the transcript was read
};

}  // namespace plimsoll
