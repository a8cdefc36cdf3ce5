#include "model/transformer.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "model/rope.h"

namespace plimsoll {
namespace {

/// Queries that attend together at most, those of a page: their heads share every load of keys and
/// values.
constexpr std::int64_t query_block = kv_page_positions;

}  // namespace

ActivationLayout::ActivationLayout(const Description& d, std::int64_t context, std::int64_t chunk,
                                   std::int64_t logit_row_count, int workers)
    : chunk_tokens(chunk),
      logit_rows(logit_row_count),
      attention_parts((context + attention_part - 1) / attention_part) {
  Bytes end = 0;
  const auto take = [&end](Bytes bytes) {
    const Bytes begin = end;
    end += round_up(bytes, 64);
    return begin;
  };
  const auto floats = [&take](std::int64_t count) {
    return take(static_cast<Bytes>(count) * sizeof(float));
  };
  residual = floats(chunk * d.width);
  normed = floats(chunk * d.width);
  qkv = floats(chunk * d.qkv_rows());
  attended = floats(chunk * d.heads * d.head_dim);
  const std::int64_t parts = attention_parts > 1 ? split_queries * attention_parts : 0;
  part_outputs = floats(parts * d.heads * d.head_dim);
  part_states = floats(parts * d.heads * 2);
  gate_up = floats(chunk * 2 * d.feed_forward);
  logits = floats(logit_rows * d.vocabulary);
  angles = floats(static_cast<std::int64_t>(d.ropes.size()) * 2 * chunk * (d.rope_dim / 2));
  const std::int64_t widest = std::max({d.width, d.heads * d.head_dim, d.feed_forward});
  quantised = take(MatmulWorkspace::quantised_bytes(std::max(chunk, logit_rows), widest));
  const std::int64_t attention_floats = attention_scratch_floats(
      std::min(chunk, query_block), static_cast<std::int32_t>(d.heads / d.kv_heads),
      static_cast<std::int32_t>(d.head_dim));
  scratch_stride = round_up(std::max(MatmulWorkspace::scratch_bytes,
                                     static_cast<Bytes>(attention_floats) * sizeof(float)),
                            64);
  scratch = take(scratch_stride * static_cast<Bytes>(workers));
  total = round_up(end, page_bytes);
}

Transformer::Transformer(Context& context, const Description& description, const Weights& weights,
                         std::int64_t context_length, std::int64_t chunk_tokens,
                         std::int64_t logit_rows)
    : context_(context),
      description_(description),
      weights_(weights),
      layout_(description, context_length, chunk_tokens, logit_rows, context.threads.size()),
      memory_(context.ledger, Account::activations, layout_.total) {
  memory_.prefault();
  workspace_.quantised = memory_.data() + layout_.quantised;
  workspace_.scratch = memory_.data() + layout_.scratch;
  workspace_.scratch_stride = layout_.scratch_stride;
  rows_.reserve(static_cast<std::size_t>(chunk_tokens));
  blocks_.reserve(static_cast<std::size_t>(chunk_tokens));
  block_parts_.reserve(
      static_cast<std::size_t>(chunk_tokens + split_queries * layout_.attention_parts));
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

void Transformer::embed(std::span<const SequencePart> parts) {
  const Description& d = description_;
  const Matrix* source = &weights_.matrix({Role::token_embedding});
  if (observer_) source = observer_->replace({Role::token_embedding}, source);
  const Matrix& embedding = *source;
  std::int64_t first = 0;
  for (const SequencePart& part : parts) {
    const auto count = static_cast<std::int64_t>(part.tokens.size());
    context_.threads.parallel_for(count, 8, [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t t = begin; t < end; ++t) {
        float* row = at(layout_.residual) + (first + t) * d.width;
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
    float* cosines =
        at(layout_.angles) + static_cast<std::int64_t>(rope) * 2 * layout_.chunk_tokens * pairs;
    float* sines = cosines + layout_.chunk_tokens * pairs;
    context_.threads.parallel_for(
        static_cast<std::int64_t>(rows_.size()), 16,
        [&](std::int64_t begin, std::int64_t end, int) {
          for (std::int64_t t = begin; t < end; ++t)
            for (std::int64_t i = 0; i < pairs; ++i) {
              const float angle = static_cast<float>(rows_[static_cast<std::size_t>(t)].position) *
                                  frequencies_[rope][static_cast<std::size_t>(i)];
              cosines[t * pairs + i] = std::cos(angle) * magnitudes_[rope];
              sines[t * pairs + i] = std::sin(angle) * magnitudes_[rope];
            }
        });
  }
}

const Matrix& Transformer::matrix(Role role, std::int64_t layer) const {
  return role == Role::output ? weights_.output() : weights_.matrix({role, layer});
}

void Transformer::multiply(std::int64_t layer, std::span<const Product> products, const float* x,
                           std::int64_t x_stride, std::int64_t tokens, MakeRow make_row) {
  MatmulOp ops[3];
  for (std::size_t i = 0; i < products.size(); ++i) {
    const Product& product = products[i];
    const Matrix* factor = &matrix(product.role, layer);
    if (observer_) factor = observer_->replace({product.role, layer}, factor);
    ops[i] = factor->op(product.y, product.y_stride);
    if (product.bias != product.role) ops[i].bias = weights_.vector({product.bias, layer});
  }
  const std::span<const MatmulOp> used(ops, products.size());
  if (!observer_) return matmul(context_, used, x, x_stride, tokens, make_row, workspace_);
  context_.threads.parallel_for(tokens, 4, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t t = begin; t < end; ++t) make_row(t);
  });
  for (const Product& product : products)
    observer_->observe({product.role, layer, &matrix(product.role, layer), x, x_stride, tokens});
  matmul(
      context_, used, x, x_stride, tokens, [](std::int64_t) {}, workspace_);
}

void Transformer::multiply_normed(std::int64_t layer, std::span<const Product> products,
                                  const float* norm, std::int64_t first, std::int64_t tokens) {
  const std::int64_t width = description_.width;
  multiply(layer, products, at(layout_.normed), width, tokens, [&](std::int64_t t) {
    context_.kernels.rms_norm(at(layout_.residual) + (first + t) * width, norm,
                              description_.norm_epsilon, width, at(layout_.normed) + t * width);
  });
}

void Transformer::attention_block(std::int64_t layer) {
  const Description& d = description_;
  const auto tokens = static_cast<std::int64_t>(rows_.size());
  const std::int64_t stride = d.qkv_rows(), q_rows = d.heads * d.head_dim,
                     kv_rows = d.kv_heads * d.head_dim;
  float* const qkv = at(layout_.qkv);

  const float* const norm = weights_.vector({Role::attention_norm, layer});
  if (d.fused_qkv) {
    const Product all = {Role::qkv, Role::qkv_bias, qkv, stride};
    multiply_normed(layer, {&all, 1}, norm, 0, tokens);
  } else {
    const Product each[3] = {{Role::q, Role::q_bias, qkv, stride},
                             {Role::k, Role::k_bias, qkv + q_rows, stride},
                             {Role::v, Role::v_bias, qkv + q_rows + kv_rows, stride}};
    multiply_normed(layer, each, norm, 0, tokens);
  }
  rotate_and_store(layer);
  attend(layer);
  const Product output = {Role::attention_output, Role::attention_output_bias, at(layout_.normed),
                          d.width};
  multiply(layer, {&output, 1}, at(layout_.attended), q_rows, tokens, [](std::int64_t) {});
  add_block(weights_.vector({Role::attention_post_norm, layer}), tokens);
}

/// Norms and rotates queries and keys, and appends keys and values to the caches.
void Transformer::rotate_and_store(std::int64_t layer) {
  const Description& d = description_;
  const Kernels& kernels = context_.kernels;
  const LayerDescription& shape = d.per_layer[static_cast<std::size_t>(layer)];
  const std::int64_t stride = d.qkv_rows(), kv_rows = d.kv_heads * d.head_dim,
                     pairs = d.rope_dim / 2;
  const float* const cosines = at(layout_.angles) + shape.rope * 2 * layout_.chunk_tokens * pairs;
  const float* const sines = cosines + layout_.chunk_tokens * pairs;
  const float* const q_norm = weights_.vector({Role::q_norm, layer});
  const float* const k_norm = weights_.vector({Role::k_norm, layer});
  const float key_limit = key_code_limit(d.head_dim);
  context_.threads.parallel_for(
      static_cast<std::int64_t>(rows_.size()), 4, [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t t = begin; t < end; ++t) {
          float* const row = at(layout_.qkv) + t * stride;
          for (std::int64_t head = 0; head < d.heads + d.kv_heads; ++head) {
            float* x = row + head * d.head_dim;
            if (d.query_key_norm)
              kernels.rms_norm(x, head < d.heads ? q_norm : k_norm, d.norm_epsilon, d.head_dim, x);
            kernels.rope(cosines + t * pairs, sines + t * pairs, pairs, d.rope_adjacent, x);
          }
          const auto [cache, position] = rows_[static_cast<std::size_t>(t)];
          for (std::int64_t head = 0; head < d.kv_heads; ++head) {
            const float* k = row + (d.heads + head) * d.head_dim;
            const KvCache::Row key = cache->key(layer, head, position),
                               value = cache->value(layer, head, position);
            kernels.cache_row(k, d.head_dim, key_limit, key.codes, key.unit);
            kernels.cache_row(k + kv_rows, d.head_dim, value_code_limit, value.codes, value.unit);
          }
        }
      });
}

float* Transformer::part_output(const BlockPart& what, std::int64_t head) {
  const std::int64_t split = blocks_[static_cast<std::size_t>(what.block)].split;
  return at(layout_.part_outputs) +
         ((split * layout_.attention_parts + what.part) * description_.heads + head) *
             description_.head_dim;
}

float* Transformer::part_state(const BlockPart& what, std::int64_t head) {
  const std::int64_t split = blocks_[static_cast<std::size_t>(what.block)].split;
  return at(layout_.part_states) +
         ((split * layout_.attention_parts + what.part) * description_.heads + head) * 2;
}

std::int64_t Transformer::first_part(const QueryBlock& block, std::int64_t layer) const {
  const std::int64_t window = description_.per_layer[static_cast<std::size_t>(layer)].window;
  const std::int64_t first =
      window > 0 ? std::max<std::int64_t>(0, block.position + 1 - window) : 0;
  return first / attention_part;
}

void Transformer::attend(std::int64_t layer) {
  const std::int64_t kv_heads = description_.kv_heads;
  context_.threads.parallel_for(
      kv_heads * static_cast<std::int64_t>(block_parts_.size()), 1,
      [&](std::int64_t begin, std::int64_t end, int worker) {
        for (std::int64_t i = begin; i < end; ++i)
          attend(layer, i % kv_heads, block_parts_[static_cast<std::size_t>(i / kv_heads)], worker);
      });
  if (block_parts_.size() > blocks_.size()) merge_parts(layer);
}

void Transformer::attend(std::int64_t layer, std::int64_t head, const BlockPart& what, int worker) {
  const Description& d = description_;
  const QueryBlock& block = blocks_[static_cast<std::size_t>(what.block)];
  const std::int64_t stride = d.qkv_rows(), q_rows = d.heads * d.head_dim,
                     group = d.heads / d.kv_heads;
  AttentionTask task{};
  task.q = at(layout_.qkv) + block.row * stride + head * group * d.head_dim;
  task.q_stride = stride;
  task.pages = block.cache->pages(layer);
  task.newest = block.cache->page(layer, block.position);
  task.kv_head = head;
  task.out = at(layout_.attended) + block.row * q_rows + head * group * d.head_dim;
  task.out_stride = q_rows;
  task.queries = block.count;
  task.first_position = block.position;
  task.window = d.per_layer[static_cast<std::size_t>(layer)].window;
  task.heads = static_cast<std::int32_t>(group);
  task.head_dim = static_cast<std::int32_t>(d.head_dim);
  task.scale = d.attention_scale;
  task.soft_cap = d.attention_soft_cap;
  task.scratch = reinterpret_cast<float*>(workspace_.scratch +
                                          static_cast<Bytes>(worker) * workspace_.scratch_stride);
  if (block.parts > 1) {
    if (what.part < first_part(block, layer)) return;
    task.part = what.part;
    task.part_states = part_state(what, head * group);
    task.out = part_output(what, head * group);
  }
  context_.kernels.attention(task);
}

void Transformer::merge_parts(std::int64_t layer) {
  const Description& d = description_;
  const std::int64_t q_rows = d.heads * d.head_dim;
  context_.threads.parallel_for(
      static_cast<std::int64_t>(blocks_.size()) * d.kv_heads, 1,
      [&](std::int64_t begin, std::int64_t end, int) {
        const std::int64_t group = d.heads / d.kv_heads;
        for (std::int64_t i = begin; i < end; ++i) {
          const QueryBlock& block = blocks_[static_cast<std::size_t>(i / d.kv_heads)];
          if (block.parts == 1) continue;
          const BlockPart first = {i / d.kv_heads, first_part(block, layer)};
          const std::int64_t head = i % d.kv_heads * group;
          context_.kernels.merge_attention(
              part_output(first, head), q_rows, part_state(first, head), 2 * d.heads,
              block.parts - first.part, static_cast<std::int32_t>(group),
              static_cast<std::int32_t>(d.head_dim),
              at(layout_.attended) + block.row * q_rows + head * d.head_dim);
        }
      });
}

void Transformer::feed_forward_block(std::int64_t layer) {
  const Description& d = description_;
  const auto tokens = static_cast<std::int64_t>(rows_.size());
  const std::int64_t stride = 2 * d.feed_forward;
  float* const gate_up = at(layout_.gate_up);
  const float* const norm = weights_.vector({Role::feed_forward_norm, layer});
  if (d.fused_gate_up) {
    const Product both = {Role::gate_up, Role::gate_up, gate_up, stride};
    multiply_normed(layer, {&both, 1}, norm, 0, tokens);
  } else {
    const Product each[2] = {{Role::gate, Role::gate_bias, gate_up, stride},
                             {Role::up, Role::up_bias, gate_up + d.feed_forward, stride}};
    multiply_normed(layer, each, norm, 0, tokens);
  }
  const auto activate = d.activation == Activation::silu ? context_.kernels.silu_multiply
                                                         : context_.kernels.gelu_multiply;
  const Product down = {Role::down, Role::down_bias, at(layout_.normed), d.width};
  multiply(layer, {&down, 1}, gate_up, stride, tokens, [&](std::int64_t t) {
    float* gate = gate_up + t * stride;
    activate(gate, gate + d.feed_forward, d.feed_forward, gate);
  });
  add_block(weights_.vector({Role::feed_forward_post_norm, layer}), tokens);
}

void Transformer::add_block(const float* post_norm, std::int64_t tokens) {
  const std::int64_t width = description_.width;
  context_.threads.parallel_for(tokens, 16, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t t = begin; t < end; ++t) {
      float* block = at(layout_.normed) + t * width;
      if (post_norm)
        context_.kernels.rms_norm(block, post_norm, description_.norm_epsilon, width, block);
      context_.kernels.add(block, width, at(layout_.residual) + t * width);
    }
  });
}

