#include "file/hf_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.h"
#include "file/header_bytes.h"

namespace plimsoll {
namespace {

constexpr std::string_view llama_classes[] = {"LlamaForCausalLM", "MistralForCausalLM"};
constexpr std::string_view llama_types[] = {"llama", "mistral"};
constexpr std::string_view qwen2_classes[] = {"Qwen2ForCausalLM"};
constexpr std::string_view qwen2_types[] = {"qwen2"};
constexpr std::string_view qwen3_classes[] = {"Qwen3ForCausalLM"};
constexpr std::string_view qwen3_types[] = {"qwen3"};
constexpr std::string_view gemma2_classes[] = {"Gemma2ForCausalLM"};
constexpr std::string_view gemma2_types[] = {"gemma2"};
constexpr std::string_view gemma3_classes[] = {"Gemma3ForCausalLM",
                                               "Gemma3ForConditionalGeneration"};
constexpr std::string_view gemma3_types[] = {"gemma3", "gemma3_text"};
constexpr std::string_view phi3_classes[] = {"Phi3ForCausalLM"};
constexpr std::string_view phi3_types[] = {"phi3"};
constexpr std::string_view gelu = "gelu_pytorch_tanh";

constexpr HfFamily families[] = {
    {.name = "llama",
     .classes = llama_classes,
     .model_types = llama_types,
     .activation = "silu",
     .interleaves_heads = true},
    {.name = "qwen2", .classes = qwen2_classes, .model_types = qwen2_types, .activation = "silu"},
    {.name = "qwen3", .classes = qwen3_classes, .model_types = qwen3_types, .activation = "silu"},
    {.name = "gemma2",
     .classes = gemma2_classes,
     .model_types = gemma2_types,
     .activation = gelu,
     .norms_lack_one = true,
     .has_post_norms = true},
    {.name = "gemma3",
     .classes = gemma3_classes,
     .model_types = gemma3_types,
     .activation = gelu,
     .norms_lack_one = true,
     .has_post_norms = true},
    {.name = "phi3", .classes = phi3_classes, .model_types = phi3_types, .activation = "silu"},
};

const HfFamily& find_family(const JsonKeys& config, const std::string& path) {
  std::string found = config.string("model_type").value_or("");
  const Json* classes = config.find("architectures");
  const bool has_class = classes && classes->is_array() && !classes->empty();
  if (has_class) {
    if (!classes->front().is_string()) config.invalid("architectures", "names");
    found = classes->front().get<std::string>();
  }
  std::string known;
  for (const HfFamily& family : families) {
    const auto names = has_class ? family.classes : family.model_types;
    if (std::ranges::find(names, found) != names.end()) return family;
    for (const std::string_view name : names)
      known += fmt::format("{}{}", known.empty() ? "" : ", ", name);
  }
  throw Error(ErrorCode::unsupported_model,
              fmt::format("{}: architecture {} is not known", path, plimsoll::quoted(found)),
              "known: " + known);
}

/// Adds the hyper-parameters of one family, under its prefix.
class ConfigReader {
 public:
  ConfigReader(const JsonKeys& config, const HfFamily& family, MetadataBuilder& metadata)
      : config_(config), family_(family), metadata_(metadata) {}

  HfModel read() {
    const bool is_gemma3 = family_.name == "gemma3";
    // What Gemma 3's folders leave out where it is as in its first model.
    const auto count = [&](std::string_view key, std::int64_t gemma3_default) {
      const auto value = config_.integer(key);
      return value || !is_gemma3 ? value : gemma3_default;
    };
    const auto required = [&](std::string_view key, std::int64_t gemma3_default = 0) {
      const auto value = gemma3_default ? count(key, gemma3_default) : config_.integer(key);
      if (!value || *value < 1 || *value > most_count) config_.invalid(key, "a count from 1 up");
      return *value;
    };
    HfModel model{};
    model.family = &family_;
    model.layers = required("num_hidden_layers");
    context_ = required("max_position_embeddings", 131072);
    const std::int64_t width = required("hidden_size");
    model.heads = required("num_attention_heads", 8);
    model.kv_heads = count("num_key_value_heads", 4).value_or(model.heads);
    const auto own_head_dim = count("head_dim", 256);
    head_dim_ = own_head_dim.value_or(width / model.heads);
    if (head_dim_ < 2 || head_dim_ % 2 != 0 || head_dim_ > most_count)
      config_.invalid("head_dim", "an even number");
    if (model.kv_heads < 1 || model.kv_heads > model.heads)
      config_.invalid("num_key_value_heads", "1 up to num_attention_heads");
    model.vocabulary = config_.integer("vocab_size").value_or(0);

    add("block_count", model.layers);
    add("context_length", context_);
    add("embedding_length", width);
    add("feed_forward_length", required("intermediate_size"));
    add("attention.head_count", model.heads);
    add("attention.head_count_kv", model.kv_heads);
    if (own_head_dim) {
      add("attention.key_length", head_dim_);
      add("attention.value_length", head_dim_);
    }
    number("attention.layer_norm_rms_epsilon", is_gemma3
                                                   ? config_.number("rms_norm_eps").value_or(1e-6)
                                                   : config_.required_number("rms_norm_eps"));
    if (model.vocabulary > 0) add("vocab_size", model.vocabulary);
    if (const auto experts = config_.integer("num_local_experts")) add("expert_count", *experts);
    if (family_.has_post_norms) add_gemma(is_gemma3);
    if (family_.name == "phi3") add("attention.sliding_window", sliding_window());
    check_activation();
    add_rope(model);
    model.tied_output =
        family_.has_post_norms || config_.boolean("tie_word_embeddings").value_or(false);
    return model;
  }

