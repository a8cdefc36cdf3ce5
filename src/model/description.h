// A model's shape and everything in which families differ, as plain values. One forward pass
// (transformer.h) follows it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace plimsoll {

enum class Activation { silu, gelu };  ///< of the gate; gelu is the tanh approximation

/// How positions become angles. Frequencies are base^(-2i/d) / factor_i (Su et al.,
/// arXiv:2104.09864; factors as in Llama 3.1 and LongRoPE), slowed by `scale` (linear
/// interpolation), blended by YaRN (Peng et al., arXiv:2309.00071).
struct RopeDescription {
  double base = 10000;
  double scale = 1;  ///< 1 / factor of linear or YaRN scaling
  bool yarn = false;
  double yarn_fast = 32, yarn_slow = 1;
  bool yarn_truncate = true;  ///< to whole dimensions, between which YaRN blends
  /// Beyond original_context the base grows with the length of the session (dynamic NTK scaling);
  /// 0 for none.
  double dynamic_factor = 0;
  double attention_factor = 1;  ///< multiplies cos and sin, besides YaRN's own
  std::int64_t original_context = 0;
  std::string factors_tensor;       ///< frequency factors, [rope_dim / 2]; empty for none
  std::string long_factors_tensor;  ///< used instead beyond original_context; empty for none
};

struct LayerDescription {
  std::int64_t window = 0;  ///< positions that a query sees, itself included; 0 for all
  int rope = 0;             ///< index into Description::ropes
};

struct Description {
  std::string family;  ///< general.architecture
  std::string name;    ///< general.name, may be empty

  std::int64_t layers = 0;
  std::int64_t width = 0;  ///< of the residual stream
  std::int64_t heads = 0;
  std::int64_t kv_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t feed_forward = 0;
  std::int64_t vocabulary = 0;
  std::int64_t trained_context = 0;

  float norm_epsilon = 1e-5f;
  float embedding_scale = 1;     ///< multiplies token embeddings
  float attention_scale = 0;     ///< multiplies q.k
  float attention_soft_cap = 0;  ///< 0 for none
  float final_soft_cap = 0;      ///< of logits, 0 for none
  Activation activation = Activation::silu;

  bool rope_adjacent = false;  ///< pairs (2i, 2i+1); otherwise (i, i + rope_dim / 2)
  std::int64_t rope_dim = 0;
  std::vector<RopeDescription> ropes;
  std::vector<LayerDescription> per_layer;

  bool query_key_norm = false;  ///< RMS norm of each head of q and k before RoPE
  bool post_norms = false;      ///< RMS norms of both blocks' outputs before they are added
  bool qkv_bias = false;        ///< q, k and v must have biases
  bool fused_qkv = false;       ///< one matrix, rows of q, then k, then v
  bool fused_gate_up = false;   ///< one matrix, rows of gate, then up
  bool tied_output = false;     ///< the output matrix is the embedding matrix

  std::int64_t qkv_rows() const { return (heads + 2 * kv_heads) * head_dim; }
};

}  // namespace plimsoll
