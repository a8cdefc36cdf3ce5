// How each chat format is written: one row of texts per format.
#pragma once

#include <array>
#include <optional>
#include <string_view>

#include "text/chat_template.h"

namespace plimsoll {

/// What stands around a message.
struct ChatTurn {
  std::string_view before, after;
};

struct ChatStyle {
  enum class SystemPlace {
    own_turn,
    front,       ///< at the beginning, whatever comes before it in the conversation
    first_user,  ///< in the next user's turn, before the text
    last_user,   ///< in the last user's turn, before the text
  };

  ChatFormat format;
  std::string_view name;
  /// Texts that a chat template of this format all holds, and one that it doesn't.
  std::array<std::string_view, 3> marks;
  std::string_view without = {};

  ChatTurn system, user, assistant;
  SystemPlace system_place = SystemPlace::own_turn;
  /// Around a system text inside of a user's turn.
  ChatTurn inner_system = {"", "\n\n"};
  /// The system text of a conversation that begins without one.
  std::optional<std::string_view> default_system = {};
  /// Around system texts that are not the first message, where that differs.
  std::optional<ChatTurn> later_system = {};
  std::string_view prologue = {};  ///< before everything
  std::string_view generation;     ///< begins the answer
  std::string_view stop = {};
  bool trims = false;  ///< white space around texts
  /// What becomes of "<think>...</think>" in earlier answers.
  enum class Reasoning { kept, cut, cut_with_newlines } reasoning = Reasoning::kept;
};

/// "{date}" in a style's texts is the date as in 2024-07-26, "{long date}" as in July 26, 2024.
inline constexpr std::string_view date_place = "{date}";
inline constexpr std::string_view long_date_place = "{long date}";

/// The row of a format.
const ChatStyle& chat_style(ChatFormat format);
/// The first row whose marks are in the template, or the plain one.
const ChatStyle& find_chat_style(std::string_view chat_template);

/// What SmolLM3 is told about itself when the conversation doesn't, with and without reasoning.
extern const std::string_view smollm3_reasoning_instructions;
extern const std::string_view smollm3_direct_instructions;

}  // namespace plimsoll
