// The one forward pass: embeds a batch of tokens, takes them through a list of layers, each a mixer
// and a feed-forward block, and gives the logits that are wanted.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/threads.h"
#include "kernels/context.h"
#include "model/attention.h"
#include "model/description.h"
#include "model/feed_forward.h"
#include "model/pass.h"
#include "model/weights.h"
#include "model/workspace.h"

namespace plimsoll {

/// Logits of one token of a batch: [vocabulary]. May be changed. Rows stay until the next pass, or
/// until logit_rows more have been visited.
using LogitsVisitor =
    FunctionRef<void(std::int64_t part, std::int64_t token, std::span<float> logits)>;

/// Not thread-safe: one pass at a time. Refers to context, description and weights, which must
/// outlive it.
class Transformer {
 public:
  /// `context_length` is the length that a sequence may reach: RoPE with long factors depends on
  /// it. Throws as Region does.
  /// Passes of more than `sequences` read what these share several times.
  Transformer(Context& context, const Description& description, const Weights& weights,
              std::int64_t context_length, std::int64_t chunk_tokens, std::int64_t logit_rows,
              std::int64_t sequences = 1);

  std::int64_t chunk_tokens() const { return workspace_.layout().chunk_tokens; }
  std::int64_t logit_rows() const { return workspace_.layout().logit_rows; }

  /// Runs parts of different sequences together, so that every weight is read once for all: prompts,
  /// single tokens and tokens to verify in any mixture; 1 to chunk_tokens tokens in all, no sequence
  /// twice. Appends their keys and values, and visits the logits that are wanted, in order. Throws
  /// as KvPass::begin does, and then nothing has changed.
  void run(std::span<const SequencePart> batch, LogitsVisitor visit);

  /// The same in pieces, for those who take the model layer by layer: begin() lays the pass out
  /// without computing anything, embed() writes the residual stream, run_layer() takes it through
  /// one layer, visit_logits() ends it. The sequences have become no longer until end().
  void begin(std::span<const SequencePart> batch);
  void embed(std::span<const SequencePart> batch);
  void run_layer(std::int64_t layer);
  void visit_logits(std::span<const SequencePart> batch, LogitsVisitor visit);
  void end();
  /// The residual stream of the pass, to read or to write: [tokens][width].
  std::span<float> residual();

  /// From now on; null for none. Outlives its use.
  void set_observer(ProductObserver* observer) { workspace_.set_observer(observer); }

 private:
  struct Layer {
    Attention mixer;
    FeedForward feed_forward;
  };

  const float* angles(std::int64_t layer) const;
  void compute_angles();
  /// Splits single queries, and finds which of them share parts.
  void split_blocks();

  Context& context_;
  const Description& description_;
  const Weights& weights_;
  Workspace workspace_;
  std::vector<std::vector<float>> frequencies_;  ///< by rope: [rope_dim / 2], radians per position
  std::vector<float> magnitudes_;                ///< by rope: of cos and sin
  std::vector<Layer> layers_;
  Pass pass_;
};

}  // namespace plimsoll
