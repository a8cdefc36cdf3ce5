// Conversations as JSON: checked, and changed into what a template takes.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace plimsoll {

using ChatJson = nlohmann::ordered_json;

/// Throws Error(usage) for what is no conversation: an array of objects with a role, with content of text parts only.
void check_messages(const ChatJson& messages);

/// As transformers hands messages to templates: members that are null are left out, and reasoning has the name that
/// templates read.
ChatJson normalized(const ChatJson& messages);

/// "content" as one text: typed parts joined, nothing as "".
std::string text_of(const ChatJson& message);
/// Puts text before or behind what a message says already.
void prepend_text(ChatJson& message, const std::string& text);

// Each gives whether it changed anything.

/// Typed parts become one text, and the other way round.
bool join_parts(ChatJson& messages);
bool split_into_parts(ChatJson& messages);
/// Messages without content get an empty one.
bool add_missing_content(ChatJson& messages);
/// "developer" becomes "system".
bool rename_developer(ChatJson& messages);
/// System messages become part of the next user's one.
bool merge_system(ChatJson& messages);
/// Of system messages only one, at the beginning.
bool gather_system(ChatJson& messages);
/// Messages of the same role in a row become one.
bool join_same_roles(ChatJson& messages);
/// Arguments of tool calls as JSON text, or as the value that they spell.
bool set_argument_form(ChatJson& messages, bool as_text);

}  // namespace plimsoll
