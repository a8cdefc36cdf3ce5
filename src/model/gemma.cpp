// Gemma 2 (arXiv:2408.00118) and Gemma 3 (arXiv:2503.19786): scaled embeddings, norms before and
// after each block (the file's norm weights include the 1 that the papers add), GELU gates, sliding
// windows in most layers.
#include <cmath>

#include "model/architecture.h"

namespace plimsoll {
namespace {

constexpr std::int64_t longest_window = std::int64_t{1} << 31;

void describe_common(const FamilyKeys& keys, Description& d, std::int64_t windowed_of,
                     std::int64_t default_window, std::int64_t layers_of_27b) {
  d.embedding_scale = std::sqrt(static_cast<float>(d.width));
  d.activation = Activation::gelu;
  d.post_norms = true;
  // Every windowed_of-th layer sees everything.
  const std::int64_t window =
      keys.count_or("attention.sliding_window", default_window, longest_window);
  for (std::int64_t layer = 0; layer < d.layers; ++layer)
    if (layer % windowed_of < windowed_of - 1)
      d.per_layer[static_cast<std::size_t>(layer)].window = window;
  // The 27B models scale queries by the width per head instead of the head's own.
  if (d.layers == layers_of_27b)
    d.attention_scale = 1.0f / std::sqrt(static_cast<float>(d.width) / static_cast<float>(d.heads));
}

}  // namespace

void describe_gemma2(const FamilyKeys& keys, Description& d) {
  describe_common(keys, d, 2, 4096, 46);
  d.attention_soft_cap = static_cast<float>(keys.number_or("attn_logit_softcapping", 50));
  d.final_soft_cap = static_cast<float>(keys.number_or("final_logit_softcapping", 30));
}

void describe_gemma3(const FamilyKeys& keys, Description& d) {
  describe_common(keys, d, 6, 1024, 62);
  d.query_key_norm = true;
  d.final_soft_cap = static_cast<float>(keys.number_or("final_logit_softcapping", 0));
  // Windowed layers keep the short-range base, unscaled.
  RopeDescription local;
  local.base = keys.number_or("rope.freq_base_swa", 10000);
  d.ropes.push_back(local);
  for (LayerDescription& layer : d.per_layer)
    if (layer.window) layer.rope = 1;
}

}  // namespace plimsoll
