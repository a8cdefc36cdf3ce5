#include "model/architecture.h"

#include <fmt/format.h>

#include <cmath>
#include <vector>

#include "base/error.h"
#include "file/file_kind.h"
#include "model/neutral_keys.h"

namespace plimsoll {

/// The families, one row each: describe_NAME stands in a file of the family's own.
#define PLIMSOLL_FAMILIES(ROW) ROW(llama) ROW(qwen2) ROW(qwen3) ROW(gemma2) ROW(gemma3) ROW(phi3)

#define PLIMSOLL_DECLARE(name) \
  void describe_##name(const FamilyKeys& keys, Description& description);
PLIMSOLL_FAMILIES(PLIMSOLL_DECLARE)
#undef PLIMSOLL_DECLARE

namespace {

#define PLIMSOLL_ROW(name) {#name, describe_##name},
constexpr Family table[] = {PLIMSOLL_FAMILIES(PLIMSOLL_ROW)};
#undef PLIMSOLL_ROW

// Far above any real model; below them no product of two overflows.
constexpr std::int64_t most_layers = 4096;
constexpr std::int64_t widest = 1 << 20;
constexpr std::int64_t most_heads = 4096;
constexpr std::int64_t longest_context = std::int64_t{1} << 31;

[[noreturn]] void invalid(const std::string& message) {
  throw Error(ErrorCode::invalid_model, message, "the file is damaged or was converted wrongly");
}

/// 0 counts as missing.
double factor_or(const FamilyKeys& keys, std::string_view suffix, double otherwise) {
  const double value = keys.number_or(suffix, 0);
  if (!(value >= 0) || !std::isfinite(value))
    invalid(fmt::format("{} must be above 0, found {}", suffix, value));
  return value > 0 ? value : otherwise;
}

void describe_rope_scaling(const FamilyKeys& keys, RopeDescription& rope) {
  const std::string_view type = keys.string_or("rope.scaling.type", "");
  const double factor =
      factor_or(keys, "rope.scaling.factor", factor_or(keys, "rope.scale_linear", 1));
  rope.attention_factor = keys.number_or("rope.scaling.attn_factor", 1);
  if (!std::isfinite(rope.attention_factor))
    invalid(fmt::format("rope.scaling.attn_factor is {}", rope.attention_factor));
  rope.dynamic_factor = factor_or(keys, "rope.scaling.dynamic_factor", 0);
  if (type == "none") return;
  if (type == "longrope") {
    if (factor != 1)
      throw Error(ErrorCode::unsupported_model,
                  fmt::format("key {} is {} beside the type longrope: wanted 1",
                              keys.key("rope.scaling.factor"), factor),
                  "the file was converted wrongly, or is of a variant that is not supported yet");
    return;
  }
  if (type != "" && type != "linear" && type != "yarn")
    throw Error(ErrorCode::unsupported_model,
                fmt::format("RoPE scaling type '{}' is not known", type),
                "known: none, linear, yarn, longrope");
  rope.scale = 1 / factor;
  if (type == "yarn") {
    rope.yarn = true;
    rope.yarn_fast = factor_or(keys, "rope.scaling.yarn_beta_fast", 32);
    rope.yarn_slow = factor_or(keys, "rope.scaling.yarn_beta_slow", 1);
    rope.yarn_truncate = keys.boolean_or("rope.scaling.yarn_truncate", true);
  }
}

/// True for the layers that attention.sliding_window_pattern, or else the period, says to be
/// windowed.
std::vector<bool> windowed_layers(const FamilyKeys& keys, std::int64_t layers,
                                  std::int64_t period) {
  constexpr std::string_view suffix = "attention.sliding_window_pattern";
  std::vector<bool> windowed;
  const MetadataValue* pattern = keys.find(suffix);
  if (pattern && pattern->is_array()) {
    if (static_cast<std::int64_t>(pattern->size()) != layers)
      invalid(fmt::format("{} has {} values for {} layers", keys.key(suffix), pattern->size(),
                          layers));
    const bool is_boolean = pattern->element_type() == MetadataType::boolean;
    for (std::uint64_t i = 0; i < pattern->size(); ++i)
      windowed.push_back(is_boolean ? pattern->as_bool(i) : pattern->as_integer(i) != 0);
    return windowed;
  }
  if (pattern) period = pattern->as_integer();
  if (period < 0) invalid(fmt::format("{} is {}", keys.key(suffix), period));
  for (std::int64_t layer = 0; layer < layers; ++layer)
    windowed.push_back(period == 0 || layer % period < period - 1);
  return windowed;
}

void check(const Description& d) {
  if (d.heads % d.kv_heads != 0)
    invalid(fmt::format("{} heads cannot share {} KV heads evenly", d.heads, d.kv_heads));
  if (d.head_dim % 4 != 0 || d.head_dim > 1024)
    throw Error(ErrorCode::unsupported_model,
                fmt::format("head dimension {} is not a multiple of 4 up to 1024", d.head_dim));
  if (d.rope_dim % 2 != 0 || d.rope_dim > d.head_dim)
    invalid(
        fmt::format("rope.dimension_count {} does not fit a head of {}", d.rope_dim, d.head_dim));
  if (!(d.norm_epsilon >= 0) || !(d.norm_epsilon < 1))
    invalid(
        fmt::format("attention.layer_norm_rms_epsilon {} is not between 0 and 1", d.norm_epsilon));
}

}  // namespace

std::string FamilyKeys::key(std::string_view suffix) const {
  return fmt::format("{}.{}", family_, suffix);
}

bool FamilyKeys::contains(std::string_view suffix) const { return metadata_.contains(key(suffix)); }

std::int64_t FamilyKeys::count_or(std::string_view suffix, std::int64_t otherwise,
                                  std::int64_t limit) const {
  const std::string full = key(suffix);
  const MetadataValue* value = metadata_.find(full);
  if (!value) return otherwise;
  // Some families store one value per layer; only uniform ones are supported.
  const std::int64_t count =
      value->is_array() ? (value->size() ? value->as_integer(0) : 0) : value->as_integer();
  if (value->is_array())
    for (std::uint64_t i = 1; i < value->size(); ++i)
      if (value->as_integer(i) != count)
        throw Error(ErrorCode::unsupported_model, fmt::format("{} differs between layers", full));
  if (count < 1 || count > limit)
    invalid(fmt::format("{} must be 1 to {}, found {}", full, limit, count));
  return count;
}

std::int64_t FamilyKeys::required_count(std::string_view suffix, std::int64_t limit) const {
  if (!contains(suffix)) invalid(fmt::format("key {} is missing", key(suffix)));
  return count_or(suffix, 0, limit);
}

double FamilyKeys::number_or(std::string_view suffix, double otherwise) const {
  const MetadataValue* value = find(suffix);
  if (value && value->type() == MetadataType::boolean) return value->as_bool() ? 1 : 0;
  return metadata_.number(key(suffix)).value_or(otherwise);
}

bool FamilyKeys::boolean_or(std::string_view suffix, bool otherwise) const {
  return metadata_.boolean(key(suffix)).value_or(otherwise);
}

const MetadataValue* FamilyKeys::find(std::string_view suffix) const {
  return metadata_.find(key(suffix));
}

double FamilyKeys::required_number(std::string_view suffix) const {
  if (!contains(suffix)) invalid(fmt::format("key {} is missing", key(suffix)));
  return number_or(suffix, 0);
}

std::string_view FamilyKeys::string_or(std::string_view suffix, std::string_view otherwise) const {
  return metadata_.string(key(suffix)).value_or(otherwise);
}

std::span<const Family> families() { return table; }

void describe_windows(const FamilyKeys& keys, Description& d, std::int64_t default_window,
                      std::int64_t default_period) {
  // 0 says that there is none.
  const double window =
      keys.number_or("attention.sliding_window", static_cast<double>(default_window));
  if (!(window >= 0) || window > static_cast<double>(longest_context))
    invalid(fmt::format("{} is {}", keys.key("attention.sliding_window"), window));
  if (window < 1) return;
  const std::vector<bool> windowed = windowed_layers(keys, d.layers, default_period);
  const double base = keys.number_or("rope.freq_base_swa", d.ropes[0].base);
  if (!(base > 0) || !std::isfinite(base))
    invalid(fmt::format("{} must be above 0, found {}", keys.key("rope.freq_base_swa"), base));
  const bool own_rope = base != d.ropes[0].base;
  if (own_rope) {
    d.ropes.push_back(d.ropes[0]);
    d.ropes.back().base = base;
  }
  for (std::size_t layer = 0; layer < windowed.size(); ++layer)
    if (windowed[layer])
      d.per_layer[layer] = {.window = static_cast<std::int64_t>(window), .rope = own_rope ? 1 : 0};
}

Description describe(const ModelFile& file) {
  refuse_other_kinds(file);
  const auto architecture = file.metadata().string("general.architecture");
  if (!architecture) invalid("key general.architecture is missing");
  const Family* family = nullptr;
  std::string known;
  for (const Family& row : table) {
    if (row.name == *architecture) family = &row;
    known += (known.empty() ? "" : ", ") + std::string(row.name);
  }
  if (!family)
    throw Error(ErrorCode::unsupported_model,
                fmt::format("architecture '{}' is not known", *architecture), "known: " + known);

  const FamilyKeys keys(file.metadata(), family->name);
  if (keys.contains("expert_count") && keys.number_or("expert_count", 0) > 0)
    throw Error(ErrorCode::unsupported_model,
                fmt::format("mixture-of-experts models ({} experts) are not supported",
                            keys.number_or("expert_count", 0)));
  Description d;
  d.family = *architecture;
  d.name = file.metadata().string("general.name").value_or("");
  d.layers = keys.required_count("block_count", most_layers);
  d.width = keys.required_count("embedding_length", widest);
  d.heads = keys.required_count("attention.head_count", most_heads);
  d.kv_heads = keys.count_or("attention.head_count_kv", d.heads, most_heads);
  d.feed_forward = keys.required_count("feed_forward_length", widest);
  d.trained_context = keys.required_count("context_length", longest_context);
  if (!keys.contains("attention.key_length") && d.width % d.heads != 0)
    invalid(fmt::format("width {} is not a multiple of {} heads", d.width, d.heads));
  d.head_dim = keys.count_or("attention.key_length", d.width / d.heads, widest);
  if (keys.count_or("attention.value_length", d.head_dim, widest) != d.head_dim)
    throw Error(ErrorCode::unsupported_model,
                "keys and values of different lengths are not supported");
  d.norm_epsilon = static_cast<float>(keys.required_number("attention.layer_norm_rms_epsilon"));
  d.rope_dim = keys.count_or("rope.dimension_count", d.head_dim, widest);
  d.attention_scale = 1.0f / std::sqrt(static_cast<float>(d.head_dim));
  d.attention_soft_cap = static_cast<float>(factor_or(keys, "attn_logit_softcapping", 0));
  d.final_soft_cap = static_cast<float>(factor_or(keys, "final_logit_softcapping", 0));

  RopeDescription rope;
  rope.base = keys.number_or("rope.freq_base", 10000);
  if (!(rope.base > 0) || !std::isfinite(rope.base))
    invalid(fmt::format("rope.freq_base must be above 0, found {}", rope.base));
  rope.original_context =
      keys.count_or("rope.scaling.original_context_length", d.trained_context, longest_context);
  describe_rope_scaling(keys, rope);
  // Factors for short and long contexts, or the same ones for all.
  const bool has_long = file.find_tensor("rope_factors_long.weight") != nullptr;
  rope.factors_tensor = has_long ? "rope_factors_short.weight" : "rope_freqs.weight";
  if (has_long) rope.long_factors_tensor = "rope_factors_long.weight";
  d.ropes.push_back(rope);
  d.per_layer.resize(static_cast<std::size_t>(d.layers));

  // The vocabulary is what the embedding matrix has rows for.
  const TensorInfo* embedding = file.find_tensor("token_embd.weight");
  if (!embedding) invalid("tensor token_embd.weight is missing");
  d.vocabulary = embedding->rows();
  d.tied_output = file.find_tensor("output.weight") == nullptr;

  family->describe(keys, d);
  if (const double scale = factor_or(keys, "attention.scale", 0); scale > 0)
    d.attention_scale = static_cast<float>(scale);
  check_neutral_keys(keys, d);
  check(d);
  return d;
}

}  // namespace plimsoll
