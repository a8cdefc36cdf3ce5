#include "text/charsmap.h"

#include <fmt/format.h>

#include <cstring>

#include "base/error.h"

namespace plimsoll {

Charsmap::Charsmap(std::string_view bytes) {
  if (bytes.empty()) return;
  std::uint32_t trie_bytes = 0;
  if (bytes.size() >= sizeof trie_bytes) std::memcpy(&trie_bytes, bytes.data(), sizeof trie_bytes);
  if (trie_bytes == 0 || trie_bytes % 4 != 0 || trie_bytes > bytes.size() - sizeof trie_bytes)
    throw Error(ErrorCode::invalid_model,
                fmt::format("the precompiled map of characters wanted a trie of some multiple of 4 "
                            "bytes, found one of {} in {} bytes",
                            trie_bytes, bytes.size()),
                "the tokenizer's files are damaged");
  units_.resize(trie_bytes / 4);
  std::memcpy(units_.data(), bytes.data() + sizeof trie_bytes, trie_bytes);
  texts_ = bytes.substr(sizeof trie_bytes + trie_bytes);
  texts_.shrink_to_fit();
}

std::optional<Charsmap::Match> Charsmap::find(std::string_view text, bool longest) const {
  if (units_.empty()) return std::nullopt;
  const auto offset_of = [](std::uint32_t unit) { return (unit >> 10) << ((unit & 0x200u) >> 6); };
  std::optional<Match> found;
  std::size_t node = offset_of(units_[0]);
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<std::uint8_t>(text[i]);
    node ^= byte;
    if (byte == 0 || node >= units_.size()) break;
    const std::uint32_t unit = units_[node];
    if ((unit & 0x800000FFu) != byte) break;
    node ^= offset_of(unit);
    if (node >= units_.size()) break;
    if (unit >> 8 & 1) {
      const std::size_t value = units_[node] & 0x7FFFFFFFu;
      if (value > texts_.size()) break;
      const std::string_view rest = std::string_view(texts_).substr(value);
      found = {i + 1, rest.substr(0, rest.find('\0'))};
      if (!longest) break;
    }
  }
  return found;
}

}  // namespace plimsoll
