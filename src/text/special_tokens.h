// Finds the tokens that stand for themselves in a text (control marks, user-defined tokens) before
// it is tokenized.
#pragma once

#include <array>
#include <cstdint>
#include <span>
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
  /// shorter ones, each from left to right. Control and unknown tokens, and those that end a
  /// generation, are found only inside of one of `special` (disjoint, in order).
  std::vector<Fragment> split(std::string_view text, std::span<const ByteRange> special) const;

  Bytes memory_bytes() const;

 private:
  struct Entry {
    TokenId token;
    std::uint32_t length;  ///< bytes
    bool is_mark;          ///< control, unknown or an end of generation: never plain text
    Strip strip;
  };
  /// A trie of the entries' texts: children of a node are a list of siblings.
  struct Node {
    std::int32_t child = -1, sibling = -1, entry = -1;
    std::uint8_t byte = 0;
  };

  void insert(std::string_view text, std::int32_t entry);
  std::vector<std::int32_t> entries_in(std::string_view text, bool with_marks) const;

  const Vocabulary& vocabulary_;
  std::vector<Entry> entries_;  ///< longest first
  std::vector<Node> nodes_;
  std::array<std::int32_t, 256> roots_;
};

}  // namespace plimsoll
