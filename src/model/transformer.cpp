#include "model/transformer.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "model/rope.h"

namespace plimsoll {

Transformer::Transformer(Context& context, const Description& description, const Weights& weights,
                         std::int64_t context_length, std::int64_t chunk_tokens,
                         std::int64_t logit_rows, std::int64_t sequences)
    : context_(context),
      description_(description),
      weights_(weights),
      workspace_(context, description, weights,
                 ActivationLayout(description, context_length, chunk_tokens, logit_rows,
                                  context.threads.size(), sequences)) {
  const auto most = static_cast<std::size_t>(chunk_tokens);
  pass_.rows.reserve(most);
  pass_.sequences.reserve(most);
  pass_.blocks.reserve(most);
  pass_.wanted_rows.reserve(most);
  pass_.growths.reserve(most);
  pass_.block_parts.reserve(
      static_cast<std::size_t>(
      chunk_tokens + workspace_.layout().split_queries * workspace_.layout().attention_parts));
  for (std::int64_t layer = 0; layer < description.layers; ++layer)
    layers_.push_back({Attention(workspace_, layer), FeedForward(workspace_, layer)});
  for (const RopeDescription& rope : description.ropes) {
    const float* factors = nullptr;
    if (context_length > rope.original_context && !rope.long_factors_tensor.empty())
      factors = weights.vector({Role::rope_long_factors});
    if (!factors && !rope.factors_tensor.empty()) factors = weights.vector({Role::rope_factors});
    RopeFrequencies frequencies =
        rope_frequencies(rope, description.rope_dim, factors, context_length);
    frequencies_.push_back(std::move(frequencies.radians_per_position));
    magnitudes_.push_back(frequencies.magnitude);
  }
}

void Transformer::embed(std::span<const SequencePart> batch) {
  const Description& d = description_;
  const Matrix* source = &weights_.matrix({Role::token_embedding});
  if (ProductObserver* observer = workspace_.observer())
    source = observer->replace({Role::token_embedding}, source);
  const Matrix& embedding = *source;
  std::int64_t first = 0;
  for (const SequencePart& part : batch) {
    const auto count = static_cast<std::int64_t>(part.tokens.size());
    context_.threads.parallel_for(count, 8, [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t t = begin; t < end; ++t) {
        float* row = workspace_.residual() + (first + t) * d.width;
        embedding.dequantise_row(part.tokens[static_cast<std::size_t>(t)], row);
        if (d.embedding_scale != 1) context_.kernels.scale(d.embedding_scale, d.width, row);
      }
    });
    first += count;
  }
}

void Transformer::compute_angles() {
  const std::int64_t pairs = description_.rope_dim / 2;
  for (std::size_t rope = 0; rope < frequencies_.size(); ++rope) {
    float* cosines = workspace_.at(workspace_.layout().angles) +
                     static_cast<std::int64_t>(rope) * 2 * chunk_tokens() * pairs;
    float* sines = cosines + chunk_tokens() * pairs;
    context_.threads.parallel_for(
        pass_.tokens(), 16,
        [&](std::int64_t begin, std::int64_t end, int) {
          for (std::int64_t t = begin; t < end; ++t)
            for (std::int64_t i = 0; i < pairs; ++i) {
              const float angle = static_cast<float>(pass_.rows[static_cast<std::size_t>(t)].position) *
                                  frequencies_[rope][static_cast<std::size_t>(i)];
              cosines[t * pairs + i] = std::cos(angle) * magnitudes_[rope];
              sines[t * pairs + i] = std::sin(angle) * magnitudes_[rope];
            }
        });
  }
}

const float* Transformer::angles(std::int64_t layer) const {
  const int rope = description_.per_layer[static_cast<std::size_t>(layer)].rope;
  return workspace_.at(workspace_.layout().angles) +
         rope * 2 * chunk_tokens() * (description_.rope_dim / 2);
}

void Transformer::begin(std::span<const SequencePart> batch) {
  pass_.growths.clear();
  for (const SequencePart& part : batch)
    pass_.growths.push_back({part.sequence, std::ssize(part.tokens)});
  pass_.kv.begin(pass_.growths);
  pass_.rows.clear();
  pass_.sequences.clear();
  pass_.blocks.clear();
  pass_.block_parts.clear();
  pass_.wanted_rows.clear();
  for (const SequencePart& part : batch) {
    const std::int64_t count = std::ssize(part.tokens), begin = part.sequence->length();
    assert(count >= 1 && begin + count <= part.sequence->context());
    for (std::int64_t first = 0; first < count;) {
      const std::int64_t position = begin + first;
      const Pass::QueryBlock block = {
          std::ssize(pass_.sequences), pass_.tokens() + first,
          std::min(query_block - position % query_block, count - first), position, 1, 0};
      pass_.blocks.push_back(block);
      first += block.count;
    }
    for (std::int64_t t = part.logits_from; t < count; ++t)
      pass_.wanted_rows.push_back(pass_.tokens() + t);
    for (std::int64_t t = 0; t < count; ++t) pass_.rows.push_back({part.sequence, begin + t});
    pass_.sequences.push_back(part.sequence);
  }
  assert(pass_.tokens() <= chunk_tokens());
  split_blocks();
  compute_angles();
}

