// The one forward pass: embeds tokens, runs every layer after the description, and gives logits. It
// owns all memory that it writes besides the KV cache, laid out once from sizes that the plan
// knows.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/region.h"
#include "cache/kv_cache.h"
#include "kernels/context.h"
#include "kernels/matmul.h"
#include "model/description.h"
#include "model/weights.h"
#include "text/tokenizer.h"

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
  Bytes part_outputs;   ///< f32 [split_queries][attention_parts][heads * head_dim], if several
  Bytes part_states;    ///< f32 [split_queries][attention_parts][heads][2]
  Bytes gate_up;        ///< f32 [chunk][2 * feed_forward]
  Bytes logits;         ///< f32 [logit_rows][vocabulary]
  Bytes angles;         ///< f32 per rope: cosines, then sines, [chunk][rope_dim / 2] each
  Bytes quantised;
  Bytes scratch;  ///< [workers][scratch_stride]
  Bytes scratch_stride;
  Bytes total;

  ActivationLayout(const Description& description, std::int64_t context, std::int64_t chunk,
                   std::int64_t logit_row_count, int workers);
};

/// Single queries in a pass whose parts of positions (kernels/kernels.h: attention_part) are given
/// to several workers, so that few heads keep all of them busy; more need no help. Changes no bit.
constexpr std::int64_t split_queries = 4;

/// Tokens that go through the layers together in prefill when memory allows.
constexpr std::int64_t default_chunk_tokens = 256;

/// Tokens that go on where a sequence's cache ends.
struct SequencePart {
  std::span<const TokenId> tokens;  ///< one at least, ids below the vocabulary size
  KvCache* cache;                   ///< has room for them
};

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

/// Not thread-safe: one pass at a time. Refers to context, description and weights, which must
/// outlive it.
class Transformer {
 public:
  /// `context_length` is the length that the session may reach: RoPE with long factors depends on
  /// it. Throws as Region does.
  Transformer(Context& context, const Description& description, const Weights& weights,
              std::int64_t context_length, std::int64_t chunk_tokens, std::int64_t logit_rows);

  std::int64_t chunk_tokens() const { return layout_.chunk_tokens; }
  std::int64_t logit_rows() const { return layout_.logit_rows; }

  /// Runs the parts of different sequences together, so that every weight is read once for all:
  /// 1 to chunk_tokens tokens in all, no cache twice. Appends keys and values to the caches.
  void forward(std::span<const SequencePart> parts);

  /// The same in pieces, for those who take the model layer by layer: begin() lays the pass out
  /// without computing anything, embed() writes the residual stream, run_layer() takes it through
  /// one layer, and end() counts the tokens as part of the caches.
  void begin(std::span<const SequencePart> parts);
  void embed(std::span<const SequencePart> parts);
  void run_layer(std::int64_t layer);
  void end(std::span<const SequencePart> parts);
  /// The residual stream of the pass, to read or to write: [tokens][width].
  std::span<float> residual();

  /// From now on; null for none. Outlives its use.
  void set_observer(ProductObserver* observer) { observer_ = observer; }

  /// Logits of tokens [first, first + count) of the last pass, counted over all of its parts, count
  /// at most logit_rows:
  /// [count][vocabulary]. Valid until the next call of either; the caller may change them.
  std::span<float> logits(std::int64_t first, std::int64_t count);

 private:
  /// Where one token of a pass belongs.
  struct Row {
    KvCache* cache;
    std::int64_t position;
  };
  /// Tokens of one sequence that attend together.
  struct QueryBlock {
    KvCache* cache;
    std::int64_t row, count, position;
    std::int64_t parts;  ///< of their positions
    std::int64_t split;  ///< which of the split queries this is, if it has several
  };
  struct BlockPart {
    std::int64_t block, part;
  };

  /// A product to be made with a layer's matrix.
  struct Product {
    Role role;
    Role bias;  ///< the role itself for none
    float* y;
    std::int64_t y_stride;
  };

  float* at(Bytes offset) const { return reinterpret_cast<float*>(memory_.data() + offset); }
  const Matrix& matrix(Role role, std::int64_t layer) const;
  void compute_angles();
  void multiply(std::int64_t layer, std::span<const Product> products, const float* x,
                std::int64_t x_stride, std::int64_t tokens, MakeRow make_row);
  /// Of rows of the residual from `first` on, normed.
  void multiply_normed(std::int64_t layer, std::span<const Product> products, const float* norm,
                       std::int64_t first, std::int64_t tokens);
  void attention_block(std::int64_t layer);
  void rotate_and_store(std::int64_t layer);
  void attend(std::int64_t layer);
  void attend(std::int64_t layer, std::int64_t head, const BlockPart& what, int worker);
  /// Puts the parts of split queries together.
  void merge_parts(std::int64_t layer);
  /// Outputs and state of a head in one part of a split query.
  float* part_output(const BlockPart& what, std::int64_t head);
  float* part_state(const BlockPart& what, std::int64_t head);
  /// The first part that a block's first query sees in a layer.
  std::int64_t first_part(const QueryBlock& block, std::int64_t layer) const;
  void feed_forward_block(std::int64_t layer);
  /// residual += block output, normed first where the family has post norms.
  void add_block(const float* post_norm, std::int64_t tokens);

  Context& context_;
  const Description& description_;
  const Weights& weights_;
  ActivationLayout layout_;
  Region memory_;
  MatmulWorkspace workspace_;
  ProductObserver* observer_ = nullptr;
  std::vector<std::vector<float>> frequencies_;  ///< by rope: [rope_dim / 2], radians per position
  std::vector<float> magnitudes_;                ///< by rope: of cos and sin
  std::vector<Row> rows_;                        ///< of the pass
  std::vector<QueryBlock> blocks_;
  std::vector<BlockPart> block_parts_;
};

}  // namespace plimsoll
