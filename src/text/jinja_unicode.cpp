#include "text/jinja_unicode.h"

#include <utf8proc.h>

#include <algorithm>

#include "text/jinja_special_cases.h"
#include "text/utf8.h"

namespace plimsoll::jinja {
namespace {

constexpr std::uint32_t escaped_bytes = 0xDC00;

utf8proc_category_t category(std::uint32_t code) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(code));
}

const SpecialCase* find_special(std::uint32_t code) {
  const auto* found = std::ranges::lower_bound(special_cases, code, {}, &SpecialCase::code);
  return found != std::end(special_cases) && found->code == code ? found : nullptr;
}

bool is_cased(std::uint32_t code) { return is_upper(code) || is_lower(code) || is_title(code); }

/// Between the letters of a word as far as its case goes (Case_Ignorable).
bool is_ignored(std::uint32_t code) {
  switch (category(code)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK: return true;
    default:
      return code == '\'' || code == '.' || code == ':' || code == 0xB7 || code == 0x387 ||
             code == 0x55F || code == 0x5F4 || code == 0x2018 || code == 0x2019 || code == 0x2024 ||
             code == 0x2027;
  }
}

}  // namespace

CodePoint code_point_at(std::string_view text, std::size_t at) {
  const auto first = static_cast<std::uint8_t>(text[at]);
  if (first < 0x80) return {first, 1};
  const Utf8Step step = next_utf8(text.substr(at));
  if (step.kind != Utf8Step::Kind::character) return {escaped_bytes + first, 1};
  std::uint32_t code = first & (0x7Fu >> step.length);
  for (std::size_t i = 1; i < step.length; ++i)
    code = code << 6 | (static_cast<std::uint8_t>(text[at + i]) & 0x3Fu);
  return {code, step.length};
}

CodePoint code_point_before(std::string_view text, std::size_t end) {
  for (std::size_t length = std::min<std::size_t>(4, end); length > 1; --length) {
    const CodePoint found = code_point_at(text.substr(0, end), end - length);
    if (found.bytes == length) return found;
  }
  return code_point_at(text.substr(0, end), end - 1);
}

void append_code_point(std::string& text, std::uint32_t code) {
  if (code >= escaped_bytes + 0x80 && code < escaped_bytes + 0x100) {
    text += static_cast<char>(code - escaped_bytes);
    return;
  }
  utf8proc_uint8_t bytes[4];
  const auto size = utf8proc_encode_char(static_cast<utf8proc_int32_t>(code), bytes);
  text.append(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size));
}

bool is_space(std::uint32_t code) {
  if (code < 0x80) return (code >= 9 && code <= 13) || (code >= 28 && code <= 32);
  return code == 0x85 || code == 0xA0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200A) ||
         code == 0x2028 || code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

bool is_letter(std::uint32_t code) {
  const auto kind = category(code);
  return kind == UTF8PROC_CATEGORY_LU || kind == UTF8PROC_CATEGORY_LL || kind == UTF8PROC_CATEGORY_LT ||
         kind == UTF8PROC_CATEGORY_LM || kind == UTF8PROC_CATEGORY_LO;
}
bool is_decimal(std::uint32_t code) { return category(code) == UTF8PROC_CATEGORY_ND; }
bool is_digit(std::uint32_t code) {
  return is_decimal(code) || code == 0xB2 || code == 0xB3 || code == 0xB9 || code == 0x2070 ||
         (code >= 0x2074 && code <= 0x2079) || (code >= 0x2080 && code <= 0x2089) ||
         (code >= 0x2460 && code <= 0x2468) || (code >= 0x2474 && code <= 0x247C) ||
         (code >= 0x2488 && code <= 0x2490) || (code >= 0x2776 && code <= 0x277E);
}
bool is_numeric(std::uint32_t code) {
  const auto kind = category(code);
  return kind == UTF8PROC_CATEGORY_ND || kind == UTF8PROC_CATEGORY_NL || kind == UTF8PROC_CATEGORY_NO;
}
bool is_word_character(std::uint32_t code) {
  return code == '_' || is_letter(code) || is_numeric(code);
}
bool is_printable(std::uint32_t code) {
  if (code == ' ') return true;
  if (code >= 0xD800 && code < 0xE000) return false;
  switch (category(code)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS: return false;
    default: return true;
  }
}
bool is_upper(std::uint32_t code) {
  if (category(code) == UTF8PROC_CATEGORY_LU) return true;
  return (code >= 0x2160 && code <= 0x216F) || (code >= 0x24B6 && code <= 0x24CF) ||
         (code >= 0x1F130 && code <= 0x1F149) || (code >= 0x1F150 && code <= 0x1F169) ||
         (code >= 0x1F170 && code <= 0x1F189);
}
bool is_lower(std::uint32_t code) {
  if (category(code) == UTF8PROC_CATEGORY_LL) return true;
  return code == 0xAA || code == 0xBA || (code >= 0x2170 && code <= 0x217F) ||
         (code >= 0x24D0 && code <= 0x24E9) || (code >= 0x2B0 && code <= 0x2B8) ||
         (code >= 0x1D2C && code <= 0x1D6A) || code == 0x2071 || code == 0x207F ||
         (code >= 0x2090 && code <= 0x209C);
}
bool is_title(std::uint32_t code) { return category(code) == UTF8PROC_CATEGORY_LT; }

