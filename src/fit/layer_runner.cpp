#include "fit/layer_runner.h"

#include <algorithm>

#include "model/kv.h"

namespace plimsoll {
namespace {

KvNeeds needs(const Description& description, std::int64_t sequence_tokens) {
  return {kv_shape(description), {.context = sequence_tokens, .chunk = sequence_tokens}};
}

}  // namespace

Bytes LayerRunner::memory_bytes(const Description& description, std::int64_t sequence_tokens,
                                int workers) {
  return ActivationLayout(description, sequence_tokens, sequence_tokens, logit_slice, workers)
             .total +
         needs(description, sequence_tokens).bytes;
}

LayerRunner::LayerRunner(Context& context, const Description& description, const Weights& weights,
                         std::int64_t sequence_tokens)
    : pool_(context.ledger, context.kernels, kv_shape(description),
            needs(description, sequence_tokens)),
      sequence_(pool_, sequence_tokens),
      transformer_(context, description, weights, sequence_tokens, sequence_tokens,
                   std::min(logit_slice, sequence_tokens)),
      placeholders_(static_cast<std::size_t>(sequence_tokens)) {}

SequencePart LayerRunner::part(std::int64_t tokens) {
  return {{placeholders_.data(), static_cast<std::size_t>(tokens)}, &sequence_, 0};
}

std::span<float> LayerRunner::begin(std::int64_t tokens) {
  sequence_.truncate(0);
  const SequencePart whole = part(tokens);
  transformer_.begin({&whole, 1});
  return transformer_.residual();
}

void LayerRunner::embed(std::span<const TokenId> tokens, float* residual) {
  const std::span<float> stream = begin(std::ssize(tokens));
  const SequencePart whole{tokens, &sequence_, std::ssize(tokens)};
  transformer_.embed({&whole, 1});
  std::ranges::copy(stream, residual);
}

void LayerRunner::run(std::int64_t layer, std::int64_t tokens, float* residual) {
  const std::span<float> stream = begin(tokens);
  std::copy_n(residual, stream.size(), stream.data());
  transformer_.run_layer(layer);
  std::ranges::copy(stream, residual);
}

std::span<float> LayerRunner::logits(const float* residual, std::int64_t tokens) {
  const std::span<float> stream = begin(tokens);
  std::copy_n(residual, stream.size(), stream.data());
  const SequencePart whole = part(tokens);
  std::span<float> rows;
  transformer_.visit_logits({&whole, 1}, [&](std::int64_t, std::int64_t, std::span<float> row) {
    rows = rows.empty() ? row : std::span(rows.data(), rows.size() + row.size());
  });
  return rows;
}

}  // namespace plimsoll
