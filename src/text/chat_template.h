// Turns a conversation into the prompt text that a chat model was trained on.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace plimsoll {

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