void append_in_case(std::string& text, std::uint32_t code, Case to) {
  if (code < 0x80) {
    const char c = static_cast<char>(code);
    const bool raise = to == Case::upper || to == Case::title;
    text += c >= 'a' && c <= 'z' && raise   ? static_cast<char>(c - 32)
            : c >= 'A' && c <= 'Z' && !raise ? static_cast<char>(c + 32)
                                             : c;
    return;
  }
  if (code >= 0xD800 && code < 0xE000) return append_code_point(text, code);
  const auto signed_code = static_cast<utf8proc_int32_t>(code);
  if (to == Case::folded) {
    utf8proc_int32_t folded[8];
    int boundary = 0;
    const auto count = utf8proc_decompose_char(signed_code, folded, 8, UTF8PROC_CASEFOLD, &boundary);
    if (count < 0 || count > 8) return append_code_point(text, code);
    for (utf8proc_ssize_t i = 0; i < count; ++i)
      append_code_point(text, static_cast<std::uint32_t>(folded[i]));
    return;
  }
  if (to == Case::lower) {
    if (code == 0x130) {  // the one that becomes two
      text += "i\u0307";
      return;
    }
    return append_code_point(text, static_cast<std::uint32_t>(utf8proc_tolower(signed_code)));
  }
  if (const SpecialCase* special = find_special(code)) {
    text += to == Case::upper ? special->upper : special->title;
    return;
  }
  append_code_point(text, static_cast<std::uint32_t>(to == Case::upper ? utf8proc_toupper(signed_code)
                                                                       : utf8proc_totitle(signed_code)));
}

bool is_final_sigma(std::string_view text, std::size_t at) {
  std::size_t before = at;
  bool has_letter_before = false;
  while (before > 0) {
    const CodePoint previous = code_point_before(text, before);
    before -= previous.bytes;
    if (is_ignored(previous.value)) continue;
    has_letter_before = is_cased(previous.value);
    break;
  }
  if (!has_letter_before) return false;
  for (std::size_t after = at + code_point_at(text, at).bytes; after < text.size();) {
    const CodePoint following = code_point_at(text, after);
    after += following.bytes;
    if (!is_ignored(following.value)) return !is_cased(following.value);
  }
  return true;
}

std::string_view trimmed_left(std::string_view text) {
  while (!text.empty()) {
    const CodePoint first = code_point_at(text, 0);
    if (!is_space(first.value)) break;
    text.remove_prefix(first.bytes);
  }
  return text;
}

std::string_view trimmed_right(std::string_view text) {
  while (!text.empty()) {
    const CodePoint last = code_point_before(text, text.size());
    if (!is_space(last.value)) break;
    text.remove_suffix(last.bytes);
  }
  return text;
}

}  // namespace plimsoll::jinja
