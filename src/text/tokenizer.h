// Text to token ids and back, from the vocabulary of a GGUF file or a Hugging Face folder: byte-pair
// encoding by merges or by scores, Unigram, WordPiece and whole words.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/ledger.h"
#include "file/metadata.h"

namespace plimsoll {

using TokenId = std::int32_t;

/// A stretch of a prompt, and where it comes from.
struct TextPart {
  std::string text;
  /// From a user, a tool, a file: never read as control tokens, whatever it spells.
  bool is_input = false;

  bool operator==(const TextPart&) const = default;
};

/// Bytes [begin, end) of a text.
struct ByteRange {
  std::size_t begin = 0, end = 0;
};

/// Immutable and thread-safe.
class Tokenizer {
 public:
  /// Throws Error(invalid_model): vocabulary missing, arrays of different lengths, special ids out
  /// of range; Error(unsupported_model): tokenizer model or pre-tokenizer kind not known (named,
  /// with the list of known ones).
  static std::unique_ptr<Tokenizer> from_metadata(const Metadata& metadata);
  virtual ~Tokenizer() = default;

  /// Token ids of `text`, no BOS or EOS added. With `parse_special`, the texts of control tokens
  /// become those tokens; otherwise they are plain text (user-defined tokens always match). Invalid
  /// UTF-8 is Error(invalid_text) with the byte offset.
  std::vector<TokenId> encode(std::string_view text, bool parse_special = false) const;
  /// The same of all parts as one text, in which control tokens (and whatever ends a generation) are
  /// found only where no byte of them is input. Plain text is tokenized across the parts' borders.
  std::vector<TokenId> encode(std::span<const TextPart> parts) const;

  /// Where in a text that comes in parts the next one begins.
  struct Progress {
    bool is_first = true;     ///< nothing has been taken yet
    bool is_at_start = true;  ///< that, or directly behind a special token
    std::size_t passed = 0;   ///< bytes at the beginning that belong to a mark that is spelled out
  };
  /// Of a text that more may follow: appends the tokens of a beginning that are the same whatever
  /// follows, and returns its bytes; the rest has to be given again, with more behind it. 0 where
  /// nothing is certain: a piece is not at its end, or this tokenizer needs the text as a whole.
  /// `text` is of whole characters, valid UTF-8.
  virtual std::size_t encode_beginning(std::string_view text, Progress& progress,
                                       std::vector<TokenId>& out) const = 0;
  /// The end of such a text.
  virtual void encode_end(std::string_view text, Progress progress,
                          std::vector<TokenId>& out) const = 0;

  /// From now on the working memory of encoding is counted there, in Account::text; encoding throws
  /// Error(budget_refused) where it does not fit. `ledger` outlives the tokenizer's use.
  void count_in(Ledger& ledger) { ledger_ = &ledger; }
  /// What encoding a text of so many bytes takes besides the text and its ids (4 bytes each, never
  /// more of them than bytes): no more than this unless one piece of the text is far beyond what
  /// vocabularies know. The same for any long text where it is tokenized in parts.
  virtual Bytes work_bytes(std::size_t text_bytes) const = 0;

  /// The bytes that a token stands for in running text; may be part of a UTF-8 character. Control
  /// tokens give nothing unless `show_special`.
  virtual std::string bytes_of(TokenId token, bool show_special = false) const = 0;

  /// The text of a whole sequence, as the tokenizer's makers join it: what was put before the text
  /// or between its words to tokenize it goes. Bytes that are no UTF-8 become U+FFFD.
  virtual std::string decode(std::span<const TokenId> tokens, bool show_special = false) const;

  /// As in the vocabulary, undecoded ("\u2581the", "<0x0A>", "<|im_end|>"), for inspection.
  virtual std::string_view piece(TokenId token) const = 0;

  virtual std::int32_t vocabulary_size() const = 0;
  virtual std::optional<TokenId> bos() const = 0;
  virtual std::optional<TokenId> eos() const = 0;
  virtual bool adds_bos() const = 0;  ///< the model expects BOS before a prompt
  /// What the makers put before and behind a text that stands alone ("[CLS]" and "[SEP]"): BOS among
  /// them where adds_bos().
  struct Frame {
    std::vector<TokenId> before, after;
  };
  virtual Frame frame() const = 0;
  /// EOS, EOT and the vocabulary's other ends of a turn.
  virtual bool is_end_of_generation(TokenId token) const = 0;
  virtual bool is_control(TokenId token) const = 0;
  /// The token that has exactly this text in the vocabulary.
  virtual std::optional<TokenId> find(std::string_view piece) const = 0;
  /// What the tokenizer holds in memory.
  virtual Bytes memory_bytes() const = 0;

 protected:
  Ledger* ledger() const { return ledger_; }

 private:
  /// Control tokens are found only inside of one of `special`, which are disjoint and in order.
  virtual std::vector<TokenId> encode_marked(std::string_view text,
                                             std::span<const ByteRange> special) const = 0;

  Ledger* ledger_ = nullptr;
};

/// Turns a stream of tokens into text that never ends inside a UTF-8 character. One per generated
/// sequence.
class Detokenizer {
 public:
  explicit Detokenizer(const Tokenizer& tokenizer) : tokenizer_(&tokenizer) {}

  /// Text that is complete after this token (possibly none). Bytes that cannot become UTF-8 turn
  /// into U+FFFD.
  std::string push(TokenId token, bool show_special = false);
  /// What is left at the end, incomplete characters as U+FFFD.
  std::string flush();

 private:
  const Tokenizer* tokenizer_;
  std::string pending_;
};

}  // namespace plimsoll
