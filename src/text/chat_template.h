// Turns a conversation into the prompt that a chat model was trained on.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
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
  /// Of tokenizer.chat_template and its named variants. Throws Error(invalid_model) where the template is no template.
  static ChatTemplate from_metadata(const Metadata& metadata);
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;
  ~ChatTemplate();

  /// "the file's own template", or which style is used for want of one.
  const std::string& description() const;
  bool is_from_file() const;

  /// Throws Error(usage) for messages that are none, and for what the template itself refuses (its own words).
  ChatPrompt render(const ChatRequest& request) const;

  Bytes memory_bytes() const;

 private:
  struct State;
  explicit ChatTemplate(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

struct ChatMessage {
  std::string role;  ///< "system", "user" or "assistant"
  std::string content;
};

/// The well-known prompt formats, recognised by the marks in the file's own chat template: the rows
/// of the table in chat_styles.cpp. Variants that render a plain conversation differently are
/// formats of their own.
enum class ChatFormat {
  plain,
  chatml,
  llama2,
  llama3,
  gemma,
  phi3,
  mistral,  ///< v3-tekken: Nemo and later
  zephyr,
  deepseek,  ///< V3
  deepseek_v2,
  deepseek_r1,         ///< the answer begins with open reasoning
  deepseek_r1_direct,  ///< the answer begins behind empty reasoning
  mistral_v0,
  mistral_v1,
  mistral_v3,
  mistral_v7,
  mistral_v7_tekken,
  llama3_1,  ///< and 3.2, 3.3: a dated header
  llama4,
  qwen1_5,
  qwen2,
  qwen3,
  qwen3_thinking,
  smollm2,
  smollm3,
  hermes_tools,
  phi4,
  granite,
  command_r,
  harmony,  ///< gpt-oss
};
std::string_view name(ChatFormat format);

/// `chat_template` is the file's tokenizer.chat_template, or empty: then ChatFormat::plain ("User:
/// ..." lines).
ChatFormat detect_chat_format(std::string_view chat_template);

/// The prompt (special tokens in their text form, no BOS) that makes the model answer the last
/// message. Where a model has no place for system messages, they go before the text of the user.
/// `date` ("2024-07-26") stands in the few prompts that name the day; empty: today, local time.
/// Throws Error(usage) for another role or a date that is none.
std::string render_chat(ChatFormat format, std::span<const ChatMessage> messages,
                        std::string_view date = {});

/// A text that ends the answer when it appears in it, besides end-of-generation tokens; empty if
/// there is none.
std::string_view chat_stop_text(ChatFormat format);

}  // namespace plimsoll
