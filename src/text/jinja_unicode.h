// What Python's str knows about characters.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace plimsoll::jinja {

struct CodePoint {
  std::uint32_t value;  ///< a byte that is no UTF-8: 0xDC00 above it, as Python's surrogateescape has it
  std::size_t bytes;
};
/// `at` is a valid offset.
CodePoint code_point_at(std::string_view text, std::size_t at);
/// The last one before `end`, which is not 0.
CodePoint code_point_before(std::string_view text, std::size_t end);
void append_code_point(std::string& text, std::uint32_t code);

bool is_space(std::uint32_t code);           ///< str.isspace
bool is_word_character(std::uint32_t code);  ///< \w of a regular expression
bool is_letter(std::uint32_t code);          ///< str.isalpha
bool is_decimal(std::uint32_t code);         ///< str.isdecimal
bool is_digit(std::uint32_t code);           ///< str.isdigit
bool is_numeric(std::uint32_t code);         ///< of the categories Nd, Nl, No
bool is_printable(std::uint32_t code);       ///< str.isprintable
bool is_upper(std::uint32_t code);
bool is_lower(std::uint32_t code);
bool is_title(std::uint32_t code);

enum class Case { upper, lower, title, folded };
/// Full case mappings of one character: may be several.
void append_in_case(std::string& text, std::uint32_t code, Case to);
/// str.lower() makes the last sigma of a word another one: whether the one at `at` is that.
bool is_final_sigma(std::string_view text, std::size_t at);

/// Without white space (Unicode's) at that side.
std::string_view trimmed_left(std::string_view text);
std::string_view trimmed_right(std::string_view text);

}  // namespace plimsoll::jinja
