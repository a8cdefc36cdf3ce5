#include "model/transformer.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "model/rope.h"

namespace plimsoll {
namespace {

/// Queries that attend together: their heads share every load of keys and values.
constexpr std::int64_t query_block = 32;

}  // namespace

ActivationLayout::ActivationLayout(const Description& d, std::int64_t chunk,
                                   std::int64_t logit_row_count, int workers)
    : chunk_tokens(chunk), logit_rows(logit_row_count) {
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
      layout_(description, chunk_tokens, logit_rows, context.threads.size()),
      memory_(context.ledger, Account::activations, layout_.total) {
  memory_.prefault();
  workspace_.quantised = memory_.data() + layout_.quantised;
  workspace_.scratch = memory_.data() + layout_.scratch;
  workspace_.scratch_stride = layout_.scratch_stride;
  for (const RopeDescription& rope : description.ropes) {
    const bool first = &rope == &description.ropes[0];
    const bool is_long = first && context_length > rope.original_context;
    const float* factors = nullptr;
    if (first) {
      if (is_long) factors = weights.vector(Role::rope_long_factors);
      if (!factors) factors = weights.vector(Role::rope_factors);
    }
    RopeFrequencies frequencies = rope_frequencies(rope, description.rope_dim, factors);
    frequencies_.push_back(std::move(frequencies.radians_per_position));
    magnitudes_.push_back(frequencies.magnitude);
  }
}

void Transformer::embed(std::span<const TokenId> tokens) {
  const Description& d = description_;
  const Matrix& embedding = weights_.matrix(Role::token_embedding);
  context_.threads.parallel_for(
      static_cast<std::int64_t>(tokens.size()), 8, [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t t = begin; t < end; ++t) {
          float* row = at(layout_.residual) + t * d.width;
          embedding.dequantise_row(tokens[static_cast<std::size_t>(t)], row);
          if (d.embedding_scale != 1) context_.kernels.scale(d.embedding_scale, d.width, row);
        }
      });
}

void Transformer::compute_angles(std::int64_t tokens, std::int64_t first_position) {
  const std::int64_t pairs = description_.rope_dim / 2;
  for (std::size_t rope = 0; rope < frequencies_.size(); ++rope) {
    float* cosines =
        at(layout_.angles) + static_cast<std::int64_t>(rope) * 2 * layout_.chunk_tokens * pairs;
    float* sines = cosines + layout_.chunk_tokens * pairs;
    context_.threads.parallel_for(tokens, 16, [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t t = begin; t < end; ++t)
        for (std::int64_t i = 0; i < pairs; ++i) {
          const float angle = static_cast<float>(first_position + t) *
                              frequencies_[rope][static_cast<std::size_t>(i)];
          cosines[t * pairs + i] = std::cos(angle) * magnitudes_[rope];
          sines[t * pairs + i] = std::sin(angle) * magnitudes_[rope];
        }
    });
  }
}

void Transformer::norm_rows(const float* x, const float* weight, std::int64_t tokens, float* out) {
  const std::int64_t width = description_.width;
  context_.threads.parallel_for(tokens, 8, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t t = begin; t < end; ++t)
      context_.kernels.rms_norm(x + t * width, weight, description_.norm_epsilon, width,
                                out + t * width);
  });
}

void Transformer::multiply(std::span<const MatmulOp> ops, const float* x, std::int64_t x_stride,
                           std::int64_t tokens) {
  matmul(context_, ops, x, x_stride, tokens, workspace_);
}