void Transformer::split_blocks() {
  // By pages of one layer that keeps all; others are looked at when they are computed.
  std::int64_t layer = 0;
  while (layer < description_.layers &&
         description_.per_layer[static_cast<std::size_t>(layer)].window > 0)
    ++layer;
  const auto shared_parts = [&](const Pass::QueryBlock& a, const Pass::QueryBlock& b) {
    if (layer == description_.layers || a.count != 1 || b.count != 1) return std::int64_t{0};
    const auto pages = [&](const Pass::QueryBlock& block) {
      return pass_.sequences[static_cast<std::size_t>(block.sequence)]->pages(layer);
    };
    const auto of_a = pages(a), of_b = pages(b);
    const auto common = std::ranges::mismatch(of_a, of_b).in1 - of_a.begin();
    return common / (attention_part / kv_page_positions);
  };
  const std::int64_t blocks = std::ssize(pass_.blocks);
  const auto block_at = [this](std::int64_t i) -> Pass::QueryBlock& {
    return pass_.blocks[static_cast<std::size_t>(i)];
  };
  std::int64_t splits = 0;
  const bool are_few = std::ssize(pass_.sequences) <= few_queries;
  for (std::int64_t i = 0; i < blocks;) {
    Pass::QueryBlock& first = block_at(i);
    std::int64_t shared = 0, end = i + 1;
    for (; end < blocks && splits + end - i < workspace_.layout().split_queries; ++end) {
      const std::int64_t with_next = shared_parts(block_at(end - 1), block_at(end));
      if (with_next == 0 || (shared > 0 && with_next < shared)) break;
      if (shared == 0) shared = with_next;
    }
    first.sharers = end - i;
    for (std::int64_t k = i; k < end; ++k) {
      Pass::QueryBlock& block = block_at(k);
      block.shared_parts = shared;
      if (block.count == 1 && (are_few || shared > 0)) {
        block.parts = block.position / attention_part + 1;
        assert(block.parts <= workspace_.layout().attention_parts);
        if (block.parts > 1) block.split = splits++;
      }
      for (std::int64_t part = k == i ? 0 : shared; part < block.parts; ++part)
        pass_.block_parts.push_back({k, part});
    }
    i = end;
  }
}

void Transformer::run_layer(std::int64_t layer) {
  Layer& parts = layers_[static_cast<std::size_t>(layer)];
  parts.mixer.run(pass_, angles(layer));
  parts.feed_forward.run(pass_.tokens());
}

void Transformer::end() { pass_.kv.finish(); }

std::span<float> Transformer::residual() {
  return {workspace_.residual(), static_cast<std::size_t>(pass_.tokens() * description_.width)};
}

void Transformer::run(std::span<const SequencePart> batch, LogitsVisitor visit) {
  begin(batch);
  embed(batch);
  for (std::int64_t layer = 0; layer < description_.layers; ++layer) run_layer(layer);
  end();
  visit_logits(batch, visit);
}

void Transformer::visit_logits(std::span<const SequencePart> batch, LogitsVisitor visit) {
  const Description& d = description_;
  float* const logits = workspace_.at(workspace_.layout().logits);
  const Product output = {Role::output, Role::output, logits, d.vocabulary};
  const float* const norm = weights_.vector({Role::output_norm});
  // Which token of the batch the next one is.
  std::size_t part = 0;
  std::int64_t token = batch.empty() ? 0 : batch[0].logits_from;
  const std::int64_t all = std::ssize(pass_.wanted_rows);
  for (std::int64_t first = 0; first < all; first += logit_rows()) {
    const std::int64_t count = std::min(logit_rows(), all - first);
    workspace_.multiply(
        -1, {&output, 1}, workspace_.normed(), d.width, count, [&](std::int64_t t) {
          const std::int64_t row = pass_.wanted_rows[static_cast<std::size_t>(first + t)];
          context_.kernels.rms_norm(workspace_.residual() + row * d.width, norm, d.norm_epsilon,
                                    d.width, workspace_.normed() + t * d.width);
        });
    if (d.final_soft_cap != 0)
      context_.threads.parallel_for(count, 1, [&](std::int64_t begin, std::int64_t end, int) {
        context_.kernels.soft_cap(d.final_soft_cap, (end - begin) * d.vocabulary,
                                  logits + begin * d.vocabulary);
      });
    for (std::int64_t t = 0; t < count; ++t, ++token) {
      while (token >= std::ssize(batch[part].tokens)) token = batch[++part].logits_from;
      visit(static_cast<std::int64_t>(part), token,
            {logits + t * d.vocabulary, static_cast<std::size_t>(d.vocabulary)});
    }
  }
}

}  // namespace plimsoll
