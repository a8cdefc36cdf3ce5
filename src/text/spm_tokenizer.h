// Sentencepiece's BPE: neighbours merge into the token with the best score.
// Kudo and Richardson 2018, arXiv 1808.06226.
#pragma once

#include <bitset>
#include <vector>

#include "text/vocabulary_tokenizer.h"

namespace plimsoll {

class SpmTokenizer final : public VocabularyTokenizer {
 public:
  /// Throws as Tokenizer::from_metadata does.
  explicit SpmTokenizer(const Metadata& metadata);
  Bytes memory_bytes() const override;

 private:
  bool takes_parts() const override { return true; }
  std::size_t encode_open(std::string_view text, const TextPlace& place,
                          std::vector<TokenId>& out) const override;
  void encode_text(std::string_view text, const TextPlace& place,
                   std::vector<TokenId>& out) const override;
  std::string decode_normal(std::string_view piece) const override;

  std::vector<std::uint32_t> priorities_;  ///< by token; the better the score, the lower the number
  std::bitset<256> joins_words_;  ///< see Vocabulary::joins_words
  /// Pairs of bytes (first * 256 + second) that stand side by side in some token. Between any
  /// others nothing ever merges.
  std::vector<bool> neighbours_;
  bool adds_space_ = true;  ///< a space is put before text at the start
};

}  // namespace plimsoll
