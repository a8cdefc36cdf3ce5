#include "model/tensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/error.h"

namespace plimsoll {

namespace {

/// Of the matrix that makes logits.
Role output_role(std::span<const TensorUse> uses) {
  const bool has_own =
      std::ranges::any_of(uses, [](const TensorUse& use) { return use.slot.role == Role::output; });
  return has_own ? Role::output : Role::token_embedding;
}

}  // namespace

ShapeKind shape_kind(Role role) {
  switch (role) {
    case Role::token_embedding:
    case Role::output:
    case Role::q:
    case Role::k:
    case Role::v:
    case Role::qkv:
    case Role::attention_output:
    case Role::gate:
    case Role::up:
    case Role::gate_up:
    case Role::down:
      return ShapeKind::matrix;
    case Role::output_norm:
    case Role::rope_factors:
    case Role::rope_long_factors:
    case Role::attention_norm:
    case Role::q_bias:
    case Role::k_bias:
    case Role::v_bias:
    case Role::qkv_bias:
    case Role::q_norm:
    case Role::k_norm:
    case Role::attention_output_bias:
    case Role::attention_post_norm:
    case Role::feed_forward_norm:
    case Role::feed_forward_post_norm:
    case Role::gate_bias:
    case Role::up_bias:
    case Role::down_bias:
      return ShapeKind::vector;
  }
  throw Error(ErrorCode::internal, "a role without a kind of shape");
}

std::vector<TensorSlot> tensor_slots(const Description& d) {
  std::vector<TensorSlot> slots;
  const auto add = [&](Role role, std::int64_t layer, std::string name, std::int64_t rows,
                       std::int64_t columns, bool required = true) {
    slots.push_back({role, layer, std::move(name), rows, columns, required});
  };
  const std::int64_t q_rows = d.heads * d.head_dim, kv_rows = d.kv_heads * d.head_dim;
  add(Role::token_embedding, -1, "token_embd.weight", d.vocabulary, d.width);
  for (std::int64_t layer = 0; layer < d.layers; ++layer) {
    const auto block = [&](Role role, const char* suffix, std::int64_t rows, std::int64_t columns,
                           bool required = true) {
      add(role, layer, fmt::format("blk.{}.{}", layer, suffix), rows, columns, required);
    };
    block(Role::attention_norm, "attn_norm.weight", 1, d.width);
    if (d.fused_qkv) {
      block(Role::qkv, "attn_qkv.weight", d.qkv_rows(), d.width);
      block(Role::qkv_bias, "attn_qkv.bias", 1, d.qkv_rows(), d.qkv_bias);
    } else {
      block(Role::q, "attn_q.weight", q_rows, d.width);
      block(Role::k, "attn_k.weight", kv_rows, d.width);
      block(Role::v, "attn_v.weight", kv_rows, d.width);
      block(Role::q_bias, "attn_q.bias", 1, q_rows, d.qkv_bias);
      block(Role::k_bias, "attn_k.bias", 1, kv_rows, d.qkv_bias);
      block(Role::v_bias, "attn_v.bias", 1, kv_rows, d.qkv_bias);
    }
    if (d.query_key_norm) {
      block(Role::q_norm, "attn_q_norm.weight", 1, d.head_dim);
      block(Role::k_norm, "attn_k_norm.weight", 1, d.head_dim);
    }
    block(Role::attention_output, "attn_output.weight", d.width, q_rows);
    block(Role::attention_output_bias, "attn_output.bias", 1, d.width, false);
    if (d.post_norms) block(Role::attention_post_norm, "post_attention_norm.weight", 1, d.width);
    block(Role::feed_forward_norm, "ffn_norm.weight", 1, d.width);
    if (d.fused_gate_up) {
      block(Role::gate_up, "ffn_up.weight", 2 * d.feed_forward, d.width);
    } else {
      block(Role::gate, "ffn_gate.weight", d.feed_forward, d.width);
      block(Role::up, "ffn_up.weight", d.feed_forward, d.width);
      block(Role::gate_bias, "ffn_gate.bias", 1, d.feed_forward, false);
      block(Role::up_bias, "ffn_up.bias", 1, d.feed_forward, false);
    }
    block(Role::down, "ffn_down.weight", d.width, d.feed_forward);
    block(Role::down_bias, "ffn_down.bias", 1, d.width, false);
    if (d.post_norms) block(Role::feed_forward_post_norm, "post_ffw_norm.weight", 1, d.width);
  }
  add(Role::output_norm, -1, "output_norm.weight", 1, d.width);
  if (!d.tied_output) add(Role::output, -1, "output.weight", d.vocabulary, d.width);
  const RopeDescription& rope = d.ropes[0];
  if (!rope.factors_tensor.empty())
    add(Role::rope_factors, -1, rope.factors_tensor, 1, d.rope_dim / 2, false);
  if (!rope.long_factors_tensor.empty())
    add(Role::rope_long_factors, -1, rope.long_factors_tensor, 1, d.rope_dim / 2, false);
  return slots;
}

std::vector<TensorUse> find_tensors(const ModelFile& file, const Description& description) {
  std::vector<TensorUse> uses;
  for (TensorSlot& slot : tensor_slots(description)) {
    const TensorInfo* info = file.find_tensor(slot.name);
    if (!info) {
      if (!slot.required) continue;
      throw Error(ErrorCode::invalid_model, fmt::format("tensor {} is missing", slot.name),
                  "the file is damaged, or holds only a vocabulary");
    }
    if (info->columns() != slot.columns || info->rows() != slot.rows)
      throw Error(ErrorCode::invalid_model,
                  fmt::format("tensor {} should be {} x {} by the hyper-parameters, found {} x {}",
                              slot.name, slot.rows, slot.columns, info->rows(), info->columns()));
    if (slot.is_vector() && info->format->kind != Format::Kind::dense)
      throw Error(ErrorCode::invalid_model,
                  fmt::format("tensor {} is a vector and should be F32, F16 or BF16, found {}",
                              slot.name, info->format->name));
    uses.push_back({std::move(slot), info});
  }
  // A tensor that nothing reads changes what the model was trained to do, and would go unseen.
  std::set<std::string_view> known;
  for (const TensorUse& use : uses) known.insert(use.info->name);
  for (const TensorInfo& info : file.tensors())
    if (!known.contains(info.name))
      throw Error(ErrorCode::unsupported_model,
                  fmt::format("tensor {} is no part of a {} model as it is known here", info.name,
                              description.family),
                  "the model is of a variant that is not supported yet");
  return uses;
}

std::size_t find_output(std::span<const TensorUse> uses) {
  for (std::size_t i = 0; i < uses.size(); ++i)
    if (uses[i].slot.role == output_role(uses)) return i;
  throw Error(ErrorCode::internal, "a model that makes no logits");
}

std::vector<bool> find_products(std::span<const TensorUse> uses) {
  const Role makes_logits = output_role(uses);
  std::vector<bool> products;
  for (const TensorUse& use : uses)
    products.push_back(!use.slot.is_vector() &&
                       (use.slot.role != Role::token_embedding || use.slot.role == makes_logits));
  return products;
}

}  // namespace plimsoll