 private:
  static constexpr std::int64_t most_count = std::int64_t{1} << 31;

  void add(std::string_view suffix, std::int64_t value) {
    if (value < 0 || value > most_count)
      throw Error(ErrorCode::invalid_model,
                  fmt::format("{}.{} would be {}", family_.name, suffix, value),
                  "config.json is damaged");
    metadata_.add_integer(fmt::format("{}.{}", family_.name, suffix), value);
  }
  void number(std::string_view suffix, double value) {
    metadata_.add_number(fmt::format("{}.{}", family_.name, suffix), value);
  }

  std::int64_t sliding_window() const { return config_.integer("sliding_window").value_or(0); }

  void add_gemma(bool is_gemma3) {
    const auto pattern = config_.integer("sliding_window_pattern");
    if (is_gemma3 && pattern.value_or(6) != 6)
      throw Error(ErrorCode::unsupported_model,
                  fmt::format("wanted every 6th layer without a window, found every {}", *pattern));
    add("attention.sliding_window", config_.required_integer("sliding_window"));
    for (const std::string_view cap : {"attn_logit_softcapping", "final_logit_softcapping"})
      if (const auto value = config_.number(cap)) number(cap, *value);
  }

  /// Silently another one would be a model of noise.
  void check_activation() const {
    for (const std::string_view key : {"hidden_activation", "hidden_act"}) {
      const auto found = config_.string(key);
      if (!found) continue;
      if (*found != family_.activation && !(family_.activation == gelu && *found == "gelu"))
        throw Error(ErrorCode::unsupported_model,
                    fmt::format("wanted {} as activation of a {} model, found {}",
                                family_.activation, family_.name, plimsoll::quoted(*found)),
                    "the model is of a variant that is not supported yet");
      return;
    }
  }

  /// RoPE's settings are under one of two names, and in newer folders by kind of layer.
  JsonKeys rope_settings(std::string_view layers) const {
    const JsonKeys settings = config_.object("rope_parameters");
    if (settings.contains(layers)) return settings.object(layers);
    if (config_.contains("rope_parameters")) return settings;
    return config_.object("rope_scaling");
  }

  void add_rope(HfModel& model) {
    const JsonKeys rope = rope_settings("full_attention");
    const auto theta = [&](const JsonKeys& settings) { return settings.number("rope_theta"); };
    const double base = config_.number("rope_theta")
                            .value_or(theta(rope).value_or(family_.name == "gemma3" ? 1e6 : 1e4));
    number("rope.freq_base", base);
    if (family_.name == "gemma3") {
      const JsonKeys windowed = config_.object("rope_parameters").object("sliding_attention");
      const auto local = config_.number("rope_local_base_freq");
      if (const auto found = local ? local : theta(windowed)) number("rope.freq_base_swa", *found);
    }
    const double part = rope.number("partial_rotary_factor")
                            .value_or(config_.number("partial_rotary_factor").value_or(1));
    if (!(part > 0) || part > 1) config_.invalid("partial_rotary_factor", "a part from 0 to 1");
    const auto dimensions = static_cast<std::int64_t>(part * static_cast<double>(head_dim_));
    if (family_.name == "phi3" || family_.name == "llama")
      add("rope.dimension_count", dimensions);
    else if (dimensions != head_dim_)
      config_.invalid("partial_rotary_factor", "1");

    const std::string type =
        rope.string("rope_type").value_or(rope.string("type").value_or("default"));
    if (family_.name == "phi3") return add_long_factors(rope, type, dimensions, model);
    if (type == "linear" || type == "yarn") {
      const double factor = rope.required_number("factor");
      metadata_.add_string(fmt::format("{}.rope.scaling.type", family_.name), type);
      number("rope.scaling.factor", factor);
      if (type == "yarn") add_yarn(rope, factor);
    } else if (type == "llama3") {
      model.rope_factors.push_back({"rope_freqs.weight", llama3_factors(rope, base, dimensions)});
    } else if (type != "default") {
      unknown_scaling(type);
    }
  }

