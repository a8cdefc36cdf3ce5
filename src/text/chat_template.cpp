#include "text/chat_template.h"

#include <fmt/format.h>

#include <array>
#include <ctime>

#include "base/error.h"
#include "text/chat_styles.h"
#include "text/utf8.h"

namespace plimsoll {
namespace {

constexpr std::string_view white_space = " \t\n\v\f\r";

std::string_view trim_left(std::string_view text, std::string_view characters) {
  const std::size_t first = text.find_first_not_of(characters);
  return first == std::string_view::npos ? std::string_view() : text.substr(first);
}

std::string_view trim_right(std::string_view text, std::string_view characters) {
  return text.substr(0, text.find_last_not_of(characters) + 1);
}

std::string_view trim(std::string_view text) {
  return trim_right(trim_left(text, white_space), white_space);
}

struct Date {
  int year = 0, month = 0, day = 0;  ///< month and day from 1
};

Date parse_date(std::string_view text) {
  const auto digits = [&](std::size_t begin, std::size_t count) {
    int value = 0;
    for (const char c : text.substr(begin, count)) {
      if (c < '0' || c > '9') return -1;
      value = value * 10 + (c - '0');
    }
    return value;
  };
  Date date;
  if (text.size() == 10 && text[4] == '-' && text[7] == '-') {
    date = {digits(0, 4), digits(5, 2), digits(8, 2)};
  }
  if (date.year < 1 || date.month < 1 || date.month > 12 || date.day < 1 || date.day > 31) {
    throw Error(ErrorCode::usage, fmt::format("\"{}\" is not a date", text),
                "write it as in 2024-07-26");
  }
  return date;
}

Date today() {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  return {local.tm_year + 1900, local.tm_mon + 1, local.tm_mday};
}

/// `text` with the places for dates filled in.
std::string with_date(std::string_view text, std::string_view date_text) {
  if (text.find(date_place) == std::string_view::npos &&
      text.find(long_date_place) == std::string_view::npos) {
    return std::string(text);
  }
  constexpr std::array months = {"January",   "February", "March",    "April",
                                 "May",       "June",     "July",     "August",
                                 "September", "October",  "November", "December"};
  const Date date = date_text.empty() ? today() : parse_date(date_text);
  const std::string iso = fmt::format("{:04}-{:02}-{:02}", date.year, date.month, date.day);
  const std::string spelled = fmt::format(
      "{} {:02}, {}", months[static_cast<std::size_t>(date.month - 1)], date.day, date.year);
  return replace_all(replace_all(text, date_place, iso), long_date_place, spelled);
}

enum class Role { system, user, assistant };

Role role_of(const ChatMessage& message) {
  if (message.role == "system") return Role::system;
  if (message.role == "user") return Role::user;
  if (message.role == "assistant") return Role::assistant;
  throw Error(ErrorCode::usage, fmt::format("\"{}\" is not a role of a message", message.role),
              "roles are system, user and assistant");
}

/// An earlier answer as the model may see it again.
std::string_view answer_of(std::string_view text, ChatStyle::Reasoning reasoning) {
  constexpr std::string_view end = "</think>";
  const std::size_t found = text.rfind(end);
  if (reasoning == ChatStyle::Reasoning::kept || found == std::string_view::npos) return text;
  text.remove_prefix(found + end.size());
  return reasoning == ChatStyle::Reasoning::cut ? text : trim_left(text, "\n");
}

/// SmolLM3's system text says whether to reason, and "/no_think" or "/think" in it decide.
std::string render_smollm3(const ChatStyle& style, std::span<const ChatMessage> messages) {
  const bool has_system = !messages.empty() && role_of(messages[0]) == Role::system;
  const std::string_view system = has_system ? std::string_view(messages[0].content) : "";
  const bool reasons = system.find("/no_think") == std::string_view::npos;
  const std::string instructions = replace_all(replace_all(system, "/no_think", ""), "/think", "");
  std::string_view custom = trim_right(instructions, white_space);
  if (custom.empty()) {
    custom = reasons ? smollm3_reasoning_instructions : smollm3_direct_instructions;
  }
  const std::string_view no_reasoning = reasons ? "" : "<think>\n\n</think>\n";

  std::string prompt =
      fmt::format("{}Reasoning Mode: {}\n\n## Custom Instructions\n\n{}\n\n{}", style.system.before,
                  reasons ? "/think" : "/no_think", custom, style.system.after);
  for (const ChatMessage& message : messages.subspan(has_system ? 1 : 0)) {
    switch (role_of(message)) {
      case Role::system:  // not in the published template, which would lose it
        prompt += fmt::format("<|im_start|>system\n{}<|im_end|>\n", message.content);
        break;
      case Role::user:
        prompt += fmt::format("{}{}{}", style.user.before, message.content, style.user.after);
        break;
      case Role::assistant:
        prompt += fmt::format("{}{}{}{}", style.assistant.before, no_reasoning,
                              trim_left(message.content, "\n"), style.assistant.after);
        break;
    }
  }
  prompt += style.generation;
  prompt += no_reasoning;
  return prompt;
}

std::string render_in_style(const ChatStyle& style, std::span<const ChatMessage> messages,
                            std::string_view date) {
  using Place = ChatStyle::SystemPlace;
  std::size_t last_user = messages.size();
  std::string waiting;  // system texts that go elsewhere
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const Role role = role_of(messages[i]);
    if (role == Role::user) last_user = i;
  }

