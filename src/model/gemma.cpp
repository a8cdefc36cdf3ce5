// Gemma 2 (arXiv:2408.00118) and Gemma 3 (arXiv:2503.19786): scaled embeddings, norms before and
// after each block (the file's norm weights include the 1 that the papers add), GELU gates, sliding
// windows in most layers.
#include <cmath>

#include "model/architecture.h"

namespace plimsoll {
namespace {

void describe_common(Description& d, std::int64_t layers_of_27b) {
  d.embedding_scale = std::sqrt(static_cast<float>(d.width));
  d.activation = Activation::gelu;
  d.post_norms = true;
  // The 27B models scale queries by the width per head instead of the head's own; files say so only
  // since there is a key for it.
  if (d.layers == layers_of_27b)
    d.attention_scale = 1.0f / std::sqrt(static_cast<float>(d.width / d.heads));
}

}  // namespace

void describe_gemma2(const FamilyKeys& keys, Description& d) {
  describe_common(d, 46);
  describe_windows(keys, d, 4096, 2);
  // 0 says that there is no cap.
  d.attention_soft_cap = static_cast<float>(keys.number_or("attn_logit_softcapping", 50));
  d.final_soft_cap = static_cast<float>(keys.number_or("final_logit_softcapping", 30));
}

void describe_gemma3(const FamilyKeys& keys, Description& d) {
  describe_common(d, 62);
  d.query_key_norm = true;
  // No Gemma 3 has the base that stands for none in other families.
  d.ropes[0].base = keys.number_or("rope.freq_base", 1e6);
  describe_windows(keys, d, 0, 6);
  // Windowed layers keep the short-range base, unscaled.
  RopeDescription local;
  local.base = keys.number_or("rope.freq_base_swa", 10000);
  d.ropes.resize(1);
  d.ropes.push_back(local);
  for (LayerDescription& layer : d.per_layer) layer.rope = layer.window ? 1 : 0;
}

}  // namespace plimsoll