  void add_yarn(const JsonKeys& rope, double factor) {
    add("rope.scaling.original_context_length",
        rope.integer("original_max_position_embeddings").value_or(context_));
    if (const auto fast = rope.number("beta_fast")) number("rope.scaling.yarn_beta_fast", *fast);
    if (const auto slow = rope.number("beta_slow")) number("rope.scaling.yarn_beta_slow", *slow);
    // The paper's own factor is always applied; the key holds what there is besides.
    if (const auto attention = rope.number("attention_factor"))
      number("rope.scaling.attn_factor", *attention / (1 + 0.1 * std::log(factor)));
  }

  /// Llama 3.1: waves that turn fewer than low_freq_factor times within the original context are
  /// slowed by `factor`, those that turn more than high_freq_factor times are not.
  static std::vector<float> llama3_factors(const JsonKeys& rope, double base,
                                           std::int64_t dimensions) {
    const double factor = rope.number("factor").value_or(8);
    const double low = rope.number("low_freq_factor").value_or(1);
    const double high = rope.number("high_freq_factor").value_or(4);
    const auto context =
        static_cast<double>(rope.integer("original_max_position_embeddings").value_or(8192));
    if (!(factor > 0) || !(high > low))
      rope.invalid("high_freq_factor", "more than low_freq_factor");
    std::vector<float> factors;
    for (std::int64_t i = 0; i < dimensions / 2; ++i) {
      const double wavelength =
          2 * std::numbers::pi *
          std::pow(base, 2 * static_cast<double>(i) / static_cast<double>(dimensions));
      const double turns = context / wavelength;
      const double keep = std::clamp((turns - low) / (high - low), 0.0, 1.0);
      factors.push_back(static_cast<float>(1 / ((1 - keep) / factor + keep)));
    }
    return factors;
  }

  /// Phi-3's LongRoPE (arXiv:2402.13753): factors for short and for long contexts, and one for the
  /// size of cosines and sines.
  void add_long_factors(const JsonKeys& rope, const std::string& type, std::int64_t dimensions,
                        HfModel& model) {
    const auto found = config_.integer("original_max_position_embeddings");
    const std::int64_t original =
        found ? *found : rope.integer("original_max_position_embeddings").value_or(context_);
    if (original < 1) config_.invalid("original_max_position_embeddings", "a count from 1 up");
    add("rope.scaling.original_context_length", original);
    if (type == "default") return;
    const double scale = static_cast<double>(context_) / static_cast<double>(original);
    double attention = 1;
    if (type == "su" || type == "longrope")
      attention = scale > 1 ? std::sqrt(1 + std::log(scale) / std::log(original)) : 1;
    else if (type == "yarn")
      attention = scale > 1 ? 1 + 0.1 * std::log(scale) : 1;
    else
      unknown_scaling(type);
    number("rope.scaling.attn_factor", attention);
    const auto add_factors = [&](std::string_view key, std::string_view tensor) {
      auto values = rope.numbers(key);
      if (!values || static_cast<std::int64_t>(values->size()) != dimensions / 2)
        rope.invalid(key, fmt::format("{} numbers", dimensions / 2));
      model.rope_factors.push_back({tensor, std::move(*values)});
    };
    add_factors("long_factor", "rope_factors_long.weight");
    add_factors("short_factor", "rope_factors_short.weight");
  }

  [[noreturn]] static void unknown_scaling(const std::string& type) {
    throw Error(ErrorCode::unsupported_model,
                fmt::format("RoPE scaling {} is not known", plimsoll::quoted(type)),
                "known: default, linear, yarn, llama3; for phi3 models longrope");
  }

  const JsonKeys& config_;
  const HfFamily& family_;
  MetadataBuilder& metadata_;
  std::int64_t context_ = 0;
  std::int64_t head_dim_ = 0;
};

}  // namespace

HfModel add_hf_config(const Json& config, const std::string& path, std::string_view name,
                      MetadataBuilder& metadata) {
  const JsonKeys outer(config, path);
  const HfFamily& family = find_family(outer, path);
  if (outer.contains("quantization_config"))
    throw Error(
        ErrorCode::unsupported_model,
        fmt::format(
            "{}: the weights are quantised in a format of their own ({})", path,
            plimsoll::quoted(
                outer.object("quantization_config").string("quant_method").value_or("unnamed"))),
        "take the model in BF16, F16 or F32, or a GGUF file of it");
  metadata.add_string("general.architecture", family.name);
  metadata.add_string("general.type", "model");
  metadata.add_string("general.name", name);
  // Models that also see pictures keep the text's part apart.
  const JsonKeys text = outer.contains("text_config") ? outer.object("text_config") : outer;
  return ConfigReader(text, family, metadata).read();
}

}  // namespace plimsoll
