// Tokenizers out of exchangeable parts, in the order of Hugging Face's library: special tokens are
// cut out, the rest is normalized, cut into pieces, and each piece becomes tokens by a model.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/decoder.h"
#include "text/normalizer.h"
#include "text/pre_tokenizer.h"
#include "text/subword_model.h"
#include "text/vocabulary_tokenizer.h"

namespace plimsoll {

class PipelineTokenizer final : public VocabularyTokenizer {
 public:
  /// A folder's parts, as JSON: "normalizer", "pre_tokenizer", "decoder" and "added_tokens" as
  /// tokenizer.json has them, "model" without vocabulary and merges. Where a file has this key it
  /// takes precedence over tokenizer.ggml.model and pre. Without "model" only the flags of
  /// added_tokens count, and the rest is as those say.
  static constexpr std::string_view key = "tokenizer.plimsoll.pipeline";

  // All of these throw as Tokenizer::from_metadata does.
  static std::unique_ptr<Tokenizer> of_folder(const Metadata& metadata);
  /// Byte-pair encoding by merges, with one of the known ways of cutting text.
  static std::unique_ptr<Tokenizer> of_kind(const Metadata& metadata, const PreTokenizerKind& kind);
  /// BERT's WordPiece: tokens that begin a word have a space mark before them.
  static std::unique_ptr<Tokenizer> of_bert(const Metadata& metadata);
  /// Unigram with sentencepiece's rules of normalization.
  static std::unique_ptr<Tokenizer> of_unigram(const Metadata& metadata);

  std::string decode(std::span<const TokenId> tokens, bool show_special) const override;
  Bytes memory_bytes() const override;

 private:
  struct Parts {
    Normalizer normalizer;
    PreTokenizer pre_tokenizer;
    Decoder decoder;
    /// Tokens of a BERT vocabulary are kept as GGUF has them: "▁word" and "end" for "word", "##end".
    bool marks_words = false;
  };

  PipelineTokenizer(const Metadata& metadata, const VocabularyDefaults& defaults, Parts parts)
      : VocabularyTokenizer(metadata, defaults), parts_(std::move(parts)) {}
  PipelineTokenizer(const Metadata& metadata, const VocabularyDefaults& defaults, Parts parts,
                    const std::vector<AddedToken>& tokens)
      : VocabularyTokenizer(metadata, defaults, tokens, parts.normalizer),
        parts_(std::move(parts)) {}

  bool takes_parts() const override;
  std::size_t encode_open(std::string_view text, const TextPlace& place,
                          std::vector<TokenId>& out) const override;
  void encode_text(std::string_view text, const TextPlace& place,
                   std::vector<TokenId>& out) const override;
  std::string decode_normal(std::string_view piece) const override;
  /// A normal token as its makers spell it.
  std::string spelled(std::string_view piece) const;

  const Parts parts_;
  std::unique_ptr<const SubwordModel> model_;
  /// decode() shows the unknown token: a folder does not declare it special.
  bool shows_unknown_ = false;
};

}  // namespace plimsoll
