// The second moments of every input of a model's products, layer by layer over calibration
// sequences.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "fit/layer_runner.h"
#include "fit/second_moments.h"
#include "plan/quality.h"

namespace plimsoll {

/// Tokens of one calibration sequence.
using Sequence = std::vector<TokenId>;

/// The first role among those whose products share an input: q for k and v, gate for up, output for
/// an embedding that is tied to it.
Role input_role(Role role);

/// Gathers the moments of one layer's inputs, by input_role().
class LayerMoments : public ProductObserver {
 public:
  explicit LayerMoments(Context& context) : context_(context) {}

  void observe(const ObservedProduct& product) override;
  const Matrix* replace(const TensorId&, const Matrix* matrix) override { return matrix; }

  /// Of the input of products with `role`; null if there were none. Settled.
  SecondMoments* of(Role role);

  /// Mean squared error of each column of that input when it is rounded so: [columns].
  std::vector<float> rounding_errors(Role role, InputRounding rounding) const;

 private:
  struct Input {
    std::unique_ptr<SecondMoments> moments;
    std::array<std::vector<float>, input_rounding_count> rounding;  ///< sums of squared errors
  };
  Context& context_;
  std::map<Role, Input> inputs_;
};

/// Takes sequences through a model once, giving the moments of one layer after the other.
class MomentsWalk {
 public:
  static Bytes memory_bytes(const Description& description, std::span<const Sequence> sequences,
                            int workers);

  /// Takes the layers into `weights` as it goes; the model's own first, for the embedding.
  MomentsWalk(Context& context, const ModelFile& file, const Description& description,
              Weights& weights, LayerRunner& runner, std::span<const Sequence> sequences);

  /// Of the next layer, from 0 on, which is then in `weights`; after the last one, of the output.
  /// The previous ones must be gone.
  LayerMoments next();

  /// What next() goes on from, beside the number of layers that it has given: the residual streams.
  std::span<float> state() const;
  /// Goes on behind `layers` layers; state() has been set to what it was there.
  void skip_to(std::int64_t layers) { layer_ = layers; }

 private:
  Context& context_;
  const ModelFile& file_;
  const Description& description_;
  Weights& weights_;
  LayerRunner& runner_;
  std::span<const Sequence> sequences_;
  std::int64_t layer_ = 0;
  Region residuals_;  ///< f32 [all tokens][width]
};

}  // namespace plimsoll
