#include "file/hf_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "file/header_bytes.h"
#include "file/hf_families.h"
#include "file/hf_rope.h"

namespace plimsoll {
namespace {

/// What the library itself reads in every configuration.
constexpr HfNeutralKey neutral_everywhere[] = {
    {"is_causal", "true"},        {"is_encoder_decoder", "false"}, {"add_cross_attention", "false"},
    {"attention_chunk_size", ""}, {"kv_sharing_modes", ""},        {"num_kv_shared_layers", "0"},
    {"per_layer_config", "{}"},   {"pruned_heads", "{}"},          {"configuration_files", ""},
    {"num_local_experts", "0"},
};

/// What the class for pictures and text leaves out.
constexpr HfNeutralKey neutral_if_wrapped[] = {{"final_logit_softcapping", ""}};

constexpr std::string_view windowed_type = "sliding_attention", full_type = "full_attention";

/// Adds the hyper-parameters of one family, under its prefix.
class ConfigReader {
 public:
  ConfigReader(const JsonKeys& config, const HfFamily& family, MetadataBuilder& metadata)
      : config_(config), family_(family), metadata_(metadata) {}

  HfModel read(bool ties_output) {
    HfModel model{};
    model.family = &family_;
    model.ties_output = ties_output;
    check_hf_neutral_keys(config_, neutral_everywhere);
    check_hf_neutral_keys(config_, family_.neutral);
    read_shape(model);
    read_biases(model);
    add_caps();
    add_windows(model);
    if (family_.scales_queries) add_query_scale(model);
    check_activation();
    add_hf_rope(config_, model, metadata_);
    return model;
  }

 private:
  static constexpr std::int64_t most_count = std::int64_t{1} << 31;

  std::string key(std::string_view suffix) const {
    return fmt::format("{}.{}", family_.name, suffix);
  }
  void add(std::string_view suffix, std::int64_t value) {
    if (value < 0 || value > most_count)
      throw Error(ErrorCode::invalid_model,
                  fmt::format("{}.{} would be {}", family_.name, suffix, value),
                  "config.json is damaged");
    metadata_.add_integer(key(suffix), value);
  }

  /// `otherwise` stands for a missing key; 0: it must be there.
  std::int64_t count(std::string_view name, std::int64_t otherwise = 0) const {
    std::optional<std::int64_t> value = config_.integer(name);
    if (!value && otherwise) value = otherwise;
    if (!value || *value < 1 || *value > most_count) config_.invalid(name, "a count from 1 up");
    return *value;
  }

  /// Present, even if it is null.
  bool says(std::string_view name) const { return config_.members().contains(name); }

  void read_shape(HfModel& model) {
    model.layers = count("num_hidden_layers");
    model.context = count("max_position_embeddings", family_.default_context);
    const std::int64_t width = count("hidden_size");
    model.heads = count("num_attention_heads", family_.default_heads);
    const bool has_default = !says("num_key_value_heads") && family_.default_kv_heads;
    model.kv_heads =
        count("num_key_value_heads", has_default ? family_.default_kv_heads : model.heads);
    if (model.kv_heads > model.heads)
      config_.invalid("num_key_value_heads", "1 up to num_attention_heads");
    const bool has_head_dim = config_.contains("head_dim") || family_.default_head_dim;
    model.head_dim = !has_head_dim ? width / model.heads
                                   : count("head_dim", family_.default_head_dim);
    if (model.head_dim < 2 || model.head_dim % 2 != 0) config_.invalid("head_dim", "an even number");
    model.vocabulary = config_.contains("vocab_size") ? count("vocab_size") : 0;

    add("block_count", model.layers);
    add("context_length", model.context);
    add("embedding_length", width);
    add("feed_forward_length", count("intermediate_size"));
    add("attention.head_count", model.heads);
    add("attention.head_count_kv", model.kv_heads);
    if (has_head_dim) {
      add("attention.key_length", model.head_dim);
      add("attention.value_length", model.head_dim);
    }
    const auto epsilon = config_.number("rms_norm_eps");
    metadata_.add_number(key("attention.layer_norm_rms_epsilon"),
                         epsilon || !family_.default_epsilon
                             ? config_.required_number("rms_norm_eps")
                             : family_.default_epsilon);
    if (model.vocabulary > 0) add("vocab_size", model.vocabulary);
  }

