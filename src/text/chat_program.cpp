#include "text/chat_program.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <utility>

#include "base/error.h"
#include "text/chat_messages.h"

namespace plimsoll {
namespace {

using Json = nlohmann::ordered_json;

// Texts that no template holds, for trials.
constexpr std::string_view user_mark = "qUSERq", answer_mark = "qANSWERq", system_mark = "qSYSTEMq",
                           second_mark = "qSECONDq", reasoning_mark = "qREASONq", argument_mark = "qVALUEq";

/// Behind what a message to go on with says; the space tells whether the template trims.
constexpr std::string_view continue_mark = "CONTINUE_FINAL_MESSAGE_TAG ";

constexpr std::string_view white_space = " \t\n\v\f\r";

/// Reasoning that templates and vocabularies mark by these, where trying finds none.
constexpr std::pair<std::string_view, std::string_view> known_marks[] = {
    {"<think>", "</think>"},
    {"<seed:think>", "</seed:think>"},
    {"[THINK]", "[/THINK]"},
    {"<|channel>thought\n", "<channel|>"},
    {"<|channel|>analysis<|message|>", "<|end|>"},
    {"<|inner_prefix|>", "<|inner_suffix|>"},
    {"<|START_THINKING|>", "<|END_THINKING|>"},
    {"<thinking>", "</thinking>"},
    {"<reasoning>", "</reasoning>"},
    {"<|open|>think<|sep|>", "<|close|>think<|sep|>"},
    {"Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]"},
};

Json message(std::string_view role, std::string_view text) {
  return {{"role", role}, {"content", text}};
}
Json user() { return message("user", user_mark); }
Json answer() { return message("assistant", answer_mark); }

std::string_view trimmed_right(std::string_view text) {
  return text.substr(0, text.find_last_not_of(white_space) + 1);
}
std::string_view trimmed_left(std::string_view text) {
  const std::size_t first = text.find_first_not_of(white_space);
  return first == std::string_view::npos ? std::string_view() : text.substr(first);
}

/// One after the other; spelled out, since what braces mean to Json depends on the compiler.
template <class... Messages>
Json conversation(Messages... messages) {
  Json result = Json::array();
  (result.push_back(std::move(messages)), ...);
  return result;
}

bool contains(const std::optional<std::string>& text, std::string_view part) {
  return text && text->find(part) != std::string::npos;
}

char opening(char closing) { return closing == '>' ? '<' : closing == ']' ? '[' : '\0'; }

/// The mark that ends right before a text: the last tag, with a word behind it.
std::string_view mark_before(std::string_view text) {
  constexpr std::size_t longest = 64;
  const std::string_view tail = text.substr(text.size() - std::min(text.size(), longest));
  const std::string_view trimmed = trimmed_right(tail);
  const std::size_t close = trimmed.find_last_of(">]");
  if (close == std::string_view::npos || trimmed.size() - close > 16) return {};
  std::size_t open = trimmed.rfind(opening(trimmed[close]), close);
  if (open == std::string_view::npos) return {};
  // A channel and its message are one mark.
  if (trimmed.substr(open, close + 1 - open) == "<|message|>") {
    const std::size_t channel = trimmed.rfind("<|channel|>", open);
    if (channel != std::string_view::npos) open = channel;
  }
  // The line end behind a word belongs to it, that behind a tag does not.
  return close + 1 == trimmed.size() ? trimmed.substr(open) : tail.substr(open);
}

/// The mark that begins right behind a text.
std::string_view mark_behind(std::string_view text) {
  text = trimmed_left(text);
  if (text.empty() || (text.front() != '<' && text.front() != '[')) return {};
  const std::size_t close = text.find(text.front() == '<' ? '>' : ']');
  if (close == std::string_view::npos || close > 64) return {};
  const std::string_view mark = text.substr(0, close + 1);
  // "a < b" and its like are none.
  return mark.find_first_of("\n<[", 1) == std::string_view::npos ? mark : std::string_view();
}

/// The mark before the first occurrence of a text in another.
std::string_view mark_before_text(const std::optional<std::string>& shown, std::string_view text) {
  if (!contains(shown, text)) return {};
  return mark_before(std::string_view(*shown).substr(0, shown->find(text)));
}

[[noreturn]] void fail(const jinja::JinjaError& error) {
  using jinja::Failure;
  const std::string place = error.line() > 0 ? fmt::format(" (line {} of the template)", error.line()) : "";
  switch (error.kind()) {
    case Failure::raised:
      throw Error(ErrorCode::usage, fmt::format("the model's chat template refuses this conversation: {}", error.what()),
                  "change the messages as it says");
    case Failure::limit:
      throw Error(ErrorCode::invalid_model, fmt::format("the model's chat template {}{}", error.what(), place),
                  "a template that takes so much is broken, or the conversation is far too long");
    case Failure::syntax:
      throw Error(ErrorCode::invalid_model, fmt::format("the model's chat template cannot be used: {}{}", error.what(), place));
    default:
      throw Error(ErrorCode::usage,
                  fmt::format("the model's chat template cannot take this conversation: {}{}", error.what(), place),
                  "it may need roles in turn, or messages of another shape");
  }
}

/// Ends the prompt where the continued text ends.
void cut_behind_mark(std::vector<TextPart>& parts) {
  std::string text;
  for (const TextPart& part : parts) text += part.text;
  const std::string_view bare = trimmed_right(continue_mark);
  const std::size_t found = text.rfind(bare);
  if (found == std::string::npos)
    throw Error(ErrorCode::usage, "the model's chat template does not show the message that is to be continued",
                "it drops part of it; ask for a whole answer instead");
  const bool keeps_spaces = std::string_view(text).substr(found).starts_with(continue_mark);
  std::size_t left = keeps_spaces ? found : trimmed_right(std::string_view(text).substr(0, found)).size();
  for (TextPart& part : parts) {
    const std::size_t size = std::min(left, part.text.size());
    part.text.resize(size);
    left -= size;
  }
  std::erase_if(parts, [](const TextPart& part) { return part.text.empty(); });
}

/// Adds the mark to the last message, whose text it is.
void add_continue_mark(Json& messages) {
  const auto refuse = [] {
    throw Error(ErrorCode::usage, "there is no answer to continue",
                "the last message must be the assistant's, with the text that the answer begins with");
  };
  if (messages.empty()) refuse();  // a lone system message has nowhere to go in some templates
  Json& last = messages.back();
  const auto content = last.find("content");
  if (last.value("role", std::string()) != "assistant" || content == last.end()) refuse();
  if (content->is_string()) {
    *content = content->get<std::string>() + std::string(continue_mark);
    return;
  }
  for (auto part = content->rbegin(); part != content->rend(); ++part)
    if (part->contains("text")) {
      (*part)["text"] = (*part)["text"].get<std::string>() + std::string(continue_mark);
      return;
    }
  throw Error(ErrorCode::usage, "the answer to continue has no text");
}

}  // namespace

ChatProgram::ChatProgram(std::string_view source, Json specials, const Tokenizer& tokenizer, const jinja::Limits& limits)
    : template_(jinja::Template::compile(source)), source_(source), specials_(std::move(specials)), limits_(limits) {
  find_capabilities();
  find_reasoning(tokenizer);
  find_stops(tokenizer);
}

Bytes ChatProgram::memory_bytes() const {
  return sizeof *this + template_.memory_bytes() + source_.capacity();
}

jinja::Rendered ChatProgram::run(const Json& messages, const Json& tools, bool add_generation_prompt,
                                 const Json& variables, std::int64_t now, const jinja::Limits& limits) const {
  static const Json none;
  const Json prompt = add_generation_prompt;
  std::vector<jinja::Variable> all;
  // The first of a name counts.
  if (variables.is_object())
    for (const auto& [name, value] : variables.items()) all.push_back({name, &value});
  all.push_back({.name = "messages", .value = &messages, .has_roles = true});
  all.push_back({.name = "tools", .value = &tools});
  all.push_back({.name = "documents", .value = &none});
  all.push_back({.name = "add_generation_prompt", .value = &prompt});
  for (const auto& [name, value] : specials_.items())
    all.push_back({.name = name, .value = &value, .is_input = false});
  return template_.render(all, now, limits);
}

std::optional<std::string> ChatProgram::trial(const Json& messages, bool add_generation_prompt) const {
  try {
    // Three short messages take little; a template that takes more is not worth the wait.
    jinja::Limits limits = limits_;
    limits.steps = std::min<std::uint64_t>(limits.steps, 200'000);
    limits.work = std::min<std::uint64_t>(limits.work, 64 * MiB);
    const jinja::Rendered rendered = run(messages, no_tools_, add_generation_prompt, nullptr, 0, limits);
    std::string text;
    for (const TextPart& part : rendered.parts) text += part.text;
    return text;
  } catch (const jinja::JinjaError&) {
    return std::nullopt;
  }
}

void ChatProgram::find_capabilities() {
  // Some were only made for tools, and go through the list of them in any case.
  if (!trial(conversation(user()), true)) {
    no_tools_ = Json::array();
    if (!trial(conversation(user()), true)) no_tools_ = nullptr;
  }
  takes_system_ = contains(trial(conversation(message("system", system_mark), user())), system_mark) ||
                  contains(trial(conversation(message("system", system_mark), user(), answer(), user())), system_mark);
  // Some print any role; only those that name it were made for it.
  takes_developer_ = source_.find("developer") != std::string::npos &&
                     contains(trial(conversation(message("developer", system_mark), user())), system_mark);
  takes_tools_ = source_.find("tools") != std::string::npos;

  Json in_parts = conversation(user());
  split_into_parts(in_parts);
  const auto of_parts = trial(in_parts);
  takes_texts_ = contains(trial(conversation(user())), user_mark);
  takes_parts_ = contains(of_parts, user_mark) && !contains(of_parts, "'type'") && !contains(of_parts, "\"type\"");
  if (!takes_texts_ && !takes_parts_) takes_texts_ = true;  // it shows neither, or wants more than this

  const auto with_arguments = [](Json arguments) {
    Json call = {{"id", "abcdef123"}, {"type", "function"}};
    call["function"]["name"] = "f";
    call["function"]["arguments"] = std::move(arguments);
    Json calling = message("assistant", "");
    calling["tool_calls"] = conversation(std::move(call));
    return conversation(user(), std::move(calling));
  };
  const auto object = trial(with_arguments(Json::object({{"argument", argument_mark}})));
  const auto text = trial(with_arguments(Json(fmt::format("{{\"argument\": \"{}\"}}", argument_mark))));
  const bool takes_object = contains(object, argument_mark) && !contains(object, "'argument'");
  const bool takes_text = contains(text, argument_mark) && !contains(text, "\\\"argument");
  wants_argument_text_ = takes_text && !takes_object;
}

void ChatProgram::find_reasoning(const Tokenizer& tokenizer) {
  const auto prompt = trial(conversation(user()), true).value_or("");
  Json reasoned = answer();
  reasoned["reasoning_content"] = reasoning_mark;
  reasoned["thinking"] = reasoning_mark;
  reasoned["reasoning"] = reasoning_mark;
  const auto shown = trial(conversation(user(), reasoned));
  if (contains(shown, reasoning_mark) && contains(shown, answer_mark)) {
    const std::size_t at = shown->find(reasoning_mark);
    const std::string_view begin = mark_before(std::string_view(*shown).substr(0, at));
    const std::string_view end = mark_behind(std::string_view(*shown).substr(at + reasoning_mark.size()));
    // What stands before other messages as well begins a turn.
    const auto turns = trial(conversation(user(), answer(), user()));
    const bool begins_turn = begin == mark_before_text(turns, user_mark) || begin == mark_before_text(turns, answer_mark);
    if (!begin.empty() && !begins_turn && !end.empty()) {
      reasoning_.begin = begin;
      reasoning_.end = end;
      return;
    }
  }
  const auto is_token = [&](std::string_view text) { return tokenizer.find(text).has_value(); };
  for (const auto& [begin, end] : known_marks) {
    const bool in_source = source_.find(trimmed_right(end)) != std::string::npos && end != "<|end|>";
    const bool in_prompt = trimmed_right(prompt).ends_with(trimmed_right(begin));
    if (!in_source && !in_prompt && !(is_token(begin) && is_token(end))) continue;
    reasoning_.begin = begin;
    reasoning_.end = end;
    return;
  }
}

void ChatProgram::find_stops(const Tokenizer& tokenizer) {
  const auto shown = trial(conversation(user(), answer(), message("user", second_mark)));
  if (!contains(shown, answer_mark) || !contains(shown, second_mark)) return;
  const std::size_t begin = shown->find(answer_mark) + answer_mark.size();
  const std::size_t end = shown->find(second_mark, begin);
  if (end == std::string::npos) return;
  const std::string between = shown->substr(begin, end - begin);
  const TextPart part{between, false};
  const std::vector<TokenId> tokens = tokenizer.encode(std::span(&part, 1));
  if (std::ranges::any_of(tokens, [&](TokenId token) { return tokenizer.is_end_of_generation(token); })) return;
  // A mark that is no token here, or what the next question begins with.
  const std::string_view mark = mark_behind(between);
  const std::string_view stop = mark.empty() ? trimmed_right(between) : mark;
  // A mark that ends reasoning, too, does not end an answer.
  if (!mark.empty() && trimmed_left(reasoning_.end).starts_with(mark)) return;
  if (trimmed_left(stop).size() >= 3) stops_.emplace_back(stop);
}

Json ChatProgram::prepared(const ChatRequest& request, std::vector<std::string>& notices) const {
  Json messages = normalized(request.messages);
  if (!takes_developer_) rename_developer(messages);
  if (!takes_parts_)
    join_parts(messages);
  else if (!takes_texts_)
    split_into_parts(messages);
  set_argument_form(messages, wants_argument_text_);
  if (!takes_system_ && merge_system(messages))
    notices.push_back("the model's chat template has no place for system messages: they were put before the user's text");
  return messages;
}

ChatPrompt ChatProgram::render(const ChatRequest& request) const {
  check_messages(request.messages);
  ChatPrompt prompt;
  const bool has_tools = request.tools.is_array() && !request.tools.empty();
  if (has_tools && !takes_tools_)
    prompt.notices.push_back("the model's chat template has no place for tools: the model does not see them");
  Json variables = request.variables.is_object() ? request.variables : Json::object();
  if (request.enable_thinking)
    for (const char* name : {"enable_thinking", "thinking"})
      if (!variables.contains(name)) variables[name] = *request.enable_thinking;
  const std::int64_t now = request.now.value_or(std::time(nullptr));
  const bool generates = request.add_generation_prompt && !request.continue_final_message;

  Json messages = prepared(request, prompt.notices);
  const auto attempt = [&](Json given) {
    if (request.continue_final_message) add_continue_mark(given);
    return run(given, has_tools ? request.tools : no_tools_, generates, variables, now, limits_).parts;
  };
  try {
    prompt.parts = attempt(messages);
  } catch (const jinja::JinjaError& error) {
    if (error.kind() == jinja::Failure::limit || error.kind() == jinja::Failure::syntax) fail(error);
    // What is known to help, one after the other and on top of each other.
    struct Repair {
      bool (*change)(Json&);
      const char* notice;
    };
    static constexpr Repair repairs[] = {
        {add_missing_content, ""},
        {gather_system, "the model's chat template wants one system message at the beginning: they were put together there"},
        {join_same_roles, "the model's chat template wants roles in turn: messages of the same role were put together"},
        {merge_system, "the model's chat template refuses system messages: they were put before the user's text"},
        {join_same_roles, "the model's chat template wants roles in turn: messages of the same role were put together"},
    };
    bool repaired = false;
    for (const Repair& repair : repairs) {
      if (!repair.change(messages)) continue;
      if (*repair.notice) prompt.notices.emplace_back(repair.notice);
      try {
        prompt.parts = attempt(messages);
        repaired = true;
        break;
      } catch (const jinja::JinjaError&) {
      }
    }
    if (!repaired) fail(error);
  }
  if (request.continue_final_message) cut_behind_mark(prompt.parts);

  prompt.stops = stops_;
  prompt.reasoning = reasoning_;
  if (!reasoning_.begin.empty() && !prompt.parts.empty()) {
    const std::string text = prompt.text();
    const std::string_view begin = trimmed_right(reasoning_.begin), end = trimmed_right(reasoning_.end);
    if (request.continue_final_message) {
      const std::size_t opened = text.rfind(begin), closed = text.rfind(end);
      prompt.reasoning.opened_by_prompt =
          opened != std::string::npos && (closed == std::string::npos || closed < opened);
    } else {
      // Only as the template writes it.
      prompt.reasoning.opened_by_prompt =
          !prompt.parts.back().is_input && trimmed_right(prompt.parts.back().text).ends_with(begin);
    }
  }
  return prompt;
}

}  // namespace plimsoll
