#include "engine/conversation.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "text/chat_messages.h"
#include "text/utf8.h"

namespace plimsoll {
namespace {

using Json = nlohmann::ordered_json;

/// An answer gets a quarter of the context at least, up to this, while there are turns to forget.
constexpr std::int64_t decent_answer = 512;

std::string role_of(const Json& message) { return message.at("role").get<std::string>(); }

bool is_system(const Json& message) {
  const std::string role = role_of(message);
  return role == "system" || role == "developer";
}

bool is_answer(const Json& messages) {
  return !messages.empty() && role_of(messages.back()) == "assistant";
}

/// The first message that is no system text.
std::size_t first_turn(const Json& messages) {
  std::size_t first = 0;
  while (first < messages.size() && is_system(messages[first])) ++first;
  return first;
}

/// One behind the turn that begins at `begin`: a question and all up to the next one.
std::size_t turn_end(const Json& messages, std::size_t begin) {
  std::size_t end = begin + 1;
  while (end < messages.size() && role_of(messages[end]) != "user") ++end;
  return end;
}

std::string content_of(const Json& message) {
  const auto content = message.find("content");
  return content != message.end() && content->is_string() ? content->get<std::string>() : "";
}

template <class Array>
void erase_range(Array& array, std::size_t begin, std::size_t end) {
  array.erase(array.begin() + static_cast<std::ptrdiff_t>(begin),
              array.begin() + static_cast<std::ptrdiff_t>(end));
}

/// The ids in JSON, if a model with this tokenizer can have said this text in them.
std::vector<TokenId> said_ids(const Json& ids, const std::string& text,
                              const Tokenizer& tokenizer) {
  if (!ids.is_array()) return {};
  std::vector<TokenId> said;
  std::string spelled;
  for (const Json& id : ids) {
    if (!id.is_number_integer()) return {};
    const auto value = id.get<std::int64_t>();
    if (value < 0 || value >= tokenizer.vocabulary_size()) return {};
    const auto token = static_cast<TokenId>(value);
    if (tokenizer.is_control(token) || tokenizer.is_end_of_generation(token)) return {};
    said.push_back(token);
    spelled += tokenizer.bytes_of(token);
  }
  // Marks of reasoning and a stop text may stand around it.
  if (trimmed(text).empty() || spelled.find(trimmed(text)) == std::string::npos) return {};
  return said;
}

}  // namespace

Conversation::Conversation(const ChatTemplate& chat_template, const Tokenizer& tokenizer)
    : template_(&chat_template), tokenizer_(&tokenizer), transcript_(tokenizer) {}

void Conversation::set_settings(ChatSettings settings) {
  settings_ = std::move(settings);
  is_changed_ = true;
}

void Conversation::set_messages(Json messages, const Json& token_ids) {
  check_messages(messages);
  std::vector<std::vector<TokenId>> said(messages.size());
  if (token_ids.is_array() && token_ids.size() == messages.size())
    for (std::size_t i = 0; i < messages.size(); ++i)
      if (role_of(messages[i]) == "assistant")
        said[i] = said_ids(token_ids[i], content_of(messages[i]), *tokenizer_);
  messages_ = std::move(messages);
  said_ = std::move(said);
  is_changed_ = true;
}

Json Conversation::token_ids() const {
  Json all = Json::array();
  for (const std::vector<TokenId>& said : said_) all.push_back(said.empty() ? Json() : Json(said));
  return all;
}

std::string Conversation::system() const {
  return !messages_.empty() && is_system(messages_[0]) ? content_of(messages_[0]) : "";
}

void Conversation::set_system(const std::string& text) {
  if (find_invalid_utf8(text)) throw Error(ErrorCode::invalid_text, "the system text is not UTF-8");
  if (!messages_.empty() && is_system(messages_[0])) {
    erase_range(messages_, 0, 1);
    erase_range(said_, 0, 1);
  }
  if (!text.empty()) {
    messages_.insert(messages_.begin(), Json{{"role", "system"}, {"content", text}});
    said_.insert(said_.begin(), std::vector<TokenId>());
  }
  is_changed_ = true;
}

ChatPrompt Conversation::render(const Json& messages) const {
  ChatRequest request;
  request.messages = messages;
  request.tools = settings_.tools;
  request.variables = settings_.variables;
  request.enable_thinking = settings_.thinking;
  request.continue_final_message = is_answer(messages);
  request.add_generation_prompt = !request.continue_final_message;
  try {
    ChatPrompt prompt = template_->render(request);
    // A file's own template brings BOS along where it is wanted; a style that stands in for one
    // does not know.
    const std::optional<TokenId> bos = tokenizer_->bos();
    if (!template_->is_from_file() && tokenizer_->adds_bos() && bos) {
      const std::string text(tokenizer_->piece(*bos));
      if (!prompt.text().starts_with(text))
        prompt.parts.insert(prompt.parts.begin(), {text, false});
    }
    return prompt;
  } catch (const Json::exception& error) {
    throw Error(ErrorCode::usage,
                fmt::format("the chat template cannot take these messages: {}", error.what()));
  }
}

Transcript Conversation::read_again(const Json& messages,
                                    const std::vector<std::vector<TokenId>>& said) const {
  Transcript transcript(*tokenizer_);
  Json before = Json::array();
  for (std::size_t i = 0; i < messages.size(); ++i) {
    if (!said[i].empty() && !before.empty()) {
      try {
        transcript.read(render(before).parts);
        transcript.say(said[i]);
      } catch (const Error&) {
        // A template may refuse what a conversation that is cut off begins with: as text then.
      }
    }
    before.push_back(messages[i]);
  }
  return transcript;
}

ConversationPrompt Conversation::ask(const std::string& text, std::int64_t context) {
  if (const auto at = find_invalid_utf8(text))
    throw Error(ErrorCode::invalid_text, fmt::format("the text is not UTF-8 at byte {}", *at),
                "type it again, or set the terminal to UTF-8");
  messages_.push_back({{"role", "user"}, {"content", text}});
  said_.emplace_back();
  try {
    return prompt(context);
  } catch (...) {
    messages_.erase(messages_.size() - 1);
    said_.pop_back();
    throw;
  }
}

ConversationPrompt Conversation::prompt(std::int64_t context) {
  if (messages_.empty())
    throw Error(ErrorCode::empty_prompt, "there are no messages to answer", "ask something");
  Json messages = messages_;
  std::vector<std::vector<TokenId>> said = said_;
  Transcript transcript = is_changed_ ? read_again(messages, said) : transcript_;
  ConversationPrompt result;
  const std::int64_t room = std::min(context / 4, decent_answer);
  std::int64_t least = 0;  // tokens that are to go, once some have to
  std::optional<std::int64_t> all;
  for (;;) {
    ChatPrompt prompt = render(messages);
    transcript.read(prompt.parts);
    const auto length = static_cast<std::int64_t>(transcript.tokens().size());
    const std::size_t begin = first_turn(messages);
    const std::size_t end = begin < messages.size() ? turn_end(messages, begin) : begin;
    const bool is_last = end == messages.size();
    if (is_last && length >= context)
      throw Error(ErrorCode::context_exceeded,
                  fmt::format("the text has {} tokens, the context {}", length, context),
                  fmt::format("give a shorter text, or start with --context {} or more", length + 1));
    const bool has_room = length + room <= context && (!all || *all - length >= least);
    if (is_last || has_room) {
      if (length == 0)
        throw Error(ErrorCode::empty_prompt, "the chat template makes nothing of the messages");
      result.tokens = transcript.tokens();
      result.stops = std::move(prompt.stops);
      result.reasoning = std::move(prompt.reasoning);
      result.notices = std::move(prompt.notices);
      messages_ = std::move(messages);
      said_ = std::move(said);
      transcript_ = std::move(transcript);
      is_changed_ = false;
      return result;
    }
    if (!all) all = length;
    least = context / 4;
    erase_range(messages, begin, end);
    erase_range(said, begin, end);
    transcript = read_again(messages, said);
    ++result.forgotten;
  }
}

void Conversation::answered(const Generated& generated, const ReasoningMarks& reasoning) {
  transcript_.say(generated.tokens);
  SplitAnswer answer = split_reasoning(reasoning, generated.text);
  if (is_answer(messages_)) {
    // Its beginning was given: one text from here on.
    Json& message = messages_.back();
    message["content"] = content_of(message) + generated.text;
    said_.back().clear();
    return;
  }
  Json message = {{"role", "assistant"}, {"content", std::move(answer.text)}};
  if (!answer.reasoning.empty()) message["reasoning_content"] = std::move(answer.reasoning);
  messages_.push_back(std::move(message));
  said_.push_back(generated.tokens);
}

bool Conversation::take_back_answer() {
  if (!is_answer(messages_)) return false;
  messages_.erase(messages_.size() - 1);
  said_.pop_back();
  return true;
}

void Conversation::clear() {
  const std::size_t begin = first_turn(messages_);
  erase_range(messages_, begin, messages_.size());
  said_.resize(begin);
  is_changed_ = true;
}

}  // namespace plimsoll
