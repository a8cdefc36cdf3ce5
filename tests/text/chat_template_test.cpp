// The expected prompts were rendered from the models' published templates by Python's Jinja2,
// without BOS.
#include "text/chat_template.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "base/error.h"

namespace plimsoll {
namespace {

using Messages = std::vector<ChatMessage>;

const Messages with_system = {
    {"system", "Be brief."}, {"user", " Hi\nthere "}, {"assistant", "Hello! "}, {"user", "Bye"}};
const Messages without_system = {{"user", "Hi"}};
const Messages with_reasoning = {
    {"user", "Hi"}, {"assistant", "<think>\nhm\n</think>\n\nHello!"}, {"user", "Bye"}};

struct Case {
  const char* model;
  ChatFormat format;
  const Messages& messages;
  const char* prompt;
};

const Case cases[] = {
    {"HuggingFaceTB-SmolLM3-3B", ChatFormat::smollm3, with_system,
     "<|im_start|>system\n## Metadata\n\nKnowledge Cutoff Date: June 2025\nReasoning "
     "Mode: /think\n\n## Custom Instructions\n\nBe brief.\n\n<|im_end|>\n<|im_start|>user\n "
     "Hi\nthere <|im_end|>\n<|im_start|>assistant\nHello! <|im_end|>\n<|im_start|>user\n"
     "Bye<|im_end|>\n<|im_start|>assistant\n"},
    {"HuggingFaceTB-SmolLM3-3B", ChatFormat::smollm3, without_system,
     "<|im_start|>system\n## Metadata\n\nKnowledge Cutoff Date: June 2025\nReasoning "
     "Mode: /think\n\n## Custom Instructions\n\nYou are a helpful AI assistant named "
     "SmolLM, trained by Hugging Face. Your role as an assistant involves thoroughly "
     "exploring questions through a systematic thinking process before providing the "
     "final precise and accurate solutions. This requires engaging in a comprehensive "
     "cycle of analysis, summarizing, exploration, reassessment, reflection, "
     "backtracking, and iteration to develop well-considered thinking process. Please "
     "structure your response into two main sections: Thought and Solution using the "
     "specified format: <think> Thought section </think> Solution section. In the "
     "Thought section, detail your reasoning process in steps. Each step should "
     "include detailed considerations such as analysing questions, summarizing "
     "relevant findings, brainstorming new ideas, verifying the accuracy of the "
     "current steps, refining any errors, and revisiting previous steps. In the "
     "Solution section, based on various attempts, explorations, and reflections from "
     "the Thought section, systematically present the final solution that you deem "
     "correct. The Solution section should be logical, accurate, and concise and "
     "detail necessary steps needed to reach the conclusion.\n\n<|im_end|>\n"
     "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"},
    {"HuggingFaceTB-SmolLM3-3B", ChatFormat::smollm3, with_reasoning,
     "<|im_start|>system\n## Metadata\n\nKnowledge Cutoff Date: June 2025\nReasoning "
     "Mode: /think\n\n## Custom Instructions\n\nYou are a helpful AI assistant named "
     "SmolLM, trained by Hugging Face. Your role as an assistant involves thoroughly "
     "exploring questions through a systematic thinking process before providing the "
     "final precise and accurate solutions. This requires engaging in a comprehensive "
     "cycle of analysis, summarizing, exploration, reassessment, reflection, "
     "backtracking, and iteration to develop well-considered thinking process. Please "
     "structure your response into two main sections: Thought and Solution using the "
     "specified format: <think> Thought section </think> Solution section. In the "
     "Thought section, detail your reasoning process in steps. Each step should "
     "include detailed considerations such as analysing questions, summarizing "
     "relevant findings, brainstorming new ideas, verifying the accuracy of the "
     "current steps, refining any errors, and revisiting previous steps. In the "
     "Solution section, based on various attempts, explorations, and reflections from "
     "the Thought section, systematically present the final solution that you deem "
     "correct. The Solution section should be logical, accurate, and concise and "
     "detail necessary steps needed to reach the conclusion.\n\n<|im_end|>\n"
     "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think>\nhm\n</think>\n\n"
     "Hello!<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n"},
    {"NousResearch-Hermes-3-Llama-3.1-8B-tool_use", ChatFormat::hermes_tools, with_system,
     "<|im_start|>system\nYou are a function calling AI model. You are provided with "
     "function signatures within <tools></tools> XML tags. You may call one or more "
     "functions to assist with the user query. Don't make assumptions about what "
     "values to plug into functions. Here are the available tools: <tools>  "
     "</tools>Use the following pydantic model json schema for each tool call you "
     "will make: {\"properties\": {\"name\": {\"title\": \"Name\", \"type\": \"string\"}, "
     "\"arguments\": {\"title\": \"Arguments\", \"type\": \"object\"}}, \"required\": [\"name\", "
     "\"arguments\"], \"title\": \"FunctionCall\", \"type\": \"object\"}}\nFor each function "
     "call return a json object with function name and arguments within "
     "<tool_call></tool_call> XML tags as follows:\n<tool_call>\n{\"name\": "
     "<function-name>, \"arguments\": <args-dict>}\n</tool_call><|im_end|>\n"
     "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n Hi\nthere <|im_end|>\n"
     "<|im_start|>assistant\nHello! <|im_end|>\n<|im_start|>user\nBye<|im_end|>\n"
     "<|im_start|>assistant\n"},
    {"NousResearch-Hermes-3-Llama-3.1-8B-tool_use", ChatFormat::hermes_tools, without_system,
     "<|im_start|>system\nYou are a function calling AI model. You are provided with "
     "function signatures within <tools></tools> XML tags. You may call one or more "
     "functions to assist with the user query. Don't make assumptions about what "
     "values to plug into functions. Here are the available tools: <tools>  "
     "</tools>Use the following pydantic model json schema for each tool call you "
     "will make: {\"properties\": {\"name\": {\"title\": \"Name\", \"type\": \"string\"}, "
     "\"arguments\": {\"title\": \"Arguments\", \"type\": \"object\"}}, \"required\": [\"name\", "
     "\"arguments\"], \"title\": \"FunctionCall\", \"type\": \"object\"}}\nFor each function "
     "call return a json object with function name and arguments within "
     "<tool_call></tool_call> XML tags as follows:\n<tool_call>\n{\"name\": "
     "<function-name>, \"arguments\": <args-dict>}\n</tool_call><|im_end|>\n"
     "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"},
    {"NousResearch-Hermes-3-Llama-3.1-8B-tool_use", ChatFormat::hermes_tools, with_reasoning,
     "<|im_start|>system\nYou are a function calling AI model. You are provided with "
     "function signatures within <tools></tools> XML tags. You may call one or more "
     "functions to assist with the user query. Don't make assumptions about what "
     "values to plug into functions. Here are the available tools: <tools>  "
     "</tools>Use the following pydantic model json schema for each tool call you "
     "will make: {\"properties\": {\"name\": {\"title\": \"Name\", \"type\": \"string\"}, "
     "\"arguments\": {\"title\": \"Arguments\", \"type\": \"object\"}}, \"required\": [\"name\", "
     "\"arguments\"], \"title\": \"FunctionCall\", \"type\": \"object\"}}\nFor each function "
     "call return a json object with function name and arguments within "
     "<tool_call></tool_call> XML tags as follows:\n<tool_call>\n{\"name\": "
     "<function-name>, \"arguments\": <args-dict>}\n</tool_call><|im_end|>\n"
     "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think>\nhm\n</think>\n\n"
     "Hello!<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n"},
    {"Qwen-Qwen2.5-7B-Instruct", ChatFormat::qwen2, with_system,
     "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n Hi\nthere <|im_end|>\n"
     "<|im_start|>assistant\nHello! <|im_end|>\n<|im_start|>user\nBye<|im_end|>\n"
     "<|im_start|>assistant\n"},
    {"Qwen-Qwen2.5-7B-Instruct", ChatFormat::qwen2, without_system,
     "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful "
     "assistant.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"},
    {"Qwen-Qwen2.5-7B-Instruct", ChatFormat::qwen2, with_reasoning,
     "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful "
     "assistant.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
     "<think>\nhm\n</think>\n\nHello!<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n"
     "<|im_start|>assistant\n"},
    {"Qwen-Qwen3-0.6B", ChatFormat::qwen3, with_system,
     "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n Hi\nthere <|im_end|>\n"
     "<|im_start|>assistant\nHello! <|im_end|>\n<|im_start|>user\nBye<|im_end|>\n"
     "<|im_start|>assistant\n"},
    {"Qwen-Qwen3-0.6B", ChatFormat::qwen3, without_system,
     "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"},
    {"Qwen-Qwen3-0.6B", ChatFormat::qwen3, with_reasoning,
     "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>\n"
     "<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n"},
    {"deepseek-ai-DeepSeek-R1-Distill-Qwen-32B", ChatFormat::deepseek_r1_direct, with_system,
     "Be brief.<｜User｜> Hi\nthere <｜Assistant｜>Hello! "
     "<｜end▁of▁sentence｜><｜User｜>Bye<｜Assistant｜><think>\n</think>"},
    {"deepseek-ai-DeepSeek-R1-Distill-Qwen-32B", ChatFormat::deepseek_r1_direct, without_system,
     "<｜User｜>Hi<｜Assistant｜><think>\n</think>"},
    {"deepseek-ai-DeepSeek-R1-Distill-Qwen-32B", ChatFormat::deepseek_r1_direct, with_reasoning,
     "<｜User｜>Hi<｜Assistant｜>\n\n"
     "Hello!<｜end▁of▁sentence｜><｜User｜>Bye<｜Assistant｜><think>\n</think>"},
    {"google-gemma-2-2b-it", ChatFormat::gemma, without_system,
     "<start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n"},
    {"google-gemma-2-2b-it", ChatFormat::gemma, with_reasoning,
     "<start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n<think>\nhm\n</think>\n\n"
     "Hello!<end_of_turn>\n<start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\n"},
    {"ibm-granite-granite-3.3-2B-Instruct", ChatFormat::granite, with_system,
     "<|start_of_role|>system<|end_of_role|>Be brief.<|end_of_text|>\n"
     "<|start_of_role|>user<|end_of_role|> Hi\nthere <|end_of_text|>\n"
     "<|start_of_role|>assistant<|end_of_role|>Hello! <|end_of_text|>\n"
     "<|start_of_role|>user<|end_of_role|>Bye<|end_of_text|>\n"
     "<|start_of_role|>assistant<|end_of_role|>"},
    {"ibm-granite-granite-3.3-2B-Instruct", ChatFormat::granite, without_system,
     "<|start_of_role|>system<|end_of_role|>Knowledge Cutoff Date: April 2024. "
     "Today's Date: July 26, 2024. You are Granite, developed by IBM. You are a "
     "helpful AI assistant.<|end_of_text|>\n"
     "<|start_of_role|>user<|end_of_role|>Hi<|end_of_text|>\n"
     "<|start_of_role|>assistant<|end_of_role|>"},
    {"ibm-granite-granite-3.3-2B-Instruct", ChatFormat::granite, with_reasoning,
     "<|start_of_role|>system<|end_of_role|>Knowledge Cutoff Date: April 2024. "
     "Today's Date: July 26, 2024. You are Granite, developed by IBM. You are a "
     "helpful AI assistant.<|end_of_text|>\n"
     "<|start_of_role|>user<|end_of_role|>Hi<|end_of_text|>\n"
     "<|start_of_role|>assistant<|end_of_role|><think>\nhm\n</think>\n\n"
     "Hello!<|end_of_text|>\n<|start_of_role|>user<|end_of_role|>Bye<|end_of_text|>\n"
     "<|start_of_role|>assistant<|end_of_role|>"},
    {"meta-llama-Llama-3.1-8B-Instruct", ChatFormat::llama3_1, with_system,
     "<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December "
     "2023\nToday Date: 26 Jul 2024\n\nBe "
     "brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi\n"
     "there<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
     "Hello!<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
     "Bye<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"},
    {"meta-llama-Llama-3.1-8B-Instruct", ChatFormat::llama3_1, without_system,
     "<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December "
     "2023\nToday Date: 26 Jul 2024\n\n"
     "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
     "Hi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"},
    {"meta-llama-Llama-3.1-8B-Instruct", ChatFormat::llama3_1, with_reasoning,
     "<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December "
     "2023\nToday Date: 26 Jul 2024\n\n"
     "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
     "Hi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n<think>\nhm\n</think>\n\n"
     "Hello!<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
     "Bye<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"},
    {"meta-llama-Llama-3.2-3B-Instruct", ChatFormat::llama3_1, with_system,
     "<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December "
     "2023\nToday Date: 26 Jul 2024\n\nBe "
     "brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi\n"
     "there<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
     "Hello!<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
     "Bye<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"},
    {"meta-llama-Llama-3.2-3B-Instruct", ChatFormat::llama3_1, without_system,
     "<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December "
     "2023\nToday Date: 26 Jul 2024\n\n"
     "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
     "Hi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"},
    {"meta-llama-Llama-3.2-3B-Instruct", ChatFormat::llama3_1, with_reasoning,
     "<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December "
     "2023\nToday Date: 26 Jul 2024\n\n"
     "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
     "Hi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n<think>\nhm\n</think>\n\n"
     "Hello!<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
     "Bye<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"},
    {"microsoft-Phi-3.5-mini-instruct", ChatFormat::phi3, with_system,
     "<|system|>\nBe brief.<|end|>\n<|user|>\n Hi\nthere <|end|>\n<|assistant|>\nHello! "
     "<|end|>\n<|user|>\nBye<|end|>\n<|assistant|>\n"},
    {"microsoft-Phi-3.5-mini-instruct", ChatFormat::phi3, without_system,
     "<|user|>\nHi<|end|>\n<|assistant|>\n"},
    {"microsoft-Phi-3.5-mini-instruct", ChatFormat::phi3, with_reasoning,
     "<|user|>\nHi<|end|>\n<|assistant|>\n<think>\nhm\n</think>\n\nHello!<|end|>\n<|user|>\n"
     "Bye<|end|>\n<|assistant|>\n"},
    {"mistralai-Mistral-Nemo-Instruct-2407", ChatFormat::mistral, with_system,
     "[INST] Hi\nthere [/INST]Hello! </s>[INST]Be brief.\n\nBye[/INST]"},
    {"mistralai-Mistral-Nemo-Instruct-2407", ChatFormat::mistral, without_system,
     "[INST]Hi[/INST]"},
    {"mistralai-Mistral-Nemo-Instruct-2407", ChatFormat::mistral, with_reasoning,
     "[INST]Hi[/INST]<think>\nhm\n</think>\n\nHello!</s>[INST]Bye[/INST]"},
    {"openai-gpt-oss-120b", ChatFormat::harmony, with_system,
     "<|start|>system<|message|>You are ChatGPT, a large language model trained by "
     "OpenAI.\nKnowledge cutoff: 2024-06\nCurrent date: 2024-07-26\n\nReasoning: medium\n\n"
     "# Valid channels: analysis, commentary, final. Channel must be included for "
     "every message.<|end|><|start|>developer<|message|># Instructions\n\nBe brief.\n\n"
     "<|end|><|start|>user<|message|> Hi\nthere "
     "<|end|><|start|>assistant<|channel|>final<|message|>Hello! "
     "<|end|><|start|>user<|message|>Bye<|end|><|start|>assistant"},
    {"openai-gpt-oss-120b", ChatFormat::harmony, without_system,
     "<|start|>system<|message|>You are ChatGPT, a large language model trained by "
     "OpenAI.\nKnowledge cutoff: 2024-06\nCurrent date: 2024-07-26\n\nReasoning: medium\n\n"
     "# Valid channels: analysis, commentary, final. Channel must be included for "
     "every message.<|end|><|start|>user<|message|>Hi<|end|><|start|>assistant"},
    {"openai-gpt-oss-120b", ChatFormat::harmony, with_reasoning,
     "<|start|>system<|message|>You are ChatGPT, a large language model trained by "
     "OpenAI.\nKnowledge cutoff: 2024-06\nCurrent date: 2024-07-26\n\nReasoning: medium\n\n"
     "# Valid channels: analysis, commentary, final. Channel must be included for "
     "every "
     "message.<|end|><|start|>user<|message|>Hi<|end|><|start|>assistant<|channel|>final<|message|>"
     "<think>\n"
     "hm\n</think>\n\nHello!<|end|><|start|>user<|message|>Bye<|end|><|start|>assistant"},
};

TEST(ChatTemplate, RendersAsPublishedTemplates) {
  for (const Case& c : cases) {
    EXPECT_EQ(render_chat(c.format, c.messages, "2024-07-26"), c.prompt) << c.model;
  }
}

TEST(ChatTemplate, DetectsPublishedTemplates) {
  for (const Case& c : cases) {
    const std::string path = std::string(PLIMSOLL_SHARED) + "/templates/" + c.model + ".jinja";
    if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not here";
    std::ifstream in(path);
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    EXPECT_EQ(name(detect_chat_format(text)), name(c.format)) << c.model;
  }
}

TEST(ChatTemplate, DetectsByMarks) {
  EXPECT_EQ(detect_chat_format(""), ChatFormat::plain);
  EXPECT_EQ(detect_chat_format("{{ messages }}"), ChatFormat::plain);
  EXPECT_EQ(detect_chat_format("'<|im_start|>' + message['role']"), ChatFormat::chatml);
  EXPECT_EQ(detect_chat_format("'<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n'"),
            ChatFormat::qwen1_5);
  EXPECT_EQ(detect_chat_format("'<|im_start|>user<|im_sep|>'"), ChatFormat::phi4);
  EXPECT_EQ(detect_chat_format("'<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'"),
            ChatFormat::llama3);
  EXPECT_EQ(detect_chat_format("'<<SYS>>\n' ... bos_token + '[INST] '"), ChatFormat::llama2);
  EXPECT_EQ(detect_chat_format("{{ '[INST] ' + message['content'] + ' [/INST]' }}"),
            ChatFormat::mistral_v0);
  EXPECT_EQ(detect_chat_format("[AVAILABLE_TOOLS] {{ \"[INST] \" }}"), ChatFormat::mistral_v3);
  EXPECT_EQ(detect_chat_format("'<|user|>\n' + content + eos_token ... '<|assistant|>'"),
            ChatFormat::zephyr);
  EXPECT_EQ(detect_chat_format("'<｜User｜>' ... '<｜Assistant｜>'"), ChatFormat::deepseek);
  EXPECT_EQ(detect_chat_format("'<｜User｜>' ... {{'<｜Assistant｜><think>\\n'}}"),
            ChatFormat::deepseek_r1);
}

TEST(ChatTemplate, RendersFormatsWithoutFiles) {
  EXPECT_EQ(render_chat(ChatFormat::plain, with_system),
            "Be brief.\n\nUser:  Hi\nthere \nAssistant: Hello! \nUser: Bye\nAssistant:");
  EXPECT_EQ(render_chat(ChatFormat::chatml, with_system),
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n Hi\nthere <|im_end|>\n"
            "<|im_start|>assistant\nHello! <|im_end|>\n<|im_start|>user\nBye<|im_end|>\n"
            "<|im_start|>assistant\n");
  EXPECT_EQ(render_chat(ChatFormat::llama2, with_system),
            "[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi\nthere [/INST] Hello! </s><s>[INST] Bye "
            "[/INST]");
  EXPECT_EQ(render_chat(ChatFormat::llama3, with_system),
            "<|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nHi\nthere<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\nHello!<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n");
  EXPECT_EQ(render_chat(ChatFormat::zephyr, with_system),
            "<|system|>\nBe brief.</s>\n<|user|>\n Hi\nthere </s>\n<|assistant|>\nHello! </s>\n"
            "<|user|>\nBye</s>\n<|assistant|>\n");
  // Gemma's own template refuses system messages.
  EXPECT_EQ(render_chat(ChatFormat::gemma, with_system),
            "<start_of_turn>user\nBe brief.\n\nHi\nthere<end_of_turn>\n<start_of_turn>model\n"
            "Hello!<end_of_turn>\n<start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\n");
  EXPECT_EQ(render_chat(ChatFormat::deepseek, with_system),
            "Be brief.<｜User｜> Hi\nthere <｜Assistant｜>Hello! <｜end▁of▁sentence｜><｜User｜>Bye"
            "<｜Assistant｜>");
}

TEST(ChatTemplate, TurnsSmolLm3ReasoningOff) {
  const Messages messages = {
      {"system", "Be brief. /no_think"}, {"user", "Hi"}, {"assistant", "\nHo"}, {"user", "Bye"}};
  EXPECT_EQ(render_chat(ChatFormat::smollm3, messages),
            "<|im_start|>system\n## Metadata\n\nKnowledge Cutoff Date: June 2025\nReasoning Mode: "
            "/no_think\n\n## Custom Instructions\n\nBe brief.\n\n<|im_end|>\n<|im_start|>user\n"
            "Hi<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\nHo<|im_end|>\n"
            "<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n");
}

TEST(ChatTemplate, KeepsEverySystemMessage) {
  const Messages messages = {
      {"system", "One."}, {"user", "Hi"}, {"system", "Two."}, {"user", "Ho"}};
  for (int format = 0; format <= static_cast<int>(ChatFormat::harmony); ++format) {
    const std::string prompt = render_chat(static_cast<ChatFormat>(format), messages, "2024-07-26");
    EXPECT_NE(prompt.find("One."), std::string::npos) << format;
    EXPECT_NE(prompt.find("Two."), std::string::npos) << format;
    EXPECT_EQ(name(static_cast<ChatFormat>(format)).empty(), false);
    EXPECT_EQ(prompt.find("date}"), std::string::npos) << format;
  }
}

TEST(ChatTemplate, RefusesUnknownRolesAndDates) {
  const auto code_of = [](const auto& action) {
    try {
      action();
    } catch (const Error& error) {
      return error.code();
    }
    return ErrorCode::internal;
  };
  const Messages unknown = {{"wizard", "Hi"}};
  EXPECT_EQ(code_of([&] { render_chat(ChatFormat::chatml, unknown); }), ErrorCode::usage);
  for (const char* date : {"yesterday", "2024-13-01", "2024-7-26", "20x4-07-26"}) {
    EXPECT_EQ(code_of([&] { render_chat(ChatFormat::harmony, without_system, date); }),
              ErrorCode::usage);
  }
}

TEST(ChatTemplate, NamesTheTextThatEndsAnAnswer) {
  EXPECT_EQ(chat_stop_text(ChatFormat::chatml), "<|im_end|>");
  EXPECT_EQ(chat_stop_text(ChatFormat::plain), "\nUser:");
  EXPECT_EQ(chat_stop_text(ChatFormat::deepseek), "");
}

}  // namespace
}  // namespace plimsoll