void Transformer::begin(std::span<const SequencePart> parts) {
  rows_.clear();
  blocks_.clear();
  block_parts_.clear();
  std::int64_t splits = 0;
  for (const SequencePart& part : parts) {
    const auto count = static_cast<std::int64_t>(part.tokens.size());
    const std::int64_t begin = part.cache->length();
    assert(count >= 1 && begin + count <= part.cache->context());
    for (std::int64_t first = 0, next = 0; first < count; first = next) {
      next = std::min(count, first + query_block - (begin + first) % query_block);
      QueryBlock block = {part.cache,
                          static_cast<std::int64_t>(rows_.size()) + first,
                          next - first,
                          begin + first,
                          1,
                          0};
      if (count == 1 && parts.size() <= static_cast<std::size_t>(split_queries)) {
        block.parts = begin / attention_part + 1;
        assert(block.parts <= layout_.attention_parts);
        if (block.parts > 1) block.split = splits++;
      }
      for (std::int64_t i = 0; i < block.parts; ++i)
        block_parts_.push_back({static_cast<std::int64_t>(blocks_.size()), i});
      blocks_.push_back(block);
    }
    for (std::int64_t t = 0; t < count; ++t) rows_.push_back({part.cache, begin + t});
  }
  assert(static_cast<std::int64_t>(rows_.size()) <= layout_.chunk_tokens);
  compute_angles();
}

