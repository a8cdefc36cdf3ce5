#include "text/chat_styles.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"

namespace plimsoll {
namespace {

/// In the order in which they are looked for: the more particular before the more general.
constexpr ChatStyle styles[] = {
    {.name = "Llama 3",
     .tokens = {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"},
     .system = {"<|start_header_id|>system<|end_header_id|>\n\n", "<|eot_id|>"},
     .user = {"<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>"},
     .assistant = {"<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>"},
     .generation = "<|start_header_id|>assistant<|end_header_id|>\n\n"},
    {.name = "ChatML",
     .tokens = {"<|im_start|>", "<|im_end|>"},
     .system = {"<|im_start|>system\n", "<|im_end|>\n"},
     .user = {"<|im_start|>user\n", "<|im_end|>\n"},
     .assistant = {"<|im_start|>assistant\n", "<|im_end|>\n"},
     .generation = "<|im_start|>assistant\n"},
    {.name = "Gemma",
     .tokens = {"<start_of_turn>", "<end_of_turn>"},
     .user = {"<start_of_turn>user\n", "<end_of_turn>\n"},
     .assistant = {"<start_of_turn>model\n", "<end_of_turn>\n"},
     .system_in_user_turn = true,
     .generation = "<start_of_turn>model\n"},
    {.name = "Granite",
     .tokens = {"<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>"},
     .system = {"<|start_of_role|>system<|end_of_role|>", "<|end_of_text|>\n"},
     .user = {"<|start_of_role|>user<|end_of_role|>", "<|end_of_text|>\n"},
     .assistant = {"<|start_of_role|>assistant<|end_of_role|>", "<|end_of_text|>\n"},
     .generation = "<|start_of_role|>assistant<|end_of_role|>"},
    {.name = "Phi 3",
     .tokens = {"<|user|>", "<|assistant|>", "<|end|>"},
     .system = {"<|system|>\n", "<|end|>\n"},
     .user = {"<|user|>\n", "<|end|>\n"},
     .assistant = {"<|assistant|>\n", "<|end|>\n"},
     .generation = "<|assistant|>\n"},
    {.name = "DeepSeek",
     .tokens = {"<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>"},
     .system = {"", ""},
     .user = {"<｜User｜>", ""},
     .assistant = {"<｜Assistant｜>", "<｜end▁of▁sentence｜>"},
     .generation = "<｜Assistant｜>"},
    {.name = "Command R",
     .tokens = {"<|START_OF_TURN_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>"},
     .system = {"<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>", "<|END_OF_TURN_TOKEN|>"},
     .user = {"<|START_OF_TURN_TOKEN|><|USER_TOKEN|>", "<|END_OF_TURN_TOKEN|>"},
     .assistant = {"<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>", "<|END_OF_TURN_TOKEN|>"},
     .generation = "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>"},
    {.name = "Mistral",
     .tokens = {"[INST]", "[/INST]", "</s>"},
     .user = {"[INST]", "[/INST]"},
     .assistant = {"", "</s>"},
     .system_in_user_turn = true,
     .generation = ""},
    // Last, since every vocabulary has all of its tokens.
    {.name = "plain",
     .tokens = {},
     .system = {"", "\n\n"},
     .user = {"User: ", "\n"},
     .assistant = {"Assistant: ", "\n"},
     .generation = "Assistant:",
     .stop = "\nUser:"},
};

enum class Role { system, user, assistant };

Role role_of(const ChatMessage& message) {
  if (message.role == "system") return Role::system;
  if (message.role == "user") return Role::user;
  if (message.role == "assistant") return Role::assistant;
  throw Error(ErrorCode::usage, fmt::format("\"{}\" is not a role that a model without chat template knows", message.role),
              "roles are system, user and assistant");
}

}  // namespace

const ChatStyle& find_chat_style(const Tokenizer& tokenizer) {
  const auto has = [&](std::string_view token) { return token.empty() || tokenizer.find(token); };
  return *std::ranges::find_if(styles, [&](const ChatStyle& style) {
    return std::ranges::all_of(style.tokens, has);
  });
}

std::vector<TextPart> render_in_style(const ChatStyle& style, std::span<const ChatMessage> messages,
                                      std::string_view bos, bool add_generation_prompt, bool open_last) {
  std::vector<TextPart> parts;
  const auto append = [&](std::string_view text, bool is_input) {
    if (text.empty()) return;
    if (!parts.empty() && parts.back().is_input == is_input)
      parts.back().text += text;
    else
      parts.push_back({std::string(text), is_input});
  };
  append(bos, false);
  std::string waiting;  // system texts for the next user's turn
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const Role role = role_of(messages[i]);
    const std::string& text = messages[i].content;
    if (role == Role::system && style.system_in_user_turn) {
      waiting += text + "\n\n";
      continue;
    }
    const ChatTurn& turn = role == Role::system ? style.system : role == Role::user ? style.user : style.assistant;
    append(turn.before, false);
    if (role == Role::user) append(std::exchange(waiting, {}), true);
    append(text, true);
    if (!open_last || i + 1 < messages.size()) append(turn.after, false);
  }
  if (add_generation_prompt && !open_last) append(style.generation, false);
  return parts;
}

}  // namespace plimsoll
