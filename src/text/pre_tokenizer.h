// Cuts text into the pieces (words, numbers, punctuation, white space) that a model of subwords
// never goes across.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "file/json_reader.h"
#include "text/normalizer.h"

namespace plimsoll {

/// One way of cutting, as tokenizer.ggml.pre names it: a row of the table in
/// pre_tokenizer_kinds.cpp.
struct PreTokenizerKind {
  std::span<const std::string_view> names;
  /// Perl-compatible, "\s" being Unicode's White_Space. Each is applied to every piece that the one
  /// before has left, seeing nothing beyond it; matches and what stands between them become the new
  /// pieces.
  std::span<const std::string_view> patterns;
  /// After the first pattern, pieces of digits only are cut in threes from the right ("1234567" is
  /// 1 234 567). As a pattern that would take time with the square of their length.
  bool groups_digits = false;
  bool ignores_merges =
      false;              ///< a piece that is a token as a whole is not merged from its characters
  bool adds_bos = false;  ///< unless the file says otherwise
  bool is_raw =
      false;  ///< tokens are UTF-8 with U+2581 for spaces instead of GPT-2's characters for bytes
  /// In place of patterns: a "pre_tokenizer" as the makers' tokenizer.json has it, where its steps see
  /// more than a text's own characters.
  std::string_view published = {};
};

/// The kind with this name, or null.
const PreTokenizerKind* find_pre_tokenizer_kind(std::string_view name);
/// All names, separated by ", ".
std::string known_pre_tokenizer_names();

/// A text in pieces.
class Pieces {
 public:
  explicit Pieces(std::string_view text, std::size_t first = 0) : from_first(first), given_(text) {
    if (!text.empty()) lengths.push_back(static_cast<std::uint32_t>(text.size()));
  }

  /// The pieces of a text that more may follow: none yet, and all of it open.
  static Pieces of_beginning(std::string_view text, std::size_t first) {
    Pieces pieces(text.substr(0, 0), first);
    pieces.open = text;
    return pieces;
  }
  /// Appends the pieces of what follows these in the text.
  void append(const Pieces& next);

  std::vector<std::uint32_t> lengths;  ///< bytes, none of them 0; they add up to the text's
  std::size_t from_first;              ///< as in WorkingText
  /// What follows the pieces as one piece, as far as it is known: it may go on.
  std::string_view open;

  /// Of all pieces, one after the other.
  std::string_view text() const { return is_changed_ ? std::string_view(changed_) : given_; }
  bool is_changed() const { return is_changed_; }
  void set_text(std::string text) {
    changed_ = std::move(text);
    is_changed_ = true;
  }

 private:
  std::string_view given_;
  std::string changed_;
  bool is_changed_ = false;
};

/// Immutable and thread-safe.
class PreTokenizer {
 public:
  class Step {
   public:
    virtual ~Step() = default;
    virtual void apply(Pieces& pieces) const = 0;
    /// The step can cut a text in parts: see cut_open().
    virtual bool takes_parts() const { return false; }
    /// The pieces at the beginning of `open`, which begins where this step has cut and may go on
    /// behind its end, that are the same whatever follows; in their place in `rest` what is still
    /// open for the next step. Together they may be shorter than `open`.
    virtual Pieces cut_open(std::string_view open, std::string_view& rest) const;
    virtual Bytes memory_bytes() const = 0;
  };

  PreTokenizer() = default;  ///< cuts nothing
  explicit PreTokenizer(const PreTokenizerKind& kind);
  /// Reads a "pre_tokenizer" of tokenizer.json; one without members cuts nothing. Where the last
  /// step spells bytes as characters and `may_leave_bytes`, it is left to the model: is_in_bytes().
  /// Throws Error(unsupported_model) with the name of a step that is not known,
  /// Error(invalid_model) for parts of wrong types.
  PreTokenizer(const JsonKeys& description, bool may_leave_bytes);

  /// The pieces stand for bytes, and the tokens spell those in GPT-2's characters.
  bool is_in_bytes() const { return is_in_bytes_; }

  /// `text` is valid UTF-8 and outlives the pieces. Throws Error(invalid_text) where an expression
  /// takes too much work.
  Pieces cut(std::string_view text, std::size_t from_first = 0) const;
  /// True where cut_beginning() can find something.
  bool takes_parts() const;
  /// The pieces of a beginning of `text` that are the same whatever follows it, none of them the
  /// text's last one. Cutting can go on behind them as if the text began there. The pieces' source
  /// is the first `taken` bytes.
  Pieces cut_beginning(std::string_view text, std::size_t from_first, std::size_t& taken) const;
  /// The lengths only.
  std::vector<std::uint32_t> split(std::string_view text) const { return cut(text).lengths; }

  Bytes memory_bytes() const;  ///< without sizeof *this

 private:
  std::vector<std::unique_ptr<Step>> steps_;
  bool is_in_bytes_ = false;
};

}  // namespace plimsoll
