// Which tensors a model consists of: names, shapes and places, from its description alone.
#pragma once

#include <cstdint>
#include <span>
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

/// What a tensor is follows from its role, never from its numbers of rows and columns: a matrix may
/// have one of either.
enum class ShapeKind : std::uint8_t {
  vector,  ///< one row, held as f32, added or multiplied number by number
  matrix,  ///< multiplied with, or looked up row by row; may be rounded
};
ShapeKind shape_kind(Role role);

/// Names one of a model's tensors.
struct TensorId {
  Role role;
  std::int64_t layer = -1;   ///< -1 for the model's own
  std::int64_t expert = -1;  ///< -1 where it is not one of several alike

  friend bool operator==(const TensorId&, const TensorId&) = default;
};

/// One tensor that the description asks for.
struct TensorSlot {
  Role role;
  std::int64_t layer;
  std::string name;  ///< in files
  std::int64_t rows;
  std::int64_t columns;
  bool required;
  std::int64_t expert = -1;

  TensorId id() const { return {role, layer, expert}; }
  bool is_vector() const { return shape_kind(role) == ShapeKind::vector; }
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

/// By position in `uses`, all of a model's: whether a pass multiplies with it, as it does not with
/// vectors and with embeddings that are only looked up.
std::vector<bool> find_products(std::span<const TensorUse> uses);

/// The position in `uses`, all of a model's, of the matrix that makes logits: the output's own, or
/// the embedding where the two are tied. Throws Error(internal) where there is neither.
std::size_t find_output(std::span<const TensorUse> uses);

}  // namespace plimsoll
