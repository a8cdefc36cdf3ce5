#include "text/chat_messages.h"

#include <fmt/format.h>

#include "base/error.h"

namespace plimsoll {
namespace {

constexpr const char* shape_hint =
    "messages are a JSON array of objects such as {\"role\": \"user\", \"content\": \"Hi\"}";

std::string role_of(const ChatJson& message) { return message.value("role", std::string()); }

/// Printing, copying and deleting all go as deep as a value does.
constexpr int deepest_value = 100;

void check_depth(const ChatJson& value, int depth) {
  if (depth > deepest_value)
    throw Error(ErrorCode::usage, fmt::format("the conversation is nested more than {} deep", deepest_value));
  if (!value.is_structured()) return;
  for (const ChatJson& item : value) check_depth(item, depth + 1);
}

bool has_content(const ChatJson& message) {
  const auto found = message.find("content");
  return found != message.end() && !found->is_null();
}

}  // namespace

void check_messages(const ChatJson& messages) {
  if (!messages.is_array())
    throw Error(ErrorCode::usage,
                fmt::format("messages should be an array and are of type {}", messages.type_name()), shape_hint);
  check_depth(messages, 0);
  if (messages.empty()) throw Error(ErrorCode::usage, "the conversation has no message", shape_hint);
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const ChatJson& message = messages[i];
    const auto refuse = [&](const std::string& what) {
      throw Error(ErrorCode::usage, fmt::format("message {}: {}", i + 1, what), shape_hint);
    };
    if (!message.is_object()) refuse(fmt::format("wanted an object, found {}", message.type_name()));
    const auto role = message.find("role");
    if (role == message.end() || !role->is_string()) refuse("it has no \"role\" that is text");
    const auto content = message.find("content");
    if (content == message.end() && !message.contains("tool_calls")) refuse("it has no \"content\"");
    if (content == message.end() || content->is_null() || content->is_string()) continue;
    if (!content->is_array())
      refuse(fmt::format("\"content\" should be text or an array of parts and is {}", content->type_name()));
    for (const ChatJson& part : *content) {
      if (!part.is_object()) refuse("a part of \"content\" is no object");
      const auto type = part.find("type");
      const std::string kind = type != part.end() && type->is_string() ? type->get<std::string>() : "";
      if (kind != "text" && kind != "input_text" && kind != "output_text" && kind != "refusal")
        throw Error(ErrorCode::usage,
                    fmt::format("message {}: parts of type \"{}\" cannot be read", i + 1, kind),
                    "this program reads text only; leave images, sound and files out");
      const auto text = part.find(kind == "refusal" ? "refusal" : "text");
      if (text == part.end() || !text->is_string()) refuse("a part of type \"text\" has no text");
    }
  }
}

ChatJson normalized(const ChatJson& messages) {
  ChatJson result = ChatJson::array();
  for (const ChatJson& message : messages) {
    ChatJson clean = ChatJson::object();
    const ChatJson* reasoning = nullptr;
    for (const char* name : {"reasoning_content", "thinking", "reasoning"}) {
      const auto found = message.find(name);
      if (!reasoning && found != message.end() && !found->is_null()) reasoning = &*found;
    }
    if (reasoning) clean["thinking"] = *reasoning;
    for (const auto& [key, value] : message.items())
      if (!value.is_null()) clean[key] = value;
    if (reasoning) clean["reasoning_content"] = *reasoning;
    result.push_back(std::move(clean));
  }
  return result;
}

std::string text_of(const ChatJson& message) {
  const auto content = message.find("content");
  if (content == message.end() || content->is_null()) return {};
  if (content->is_string()) return content->get<std::string>();
  std::string text;
  for (const ChatJson& part : *content) text += part.value("text", part.value("refusal", std::string()));
  return text;
}

void prepend_text(ChatJson& message, const std::string& text) {
  const auto content = message.find("content");
  if (content != message.end() && content->is_array())
    content->insert(content->begin(), ChatJson::object({{"type", "text"}, {"text", text + "\n\n"}}));
  else
    message["content"] = text + "\n\n" + text_of(message);
}

