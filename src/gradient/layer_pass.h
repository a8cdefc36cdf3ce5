// One layer of a model in f32, forwards and backwards over a whole sequence: what a loss at the
// layer's output says of its input, and of every product's output inside.
//
// The same function as model/transformer.h computes, without a cache and without rounding anything;
// reverse-mode differentiation by hand (Griewank and Walther, Evaluating Derivatives, 2008, chapter
// 3).
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "gradient/products.h"
#include "model/description.h"
#include "model/tensors.h"
#include "model/weights.h"

namespace plimsoll {

/// A product y = W x (+ bias) of a pass, with the gradient of the loss in its output.
struct ProductGradient {
  Role role;            ///< Role::token_embedding for the lookup, whose x is null
  std::int64_t layer;   ///< -1 for the model's own
  const Matrix* matrix; ///< [rows][columns]
  std::int64_t tokens;
  const float* x;  ///< [tokens][x_stride]
  std::int64_t x_stride;
  const float* y;  ///< [tokens][y_stride], the bias included; of the output a slice's logits
  const float* y_gradient;
  std::int64_t y_stride;   ///< of both
  const float* bias;       ///< [rows], or null
};
using VisitProduct = std::function<void(const ProductGradient&)>;

/// Adds to `out` the gradient of x in y = x / sqrt(mean(x^2) + epsilon) * weight, from that of y;
/// weight null for ones. All [n].
void add_norm_gradient(const float* x, const float* weight, float epsilon, std::int64_t n,
                       const float* gradient, float* out);

/// Not thread-safe; uses the context's workers. Refers to what it is made from.
class LayerPass {
 public:
  static Bytes memory_bytes(const Description& description, std::int64_t tokens);

  /// For sequences of up to `tokens` tokens, each from position 0 on. Charged to the account io.
  /// Throws as Region does.
  LayerPass(Context& context, const Description& description, const Weights& weights,
            Products& products, std::int64_t tokens);

  /// The residual stream through one layer, which is in `weights`: x and y are [tokens][width], and
  /// may be the same. What happened inside is kept for backward().
  void forward(std::int64_t layer, std::int64_t tokens, const float* x, float* y);

  /// Turns the loss's gradient at the output of the last forward() pass, [tokens][width], into that
  /// at its input, and shows every product on the way.
  void backward(std::int64_t layer, std::int64_t tokens, float* gradient,
                const VisitProduct& visit);

  /// A matrix to use instead of the model's own: for what a changed weight does. Null for none.
  void replace(Role role, std::int64_t layer, const Matrix* by) { replacement_ = {role, layer, by}; }

 private:
  struct Replacement {
    Role role;
    std::int64_t layer;
    const Matrix* by;
  };

  const Matrix& matrix(Role role, std::int64_t layer) const;
  const float* vector(Role role, std::int64_t layer) const { return weights_.vector({role, layer}); }
  void for_tokens(std::int64_t tokens, const std::function<void(std::int64_t)>& body) const;

  void multiply(Role role, Role bias, std::int64_t layer, std::int64_t tokens, const float* x,
                std::int64_t x_stride, float* y, std::int64_t y_stride);
  void turn_heads(std::int64_t layer, std::int64_t tokens);
  void turn_back(std::int64_t layer, std::int64_t tokens);
  void attend(std::int64_t layer, std::int64_t tokens);
  void attend_back(std::int64_t layer, std::int64_t tokens);
  /// Scores of one query with the positions that it sees become weights; returns the first of those.
  std::int64_t weigh(std::int64_t layer, std::int64_t head, std::int64_t query, float* weights) const;
  void activate(std::int64_t tokens);
  void activate_back(std::int64_t tokens);
  void feed_forward(std::int64_t layer, std::int64_t tokens);
  void add_block(const float* post_norm, std::int64_t tokens, const float* block, const float* x,
                 float* y) const;
  /// Of add_block(): the gradient of the residual stream becomes that of the block.
  void add_block_back(const float* post_norm, std::int64_t tokens, const float* block,
                      const float* gradient);
  void norm(const float* weight, std::int64_t tokens, const float* x, float* y) const;
  /// Adds to `gradient` what comes through the norm of x from normed_gradient_.
  void norm_back(const float* weight, std::int64_t tokens, const float* x, float* gradient);

  Context& context_;
  const Description& description_;
  const Weights& weights_;
  Products& products_;
  Replacement replacement_{Role::token_embedding, -1, nullptr};
  Region memory_;
  // All f32, [tokens] of:
  float* entered_;          ///< [width]: the layer's input
  float* normed_;           ///< [width]
  float* qkv_;              ///< [qkv_rows]: as the products gave it
  float* turned_;           ///< [qkv_rows]: normed and rotated
  float* attended_;         ///< [heads * head_dim]
  float* attention_block_;  ///< [width]
  float* between_;          ///< [width]: the residual stream between the blocks
  float* normed2_;          ///< [width]
  float* gate_up_;          ///< [2 * feed_forward]
  float* activated_;        ///< [feed_forward]
  float* down_block_;       ///< [width]
  // Gradients of the loss in these:
  float* normed_gradient_;    ///< [width]
  float* block_gradient_;     ///< [width]
  float* qkv_gradient_;       ///< [qkv_rows]
  float* attended_gradient_;  ///< [heads * head_dim]
  float* gate_up_gradient_;   ///< [2 * feed_forward]
  float* activated_gradient_; ///< [feed_forward]
  std::int64_t tokens_;
  std::vector<std::vector<float>> cosines_, sines_;  ///< by rope: [tokens][rope_dim / 2]
};

}  // namespace plimsoll
