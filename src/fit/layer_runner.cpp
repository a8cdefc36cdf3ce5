#include "fit/layer_runner.h"

#include <algorithm>

namespace plimsoll {
namespace {

KvShape kv_shape(const Description& d) { return {d.layers, d.kv_heads, d.head_dim}; }

}  // namespace

Bytes LayerRunner::memory_bytes(const Description& description, std::int64_t sequence_tokens,
                                int workers) {
  return ActivationLayout(description, sequence_tokens, sequence_tokens, logit_slice, workers)
             .total +
         KvCache::memory_bytes(kv_shape(description), sequence_tokens);
}

LayerRunner::LayerRunner(Context& context, const Description& description, const Weights& weights,
                         std::int64_t sequence_tokens)
    : description_(description),
      cache_(context.ledger, kv_shape(description), sequence_tokens),
      transformer_(context, description, weights, sequence_tokens, sequence_tokens,
                   std::min(logit_slice, sequence_tokens)),
      placeholders_(static_cast<std::size_t>(sequence_tokens)) {}

SequencePart LayerRunner::part(std::int64_t tokens) {
  return {{placeholders_.data(), static_cast<std::size_t>(tokens)}, &cache_};
}

void LayerRunner::embed(std::span<const TokenId> tokens, float* residual) {
  const SequencePart whole{tokens, &cache_};
  transformer_.begin({&whole, 1});
  transformer_.embed({&whole, 1});
  std::ranges::copy(transformer_.residual(), residual);
}

void LayerRunner::run(std::int64_t layer, std::int64_t tokens, float* residual) {
  const SequencePart whole = part(tokens);
  transformer_.begin({&whole, 1});
  const std::span<float> stream = transformer_.residual();
  std::copy_n(residual, stream.size(), stream.data());
  transformer_.run_layer(layer);
  std::ranges::copy(stream, residual);
}

std::span<float> LayerRunner::logits(const float* residual, std::int64_t tokens) {
  const SequencePart whole = part(tokens);
  transformer_.begin({&whole, 1});
  const std::span<float> stream = transformer_.residual();
  std::copy_n(residual, stream.size(), stream.data());
  return transformer_.logits(0, tokens);
}

}  // namespace plimsoll