bool join_parts(ChatJson& messages) {
  bool changed = false;
  for (ChatJson& message : messages) {
    const auto content = message.find("content");
    if (content == message.end() || !content->is_array()) continue;
    *content = text_of(message);
    changed = true;
  }
  return changed;
}

bool split_into_parts(ChatJson& messages) {
  bool changed = false;
  for (ChatJson& message : messages) {
    const auto content = message.find("content");
    if (content == message.end() || !content->is_string()) continue;
    ChatJson part = {{"type", "text"}, {"text", content->get<std::string>()}};
    *content = ChatJson::array();
    content->push_back(std::move(part));
    changed = true;
  }
  return changed;
}

bool add_missing_content(ChatJson& messages) {
  bool changed = false;
  for (ChatJson& message : messages) {
    if (has_content(message)) continue;
    message["content"] = "";
    changed = true;
  }
  return changed;
}

bool rename_developer(ChatJson& messages) {
  bool changed = false;
  for (ChatJson& message : messages) {
    if (role_of(message) != "developer") continue;
    message["role"] = "system";
    changed = true;
  }
  return changed;
}

bool merge_system(ChatJson& messages) {
  bool changed = false;
  ChatJson result = ChatJson::array();
  std::string waiting;
  const auto wait_for = [&](const std::string& text) {
    if (!waiting.empty() && !text.empty()) waiting += "\n\n";
    waiting += text;
  };
  for (ChatJson& message : messages) {
    if (role_of(message) == "system") {
      wait_for(text_of(message));
      changed = true;
      continue;
    }
    if (role_of(message) == "user" && !waiting.empty()) prepend_text(message, std::exchange(waiting, {}));
    result.push_back(std::move(message));
  }
  if (!waiting.empty()) result.push_back(ChatJson::object({{"role", "user"}, {"content", waiting}}));
  messages = std::move(result);
  return changed;
}

bool gather_system(ChatJson& messages) {
  std::size_t count = 0;
  for (const ChatJson& message : messages) count += role_of(message) == "system";
  if (count == 0 || (count == 1 && role_of(messages[0]) == "system")) return false;
  std::string text;
  ChatJson result = ChatJson::array();
  result.push_back(ChatJson::object());
  for (ChatJson& message : messages) {
    if (role_of(message) == "system") {
      if (!text.empty()) text += "\n\n";
      text += text_of(message);
    } else {
      result.push_back(std::move(message));
    }
  }
  result[0] = {{"role", "system"}, {"content", text}};
  messages = std::move(result);
  return true;
}

bool join_same_roles(ChatJson& messages) {
  bool changed = false;
  ChatJson result = ChatJson::array();
  for (ChatJson& message : messages) {
    const std::string role = role_of(message);
    const bool plain = !message.contains("tool_calls") && role != "tool";
    if (!result.empty() && plain && role_of(result.back()) == role && !result.back().contains("tool_calls")) {
      const std::string before = text_of(result.back()), behind = text_of(message);
      result.back()["content"] = before.empty() || behind.empty() ? before + behind : before + "\n\n" + behind;
      changed = true;
    } else {
      result.push_back(std::move(message));
    }
  }
  messages = std::move(result);
  return changed;
}

bool set_argument_form(ChatJson& messages, bool as_text) {
  bool changed = false;
  for (ChatJson& message : messages) {
    const auto calls = message.find("tool_calls");
    if (calls == message.end() || !calls->is_array()) continue;
    for (ChatJson& call : *calls) {
      if (!call.is_object()) continue;
      ChatJson& function = call.contains("function") && call["function"].is_object() ? call["function"] : call;
      const auto arguments = function.find("arguments");
      if (arguments == function.end()) continue;
      if (as_text && !arguments->is_string()) {
        *arguments = arguments->dump(-1, ' ', false, ChatJson::error_handler_t::replace);
        changed = true;
      } else if (!as_text && arguments->is_string()) {
        ChatJson value = ChatJson::parse(arguments->get<std::string>(), nullptr, false);
        // What is no JSON stays the text that it is.
        if (!value.is_object()) continue;
        *arguments = std::move(value);
        changed = true;
      }
    }
  }
  return changed;
}

}  // namespace plimsoll