void Transformer::run_layer(std::int64_t layer) {
  attention_block(layer);
  feed_forward_block(layer);
}

void Transformer::end(std::span<const SequencePart> parts) {
  for (const SequencePart& part : parts)
    part.cache->advance(static_cast<std::int64_t>(part.tokens.size()));
}

std::span<float> Transformer::residual() {
  return {at(layout_.residual), rows_.size() * static_cast<std::size_t>(description_.width)};
}

void Transformer::forward(std::span<const SequencePart> parts) {
  begin(parts);
  embed(parts);
  for (std::int64_t layer = 0; layer < description_.layers; ++layer) run_layer(layer);
  end(parts);
}

std::span<float> Transformer::logits(std::int64_t first, std::int64_t count) {
  assert(count >= 1 && count <= layout_.logit_rows &&
         first + count <= static_cast<std::int64_t>(rows_.size()));
  const Description& d = description_;
  const Product output = {Role::output, Role::output, at(layout_.logits), d.vocabulary};
  multiply_normed(-1, {&output, 1}, weights_.vector({Role::output_norm}), first, count);
  const std::span<float> result(at(layout_.logits), static_cast<std::size_t>(count * d.vocabulary));
  if (d.final_soft_cap != 0)
    context_.threads.parallel_for(count, 1, [&](std::int64_t begin, std::int64_t end, int) {
      context_.kernels.soft_cap(d.final_soft_cap, (end - begin) * d.vocabulary,
                                result.data() + begin * d.vocabulary);
    });
  return result;
}

}  // namespace plimsoll
