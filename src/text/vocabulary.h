// The tokens of a GGUF vocabulary: their texts, kinds and special roles, without any way of
// splitting text. Keys: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md#tokenizer
#pragma once

#include <bitset>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "file/metadata.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

namespace plimsoll {

constexpr TokenId no_token = -1;

/// By their numbers in tokenizer.ggml.token_type.
enum class TokenKind : std::uint8_t {
  undefined = 0,
  normal = 1,
  unknown = 2,
  control = 3,
  user_defined = 4,
  unused = 5,
  byte = 6,
};

/// What a vocabulary has when the file doesn't say.
struct VocabularyDefaults {
  TokenId bos = no_token;
  TokenId eos = no_token;
  TokenId unknown = no_token;
  bool adds_bos = false;
};

/// Immutable. Copies everything it needs out of the metadata.
class Vocabulary {
 public:
  /// Throws Error(invalid_model) as Tokenizer::from_metadata says. A default id outside the
  /// vocabulary is dropped.
  Vocabulary(const Metadata& metadata, const VocabularyDefaults& defaults);

  std::int32_t size() const { return static_cast<std::int32_t>(kinds_.size()); }
  bool contains(TokenId id) const { return id >= 0 && id < size(); }

  /// As it stands in the file; `id` is in the vocabulary.
  std::string_view text(TokenId id) const {
    const auto index = static_cast<std::size_t>(id);
    return {blob_.data() + offsets_[index], offsets_[index + 1] - offsets_[index]};
  }
  TokenKind kind(TokenId id) const { return kinds_[static_cast<std::size_t>(id)]; }

  /// The first token with this text, or no_token. Empty tokens are never found.
  TokenId find(std::string_view text) const;
  /// True for a token that text may become: none for control or for what is unknown, no padding,
  /// none that was added to a vocabulary and stands for itself only.
  bool is_plain(TokenId id) const {
    const TokenKind of = kind(id);
    return of == TokenKind::normal || of == TokenKind::byte ||
           (of == TokenKind::user_defined && !is_added(id));
  }
  /// True for a mark of the model's own vocabulary that is not declared beside it. Where marks are
  /// read, only the model can find it.
  bool is_own_mark(TokenId id) const {
    const TokenKind of = kind(id);
    return declares_added_ && (of == TokenKind::control || of == TokenKind::unknown) &&
           !is_added(id);
  }
  /// find() among plain tokens, and among the model's own marks if `reads_marks`.
  TokenId find_plain(std::string_view text, bool reads_marks = false) const {
    const TokenId id = find(text);
    if (id == no_token || is_plain(id) || (reads_marks && is_own_mark(id))) return id;
    return no_token;
  }
  /// True for a token that was added beside the model's own vocabulary (as a folder's files tell).
  bool is_added(TokenId id) const;
  /// True for a user-defined token whose text is plain, and not spelled as the others are.
  bool is_verbatim(TokenId id) const {
    return !declares_added_ || (is_added(id) && text(id).find(space_mark) == std::string_view::npos);
  }
  /// The token "<0xNN>" of a byte, or no_token.
  TokenId find_byte(std::uint8_t byte) const;
  /// The byte that a token of TokenKind::byte stands for; empty where its text is not of the form
  /// "<0xNN>".
  std::optional<std::uint8_t> byte_of(TokenId id) const;

  TokenId bos() const { return bos_; }
  TokenId eos() const { return eos_; }
  TokenId unknown() const { return unknown_; }
  bool adds_bos() const { return adds_bos_; }
  bool is_end_of_generation(TokenId id) const;
  const Tokenizer::Frame& frame() const { return frame_; }

  /// Last bytes of what some token has directly before a space mark. After any other byte no token
  /// spans the beginning of a word, so that text can be cut there and its parts be tokenized one by
  /// one.
  std::bitset<256> joins_words() const;

  std::size_t longest_text() const { return longest_text_; }  ///< bytes
  Bytes memory_bytes() const;

 private:
  void read_texts(const Metadata& metadata);
  void read_kinds(const Metadata& metadata);
  void build_index();
  void read_special_ids(const Metadata& metadata, const VocabularyDefaults& defaults);
  void mark_well_known_texts(const Metadata& metadata);
  void read_frame(const Metadata& metadata);

  std::vector<char> blob_;              ///< all texts, one after the other
  std::vector<std::uint32_t> offsets_;  ///< size() + 1 of them, into blob_
  std::vector<TokenKind> kinds_;
  std::vector<TokenId> slots_;  ///< open-addressing table over the texts, no_token where free
  std::vector<std::uint8_t>
      tags_;                   ///< eight more bits of the hash of each slot, to spare comparisons
  std::vector<TokenId> ends_;   ///< tokens that end a generation, ascending
  std::vector<TokenId> added_;  ///< see is_added(), ascending
  Tokenizer::Frame frame_;
  std::size_t longest_text_ = 0;
  bool declares_added_ = false;
  TokenId bos_ = no_token;
  TokenId eos_ = no_token;
  TokenId unknown_ = no_token;
  bool adds_bos_ = false;
};

}  // namespace plimsoll
