#include "model/neutral_keys.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/error.h"

namespace plimsoll {
namespace {

/// A key of FAMILY, and the values that make no difference: one, or `first` to `last` of them.
struct NeutralKey {
  std::string_view suffix;
  double first;
  double last;
};

// By the loaders of llama.cpp's architectures: a file of a known family may have them where it is
// of a variant that shares the name.
constexpr NeutralKey table[] = {
    {"attention.causal", 1, 1},
    {"attention.clamp_kqv", 0, 0},
    {"attention.indexer.head_count", 0, 0},
    {"attention.kv_lora_rank", 0, 0},
    {"attention.max_alibi_bias", 0, 0},
    {"attention.q_lora_rank", 0, 0},
    {"attention.shared_kv_layers", 0, 0},
    {"attention.temperature_scale", 0, 0},
    {"attn_res.block_size", 0, 0},
    {"adapters.count", 0, 0},
    {"decoder_block_count", 0, 0},
    {"embedding_length_per_layer_input", 0, 0},
    {"hash_layer_count", 0, 0},
    {"n_deepstack_layers", 0, 0},
    {"nextn_predict_layers", 0, 0},
    {"pooling_type", 0, 3},  // 4 asks for another head
    {"rope.scaling.yarn_attn_factor", 1, 1},
    {"rope.scaling.yarn_log_multiplier", 0, 0},
    {"router_logit_softcapping", 0, 0},
    {"shortconv.l_cache", 0, 0},
    {"ssm.inner_size", 0, 0},
    {"swin_norm", 0, 0},
    {"token_shift_count", 0, 0},
    {"use_parallel_residual", 0, 0},
    {"wkv.head_size", 0, 0},
};

/// 0 says that they are not used.
constexpr std::string_view factors[] = {"attention.output_scale", "attention.value_scale",
                                        "embedding_scale",        "full_attention_interval",
                                        "hyper_connection.count", "logit_scale",
                                        "num_loops",              "residual_scale",
                                        "rope.scaling.alpha"};

/// Lists that no value is neutral of.
constexpr std::string_view lists[] = {"attention.compress_ratios", "attention.recurrent_layers",
                                      "attention.rope_pattern", "ple.layers"};

[[noreturn]] void refuse(const FamilyKeys& keys, std::string_view suffix, const std::string& found,
                         const std::string& wanted) {
  throw Error(ErrorCode::unsupported_model,
              fmt::format("key {} is {}, which is not supported here: wanted {}", keys.key(suffix),
                          found, wanted),
              "the model is of a variant that is not supported yet");
}

void check_number(const FamilyKeys& keys, std::string_view suffix, double first, double last,
                  double otherwise) {
  if (!keys.contains(suffix)) return;
  const double found = keys.number_or(suffix, 0);
  if ((found >= first && found <= last) || found == otherwise) return;
  refuse(keys, suffix, fmt::format("{}", found),
         first == last ? fmt::format("{}", first) : fmt::format("{} to {}", first, last));
}

}  // namespace

void check_neutral_keys(const FamilyKeys& keys, const Description& d) {
  for (const auto& [suffix, first, last] : table) check_number(keys, suffix, first, last, first);
  for (const std::string_view suffix : factors) check_number(keys, suffix, 1, 1, 0);
  for (const std::string_view suffix : lists)
    if (keys.contains(suffix)) refuse(keys, suffix, "there", "none");
  const std::pair<std::string_view, std::int64_t> same[] = {{"attention.key_length_swa", d.head_dim},
                                                            {"attention.value_length_swa", d.head_dim},
                                                            {"embedding_length_out", d.width},
                                                            {"rope.dimension_count_swa", d.rope_dim}};
  for (const auto& [suffix, size] : same) {
    const auto wanted = static_cast<double>(size);
    check_number(keys, suffix, wanted, wanted, wanted);
  }
  // -1 says that the type of scaling decides.
  check_number(keys, "rope.scaling.yarn_ext_factor", d.ropes[0].yarn ? 1 : 0, 1, -1);
  const std::string_view activation = keys.string_or("hidden_activation", "");
  const std::array<std::string_view, 2> known = {
      d.activation == Activation::silu ? "silu" : "gelu",
      d.activation == Activation::silu ? "swish" : "gelu_pytorch_tanh"};
  if (!activation.empty() && std::ranges::find(known, activation) == known.end())
    refuse(keys, "hidden_activation", std::string(activation), std::string(known[0]));
}

}  // namespace plimsoll
