// config.json of a Hugging Face folder: which family a model is of, its hyper-parameters as GGUF
// keys, and what its tensors need on their way. Keys and values are those that llama.cpp's
// convert_hf_to_gguf.py writes for the same model, where there are such; what they mean, and what
// is so where a key is missing, is what the family's classes in `transformers` make of them.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "file/json_reader.h"
#include "file/metadata_builder.h"

namespace plimsoll {

/// Which layers see a sliding window only.
enum class HfWindows {
  none,         ///< the family has no windows
  all_layers,   ///< every one, where "sliding_window" is set
  upper_layers, ///< from "max_window_layers" on, where "use_sliding_window" is true
  every_other,  ///< the first, the third and so on
  by_pattern,   ///< all but every "sliding_window_pattern"-th
};

/// Which linear maps have biases besides what the configuration says.
enum class HfBiases {
  none,
  query_key_value,  ///< always
  configured,       ///< "attention_bias": q, k, v and output
};

/// A key that must be missing, null or of one of these values, written as JSON: any other would
/// change what the model computes.
struct HfNeutralKey {
  std::string_view key;
  std::string_view values;  ///< separated by '|'; may be empty
};

/// What sets a family's folders apart. Numbers are what its configuration class has where a key is
/// missing; 0: the key must be there.
struct HfFamily {
  std::string_view name;                          ///< general.architecture
  std::span<const std::string_view> classes;      ///< in "architectures"
  std::span<const std::string_view> model_types;  ///< "model_type"
  std::string_view activation_key;                ///< of the gate's activation
  std::span<const std::string_view> activations;  ///< that the forward pass knows, default first
  std::span<const HfNeutralKey> neutral = {};     ///< besides those of all families

  std::int64_t default_heads = 0;
  std::int64_t default_kv_heads = 0;  ///< 0: as many as heads
  std::int64_t default_head_dim = 0;  ///< 0: width / heads
  std::int64_t default_context = 0;
  std::int64_t default_window = 0;
  double default_epsilon = 0;
  double default_rope_base = 10000;

  HfWindows windows = HfWindows::none;
  HfBiases biases = HfBiases::none;
  bool feed_forward_biases = false;  ///< "mlp_bias" is read
  bool interleaves_heads = false;    ///< q and k are stored for RoPE over adjacent pairs
  bool norms_lack_one = false;       ///< 1 is to be added to norm weights
  bool has_post_norms = false;       ///< of each block's output, under names of their own
  bool scales_queries = false;       ///< "query_pre_attn_scalar" is read
  bool ties_by_default = false;      ///< where "tie_word_embeddings" is missing
};

struct HfModel {
  const HfFamily* family;  ///< never null
  std::int64_t layers;
  std::int64_t heads;
  std::int64_t kv_heads;
  std::int64_t head_dim;
  std::int64_t context;     ///< positions
  std::int64_t vocabulary;  ///< as configured; 0 where it is not
  /// The output matrix is the embedding, unless the files have one that differs.
  bool ties_output;
  bool query_key_value_biases, attention_output_biases, feed_forward_biases;
  /// Frequency factors that GGUF has as a tensor.
  struct Factors {
    std::string_view tensor;
    std::vector<float> values;
  };
  std::vector<Factors> rope_factors;
};

/// Adds "general.*" and "FAMILY.*". `config` is the file's object, `path` names it in messages,
/// `name` is the model's where the file has none. Throws Error: unsupported_model (family, RoPE
/// scaling, activation, weights quantised in a way of their own, any other key with a value that
/// is not followed here), invalid_model (a key that is missing or wrong).
HfModel add_hf_config(const Json& config, const std::string& path, std::string_view name,
                      MetadataBuilder& metadata);

/// Throws Error(unsupported_model) naming the file, the key and its value.
[[noreturn]] void refuse_hf_key(const JsonKeys& keys, std::string_view key,
                                std::string_view wanted);

/// Refuses each of `neutral` whose value is another.
void check_hf_neutral_keys(const JsonKeys& keys, std::span<const HfNeutralKey> neutral);

}  // namespace plimsoll
