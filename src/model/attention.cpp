#include "model/attention.h"

#include <algorithm>

namespace plimsoll {

Attention::Attention(Workspace& workspace, std::int64_t layer)
    : workspace_(workspace),
      description_(workspace.description()),
      kernels_(workspace.context().kernels),
      layer_(layer),
      window_(description_.per_layer[static_cast<std::size_t>(layer)].window) {}

void Attention::run(Pass& pass, const float* angles) {
  const Description& d = description_;
  const Weights& weights = workspace_.weights();
  const ActivationLayout& layout = workspace_.layout();
  const std::int64_t stride = d.qkv_rows(), q_rows = d.heads * d.head_dim,
                     kv_rows = d.kv_heads * d.head_dim;
  float* const qkv = workspace_.at(layout.qkv);

  const float* const norm = weights.vector({Role::attention_norm, layer_});
  if (d.fused_qkv) {
    const Product all = {Role::qkv, Role::qkv_bias, qkv, stride};
    workspace_.multiply_normed(layer_, {&all, 1}, norm, pass.tokens());
  } else {
    const Product each[3] = {{Role::q, Role::q_bias, qkv, stride},
                             {Role::k, Role::k_bias, qkv + q_rows, stride},
                             {Role::v, Role::v_bias, qkv + q_rows + kv_rows, stride}};
    workspace_.multiply_normed(layer_, each, norm, pass.tokens());
  }
  pass.kv.open(layer_);
  rotate_and_store(pass, angles);
  pass.kv.lower(layer_, workspace_.context().threads);
  attend(pass);
  pass.kv.close(layer_);
  const Product output = {Role::attention_output, Role::attention_output_bias, workspace_.normed(),
                          d.width};
  workspace_.multiply(layer_, {&output, 1}, workspace_.at(layout.attended), q_rows, pass.tokens(),
                      [](std::int64_t) {});
  workspace_.add_block(weights.vector({Role::attention_post_norm, layer_}), pass.tokens());
}

/// Norms queries and keys, turns them by their positions, and appends keys and values to the
/// sequences. All of them go into the basis of Kernels::rotate.
void Attention::rotate_and_store(const Pass& pass, const float* angles) {
  const Description& d = description_;
  const Weights& weights = workspace_.weights();
  const std::int64_t stride = d.qkv_rows(), kv_rows = d.kv_heads * d.head_dim,
                     pairs = d.rope_dim / 2;
  const float* const cosines = angles;
  const float* const sines = cosines + workspace_.layout().chunk_tokens * pairs;
  const float* const q_norm = weights.vector({Role::q_norm, layer_});
  const float* const k_norm = weights.vector({Role::k_norm, layer_});
  const float key_limit = key_code_limit(d.head_dim);
  const KvHeadLayout keys(KvTier::sixteen, KvSide::keys, d.head_dim),
      values(KvTier::sixteen, KvSide::values, d.head_dim);
  const auto store = [&](const float* x, float limit, std::byte* head, const KvHeadLayout& layout,
                         std::int64_t place) {
    kernels_.cache_row(x, d.head_dim, limit,
                       reinterpret_cast<std::int16_t*>(head + place * layout.row_bytes),
                       reinterpret_cast<std::uint16_t*>(head + layout.units) + place);
  };
  workspace_.context().threads.parallel_for(
      pass.tokens(), 4, [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t t = begin; t < end; ++t) {
          float* const row = workspace_.at(workspace_.layout().qkv) + t * stride;
          for (std::int64_t head = 0; head < d.heads + d.kv_heads; ++head) {
            float* x = row + head * d.head_dim;
            if (d.query_key_norm)
              kernels_.rms_norm(x, head < d.heads ? q_norm : k_norm, d.norm_epsilon, d.head_dim, x);
            kernels_.rope(cosines + t * pairs, sines + t * pairs, pairs, d.rope_adjacent, x);
          }
          for (std::int64_t head = 0; head < d.heads + 2 * d.kv_heads; ++head)
            kernels_.rotate(d.head_dim, row + head * d.head_dim);
          const auto [sequence, position] = pass.rows[static_cast<std::size_t>(t)];
          const KvPageId id =
              sequence->pages(layer_)[static_cast<std::size_t>(position / kv_page_positions)];
          const KvPageView page = sequence->pool().exact(id);
          const std::int64_t place = position % kv_page_positions;
          for (std::int64_t head = 0; head < d.kv_heads; ++head) {
            const float* k = row + (d.heads + head) * d.head_dim;
            store(k, key_limit, page.keys.heads + head * keys.bytes, keys, place);
            store(k + kv_rows, value_code_limit, page.values.heads + head * values.bytes, values,
                  place);
          }
        }
      });
}

void Attention::rotate_back(float* heads) {
  const std::int64_t group = description_.heads / description_.kv_heads;
  for (std::int64_t head = 0; head < group; ++head)
    kernels_.rotate(description_.head_dim, heads + head * description_.head_dim);
}

float* Attention::part_output(const Pass& pass, const Pass::BlockPart& what,
                              std::int64_t head) const {
  const ActivationLayout& layout = workspace_.layout();
  const std::int64_t split = pass.blocks[static_cast<std::size_t>(what.block)].split;
  return workspace_.at(layout.part_outputs) +
         ((split * layout.attention_parts + what.part) * description_.heads + head) *
             description_.head_dim;
}

float* Attention::part_state(const Pass& pass, const Pass::BlockPart& what,
                             std::int64_t head) const {
  const ActivationLayout& layout = workspace_.layout();
  const std::int64_t split = pass.blocks[static_cast<std::size_t>(what.block)].split;
  return workspace_.at(layout.part_states) +
         ((split * layout.attention_parts + what.part) * description_.heads + head) * 2;
}