  std::string prompt = with_date(style.prologue, date);
  const auto append_turn = [&](const ChatTurn& turn, std::string_view text) {
    prompt += turn.before;
    prompt += text;
    prompt += turn.after;
  };
  const auto text_of = [&](const ChatMessage& message) -> std::string_view {
    return style.trims ? trim(message.content) : message.content;
  };
  if (style.system_place == Place::front || style.system_place == Place::last_user) {
    for (const ChatMessage& message : messages) {
      if (role_of(message) != Role::system) continue;
      if (!waiting.empty()) waiting += "\n\n";
      waiting += text_of(message);
    }
  }
  if (style.system_place == Place::front) prompt += waiting;
  if (style.default_system && (messages.empty() || role_of(messages[0]) != Role::system)) {
    append_turn(style.system, with_date(*style.default_system, date));
  }

  for (std::size_t i = 0; i < messages.size(); ++i) {
    const std::string_view text = text_of(messages[i]);
    switch (role_of(messages[i])) {
      case Role::system:
        if (style.system_place == Place::own_turn) {
          append_turn(i > 0 ? style.later_system.value_or(style.system) : style.system, text);
        } else if (style.system_place == Place::first_user) {
          if (!waiting.empty()) waiting += "\n\n";
          waiting += text;
        }
        break;
      case Role::user: {
        const bool takes_system = style.system_place == Place::first_user ||
                                  (style.system_place == Place::last_user && i == last_user);
        if (!takes_system || waiting.empty()) {
          append_turn(style.user, text);
          break;
        }
        append_turn(style.user, fmt::format("{}{}{}{}", style.inner_system.before, waiting,
                                            style.inner_system.after, text));
        waiting.clear();
        break;
      }
      case Role::assistant:
        append_turn(style.assistant, answer_of(text, style.reasoning));
        break;
    }
  }
  prompt += style.generation;
  return prompt;
}

}  // namespace

std::string_view name(ChatFormat format) { return chat_style(format).name; }

ChatFormat detect_chat_format(std::string_view chat_template) {
  return find_chat_style(chat_template).format;
}

std::string render_chat(ChatFormat format, std::span<const ChatMessage> messages,
                        std::string_view date) {
  const ChatStyle& style = chat_style(format);
  if (format == ChatFormat::smollm3) return render_smollm3(style, messages);
  return render_in_style(style, messages, date);
}

std::string_view chat_stop_text(ChatFormat format) { return chat_style(format).stop; }

struct ChatTemplate::State {
  ChatFormat format;
  std::string description;
  bool is_from_file = false;
};

ChatTemplate::ChatTemplate(std::unique_ptr<State> state) : state_(std::move(state)) {}
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

ChatTemplate ChatTemplate::from_metadata(const Metadata& metadata) {
  auto state = std::make_unique<State>();
  const auto text = metadata.string("tokenizer.chat_template");
  state->format = detect_chat_format(text.value_or(""));
  state->is_from_file = text.has_value();
  state->description = name(state->format);
  return ChatTemplate(std::move(state));
}

const std::string& ChatTemplate::description() const { return state_->description; }
bool ChatTemplate::is_from_file() const { return state_->is_from_file; }
Bytes ChatTemplate::memory_bytes() const { return sizeof(State); }

ChatPrompt ChatTemplate::render(const ChatRequest& request) const {
  std::vector<ChatMessage> messages;
  for (const auto& message : request.messages)
    messages.push_back({message.at("role").get<std::string>(), message.at("content").get<std::string>()});
  ChatPrompt prompt;
  prompt.parts.push_back({render_chat(state_->format, messages), false});
  if (const std::string_view stop = chat_stop_text(state_->format); !stop.empty())
    prompt.stops.emplace_back(stop);
  return prompt;
}

std::string ChatPrompt::text() const {
  std::string text;
  for (const TextPart& part : parts) text += part.text;
  return text;
}

}  // namespace plimsoll
