// What all tokenizers over a Vocabulary have in common: checking the text, cutting special tokens
// out of it, and every question that the vocabulary answers.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/special_tokens.h"
#include "text/tokenizer.h"
#include "text/vocabulary.h"

namespace plimsoll {

class VocabularyTokenizer : public Tokenizer {
 public:
  std::string bytes_of(TokenId token, bool show_special) const final;
  std::string_view piece(TokenId token) const final;
  std::int32_t vocabulary_size() const final { return vocabulary_.size(); }
  std::optional<TokenId> bos() const final;
  std::optional<TokenId> eos() const final;
  bool adds_bos() const final { return vocabulary_.adds_bos(); }
  bool is_end_of_generation(TokenId token) const final;
  bool is_control(TokenId token) const final;
  std::optional<TokenId> find(std::string_view piece) const final;

 protected:
  VocabularyTokenizer(const Metadata& metadata, const VocabularyDefaults& defaults)
      : vocabulary_(metadata, defaults), special_(vocabulary_, metadata) {}

  const Vocabulary& vocabulary() const { return vocabulary_; }
  /// Of the parts held here.
  Bytes shared_memory_bytes() const { return vocabulary_.memory_bytes() + special_.memory_bytes(); }
  /// For a `character` without a token: its bytes' tokens if `by_bytes` and all are there,
  /// otherwise the unknown token, otherwise Error(invalid_text).
  void append_fallback(std::string_view character, bool by_bytes, std::vector<TokenId>& out) const;

 private:
  std::vector<TokenId> encode_marked(std::string_view text,
                                     std::span<const ByteRange> special) const final;
  /// Appends the tokens of `text` (valid UTF-8, not empty, without special tokens). `at_start`: it
  /// stands at the beginning or behind a special token.
  virtual void encode_text(std::string_view text, bool at_start,
                           std::vector<TokenId>& out) const = 0;
  /// The bytes of a token of TokenKind::normal.
  virtual std::string decode_normal(std::string_view piece) const = 0;

  const Vocabulary vocabulary_;
  const SpecialTokens special_;
};

}  // namespace plimsoll
