#include "fit/layer_moments.h"

#include <algorithm>

#include "fit/input_rounding.h"

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
  const std::int64_t columns = product.matrix->columns();
  Input& input = inputs_[product.role];
  if (!input.moments) {
    input.moments = std::make_unique<SecondMoments>(context_, columns);
    for (std::vector<float>& sums : input.rounding)
      sums.assign(static_cast<std::size_t>(columns), 0);
  }
  input.moments->add(product.x, product.x_stride, product.tokens);
  std::vector<float> row_largest;
  for (std::int64_t t = 0; t < product.tokens; ++t)
    row_largest.push_back(largest_magnitude(product.x + t * product.x_stride, columns));
  for (const InputRounding rounding :
       {InputRounding::rows, InputRounding::blocks_of_32, InputRounding::blocks_of_256}) {
    const std::int64_t block = rounding_block(rounding);
    float* const sums = input.rounding[static_cast<std::size_t>(rounding)].data();
    context_.threads.parallel_for(
        (columns + block - 1) / block, 1, [&](std::int64_t first, std::int64_t end, int) {
          const std::int64_t begin = first * block;
          for (std::int64_t t = 0; t < product.tokens; ++t)
            add_input_rounding_errors(rounding, product.x + t * product.x_stride + begin,
                                      std::min(end * block, columns) - begin,
                                      row_largest[static_cast<std::size_t>(t)], 1, sums + begin);
        });
  }
}

SecondMoments* LayerMoments::of(Role role) {
  const auto found = inputs_.find(input_role(role));
  if (found == inputs_.end()) return nullptr;
  found->second.moments->settle();
  return found->second.moments.get();
}

std::vector<float> LayerMoments::rounding_errors(Role role, InputRounding rounding) const {
  const Input& input = inputs_.at(input_role(role));
  std::vector<float> result = input.rounding[static_cast<std::size_t>(rounding)];
  for (float& value : result) value /= static_cast<float>(input.moments->tokens());
  return result;
}

Bytes MomentsWalk::memory_bytes(const Description& d, std::span<const Sequence> sequences,
                                int workers) {
  const Bytes width = SecondMoments::memory_bytes(d.width, workers);
  return residual_bytes(d, sequences) + 2 * width +
         SecondMoments::memory_bytes(d.heads * d.head_dim, workers) +
         SecondMoments::memory_bytes(d.feed_forward, workers);
}

MomentsWalk::MomentsWalk(Context& context, const ModelFile& file, const Description& description,
                         Weights& weights, LayerRunner& runner, std::span<const Sequence> sequences)
    : context_(context),
      file_(file),
      description_(description),
      weights_(weights),
      runner_(runner),
      sequences_(sequences),
      residuals_(context.ledger, Account::io, residual_bytes(description, sequences)) {
  weights_.take_layer(context_, file_, -1);
  auto* residual = residuals_.as<float>();
  for (const Sequence& sequence : sequences_) {
    runner_.embed(sequence, residual);
    residual += static_cast<std::int64_t>(sequence.size()) * description_.width;
  }
}

std::span<float> MomentsWalk::state() const {
  return {residuals_.as<float>(), residual_bytes(description_, sequences_) / sizeof(float)};
}

LayerMoments MomentsWalk::next() {
  weights_.take_layer(context_, file_, layer_ < description_.layers ? layer_ : -1);
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
