// Byte-pair encoding over pre-tokenized pieces: neighbours merge in the order of the vocabulary's
// list of merges. Sennrich, Haddow and Birch 2016, arXiv 1508.07909; over bytes as in GPT-2
// (Radford et al. 2019).
#pragma once

#include <array>

#include "text/merge.h"
#include "text/pre_tokenizer.h"
#include "text/vocabulary_tokenizer.h"

namespace plimsoll {

/// Which pairs of tokens merge, and into what. Immutable once filled.
class MergeTable {
 public:
  /// From "left right" texts, earlier ones first. Those that name what is not in the vocabulary are
  /// left out: they could never lead to a token.
  MergeTable(const Vocabulary& vocabulary, const MetadataValue& merges);

  Merge find(TokenId left, TokenId right) const;
  Bytes memory_bytes() const;

 private:
  struct Rule {
    TokenId left, right, result;
  };
  std::size_t slot_for(TokenId left, TokenId right) const;

  std::vector<Rule> rules_;  ///< best first
  std::vector<std::int32_t>
      slots_;  ///< open-addressing table of indices into rules_, -1 where free
};

class BpeTokenizer final : public VocabularyTokenizer {
 public:
  /// Throws as Tokenizer::from_metadata does. `kind` outlives the tokenizer.
  BpeTokenizer(const Metadata& metadata, const PreTokenizerKind& kind);
  Bytes memory_bytes() const override;

 private:
  void encode_text(std::string_view text, bool at_start, std::vector<TokenId>& out) const override;
  void encode_piece(std::string_view piece, MergeScratch& scratch, std::string& spelling,
                    std::vector<TokenId>& out) const;
  std::string decode_normal(std::string_view piece) const override;

  const PreTokenizerKind& kind_;
  const PreTokenizer pre_tokenizer_;
  const MergeTable merges_;
  std::array<TokenId, 256> byte_tokens_;  ///< of single bytes, where the vocabulary spells bytes
};

}  // namespace plimsoll
