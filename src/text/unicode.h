// Characters and their properties as the library for tokenizer.json has them: thin over utf8proc, but
// for what tables of other versions of Unicode make different there (library_tables.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace plimsoll {

/// The first character of `text`, which is valid UTF-8 and not empty; sets its `length` in bytes.
char32_t decode_character(std::string_view text, std::size_t& length);
void append_character(std::string& text, char32_t character);

/// Calls `take(character, its bytes)` for every character of valid UTF-8.
template <class Take>
void for_each_character(std::string_view text, Take take) {
  while (!text.empty()) {
    std::size_t length = 0;
    const char32_t character = decode_character(text, length);
    take(character, text.substr(0, length));
    text.remove_prefix(length);
  }
}

/// Unicode's White_Space.
bool is_white_space(char32_t character);
/// Decimal digits, letter numbers (Roman ones) and others (fractions).
bool is_number(char32_t character);
/// ASCII's symbols, and Unicode's punctuation.
bool is_punctuation(char32_t character);
/// General category Mn, Mc or Me.
bool is_mark(char32_t character);
bool is_nonspacing_mark(char32_t character);
/// Control, format and private characters: what BERT calls control.
bool is_other(char32_t character);
/// Ideographs, each of which is a word of its own for BERT.
bool is_ideograph(char32_t character);

/// Every character by itself, without regard to what stands around it.
std::string lower_case(std::string_view text);

enum class NormalForm { nfc, nfd, nfkc, nfkd };
/// `text` is valid UTF-8. Works through long texts in parts.
std::string normal_form(std::string_view text, NormalForm form);

/// The length in bytes of the first extended grapheme cluster of `text`.
std::size_t grapheme_length(std::string_view text);

}  // namespace plimsoll
