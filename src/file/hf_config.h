// config.json of a Hugging Face folder: which family a model is of, its hyper-parameters as GGUF
// keys, and what its tensors need on their way. Keys and values are those that llama.cpp's
// convert_hf_to_gguf.py writes for the same model.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "file/json_reader.h"
#include "file/metadata_builder.h"

namespace plimsoll {

/// What sets a family's folders apart.
struct HfFamily {
  std::string_view name;                          ///< general.architecture
  std::span<const std::string_view> classes;      ///< in "architectures"
  std::span<const std::string_view> model_types;  ///< "model_type", where there are no classes
  std::string_view activation;                    ///< of the gate
  bool interleaves_heads = false;  ///< q and k are stored for RoPE over adjacent pairs
  bool norms_lack_one = false;     ///< 1 is to be added to norm weights
  bool has_post_norms = false;     ///< of each block's output, under names of their own
};

struct HfModel {
  const HfFamily* family;  ///< never null
  std::int64_t layers;
  std::int64_t heads;
  std::int64_t kv_heads;
  std::int64_t vocabulary;  ///< as configured; 0 where it is not
  bool tied_output;         ///< an output matrix in the files is not used
  /// Frequency factors that GGUF has as a tensor.
  struct Factors {
    std::string_view tensor;
    std::vector<float> values;
  };
  std::vector<Factors> rope_factors;
};

/// Adds "general.*" and "FAMILY.*". `config` is the file's object, `path` names it in messages,
/// `name` is the model's where the file has none. Throws Error: unsupported_model (family, RoPE
/// scaling, activation, weights quantised in a way of their own), invalid_model (a key that is
/// missing or wrong).
HfModel add_hf_config(const Json& config, const std::string& path, std::string_view name,
                      MetadataBuilder& metadata);

}  // namespace plimsoll
