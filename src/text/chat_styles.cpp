// The texts are those that each model's published template renders for a plain conversation.
#include "text/chat_styles.h"

#include <algorithm>

namespace plimsoll {
namespace {

using Place = ChatStyle::SystemPlace;
using Reasoning = ChatStyle::Reasoning;

constexpr ChatTurn chatml_system = {"<|im_start|>system\n", "<|im_end|>\n"};
constexpr ChatTurn chatml_user = {"<|im_start|>user\n", "<|im_end|>\n"};
constexpr ChatTurn chatml_assistant = {"<|im_start|>assistant\n", "<|im_end|>\n"};
constexpr ChatTurn llama3_system = {"<|start_header_id|>system<|end_header_id|>\n\n", "<|eot_id|>"};
constexpr ChatTurn llama3_user = {"<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>"};
constexpr ChatTurn llama3_assistant = {"<|start_header_id|>assistant<|end_header_id|>\n\n",
                                       "<|eot_id|>"};
constexpr ChatTurn deepseek_user = {"<｜User｜>", ""};
constexpr ChatTurn deepseek_assistant = {"<｜Assistant｜>", "<｜end▁of▁sentence｜>"};

/// In the order in which they are looked for: the more particular before the more general.
constexpr ChatStyle styles[] = {
    {.format = ChatFormat::harmony,
     .name = "harmony",
     .marks = {"<|start|>", "<|channel|>", "<|message|>"},
     .system = {"<|start|>developer<|message|># Instructions\n\n", "\n\n<|end|>"},
     .user = {"<|start|>user<|message|>", "<|end|>"},
     .assistant = {"<|start|>assistant<|channel|>final<|message|>", "<|end|>"},
     .prologue =
         "<|start|>system<|message|>You are ChatGPT, a large language model trained by "
         "OpenAI.\nKnowledge cutoff: 2024-06\nCurrent date: {date}\n\nReasoning: medium\n\n"
         "# Valid channels: analysis, commentary, final. Channel must be included for every "
         "message.<|end|>",
     .generation = "<|start|>assistant"},
    {.format = ChatFormat::granite,
     .name = "granite",
     .marks = {"<|start_of_role|>"},
     .system = {"<|start_of_role|>system<|end_of_role|>", "<|end_of_text|>\n"},
     .user = {"<|start_of_role|>user<|end_of_role|>", "<|end_of_text|>\n"},
     .assistant = {"<|start_of_role|>assistant<|end_of_role|>", "<|end_of_text|>\n"},
     .default_system = "Knowledge Cutoff Date: April 2024. Today's Date: {long date}. You are "
                       "Granite, developed by IBM. You are a helpful AI assistant.",
     .generation = "<|start_of_role|>assistant<|end_of_role|>",
     .stop = "<|end_of_text|>"},
    {.format = ChatFormat::llama4,
     .name = "llama4",
     .marks = {"<|header_start|>", "<|header_end|>"},
     .system = {"<|header_start|>system<|header_end|>\n\n", "<|eot|>"},
     .user = {"<|header_start|>user<|header_end|>\n\n", "<|eot|>"},
     .assistant = {"<|header_start|>assistant<|header_end|>\n\n", "<|eot|>"},
     .generation = "<|header_start|>assistant<|header_end|>\n\n",
     .stop = "<|eot|>",
     .trims = true},
    {.format = ChatFormat::llama3_1,
     .name = "llama3_1",
     .marks = {"<|start_header_id|>", "<|end_header_id|>", "Cutting Knowledge Date"},
     // The date is the one that the templates name when they are given none.
     .system = {"<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December "
                "2023\nToday Date: 26 Jul 2024\n\n",
                "<|eot_id|>"},
     .user = llama3_user,
     .assistant = llama3_assistant,
     .default_system = "",
     .later_system = llama3_system,
     .generation = llama3_assistant.before,
     .stop = "<|eot_id|>",
     .trims = true},
    {.format = ChatFormat::llama3,
     .name = "llama3",
     .marks = {"<|start_header_id|>", "<|end_header_id|>"},
     .system = llama3_system,
     .user = llama3_user,
     .assistant = llama3_assistant,
     .generation = llama3_assistant.before,
     .stop = "<|eot_id|>",
     .trims = true},
    {.format = ChatFormat::phi4,
     .name = "phi4",
     .marks = {"<|im_start|>", "<|im_sep|>"},
     .system = {"<|im_start|>system<|im_sep|>", "<|im_end|>"},
     .user = {"<|im_start|>user<|im_sep|>", "<|im_end|>"},
     .assistant = {"<|im_start|>assistant<|im_sep|>", "<|im_end|>"},
     .generation = "<|im_start|>assistant<|im_sep|>",
     .stop = "<|im_end|>"},
    // Its texts depend on the system message: see render_smollm3.
    {.format = ChatFormat::smollm3,
     .name = "smollm3",
     .marks = {"<|im_start|>", "## Custom Instructions", "Reasoning Mode"},
     .system = {"<|im_start|>system\n## Metadata\n\nKnowledge Cutoff Date: June 2025\n",
                "<|im_end|>\n"},
     .user = chatml_user,
     .assistant = chatml_assistant,
     .generation = chatml_assistant.before,
     .stop = "<|im_end|>"},
    {.format = ChatFormat::hermes_tools,
     .name = "hermes_tools",
     .marks = {"<|im_start|>", "You are a function calling AI model"},
     .without = "if tools",
     .system = chatml_system,
     .user = chatml_user,
     .assistant = chatml_assistant,
     .prologue =
         "<|im_start|>system\nYou are a function calling AI model. You are provided with function "
         "signatures within <tools></tools> XML tags. You may call one or more functions to assist "
         "with the user query. Don't make assumptions about what values to plug into functions. "
         "Here are the available tools: <tools>  </tools>Use the following pydantic model json "
         "schema for each tool call you will make: {\"properties\": {\"name\": {\"title\": "
         "\"Name\", \"type\": \"string\"}, \"arguments\": {\"title\": \"Arguments\", \"type\": "
         "\"object\"}}, \"required\": [\"name\", \"arguments\"], \"title\": \"FunctionCall\", "
         "\"type\": \"object\"}}\nFor each function call return a json object with function name "
         "and arguments within <tool_call></tool_call> XML tags as follows:\n<tool_call>\n"
         "{\"name\": <function-name>, \"arguments\": <args-dict>}\n</tool_call><|im_end|>\n",
     .generation = chatml_assistant.before,
     .stop = "<|im_end|>"},
    {.format = ChatFormat::qwen3_thinking,
     .name = "qwen3_thinking",
     .marks = {"<|im_start|>assistant\\n<think>\\n'", "</think>"},
     .without = "enable_thinking",
     .system = chatml_system,
     .user = chatml_user,
     .assistant = chatml_assistant,
     .generation = "<|im_start|>assistant\n<think>\n",
     .stop = "<|im_end|>",
     .reasoning = Reasoning::cut_with_newlines},
    {.format = ChatFormat::qwen3,
     .name = "qwen3",
     .marks = {"<|im_start|>", "reasoning_content", "</think>"},
     .system = chatml_system,
     .user = chatml_user,
     .assistant = chatml_assistant,
     .generation = chatml_assistant.before,
     .stop = "<|im_end|>",
     .reasoning = Reasoning::cut_with_newlines},
    {.format = ChatFormat::qwen2,
     .name = "qwen2",
     .marks = {"<|im_start|>",
               "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."},
     .system = chatml_system,
     .user = chatml_user,
     .assistant = chatml_assistant,
     .default_system = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
     .generation = chatml_assistant.before,
     .stop = "<|im_end|>"},
    {.format = ChatFormat::smollm2,
     .name = "smollm2",
     .marks = {"<|im_start|>",
               "You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>"},
     .system = chatml_system,
     .user = chatml_user,
     .assistant = chatml_assistant,
     .default_system = "You are a helpful AI assistant named SmolLM, trained by Hugging Face",
     .generation = chatml_assistant.before,
     .stop = "<|im_end|>"},
    {.format = ChatFormat::qwen1_5,
     .name = "qwen1_5",
     .marks = {"<|im_start|>", "You are a helpful assistant.<|im_end|>"},
     .system = chatml_system,
     .user = chatml_user,
     .assistant = chatml_assistant,
     .default_system = "You are a helpful assistant.",
     .generation = chatml_assistant.before,
     .stop = "<|im_end|>"},
    {.format = ChatFormat::chatml,
     .name = "chatml",
     .marks = {"<|im_start|>"},
     .system = chatml_system,
     .user = chatml_user,
     .assistant = chatml_assistant,
     .generation = chatml_assistant.before,
     .stop = "<|im_end|>"},
    {.format = ChatFormat::mistral_v7,
     .name = "mistral_v7",
     .marks = {"[INST]", "[SYSTEM_PROMPT] "},
     .system = {"[SYSTEM_PROMPT] ", "[/SYSTEM_PROMPT]"},
     .user = {"[INST] ", "[/INST]"},
     .assistant = {" ", "</s>"},
     .generation = ""},
    {.format = ChatFormat::mistral_v7_tekken,
     .name = "mistral_v7_tekken",
     .marks = {"[INST]", "[SYSTEM_PROMPT]"},
     .system = {"[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"},
     .user = {"[INST]", "[/INST]"},
     .assistant = {"", "</s>"},
     .generation = ""},
    {.format = ChatFormat::llama2,
     .name = "llama2",
     .marks = {"[INST]", "<<SYS>>"},
     .user = {"[INST] ", " [/INST]"},
     .assistant = {" ", " </s><s>"},
     .system_place = Place::first_user,
     .inner_system = {"<<SYS>>\n", "\n<</SYS>>\n\n"},
     .generation = "",
     .trims = true},
    {.format = ChatFormat::mistral_v1,
     .name = "mistral_v1",
     .marks = {"' [INST] ' + system_message"},
     .user = {" [INST] ", " [/INST]"},
     .assistant = {" ", "</s>"},
     .system_place = Place::first_user,
     .generation = ""},
    {.format = ChatFormat::mistral,
     .name = "mistral",
     .marks = {"\"[INST]\"", "[AVAILABLE_TOOLS]"},
     .user = {"[INST]", "[/INST]"},
     .assistant = {"", "</s>"},
     .system_place = Place::last_user,
     .generation = ""},
    {.format = ChatFormat::mistral_v3,
     .name = "mistral_v3",
     .marks = {"[INST]", "[AVAILABLE_TOOLS]"},
     .user = {"[INST] ", "[/INST]"},
     .assistant = {" ", "</s>"},
     .system_place = Place::last_user,
     .generation = ""},
    {.format = ChatFormat::mistral_v0,
     .name = "mistral_v0",
     .marks = {"[INST]"},
     .user = {"[INST] ", " [/INST]"},
     .assistant = {"", "</s>"},
     .system_place = Place::first_user,
     .generation = ""},
    {.format = ChatFormat::deepseek_r1_direct,
     .name = "deepseek_r1_direct",
     .marks = {"<｜Assistant｜><think>\\n'", "<｜User｜>", "{% if not enable_thinking %}"},
     .user = deepseek_user,
     .assistant = deepseek_assistant,
     .system_place = Place::front,
     .generation = "<｜Assistant｜><think>\n</think>",
     .reasoning = Reasoning::cut},
    {.format = ChatFormat::deepseek_r1,
     .name = "deepseek_r1",
     .marks = {"<｜Assistant｜><think>\\n'", "<｜User｜>"},
     .user = deepseek_user,
     .assistant = deepseek_assistant,
     .system_place = Place::front,
     .generation = "<｜Assistant｜><think>\n",
     .reasoning = Reasoning::cut},
    {.format = ChatFormat::deepseek,
     .name = "deepseek",
     .marks = {"<｜Assistant｜>", "<｜User｜>"},
     .user = deepseek_user,
     .assistant = deepseek_assistant,
     .system_place = Place::front,
     .generation = deepseek_assistant.before},
    {.format = ChatFormat::deepseek_v2,
     .name = "deepseek_v2",
     .marks = {"'Assistant: ' + message['content'] + eos_token"},
     .system = {"", "\n\n"},
     .user = {"User: ", "\n\n"},
     .assistant = {"Assistant: ", "<｜end▁of▁sentence｜>"},
     .generation = "Assistant:",
     .stop = "\n\nUser:"},
    {.format = ChatFormat::gemma,
     .name = "gemma",
     .marks = {"<start_of_turn>"},
     .user = {"<start_of_turn>user\n", "<end_of_turn>\n"},
     .assistant = {"<start_of_turn>model\n", "<end_of_turn>\n"},
     .system_place = Place::first_user,
     .generation = "<start_of_turn>model\n",
     .stop = "<end_of_turn>",
     .trims = true},
    {.format = ChatFormat::phi3,
     .name = "phi3",
     .marks = {"<|assistant|>", "<|end|>"},
     .system = {"<|system|>\n", "<|end|>\n"},
     .user = {"<|user|>\n", "<|end|>\n"},
     .assistant = {"<|assistant|>\n", "<|end|>\n"},
     .generation = "<|assistant|>\n",
     .stop = "<|end|>"},
    {.format = ChatFormat::zephyr,
     .name = "zephyr",
     .marks = {"<|user|>", "<|assistant|>", "eos_token"},
     .without = "[gMASK]",
     .system = {"<|system|>\n", "</s>\n"},
     .user = {"<|user|>\n", "</s>\n"},
     .assistant = {"<|assistant|>\n", "</s>\n"},
     .generation = "<|assistant|>\n",
     .stop = "<|user|>"},
    {.format = ChatFormat::command_r,
     .name = "command_r",
     .marks = {"<|START_OF_TURN_TOKEN|>", "<|USER_TOKEN|>"},
     .system = {"<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>", "<|END_OF_TURN_TOKEN|>"},
     .user = {"<|START_OF_TURN_TOKEN|><|USER_TOKEN|>", "<|END_OF_TURN_TOKEN|>"},
     .assistant = {"<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>", "<|END_OF_TURN_TOKEN|>"},
     .generation = "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
     .stop = "<|END_OF_TURN_TOKEN|>",
     .trims = true},
    // Last, since it is what is left when no mark is found.
    {.format = ChatFormat::plain,
     .name = "plain",
     .marks = {},
     .system = {"", "\n\n"},
     .user = {"User: ", "\n"},
     .assistant = {"Assistant: ", "\n"},
     .generation = "Assistant:",
     .stop = "\nUser:"},
};

bool matches(const ChatStyle& style, std::string_view chat_template) {
  const auto contains = [&](std::string_view mark) {
    return chat_template.find(mark) != std::string_view::npos;
  };
  return std::all_of(style.marks.begin(), style.marks.end(), contains) &&
         (style.without.empty() || !contains(style.without));
}

}  // namespace

const std::string_view smollm3_reasoning_instructions =
    "You are a helpful AI assistant named SmolLM, trained by Hugging Face. Your role as an "
    "assistant involves thoroughly exploring questions through a systematic thinking process "
    "before providing the final precise and accurate solutions. This requires engaging in a "
    "comprehensive cycle of analysis, summarizing, exploration, reassessment, reflection, "
    "backtracking, and iteration to develop well-considered thinking process. Please structure "
    "your response into two main sections: Thought and Solution using the specified format: "
    "<think> Thought section </think> Solution section. In the Thought section, detail your "
    "reasoning process in steps. Each step should include detailed considerations such as "
    "analysing questions, summarizing relevant findings, brainstorming new ideas, verifying the "
    "accuracy of the current steps, refining any errors, and revisiting previous steps. In the "
    "Solution section, based on various attempts, explorations, and reflections from the Thought "
    "section, systematically present the final solution that you deem correct. The Solution "
    "section should be logical, accurate, and concise and detail necessary steps needed to reach "
    "the conclusion.";
const std::string_view smollm3_direct_instructions =
    "You are a helpful AI assistant named SmolLM, trained by Hugging Face.";

const ChatStyle& chat_style(ChatFormat format) {
  return *std::find_if(std::begin(styles), std::prev(std::end(styles)),
                       [&](const ChatStyle& style) { return style.format == format; });
}

const ChatStyle& find_chat_style(std::string_view chat_template) {
  return *std::find_if(std::begin(styles), std::prev(std::end(styles)),
                       [&](const ChatStyle& style) { return matches(style, chat_template); });
}

}  // namespace plimsoll