  void read_biases(HfModel& model) const {
    const bool all = family_.biases == HfBiases::configured &&
                     config_.boolean("attention_bias").value_or(false);
    model.query_key_value_biases = all || family_.biases == HfBiases::query_key_value;
    model.attention_output_biases = all;
    model.feed_forward_biases =
        family_.feed_forward_biases && config_.boolean("mlp_bias").value_or(false);
  }

  /// Null means no cap; a GGUF file without the key has the family's own.
  void add_caps() {
    if (!family_.has_post_norms) return;
    for (const std::string_view cap : {"attn_logit_softcapping", "final_logit_softcapping"}) {
      if (!says(cap)) continue;
      const double value = config_.number(cap).value_or(0);
      if (config_.contains(cap) && !(value > 0)) config_.invalid(cap, "null or a number above 0");
      if (value > 0 || family_.name == "gemma2") metadata_.add_number(key(cap), value);
    }
  }

  /// 0 for none.
  std::int64_t window() const {
    if (!says("sliding_window")) return family_.default_window;
    return config_.contains("sliding_window") ? count("sliding_window") : 0;
  }

  /// For each layer whether it is windowed.
  std::vector<bool> windowed_layers(const HfModel& model, std::int64_t window) const {
    const auto layers = static_cast<std::size_t>(model.layers);
    std::vector<bool> windowed(layers);
    std::int64_t period = 0, first = 0;  // every period-th layer is full, those before `first` too
    switch (family_.windows) {
      case HfWindows::none:
        return windowed;
      case HfWindows::all_layers:
        break;
      case HfWindows::upper_layers:
        first = config_.integer("max_window_layers").value_or(28);
        break;
      case HfWindows::every_other:
        period = 2;
        break;
      case HfWindows::by_pattern:
        period = count("sliding_window_pattern", 6);
    }
    for (std::int64_t i = 0; i < model.layers; ++i)
      windowed[static_cast<std::size_t>(i)] =
          window && i >= first && (period == 0 || (i + 1) % period != 0);
    return windowed;
  }

  /// "layer_types" stands before all rules.
  std::optional<std::vector<bool>> listed_layers(const HfModel& model) const {
    const Json* types = config_.find("layer_types");
    if (!types) return std::nullopt;
    if (!types->is_array() || static_cast<std::int64_t>(types->size()) != model.layers)
      config_.invalid("layer_types", fmt::format("{} names", model.layers));
    std::vector<bool> windowed;
    for (const Json& type : *types) {
      if (type != windowed_type && type != full_type)
        refuse_hf_key(config_, "layer_types", fmt::format("{} and {}", full_type, windowed_type));
      windowed.push_back(type == windowed_type);
    }
    return windowed;
  }

  void add_windows(const HfModel& model) {
    // A family that knows no windows still keeps no more than a window of keys and values.
    std::int64_t size = window();
    const bool uses_windows = config_.boolean("use_sliding_window").value_or(false);
    if (family_.windows == HfWindows::none) {
      if (size && size < model.context && (uses_windows || !says("use_sliding_window")))
        refuse_hf_key(config_, "sliding_window", "null");
      size = 0;
    }
    if (family_.windows == HfWindows::upper_layers && !uses_windows) size = 0;
    std::vector<bool> windowed = windowed_layers(model, size);
    if (const auto listed = listed_layers(model)) {
      const bool is_read = family_.windows != HfWindows::none &&
                           family_.windows != HfWindows::all_layers;
      if (!is_read && *listed != windowed)
        refuse_hf_key(config_, "layer_types",
                      size ? "a window in every layer" : "no window in any layer");
      windowed = *listed;
    }
    const bool any = std::ranges::find(windowed, true) != windowed.end();
    if (any && !size)
      config_.invalid("sliding_window", "a count from 1 up for the layers that have a window");

    // In GGUF: what the family's files have without a pattern, unless it is another.
    std::vector<bool> usual(windowed.size(), true);
    for (std::size_t i = 0; i < usual.size(); ++i) {
      if (family_.windows == HfWindows::every_other) usual[i] = i % 2 == 0;
      if (family_.windows == HfWindows::by_pattern) usual[i] = i % 6 != 5;
    }
    if (!any && family_.windows != HfWindows::every_other) return;
    add("attention.sliding_window", size ? size : family_.default_window);
    if (windowed == usual) return;
    std::string flags;
    for (const bool is_windowed : windowed) flags += static_cast<char>(is_windowed);
    metadata_.add_array(key("attention.sliding_window_pattern"), MetadataType::boolean,
                        flags.size(), flags);
  }

