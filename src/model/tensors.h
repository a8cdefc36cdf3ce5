// Which tensors a model consists of: names, shapes and places, from its description alone.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "file/model_file.h"
#include "model/description.h"

namespace plimsoll {

enum class Role : std::uint8_t {
  // once per model
  token_embedding,
  output,
  output_norm,
  rope_factors,
  rope_long_factors,
  // once per layer
  attention_norm,
  q,
  k,
  v,
  qkv,
  q_bias,
  k_bias,
  v_bias,
  qkv_bias,
  q_norm,
  k_norm,
  attention_output,
  attention_output_bias,
  attention_post_norm,
  feed_forward_norm,
  gate,
  up,
  gate_up,
  down,
  feed_forward_post_norm,
  gate_bias,
  up_bias,
  down_bias,
};
constexpr int role_count = static_cast<int>(Role::down_bias) + 1;

/// One tensor that the description asks for. Vectors have rows == 1.
struct TensorSlot {
  Role role;
  std::int64_t layer;  ///< -1 for the model's own
  std::string name;
  std::int64_t rows;
  std::int64_t columns;
  bool required;

  bool is_vector() const { return rows == 1; }
};

/// A slot and the file's tensor for it.
struct TensorUse {
  TensorSlot slot;
  const TensorInfo* info;
};

std::vector<TensorSlot> tensor_slots(const Description& description);

/// Finds every slot's tensor; optional ones that the file lacks are left out. Throws
/// Error(invalid_model) naming the first missing tensor or one whose shape disagrees with the
/// hyper-parameters, Error(unsupported_model) naming one that no slot asks for.
std::vector<TensorUse> find_tensors(const ModelFile& file, const Description& description);

}  // namespace plimsoll
