// Cuts text into the pieces (words, numbers, punctuation, white space) that byte-pair encoding
// never merges across.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"

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
};

/// The kind with this name, or null.
const PreTokenizerKind* find_pre_tokenizer_kind(std::string_view name);
/// All names, separated by ", ".
std::string known_pre_tokenizer_names();

/// Immutable and thread-safe.
class PreTokenizer {
 public:
  explicit PreTokenizer(const PreTokenizerKind& kind);
  ~PreTokenizer();
  PreTokenizer(const PreTokenizer&) = delete;
  PreTokenizer& operator=(const PreTokenizer&) = delete;

  /// Lengths in bytes of the pieces of `text` (valid UTF-8), in order; they add up to its size.
  std::vector<std::uint32_t> split(std::string_view text) const;

  Bytes memory_bytes() const;

 private:
  struct Pattern;
  const PreTokenizerKind& kind_;
  std::vector<Pattern> patterns_;
};

}  // namespace plimsoll
