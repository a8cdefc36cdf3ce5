// UTF-8, one character at a time, over untrusted bytes. Well-formedness is that of the Unicode
// Standard, table 3-7 (no overlong forms, no surrogates, nothing above U+10FFFF).
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace plimsoll {

struct Utf8Step {
  enum class Kind {
    character,   ///< `length` bytes are one character
    incomplete,  ///< the text ends inside a character: all `length` bytes left may still become one
    invalid,     ///< `length` bytes (the maximal prefix of a character, or one) cannot become one
  };
  Kind kind;
  std::size_t length;  ///< at least 1
};

/// What stands at the beginning of `text`, which is not empty.
Utf8Step next_utf8(std::string_view text);

/// Where the last character of `text`, which is well formed and not empty, begins.
std::size_t last_utf8(std::string_view text);

/// Offset of the first byte that is not part of a character; empty when the text is well formed.
std::optional<std::size_t> find_invalid_utf8(std::string_view text);

/// U+2581, which stands for a space in sentencepiece vocabularies.
inline constexpr std::string_view space_mark = "\xE2\x96\x81";

/// `text` with every occurrence of `from` (not empty) replaced.
std::string replace_all(std::string_view text, std::string_view from, std::string_view to);

}  // namespace plimsoll
