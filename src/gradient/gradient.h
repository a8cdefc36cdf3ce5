// The gradient of a loss over short sequences with respect to the output of every product of a
// model, layer by layer: once forwards, keeping the residual stream before each layer, and once
// backwards, computing each layer again (checkpointing: Chen et al., arXiv:1604.06174). No more than
// one layer's weights are in memory, and no weight is changed.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "file/model_file.h"
#include "gradient/layer_pass.h"
#include "text/tokenizer.h"

namespace plimsoll {

/// The loss of one position: turns its logits, [vocabulary], into the gradient of the loss in them,
/// and returns the loss in nats. `sequence` and `position` say which. Positions come in order, on
/// the calling thread.
using LogitLoss =
    std::function<double(std::int64_t sequence, std::int64_t position, std::span<float> logits)>;

/// A loss that is left out of the sum: no gradient.
inline double no_loss(std::span<float> logits) {
  for (float& logit : logits) logit = 0;
  return 0;
}

class Gradient {
 public:
  /// All that is held, besides weights of the largest part at a time (see part_bytes) and a few
  /// vectors.
  static Bytes memory_bytes(const Description& description,
                            std::span<const std::vector<TokenId>> sequences);

  /// `weights` are of Weights::without_matrices(): parts are taken as they are wanted. Refers to
  /// everything. Charged to the account io; throws as Region does.
  Gradient(Context& context, const ModelFile& file, const Description& description,
           Weights& weights, std::span<const std::vector<TokenId>> sequences);

  /// The sum of the loss over all positions. Shows every product with its gradient, from the output
  /// back to the lookup of the embedding, each sequence by itself and the output's in slices of
  /// positions. With a null `visit` only the loss is computed. `progress(done, total)` counts
  /// layers, both ways.
  double run(const LogitLoss& loss, const VisitProduct& visit,
             const std::function<void(std::int64_t done, std::int64_t total)>& progress = {});

  /// See LayerPass::replace(); also of the embedding and the output.
  void replace(Role role, std::int64_t layer, const Matrix* by);

 private:
  /// Positions whose logits are made together: few sequences should not take much for them.
  static std::int64_t logit_slice(std::span<const std::vector<TokenId>> sequences);

  static std::int64_t longest(std::span<const std::vector<TokenId>> sequences);
  static std::int64_t all_tokens(std::span<const std::vector<TokenId>> sequences);
  const Matrix& embedding() const;
  const Matrix& output() const;
  float* checkpoint(std::int64_t layer) const;
  /// Each sequence with its rows of a [all tokens][width] buffer.
  template <class Visit>
  void for_sequences(float* rows, const Visit& visit) const;
  void embed(float* residual);
  void embed_back(const float* gradient, const VisitProduct& visit);
  double output_back(const LogitLoss& loss, const VisitProduct& visit, const float* residual,
                     float* gradient);

  Context& context_;
  const ModelFile& file_;
  const Description& description_;
  Weights& weights_;
  std::span<const std::vector<TokenId>> sequences_;
  Products products_;
  LayerPass pass_;
  Region residuals_;  ///< f32 [layers + 2][all tokens][width]: before each layer, after the last one,
                      ///< and the gradient
  std::int64_t logit_slice_;
  Region logits_;  ///< f32 [2][logit_slice][vocabulary]: and their gradient
  const Matrix* output_replacement_ = nullptr;
  const Matrix* embedding_replacement_ = nullptr;
};

}  // namespace plimsoll
