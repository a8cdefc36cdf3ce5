#include "text/unicode.h"

#include <utf8proc.h>

#include <cstdlib>
#include <memory>
#include <new>

#include "base/error.h"
#include "text/library_tables.h"

namespace plimsoll {
namespace {

utf8proc_category_t category(char32_t character) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(character));
}

/// One part of a text, with nothing before or after it that could combine with it.
void append_normal_form(std::string& out, std::string_view text, NormalForm form) {
  int options = UTF8PROC_STABLE;
  if (form == NormalForm::nfc || form == NormalForm::nfkc)
    options |= UTF8PROC_COMPOSE;
  else
    options |= UTF8PROC_DECOMPOSE;
  if (form == NormalForm::nfkc || form == NormalForm::nfkd) options |= UTF8PROC_COMPAT;
  utf8proc_uint8_t* mapped = nullptr;
  const utf8proc_ssize_t length = utf8proc_map(
      reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
      static_cast<utf8proc_ssize_t>(text.size()), &mapped, static_cast<utf8proc_option_t>(options));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(mapped, &std::free);
  if (length == UTF8PROC_ERROR_NOMEM) throw std::bad_alloc();
  if (length < 0) throw Error(ErrorCode::invalid_text, utf8proc_errmsg(length));
  out.append(reinterpret_cast<const char*>(mapped), static_cast<std::size_t>(length));
}

bool is_ascii(char c) { return static_cast<unsigned char>(c) < 0x80; }

}  // namespace

char32_t decode_character(std::string_view text, std::size_t& length) {
  const auto byte = [&](std::size_t i) -> char32_t {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u;
  };
  const char32_t lead = byte(0);
  if (lead < 0x80) {
    length = 1;
    return lead;
  }
  const auto tail = [&](std::size_t i) { return byte(i) & 0x3F; };
  if (lead < 0xE0) {
    length = 2;
    return (lead & 0x1F) << 6 | tail(1);
  }
  if (lead < 0xF0) {
    length = 3;
    return (lead & 0x0F) << 12 | tail(1) << 6 | tail(2);
  }
  length = 4;
  return (lead & 0x07) << 18 | tail(1) << 12 | tail(2) << 6 | tail(3);
}

void append_character(std::string& text, char32_t character) {
  utf8proc_uint8_t bytes[4];
  const auto length = utf8proc_encode_char(static_cast<utf8proc_int32_t>(character), bytes);
  text.append(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(length));
}

bool is_white_space(char32_t c) {
  return c == ' ' || (c >= 0x9 && c <= 0xD) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

bool is_number(char32_t character) {
  if (character < 0x80) return character >= '0' && character <= '9';
  const utf8proc_category_t kind = category(character);
  const bool is_one = kind == UTF8PROC_CATEGORY_ND || kind == UTF8PROC_CATEGORY_NL ||
                      kind == UTF8PROC_CATEGORY_NO;
  return is_one != library::contains(library::numbers, character);
}

bool is_punctuation(char32_t c) {
  if (c < 0x80)
    return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') ||
           (c >= '{' && c <= '~');
  const utf8proc_category_t kind = category(c);
  const bool is_one = kind >= UTF8PROC_CATEGORY_PC && kind <= UTF8PROC_CATEGORY_PO;
  return is_one != library::contains(library::points, c);
}

bool is_mark(char32_t character) {
  if (character < 0x300) return false;
  const utf8proc_category_t kind = category(character);
  const bool is_one = kind >= UTF8PROC_CATEGORY_MN && kind <= UTF8PROC_CATEGORY_ME;
  return is_one != library::contains(library::marks, character);
}

bool is_nonspacing_mark(char32_t character) {
  if (character < 0x300) return false;
  const bool is_one = category(character) == UTF8PROC_CATEGORY_MN;
  return is_one != library::contains(library::nonspacing, character);
}

bool is_other(char32_t character) {
  const utf8proc_category_t kind = category(character);
  const bool is_one = kind == UTF8PROC_CATEGORY_CC || kind == UTF8PROC_CATEGORY_CF ||
                      kind == UTF8PROC_CATEGORY_CO;
  return is_one != library::contains(library::others, character);
}

bool is_ideograph(char32_t c) {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) ||
         (c >= 0x20000 && c <= 0x2A6DF) || (c >= 0x2A700 && c <= 0x2B73F) ||
         (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

std::string lower_case(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for_each_character(text, [&](char32_t c, std::string_view bytes) {
    if (c < 0x80) {
      result += c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : static_cast<char>(c);
    } else if (c == 0x130) {
      result += "i\u0307";  // the one letter whose small form takes two characters
    } else {
      const auto lower = utf8proc_tolower(static_cast<utf8proc_int32_t>(c));
      if (lower == static_cast<utf8proc_int32_t>(c))
        result += bytes;
      else
        append_character(result, static_cast<char32_t>(lower));
    }
  });
  return result;
}

std::string normal_form(std::string_view text, NormalForm form) {
  // ASCII stays as it is, and never combines with what stands before it; nor does a common
  // ideograph, at which long runs are cut.
  constexpr std::size_t longest_part = 64 * 1024;
  std::string result;
  result.reserve(text.size());
  std::size_t begin = 0;
  while (begin < text.size()) {
    std::size_t end = begin;
    while (end < text.size() && is_ascii(text[end])) ++end;
    if (end == text.size()) {
      result += text.substr(begin);
      break;
    }
    // The last one may combine with what follows.
    const std::size_t part = end > begin ? end - 1 : begin;
    result += text.substr(begin, part - begin);
    std::size_t kept = 0;  // bytes of a character that stays as it is
    while (end < text.size() && !is_ascii(text[end])) {
      const auto lead = static_cast<unsigned char>(text[end]);
      if (end - part > longest_part && lead >= 0xE5 && lead <= 0xE9) break;
      std::size_t length = 0;
      if (library::contains(library::forms, decode_character(text.substr(end), length))) {
        kept = length;
        break;
      }
      end += length;
    }
    append_normal_form(result, text.substr(part, end - part), form);
    begin = end + kept;
    result += text.substr(end, kept);
  }
  return result;
}

std::size_t grapheme_length(std::string_view text) {
  std::size_t length = 0;
  char32_t before = decode_character(text, length);
  utf8proc_int32_t state = 0;
  std::size_t end = length;
  while (end < text.size()) {
    const char32_t next = decode_character(text.substr(end), length);
    if (utf8proc_grapheme_break_stateful(static_cast<utf8proc_int32_t>(before),
                                         static_cast<utf8proc_int32_t>(next), &state))
      break;
    end += length;
    before = next;
  }
  return end;
}

}  // namespace plimsoll
