// Prompt formats for models whose files have no chat template, chosen by the marks in their vocabulary.
#pragma once

#include <array>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace plimsoll {

struct ChatMessage {
  std::string role;  ///< "system", "user" or "assistant"
  std::string content;
};

/// What stands around a message.
struct ChatTurn {
  std::string_view before, after;
};

struct ChatStyle {
  std::string_view name;
  /// Tokens that a vocabulary of this style all has; empty ones are none.
  std::array<std::string_view, 3> tokens;
  ChatTurn system, user, assistant;
  bool system_in_user_turn = false;  ///< before the next user's text, two line ends between them
  std::string_view generation;       ///< begins the answer
  std::string_view stop = {};        ///< a text that ends the answer, besides tokens that do
};

/// The first style whose tokens the vocabulary has, or the plain one ("User: ..." lines).
const ChatStyle& find_chat_style(const Tokenizer& tokenizer);

/// The prompt that makes the model answer the last message, with BOS where the vocabulary adds one. Without
/// `add_generation_prompt` it ends behind the last message, with `open_last` behind its text. Throws Error(usage) for
/// another role.
std::vector<TextPart> render_in_style(const ChatStyle& style, std::span<const ChatMessage> messages,
                                      std::string_view bos, bool add_generation_prompt, bool open_last);

}  // namespace plimsoll
