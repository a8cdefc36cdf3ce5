// Turns a conversation into the prompt that a chat model was trained on, by the model's own chat template.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "file/metadata.h"
#include "text/tokenizer.h"

namespace plimsoll {

/// A conversation and what is asked of its rendering. JSON as in the OpenAI API; the order of members is kept, since
/// templates print them.
struct ChatRequest {
  /// Objects with "role" ("system", "developer", "user", "assistant", "tool") and "content" (text, null, or an array of
  /// typed parts), for answers also "reasoning_content" and "tool_calls", for results "tool_call_id" and "name".
  nlohmann::ordered_json messages;
  nlohmann::ordered_json tools;      ///< array of function tools, or null
  bool add_generation_prompt = true; ///< end where the model's answer begins
  /// The last message is an answer's beginning: end right behind its text. Excludes the generation prompt.
  bool continue_final_message = false;
  std::optional<bool> enable_thinking; ///< empty: the template's default
  nlohmann::ordered_json variables;    ///< further variables of the template (chat_template_kwargs), or null
  std::optional<std::int64_t> now;     ///< seconds since 1970, for templates that name the day; empty: the clock
};

/// Where a model's answers hold its reasoning.
struct ReasoningMarks {
  std::string begin, end;     ///< texts around it; empty where the template knows none
  bool opened_by_prompt = false; ///< the prompt ends inside of it: the answer begins with reasoning
};

struct ChatPrompt {
  /// Tokenized by Tokenizer::encode, they are the whole prompt: BOS stands where the template writes it.
  std::vector<TextPart> parts;
  std::vector<std::string> stops; ///< texts that end the answer, besides the tokens that do
  ReasoningMarks reasoning;
  std::vector<std::string> notices; ///< what had to be changed for the template to take the conversation

  std::string text() const; ///< of all parts
};

/// A model's own chat template, or where the file has none a well-known style. Immutable and thread-safe.
class ChatTemplate {
 public:
  /// Of tokenizer.chat_template and its named variants. A template that cannot be read is passed over with a notice in
  /// every prompt. `tokenizer` is the same file's.
  static ChatTemplate from_metadata(const Metadata& metadata, const Tokenizer& tokenizer);
  /// Makes that tokenizer for itself, which takes a while and its memory. Throws as Tokenizer::from_metadata.
  static ChatTemplate from_metadata(const Metadata& metadata);
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;
  ~ChatTemplate();

  /// "the file's own template", or which style is used for want of one.
  const std::string& description() const;
  bool is_from_file() const;

  /// Throws Error(usage) for messages that are none and for what the template itself refuses (its own words),
  /// Error(invalid_model) for a template that fails by itself or takes too much.
  ChatPrompt render(const ChatRequest& request) const;

  Bytes memory_bytes() const;

 private:
  struct State;
  explicit ChatTemplate(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace plimsoll
