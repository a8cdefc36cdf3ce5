// A model taken layer by layer over short sequences whose residual streams somebody else keeps, so
// that only one layer has to be in memory and what flows into its products can be looked at.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cache/kv_sequence.h"
#include "kernels/context.h"
#include "model/transformer.h"

namespace plimsoll {

/// Every sequence stands for itself, from position 0 on. Throws as Region does when made. Refers to
/// what it is made from.
class LayerRunner {
 public:
  /// Bytes of its activations and keys and values.
  static Bytes memory_bytes(const Description& description, std::int64_t sequence_tokens,
                            int workers);

  LayerRunner(Context& context, const Description& description, const Weights& weights,
              std::int64_t sequence_tokens);

  /// Positions whose logits are made together.
  static constexpr std::int64_t logit_slice = 16;

  /// Tokens of a sequence at most.
  std::int64_t sequence_tokens() const { return transformer_.chunk_tokens(); }

  /// residual: [tokens][width], written.
  void embed(std::span<const TokenId> tokens, float* residual);
  /// residual: [tokens][width], taken through one layer in place.
  void run(std::int64_t layer, std::int64_t tokens, float* residual);
  /// Logits of `tokens` positions, at most logit_slice, [tokens][vocabulary]; valid until the next
  /// call.
  std::span<float> logits(const float* residual, std::int64_t tokens);

  /// Null for none.
  void set_observer(ProductObserver* observer) { transformer_.set_observer(observer); }

 private:
  SequencePart part(std::int64_t tokens);
  /// Lays out a pass of `tokens` positions from 0 on and gives its residual stream.
  std::span<float> begin(std::int64_t tokens);

  PagePool pool_;
  KvSequence sequence_;
  Transformer transformer_;
  std::vector<TokenId> placeholders_;  ///< the passes of layers do not look at tokens
};

}  // namespace plimsoll
