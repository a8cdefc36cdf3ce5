#include "model/workspace.h"

#include <algorithm>

#include "model/pass.h"

namespace plimsoll {

ActivationLayout::ActivationLayout(const Description& d, std::int64_t context, std::int64_t chunk,
                                   std::int64_t logit_row_count, int workers, std::int64_t sequences)
    : chunk_tokens(chunk),
      logit_rows(logit_row_count),
      attention_parts((context + attention_part - 1) / attention_part),
      split_queries(std::clamp(sequences, few_queries, query_block)) {
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

Workspace::Workspace(Context& context, const Description& description, const Weights& weights,
                     const ActivationLayout& layout)
    : context_(context),
      description_(description),
      weights_(weights),
      layout_(layout),
      memory_(context.ledger, Account::activations, layout.total) {
  memory_.prefault();
  workspace_.quantised = memory_.data() + layout_.quantised;
  workspace_.scratch = memory_.data() + layout_.scratch;
  workspace_.scratch_stride = layout_.scratch_stride;
}

const Matrix& Workspace::matrix(Role role, std::int64_t layer) const {
  return role == Role::output ? weights_.output() : weights_.matrix({role, layer});
}

void Workspace::multiply(std::int64_t layer, std::span<const Product> products, const float* x,
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

void Workspace::multiply_normed(std::int64_t layer, std::span<const Product> products,
                                const float* norm, std::int64_t tokens) {
  const std::int64_t width = description_.width;
  multiply(layer, products, normed(), width, tokens, [&](std::int64_t t) {
    context_.kernels.rms_norm(residual() + t * width, norm, description_.norm_epsilon, width,
                              normed() + t * width);
  });
}

void Workspace::add_block(const float* post_norm, std::int64_t tokens) {
  const std::int64_t width = description_.width;
  context_.threads.parallel_for(tokens, 16, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t t = begin; t < end; ++t) {
      float* block = normed() + t * width;
      if (post_norm)
        context_.kernels.rms_norm(block, post_norm, description_.norm_epsilon, width, block);
      context_.kernels.add(block, width, residual() + t * width);
    }
  });
}

}  // namespace plimsoll
