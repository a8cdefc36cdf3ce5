// A precompiled map of characters, as sentencepiece keeps its rules of normalisation: a double-array
// trie (Darts-clone) over texts, and what they become.
// Format: https://github.com/google/sentencepiece/blob/master/src/normalizer.cc
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"

namespace plimsoll {

class Charsmap {
 public:
  struct Match {
    std::size_t length;  ///< bytes of the text that are replaced
    std::string_view replacement;
  };

  Charsmap() = default;  ///< maps nothing
  /// From its bytes; throws Error(invalid_model) where they are none.
  explicit Charsmap(std::string_view bytes);

  bool empty() const { return units_.empty(); }
  /// What the shortest beginning of `text` in the map becomes.
  std::optional<Match> shortest(std::string_view text) const { return find(text, false); }
  std::optional<Match> longest(std::string_view text) const { return find(text, true); }
  Bytes memory_bytes() const {  ///< without sizeof *this
    return units_.capacity() * sizeof(std::uint32_t) + texts_.capacity();
  }

 private:
  std::optional<Match> find(std::string_view text, bool longest) const;

  std::vector<std::uint32_t> units_;
  std::string texts_;  ///< each up to a zero
};

}  // namespace plimsoll
