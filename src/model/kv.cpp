#include "model/kv.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace plimsoll {

std::string name(const KvTiers& tiers) {
  if (tiers.keys == tiers.values) return fmt::format("{}", kv_bits(tiers.keys));
  return fmt::format("{}/{}", kv_bits(tiers.keys), kv_bits(tiers.values));
}

std::string describe(const std::vector<KvTiers>& layers) {
  if (layers.empty()) return name(KvTiers{});
  std::vector<std::pair<KvTiers, int>> kinds;
  for (const KvTiers& layer : layers) {
    const auto found = std::ranges::find(kinds, layer, &std::pair<KvTiers, int>::first);
    if (found == kinds.end())
      kinds.push_back({layer, 1});
    else
      ++found->second;
  }
  if (kinds.size() == 1) return name(kinds[0].first);
  std::string text;
  for (const auto& [tiers, count] : kinds)
    text += fmt::format("{}{} x {}", text.empty() ? "" : ", ", count, name(tiers));
  return text;
}

std::optional<KvTiers> parse_kv_tiers(std::string_view text) {
  for (int keys = 0; keys < kv_tiers; ++keys)
    for (int values = 0; values < kv_tiers; ++values) {
      const KvTiers tiers = {static_cast<KvTier>(keys), static_cast<KvTier>(values)};
      if (name(tiers) == text) return tiers;
    }
  return {};
}

KvShape kv_shape(const Description& d, const std::vector<KvTiers>& tiers) {
  KvShape shape;
  for (std::size_t layer = 0; layer < static_cast<std::size_t>(d.layers); ++layer) {
    const KvTiers of_layer = layer < tiers.size() ? tiers[layer] : KvTiers{};
    shape.push_back({d.kv_heads, d.head_dim, d.per_layer[layer].window, of_layer.keys,
                     of_layer.values});
  }
  return shape;
}

}  // namespace plimsoll
