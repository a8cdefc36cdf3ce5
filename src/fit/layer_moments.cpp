#include "fit/layer_moments.h"

#include <algorithm>
#include <numeric>

namespace plimsoll {
namespace {

Bytes residual_bytes(const Description& description, std::span<const Sequence> sequences) {
  std::size_t tokens = 0;
  for (const Sequence& sequence : sequences) tokens += sequence.size();
  return static_cast<Bytes>(tokens) * static_cast<Bytes>(description.width) * sizeof(float);
}

}  // namespace

Role input_role(Role role) {
  switch (role) {
    case Role::k:
    case Role::v:
      return Role::q;
    case Role::up:
      return Role::gate;
    case Role::token_embedding:
      return Role::output;
    default:
      return role;
  }
}

void LayerMoments::observe(const ObservedProduct& product) {
  if (input_role(product.role) != product.role) return;
  std::unique_ptr<SecondMoments>& moments = moments_[product.role];
  if (!moments) moments = std::make_unique<SecondMoments>(context_, product.matrix->columns());
  moments->add(product.x, product.x_stride, product.tokens);
}

SecondMoments* LayerMoments::of(Role role) {
  const auto found = moments_.find(input_role(role));
  if (found == moments_.end()) return nullptr;
  found->second->settle();
  return found->second.get();
}

Bytes MomentsWalk::memory_bytes(const Description& d, std::span<const Sequence> sequences,
                                int workers) {
  const Bytes width = SecondMoments::memory_bytes(d.width, workers);
  return residual_bytes(d, sequences) + 2 * width +
         SecondMoments::memory_bytes(d.heads * d.head_dim, workers) +
         SecondMoments::memory_bytes(d.feed_forward, workers);
}

MomentsWalk::MomentsWalk(Context& context, const Description& description, LayerRunner& runner,
                         std::span<const Sequence> sequences)
    : context_(context),
      description_(description),
      runner_(runner),
      sequences_(sequences),
      residuals_(context.ledger, Account::io, residual_bytes(description, sequences)) {
  auto* residual = residuals_.as<float>();
  for (const Sequence& sequence : sequences_) {
    runner_.embed(sequence, residual);
    residual += static_cast<std::int64_t>(sequence.size()) * description_.width;
  }
}

LayerMoments MomentsWalk::next() {
  LayerMoments moments(context_);
  runner_.set_observer(&moments);
  auto* residual = residuals_.as<float>();
  for (const Sequence& sequence : sequences_) {
    const auto tokens = static_cast<std::int64_t>(sequence.size());
    if (layer_ < description_.layers) {
      runner_.run(layer_, tokens, residual);
    } else {
      for (std::int64_t first = 0; first < tokens; first += LayerRunner::logit_slice)
        runner_.logits(residual + first * description_.width,
                       std::min(LayerRunner::logit_slice, tokens - first));
    }
    residual += tokens * description_.width;
  }
  runner_.set_observer(nullptr);
  ++layer_;
  return moments;
}

}  // namespace plimsoll
