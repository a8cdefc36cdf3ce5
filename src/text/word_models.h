// Models that look whole words, or their longest parts, up in the vocabulary.
#pragma once

#include <string>

#include "text/subword_model.h"

namespace plimsoll {

struct WordPieceOptions {
  TokenId unknown = no_token;
  std::string first_prefix = {};  ///< of tokens that begin a word
  std::string prefix = "##";      ///< of tokens that go on with one
  std::size_t longest_word = 100;  ///< characters; longer ones are unknown
};

/// The longest token that a word begins with, then the longest that the rest begins with, and so on;
/// a word that can't be spelled so is unknown as a whole. As in BERT, after Schuster and Nakajima
/// 2012.
class WordPieceModel final : public SubwordModel {
 public:
  WordPieceModel(const Vocabulary& vocabulary, WordPieceOptions options)
      : vocabulary_(vocabulary), options_(std::move(options)) {}
  void encode(std::string_view piece, SubwordScratch& scratch,
              std::vector<TokenId>& out) const override;
  Bytes memory_bytes() const override {
    return sizeof *this + options_.prefix.capacity() + options_.first_prefix.capacity();
  }

 private:
  const Vocabulary& vocabulary_;
  const WordPieceOptions options_;
};

/// A piece is one token, or unknown.
class WordLevelModel final : public SubwordModel {
 public:
  WordLevelModel(const Vocabulary& vocabulary, TokenId unknown)
      : vocabulary_(vocabulary), unknown_(unknown) {}
  void encode(std::string_view piece, SubwordScratch& scratch,
              std::vector<TokenId>& out) const override;
  Bytes memory_bytes() const override { return sizeof *this; }

 private:
  const Vocabulary& vocabulary_;
  const TokenId unknown_;
};

}  // namespace plimsoll
