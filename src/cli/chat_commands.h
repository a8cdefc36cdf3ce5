// What begins with "/" in a conversation.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "app/moving.h"
#include "engine/conversation.h"
#include "plan/plan.h"
#include "terminal/terminal.h"

namespace plimsoll {

/// A conversation at the terminal, and what commands change of it.
struct Chat {
  Host& host;
  const OpenModel& model;
  Session& session;
  MovingLine& line;
  GenerateOptions options;
  std::optional<Conversation> conversation;  ///< without one, each text is written on by itself
  bool leaves = false;
  bool regenerates = false;  ///< an answer is wanted without a question

  /// For something that takes so many bytes for a while: nothing where the plan counted as many for
  /// the conversation. Throws as Line::hold_text does.
  Reservation hold(const std::string& what, std::optional<Bytes> bytes) const;
};

/// Whether a message is for this program: it begins with "/" and a letter, and if it has several
/// lines, with one of the commands. "//..." is a message that begins with "/".
bool is_chat_command(std::string_view message);

/// Does what it says and reports on standard error. Throws Error(usage) for a command that is none,
/// and what the commands throw; nothing has changed then.
void run_chat_command(Chat& chat, std::string_view message);

/// A sentence on how to begin.
std::string chat_greeting(const Chat& chat);

}  // namespace plimsoll