  void add_query_scale(const HfModel& model) {
    constexpr const char* name = "query_pre_attn_scalar";
    const double scalar = says(name) ? config_.required_number(name) : 256;
    if (!(scalar > 0)) config_.invalid(name, "a number above 0");
    // Without the key, files of the 27B models (46 and 62 layers) mean the width per head.
    const bool is_27b = model.layers == 46 || model.layers == 62;
    if (scalar != static_cast<double>(model.head_dim) || is_27b)
      metadata_.add_number(key("attention.scale"), 1 / std::sqrt(scalar));
  }

  /// Silently another one would be a model of noise.
  void check_activation() const {
    const std::string_view name = family_.activation_key;
    const std::string found =
        config_.string(name).value_or(std::string(family_.activations.front()));
    if (std::ranges::find(family_.activations, found) == family_.activations.end())
      refuse_hf_key(config_, name, family_.activations.front());
  }

  const JsonKeys& config_;
  const HfFamily& family_;
  MetadataBuilder& metadata_;
};

}  // namespace

void refuse_hf_key(const JsonKeys& keys, std::string_view key, std::string_view wanted) {
  constexpr std::size_t longest = 60;
  const Json* value = keys.find(key);
  std::string text =
      value ? value->dump(-1, ' ', false, Json::error_handler_t::replace) : std::string("missing");
  if (text.size() > longest) text = text.substr(0, longest) + "...";
  throw Error(ErrorCode::unsupported_model,
              fmt::format("{}: key {} is {}, which is not supported here: wanted {}", keys.path(),
                          plimsoll::quoted(key), text, wanted),
              "the model is of a variant that is not supported yet");
}

void check_hf_neutral_keys(const JsonKeys& keys, std::span<const HfNeutralKey> neutral) {
  for (const HfNeutralKey& one : neutral) {
    const Json* value = keys.find(one.key);
    if (!value) continue;
    const std::string text = value->dump(-1, ' ', false, Json::error_handler_t::replace);
    bool is_neutral = false;
    for (std::string_view rest = one.values; !rest.empty();) {
      const std::size_t end = std::min(rest.find('|'), rest.size());
      is_neutral |= text == rest.substr(0, end);
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    if (!is_neutral) refuse_hf_key(keys, one.key, one.values.empty() ? "null" : one.values);
  }
}

HfModel add_hf_config(const Json& config, const std::string& path, std::string_view name,
                      MetadataBuilder& metadata) {
  const JsonKeys outer(config, path);
  const HfFamily& family = find_hf_family(outer, path);
  for (const char* quantised : {"quantization_config", "compression_config"})
    if (outer.contains(quantised))
      throw Error(
          ErrorCode::unsupported_model,
          fmt::format(
              "{}: the weights are quantised in a format of their own ({})", path,
              plimsoll::quoted(
                  outer.object(quantised).string("quant_method").value_or("unnamed"))),
          "take the model in BF16, F16 or F32, or a GGUF file of it");
  metadata.add_string("general.architecture", family.name);
  metadata.add_string("general.type", "model");
  metadata.add_string("general.name", name);
  // Models that also see pictures keep the text's part apart, but not whether its matrices are tied.
  const bool is_wrapped = family.name == "gemma3" && outer.contains("text_config");
  if (!is_wrapped && outer.contains("text_config")) refuse_hf_key(outer, "text_config", "null");
  const JsonKeys text = is_wrapped ? outer.object("text_config") : outer;
  if (is_wrapped) {
    check_hf_neutral_keys(outer, neutral_everywhere);
    check_hf_neutral_keys(text, neutral_if_wrapped);
  }
  const bool ties_output =
      outer.boolean("tie_word_embeddings").value_or(family.ties_by_default);
  return ConfigReader(text, family, metadata).read(ties_output);
}

}  // namespace plimsoll
