// What a model keeps of the positions that it has seen.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cache/kv_shape.h"
#include "model/description.h"

namespace plimsoll {

/// What a layer's full pages are kept in.
struct KvTiers {
  KvTier keys = KvTier::sixteen, values = KvTier::sixteen;
  friend bool operator==(const KvTiers&, const KvTiers&) = default;
};

/// "8", or "8/4" where keys and values differ: bits of keys, then of values.
std::string name(const KvTiers& tiers);
/// Of all layers: "16" for none, one name where they are alike, else how many layers have what:
/// "12 x 8, 4 x 8/4".
std::string describe(const std::vector<KvTiers>& layers);
/// What name() gives; empty for anything else.
std::optional<KvTiers> parse_kv_tiers(std::string_view text);

/// Of a description; `tiers` by layer, or empty for 16 bits.
KvShape kv_shape(const Description& description, const std::vector<KvTiers>& tiers = {});

}  // namespace plimsoll
