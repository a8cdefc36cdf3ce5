// Finds the tokens that stand for themselves in a text (control marks, user-defined tokens) before
// it is tokenized.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "text/vocabulary.h"

namespace plimsoll {

/// A part of a text: either one special token, or text to be tokenized (token == no_token, text not
/// empty).
struct Fragment {
  std::string_view text;
  TokenId token = no_token;
};

class SpecialTokens {
 public:
  /// White space around a token that disappears with it.
  struct Strip {
    bool left = false, right = false;
  };

  explicit SpecialTokens(const Vocabulary& vocabulary, const Metadata& metadata);

  /// The fragments of `text` in their order. Longer tokens are cut out of the whole text before
  /// shorter ones, each from left to right. Control and unknown tokens only with `parse_special`.
  std::vector<Fragment> split(std::string_view text, bool parse_special) const;

  Bytes memory_bytes() const;

 private:
  struct Entry {
    TokenId token;
    std::uint32_t length;  ///< bytes
    bool only_parsed;      ///< control or unknown
    Strip strip;
  };
  /// A trie of the entries' texts: children of a node are a list of siblings.
  struct Node {
    std::int32_t child = -1, sibling = -1, entry = -1;
    std::uint8_t byte = 0;
  };

  void insert(std::string_view text, std::int32_t entry);
  std::vector<std::int32_t> entries_in(std::string_view text, bool parse_special) const;

  const Vocabulary& vocabulary_;
  std::vector<Entry> entries_;  ///< longest first
  std::vector<Node> nodes_;
  std::array<std::int32_t, 256> roots_;
};

}  // namespace plimsoll
