// Finds the tokens that stand for themselves in a text (control marks, user-defined tokens) before
// it is tokenized.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "file/json_reader.h"
#include "text/normalizer.h"
#include "text/regex.h"
#include "text/vocabulary.h"

namespace plimsoll {

/// A part of a text: either one special token, or text to be tokenized (token == no_token, text not
/// empty).
struct Fragment {
  std::string_view text;
  TokenId token = no_token;
};

/// A token that stands for itself, as tokenizer.json declares it.
struct AddedToken {
  TokenId token;
  std::string content;
  bool single_word = false;  ///< found only where no word goes on before or behind it
  bool lstrip = false;       ///< white space before it disappears with it
  bool rstrip = false;       ///< white space behind it disappears with it
  bool normalized = false;   ///< found in the text that has been normalized, as its content is
  bool is_special = true;
};

/// JSON out of the value of a key; throws Error(invalid_model) naming it.
Json parse_object(std::string_view key, std::string_view text);
/// Those under "added_tokens". Throws Error(invalid_model) for parts of wrong types.
std::vector<AddedToken> read_added_tokens(const JsonKeys& pipeline);

class SpecialTokens {
 public:
  /// By the kinds of a vocabulary's tokens. Which ones take white space with them is told by
  /// tokenizer.plimsoll.added_tokens (JSON with "added_tokens"); GGUF files don't say it, and models
  /// are known by name.
  SpecialTokens(const Vocabulary& vocabulary, const Metadata& metadata);
  /// As a folder declares them. Throws as Normalizer::apply does.
  SpecialTokens(const Vocabulary& vocabulary, const std::vector<AddedToken>& tokens,
                const Normalizer& normalizer);

  using Take = std::function<void(const Fragment&)>;
  /// Gives `take` the fragments of `text` in their order: at each place the longest token is taken,
  /// from left to right. Control and unknown tokens, and those that end a generation, are found
  /// only inside of one of `special` (disjoint, in order).
  void split(std::string_view text, std::span<const ByteRange> special, const Take& take) const;

  /// True where a text without marks can be split in parts: no token takes white space with it, or
  /// looks at what stands beside it.
  bool takes_parts() const;
  /// Bytes of the longest token that is found in the text as it is.
  std::size_t longest() const { return longest_; }
  /// split() of a text without any mark that begins inside of one, `begin` bytes of which are left;
  /// `passed` gets the places of the marks that are spelled out in it.
  void split_part(std::string_view text, std::size_t begin, std::vector<ByteRange>& passed,
                  const Take& take) const;

  /// True where some tokens are found in normalized text only: fragments are to be split by
  /// split_normalized() after that.
  bool has_normalized() const { return !normalized_.is_empty(); }
  void split_normalized(std::string_view text, bool may_be_special, const Take& take) const;

  Bytes memory_bytes() const;

 private:
  struct Entry {
    TokenId token;
    bool is_mark;  ///< control, unknown or an end of generation: never plain text
    bool single_word, lstrip, rstrip;
  };

  /// Texts, and the longest of them at a place. Children of a node are a list of siblings.
  class Trie {
   public:
    Trie() { roots_.fill(-1); }
    bool is_empty() const { return nodes_.empty(); }
    /// The first one of equal texts stays.
    void insert(std::string_view text, std::int32_t entry);
    struct Match {
      std::int32_t entry = -1;
      std::size_t length = 0;
    };
    Match longest(std::string_view text) const;
    void shrink() { nodes_.shrink_to_fit(); }
    Bytes memory_bytes() const { return nodes_.capacity() * sizeof(Node); }

   private:
    struct Node {
      std::int32_t child = -1, sibling = -1, entry = -1;
      std::uint8_t byte = 0;
    };
    std::vector<Node> nodes_;
    std::array<std::int32_t, 256> roots_;
  };

  void add(const Vocabulary& vocabulary, const AddedToken& token, Trie& trie,
           std::string_view content);
  void split(std::string_view text, std::span<const ByteRange> special, const Trie& trie,
             std::size_t begin, std::vector<ByteRange>* passed, const Take& take) const;
  bool is_word(std::string_view character) const;

  std::vector<Entry> entries_;
  std::size_t longest_ = 0;
  Trie plain_;       ///< of tokens that are found in the text as it is
  Trie normalized_;  ///< of those that are found in normalized text
  /// Of the first kind and of all marks as they are: where only a part of a text may hold marks, they
  /// are looked for before normalization, which knows no parts.
  Trie marks_;
  std::optional<Regex> word_;  ///< one character of a word; where some token is a single word
};

}  // namespace plimsoll
