// What a forward pass writes besides the KV cache, in one block of memory, and the products that it
// makes there.
#pragma once

#include <cstdint>
#include <span>

#include "base/bytes.h"
#include "base/region.h"
#include "kernels/context.h"
#include "kernels/matmul.h"
#include "model/description.h"
#include "model/weights.h"

namespace plimsoll {

/// Sizes of everything that a forward pass writes. A pure function of its inputs.
struct ActivationLayout {
  std::int64_t chunk_tokens;  ///< tokens in one pass at most
  std::int64_t logit_rows;    ///< rows of logits at a time at most
  // Offsets in bytes, each 64-byte aligned.
  Bytes residual;                ///< f32 [chunk][width]
  Bytes normed;                  ///< f32 [chunk][width]; also a block's output
  Bytes qkv;                     ///< f32 [chunk][qkv_rows]
  Bytes attended;                ///< f32 [chunk][heads * head_dim]
  std::int64_t attention_parts;  ///< that one query's positions are split into at most
  std::int64_t split_queries;    ///< at most, in a pass
  Bytes part_outputs;   ///< f32 [split_queries][attention_parts][heads * head_dim], if several
  Bytes part_states;    ///< f32 [split_queries][attention_parts][heads][2]
  Bytes gate_up;        ///< f32 [chunk][2 * feed_forward]
  Bytes logits;         ///< f32 [logit_rows][vocabulary]
  Bytes angles;         ///< f32 per rope: cosines, then sines, [chunk][rope_dim / 2] each
  Bytes quantised;
  Bytes scratch;  ///< [workers][scratch_stride]
  Bytes scratch_stride;
  Bytes total;

  /// For passes of up to `sequences`.
  ActivationLayout(const Description& description, std::int64_t context, std::int64_t chunk,
                   std::int64_t logit_row_count, int workers, std::int64_t sequences = 1);
};

/// Single queries in a pass whose parts of positions (kernels/kernels.h: attention_part) are given
/// to several workers, so that few heads keep all of them busy; more need no help. Changes no bit.
constexpr std::int64_t few_queries = 4;

/// Tokens that go through the layers together in prefill when memory allows.
constexpr std::int64_t default_chunk_tokens = 256;

/// One product of a pass, as an observer sees it.
struct ObservedProduct {
  Role role;
  std::int64_t layer;  ///< -1 for the output
  const Matrix* matrix;
  const float* x;  ///< [tokens][x_stride], the matrix's columns of each row
  std::int64_t x_stride;
  std::int64_t tokens;
};

/// Looks at what flows into products, and may put another matrix in one's place. Costs a pass over
/// the inputs of each product: for calibration, not for speed.
class ProductObserver {
 public:
  virtual ~ProductObserver() = default;
  /// The inputs of a product, before it. Products that share their input are told of one after the
  /// other.
  virtual void observe(const ObservedProduct& product) = 0;
  /// The matrix to multiply with, or to look tokens up in; `matrix` itself to change nothing.
  virtual const Matrix* replace(const TensorId& id, const Matrix* matrix) = 0;
};

/// A product to be made with a layer's matrix.
struct Product {
  Role role;
  Role bias;  ///< the role itself for none
  float* y;
  std::int64_t y_stride;
};

/// Not thread-safe. Refers to what it is made from.
class Workspace {
 public:
  /// Throws as Region does.
  Workspace(Context& context, const Description& description, const Weights& weights,
            const ActivationLayout& layout);

  Context& context() const { return context_; }
  const Description& description() const { return description_; }
  const Weights& weights() const { return weights_; }
  const ActivationLayout& layout() const { return layout_; }

  float* at(Bytes offset) const { return reinterpret_cast<float*>(memory_.data() + offset); }
  float* residual() const { return at(layout_.residual); }
  float* normed() const { return at(layout_.normed); }
  /// One worker's own.
  float* scratch(int worker) const {
    return at(layout_.scratch + static_cast<Bytes>(worker) * layout_.scratch_stride);
  }

  void set_observer(ProductObserver* observer) { observer_ = observer; }
  ProductObserver* observer() const { return observer_; }

  /// Up to three products of one input: x [tokens][x_stride], whose rows make_row makes first.
  void multiply(std::int64_t layer, std::span<const Product> products, const float* x,
                std::int64_t x_stride, std::int64_t tokens, MakeRow make_row);
  /// Of the residual stream, normed.
  void multiply_normed(std::int64_t layer, std::span<const Product> products, const float* norm,
                       std::int64_t tokens);
  /// residual += normed(), which is a block's output; normed itself first where the family has post
  /// norms (null for none).
  void add_block(const float* post_norm, std::int64_t tokens);

 private:
  const Matrix& matrix(Role role, std::int64_t layer) const;

  Context& context_;
  const Description& description_;
  const Weights& weights_;
  ActivationLayout layout_;
  Region memory_;
  MatmulWorkspace workspace_;
  ProductObserver* observer_ = nullptr;
};

}  // namespace plimsoll