void Transformer::attention_block(std::int64_t layer, std::int64_t tokens, KvCache& cache) {
  const Description& d = description_;
  const Kernels& kernels = context_.kernels;
  const LayerDescription& shape = d.per_layer[static_cast<std::size_t>(layer)];
  const std::int64_t stride = d.qkv_rows(), q_rows = d.heads * d.head_dim,
                     kv_rows = d.kv_heads * d.head_dim;
  const std::int64_t first_position = cache.length();
  float* const qkv = at(layout_.qkv);

  norm_rows(at(layout_.residual), weights_.vector(Role::attention_norm, layer), tokens,
            at(layout_.normed));
  if (d.fused_qkv) {
    MatmulOp op = weights_.matrix(Role::qkv, layer).op(qkv, stride);
    op.bias = weights_.vector(Role::qkv_bias, layer);
    multiply({&op, 1}, at(layout_.normed), d.width, tokens);
  } else {
    MatmulOp ops[3] = {weights_.matrix(Role::q, layer).op(qkv, stride),
                       weights_.matrix(Role::k, layer).op(qkv + q_rows, stride),
                       weights_.matrix(Role::v, layer).op(qkv + q_rows + kv_rows, stride)};
    ops[0].bias = weights_.vector(Role::q_bias, layer);
    ops[1].bias = weights_.vector(Role::k_bias, layer);
    ops[2].bias = weights_.vector(Role::v_bias, layer);
    multiply(ops, at(layout_.normed), d.width, tokens);
  }

  const std::int64_t pairs = d.rope_dim / 2;
  const float* const cosines = at(layout_.angles) + shape.rope * 2 * layout_.chunk_tokens * pairs;
  const float* const sines = cosines + layout_.chunk_tokens * pairs;
  const float* const q_norm = weights_.vector(Role::q_norm, layer);
  const float* const k_norm = weights_.vector(Role::k_norm, layer);
  context_.threads.parallel_for(tokens, 4, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t t = begin; t < end; ++t) {
      for (std::int64_t head = 0; head < d.heads + d.kv_heads; ++head) {
        float* x = qkv + t * stride + head * d.head_dim;
        if (d.query_key_norm)
          kernels.rms_norm(x, head < d.heads ? q_norm : k_norm, d.norm_epsilon, d.head_dim, x);
        kernels.rope(cosines + t * pairs, sines + t * pairs, pairs, d.rope_adjacent, x);
      }
      for (std::int64_t head = 0; head < d.kv_heads; ++head) {
        const std::int64_t place = (first_position + t) * d.head_dim;
        const float* k = qkv + t * stride + q_rows + head * d.head_dim;
        kernels.half_from_float(k, d.head_dim, cache.keys(layer, head) + place);
        kernels.half_from_float(k + kv_rows, d.head_dim, cache.values(layer, head) + place);
      }
    }
  });

  const std::int64_t group = d.heads / d.kv_heads,
                     blocks = (tokens + query_block - 1) / query_block;
  context_.threads.parallel_for(
      d.kv_heads * blocks, 1, [&](std::int64_t begin, std::int64_t end, int worker) {
        for (std::int64_t i = begin; i < end; ++i) {
          const std::int64_t head = i % d.kv_heads, first = i / d.kv_heads * query_block;
          AttentionTask task{};
          task.q = qkv + first * stride + head * group * d.head_dim;
          task.q_stride = stride;
          task.k = cache.keys(layer, head);
          task.v = cache.values(layer, head);
          task.kv_stride = d.head_dim;
          task.out = at(layout_.attended) + first * q_rows + head * group * d.head_dim;
          task.out_stride = q_rows;
          task.queries = std::min(query_block, tokens - first);
          task.first_position = first_position + first;
          task.window = shape.window;
          task.heads = static_cast<std::int32_t>(group);
          task.head_dim = static_cast<std::int32_t>(d.head_dim);
          task.scale = d.attention_scale;
          task.soft_cap = d.attention_soft_cap;
          task.scratch = reinterpret_cast<float*>(
              workspace_.scratch + static_cast<Bytes>(worker) * workspace_.scratch_stride);
          kernels.attention(task);
        }
      });

  MatmulOp output = weights_.matrix(Role::attention_output, layer).op(at(layout_.normed), d.width);
  output.bias = weights_.vector(Role::attention_output_bias, layer);
  multiply({&output, 1}, at(layout_.attended), q_rows, tokens);
  add_block(weights_.vector(Role::attention_post_norm, layer), tokens);
}

void Transformer::feed_forward_block(std::int64_t layer, std::int64_t tokens) {
  const Description& d = description_;
  const std::int64_t stride = 2 * d.feed_forward;
  float* const gate_up = at(layout_.gate_up);
  norm_rows(at(layout_.residual), weights_.vector(Role::feed_forward_norm, layer), tokens,
            at(layout_.normed));
  if (d.fused_gate_up) {
    const MatmulOp op = weights_.matrix(Role::gate_up, layer).op(gate_up, stride);
    multiply({&op, 1}, at(layout_.normed), d.width, tokens);
  } else {
    const MatmulOp ops[2] = {weights_.matrix(Role::gate, layer).op(gate_up, stride),
                             weights_.matrix(Role::up, layer).op(gate_up + d.feed_forward, stride)};
    multiply(ops, at(layout_.normed), d.width, tokens);
  }
  const auto activate = d.activation == Activation::silu ? context_.kernels.silu_multiply
                                                         : context_.kernels.gelu_multiply;
  context_.threads.parallel_for(tokens, 4, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t t = begin; t < end; ++t) {
      float* gate = gate_up + t * stride;
      activate(gate, gate + d.feed_forward, d.feed_forward, gate);
    }
  });
  const MatmulOp down = weights_.matrix(Role::down, layer).op(at(layout_.normed), d.width);
  multiply({&down, 1}, gate_up, stride, tokens);
  add_block(weights_.vector(Role::feed_forward_post_norm, layer), tokens);
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

void Transformer::forward(std::span<const TokenId> tokens, KvCache& cache) {
  const auto count = static_cast<std::int64_t>(tokens.size());
  assert(count >= 1 && count <= layout_.chunk_tokens && cache.length() + count <= cache.context());
  embed(tokens);
  compute_angles(count, cache.length());
  for (std::int64_t layer = 0; layer < description_.layers; ++layer) {
    attention_block(layer, count, cache);
    feed_forward_block(layer, count);
  }
  cache.advance(count);
  last_tokens_ = count;
}

std::span<float> Transformer::logits(std::int64_t first, std::int64_t count) {
  assert(count >= 1 && count <= layout_.logit_rows && first + count <= last_tokens_);
  const Description& d = description_;
  norm_rows(at(layout_.residual) + first * d.width, weights_.vector(Role::output_norm), count,
            at(layout_.normed));
  const MatmulOp op = weights_.output().op(at(layout_.logits), d.vocabulary);
  multiply({&op, 1}, at(layout_.normed), d.width, count);
  const std::span<float> result(at(layout_.logits), static_cast<std::size_t>(count * d.vocabulary));
  if (d.final_soft_cap != 0)
    context_.threads.parallel_for(count, 1, [&](std::int64_t begin, std::int64_t end, int) {
      context_.kernels.soft_cap(d.final_soft_cap, (end - begin) * d.vocabulary,
                                result.data() + begin * d.vocabulary);
    });
  return result;
}

}  // namespace plimsoll
