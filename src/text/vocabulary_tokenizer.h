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
  Frame frame() const final { return vocabulary_.frame(); }
  bool is_end_of_generation(TokenId token) const final;
  bool is_control(TokenId token) const final;
  std::optional<TokenId> find(std::string_view piece) const final;
  std::size_t encode_beginning(std::string_view text, Progress& progress,
                               std::vector<TokenId>& out) const final;
  void encode_end(std::string_view text, Progress progress, std::vector<TokenId>& out) const final;
  Bytes work_bytes(std::size_t text_bytes) const final;

 protected:
  /// Where a stretch of plain text stands.
  struct TextPlace {
    bool is_at_start;     ///< at the beginning, or behind a special token
    bool is_first;        ///< at the beginning
    bool may_be_special;  ///< no part of it is input
  };

  VocabularyTokenizer(const Metadata& metadata, const VocabularyDefaults& defaults)
      : vocabulary_(metadata, defaults), special_(vocabulary_, metadata) {}
  /// With special tokens as a folder declares them.
  VocabularyTokenizer(const Metadata& metadata, const VocabularyDefaults& defaults,
                      const std::vector<AddedToken>& tokens, const Normalizer& normalizer)
      : vocabulary_(metadata, defaults), special_(vocabulary_, tokens, normalizer) {}

  const Vocabulary& vocabulary() const { return vocabulary_; }
  const SpecialTokens& special() const { return special_; }
  /// Of the parts held here.
  Bytes shared_memory_bytes() const { return vocabulary_.memory_bytes() + special_.memory_bytes(); }

 private:
  std::vector<TokenId> encode_marked(std::string_view text,
                                     std::span<const ByteRange> special) const final;
  /// Appends the tokens of text without special tokens, a long one in parts.
  void encode_plain(std::string_view text, TextPlace place, std::vector<TokenId>& out) const;
  /// The working memory that is counted as long as the result lives.
  Reservation reserve_work(std::size_t text_bytes) const;

  /// True where encode_open() can find something.
  virtual bool takes_parts() const = 0;
  /// As encode_beginning(), of text without special tokens (not empty).
  virtual std::size_t encode_open(std::string_view text, const TextPlace& place,
                                  std::vector<TokenId>& out) const = 0;
  /// Appends the tokens of `text` (valid UTF-8, not empty, without special tokens).
  virtual void encode_text(std::string_view text, const TextPlace& place,
                           std::vector<TokenId>& out) const = 0;
  /// The bytes of a token of TokenKind::normal.
  virtual std::string decode_normal(std::string_view piece) const = 0;

  const Vocabulary vocabulary_;
  const SpecialTokens special_;
};

}  // namespace plimsoll
