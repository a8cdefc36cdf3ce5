#include "file/hf_families.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "file/header_bytes.h"

namespace plimsoll {
namespace {

using Names = std::string_view[];

constexpr Names llama_classes = {"LlamaForCausalLM"};
constexpr Names llama_types = {"llama"};
constexpr Names mistral_classes = {"MistralForCausalLM"};
constexpr Names mistral_types = {"mistral"};
constexpr Names qwen2_classes = {"Qwen2ForCausalLM"};
constexpr Names qwen2_types = {"qwen2"};
constexpr Names qwen3_classes = {"Qwen3ForCausalLM"};
constexpr Names qwen3_types = {"qwen3"};
constexpr Names gemma2_classes = {"Gemma2ForCausalLM"};
constexpr Names gemma2_types = {"gemma2"};
constexpr Names gemma3_classes = {"Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"};
constexpr Names gemma3_types = {"gemma3", "gemma3_text"};
constexpr Names phi3_classes = {"Phi3ForCausalLM"};
constexpr Names phi3_types = {"phi3"};

constexpr Names silu = {"silu", "swish"};
// All names of the tanh approximation.
constexpr Names gelu = {"gelu_pytorch_tanh", "gelu_new", "gelu_fast", "gelu_accurate",
                        "gelu_python_tanh"};

constexpr HfNeutralKey gemma2_neutral[] = {{"use_bidirectional_attention", "false"}};
constexpr HfNeutralKey gemma3_neutral[] = {{"use_bidirectional_attention", "false"},
                                           {"attn_logit_softcapping", ""}};

constexpr HfFamily families[] = {
    {.name = "llama",
     .classes = llama_classes,
     .model_types = llama_types,
     .activation_key = "hidden_act",
     .activations = silu,
     .biases = HfBiases::configured,
     .feed_forward_biases = true,
     .interleaves_heads = true},
    {.name = "llama",
     .classes = mistral_classes,
     .model_types = mistral_types,
     .activation_key = "hidden_act",
     .activations = silu,
     .default_kv_heads = 8,
     .default_window = 4096,
     .windows = HfWindows::all_layers,
     .interleaves_heads = true},
    {.name = "qwen2",
     .classes = qwen2_classes,
     .model_types = qwen2_types,
     .activation_key = "hidden_act",
     .activations = silu,
     .default_kv_heads = 32,
     .default_window = 4096,
     .windows = HfWindows::upper_layers,
     .biases = HfBiases::query_key_value},
    {.name = "qwen3",
     .classes = qwen3_classes,
     .model_types = qwen3_types,
     .activation_key = "hidden_act",
     .activations = silu,
     .default_kv_heads = 32,
     .default_head_dim = 128,
     .default_window = 4096,
     .windows = HfWindows::upper_layers,
     .biases = HfBiases::configured},
    {.name = "gemma2",
     .classes = gemma2_classes,
     .model_types = gemma2_types,
     .activation_key = "hidden_activation",
     .activations = gelu,
     .neutral = gemma2_neutral,
     .default_kv_heads = 4,
     .default_head_dim = 256,
     .default_window = 4096,
     .windows = HfWindows::every_other,
     .biases = HfBiases::configured,
     .norms_lack_one = true,
     .has_post_norms = true,
     .scales_queries = true,
     .ties_by_default = true},
    {.name = "gemma3",
     .classes = gemma3_classes,
     .model_types = gemma3_types,
     .activation_key = "hidden_activation",
     .activations = gelu,
     .neutral = gemma3_neutral,
     .default_heads = 8,
     .default_kv_heads = 4,
     .default_head_dim = 256,
     .default_context = 131072,
     .default_window = 4096,
     .default_epsilon = 1e-6,
     .default_rope_base = 1e6,
     .windows = HfWindows::by_pattern,
     .biases = HfBiases::configured,
     .norms_lack_one = true,
     .has_post_norms = true,
     .scales_queries = true,
     .ties_by_default = true},
    {.name = "phi3",
     .classes = phi3_classes,
     .model_types = phi3_types,
     .activation_key = "hidden_act",
     .activations = silu,
     .windows = HfWindows::all_layers},
};

bool has(std::span<const std::string_view> names, std::string_view name) {
  return std::ranges::find(names, name) != names.end();
}

}  // namespace

const HfFamily& find_hf_family(const JsonKeys& config, const std::string& path) {
  const Json* classes = config.find("architectures");
  std::optional<std::string> name, type = config.string("model_type");
  if (classes && classes->is_array() && !classes->empty()) {
    if (!classes->front().is_string()) config.invalid("architectures", "names");
    name = classes->front().get<std::string>();
  }
  std::string known;
  for (const HfFamily& family : families)
    for (const std::string_view one : name ? family.classes : family.model_types)
      known += fmt::format("{}{}", known.empty() ? "" : ", ", one);
  const auto unknown = [&](std::string_view found) {
    throw Error(ErrorCode::unsupported_model,
                fmt::format("{}: architecture {} is not known", path, plimsoll::quoted(found)),
                "known: " + known);
  };
  // The type says which code runs, the class which head it gets.
  const HfFamily *by_name = nullptr, *by_type = nullptr;
  for (const HfFamily& family : families) {
    if (name && has(family.classes, *name)) by_name = &family;
    if (type && has(family.model_types, *type)) by_type = &family;
  }
  if (name && !by_name) unknown(*name);
  if (!name && !by_type) unknown(type.value_or(""));
  if (name && type && by_name != by_type)
    throw Error(ErrorCode::unsupported_model,
                fmt::format("{}: key \"model_type\" is {} and key \"architectures\" names {}", path,
                            plimsoll::quoted(*type), plimsoll::quoted(*name)),
                "both should be of one family");
  return *(by_type ? by_type : by_name);
}

}  // namespace plimsoll