std::int64_t Attention::first_part(const Pass::QueryBlock& block) const {
  const std::int64_t first =
      window_ > 0 ? std::max<std::int64_t>(0, block.position + 1 - window_) : 0;
  return first / attention_part;
}

void Attention::attend(const Pass& pass) {
  const std::int64_t kv_heads = description_.kv_heads;
  views_.clear();
  for (KvSequence* sequence : pass.sequences) views_.push_back(sequence->views(layer_));
  workspace_.context().threads.parallel_for(
      kv_heads * std::ssize(pass.block_parts), 1,
      [&](std::int64_t begin, std::int64_t end, int worker) {
        for (std::int64_t i = begin; i < end; ++i)
          attend(pass, i % kv_heads, pass.block_parts[static_cast<std::size_t>(i / kv_heads)],
                 worker);
      });
  if (pass.block_parts.size() > pass.blocks.size()) merge_parts(pass);
}

bool Attention::is_shared(const Pass& pass, const Pass::BlockPart& what) const {
  if (window_ > 0) return false;
  const auto pages = [&](std::int64_t block) {
    const Pass::QueryBlock& of = pass.blocks[static_cast<std::size_t>(block)];
    constexpr std::int64_t of_part = attention_part / kv_page_positions;
    return pass.sequences[static_cast<std::size_t>(of.sequence)]->pages(layer_).subspan(
        static_cast<std::size_t>(what.part * of_part), static_cast<std::size_t>(of_part));
  };
  const std::int64_t sharers = pass.blocks[static_cast<std::size_t>(what.block)].sharers;
  for (std::int64_t i = 1; i < sharers; ++i)
    if (!std::ranges::equal(pages(what.block), pages(what.block + i))) return false;
  return true;
}

void Attention::attend(const Pass& pass, std::int64_t head, const Pass::BlockPart& what,
                       int worker) {
  const Pass::QueryBlock& block = pass.blocks[static_cast<std::size_t>(what.block)];
  const std::int64_t sharers = what.part < block.shared_parts ? block.sharers : 1;
  if (sharers > 1 && is_shared(pass, what)) return attend(pass, head, what, sharers, worker);
  for (std::int64_t i = 0; i < sharers; ++i)
    attend(pass, head, {what.block + i, what.part}, 1, worker);
}

void Attention::attend(const Pass& pass, std::int64_t head, const Pass::BlockPart& what,
                       std::int64_t sharers, int worker) {
  const Description& d = description_;
  const ActivationLayout& layout = workspace_.layout();
  const Pass::QueryBlock& block = pass.blocks[static_cast<std::size_t>(what.block)];
  const KvSequence& sequence = *pass.sequences[static_cast<std::size_t>(block.sequence)];
  const std::int64_t stride = d.qkv_rows(), q_rows = d.heads * d.head_dim,
                     group = d.heads / d.kv_heads;
  AttentionTask task{};
  task.q = workspace_.at(layout.qkv) + block.row * stride + head * group * d.head_dim;
  task.q_stride = stride;
  task.pages = views_[static_cast<std::size_t>(block.sequence)];
  task.newest = sequence.pool().exact(
      sequence.pages(layer_)[static_cast<std::size_t>(block.position / kv_page_positions)]);
  task.kv_head = head;
  task.out = workspace_.at(layout.attended) + block.row * q_rows + head * group * d.head_dim;
  task.out_stride = q_rows;
  task.queries = block.count;
  task.first_position = block.position;
  task.window = window_;
  task.heads = static_cast<std::int32_t>(group);
  task.head_dim = static_cast<std::int32_t>(d.head_dim);
  task.scale = d.attention_scale;
  task.soft_cap = d.attention_soft_cap;
  task.scratch = workspace_.scratch(worker);
  if (block.parts > 1) {
    if (what.part < first_part(block)) return;
    task.part = what.part;
    task.part_states = part_state(pass, what, head * group);
    task.part_state_stride = layout.attention_parts * 2 * d.heads;
    task.out = part_output(pass, what, head * group);
    task.out_stride = layout.attention_parts * q_rows;
    task.queries = sharers;
    kernels_.attention(task);
    return;
  }
  kernels_.attention(task);
  for (std::int64_t i = 0; i < block.count; ++i) rotate_back(task.out + i * q_rows);
}

void Attention::merge_parts(const Pass& pass) {
  const Description& d = description_;
  const std::int64_t q_rows = d.heads * d.head_dim, group = d.heads / d.kv_heads;
  workspace_.context().threads.parallel_for(
      std::ssize(pass.blocks) * d.kv_heads, 1, [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t i = begin; i < end; ++i) {
          const Pass::QueryBlock& block = pass.blocks[static_cast<std::size_t>(i / d.kv_heads)];
          if (block.parts == 1) continue;
          const Pass::BlockPart first = {i / d.kv_heads, first_part(block)};
          const std::int64_t head = i % d.kv_heads * group;
          float* const out = workspace_.at(workspace_.layout().attended) + block.row * q_rows +
                             head * d.head_dim;
          kernels_.merge_attention(part_output(pass, first, head), q_rows,
                                   part_state(pass, first, head), 2 * d.heads,
                                   block.parts - first.part, static_cast<std::int32_t>(group),
                                   static_cast<std::int32_t>(d.head_dim), out);
          rotate_back(out);
        }
      });
}

}  // namespace plimsoll
