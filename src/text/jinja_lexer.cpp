#include "text/jinja_lexer.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>

#include "text/jinja_unicode.h"
#include "text/jinja_value.h"
#include "text/utf8.h"

namespace plimsoll::jinja {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool is_digit_of(char c, int base) {
  if (base <= 10) return c >= '0' && c < '0' + base;
  return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/// "\r\n" and "\r" are "\n", and one at the end of the template is none.
std::string with_plain_newlines(std::string_view source) {
  std::string text;
  text.reserve(source.size());
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      text += source[i];
    } else {
      text += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    }
  }
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(with_plain_newlines(source)) {}

  std::vector<Token> run() {
    if (const auto bad = find_invalid_utf8(source_))
      throw JinjaError(Failure::syntax, fmt::format("is not UTF-8 at byte {}", *bad));
    while (at_ < source_.size()) read_data();
    add(TokenType::end, line_);
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void fail(const std::string& message) const {
    throw JinjaError(Failure::syntax, message, line_);
  }

  std::string_view rest() const { return std::string_view(source_).substr(at_); }
  bool sees(std::string_view text) const { return rest().starts_with(text); }

  Token& add(TokenType type, int line, std::string text = {}) {
    tokens_.push_back({type, line, std::move(text)});
    return tokens_.back();
  }

  /// Goes over `count` bytes and counts their lines.
  void skip(std::size_t count) {
    line_ += static_cast<int>(std::ranges::count(rest().substr(0, count), '\n'));
    at_ += count;
  }
  void skip_white_space() { skip(rest().size() - trimmed_left(rest()).size()); }

  void add_data(std::string_view text) {
    if (!text.empty()) add(TokenType::data, line_, std::string(text));
  }

  /// Text up to the next tag, and that tag.
  void read_data() {
    std::size_t tag = at_;
    const auto is_tag = [&](std::size_t at) {
      return source_[at] == '{' && at + 1 < source_.size() &&
             (source_[at + 1] == '{' || source_[at + 1] == '%' || source_[at + 1] == '#');
    };
    while (tag < source_.size() && !is_tag(tag)) ++tag;
    if (tag == source_.size()) {
      add_data(rest());
      skip(rest().size());
      return;
    }
    const char kind = source_[tag + 1];
    const char sign = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
    const bool signed_tag = sign == '-' || sign == '+';
    std::string_view text = rest().substr(0, tag - at_);
    const std::size_t whole = text.size();
    if (sign == '-') {
      text = trimmed_right(text);
    } else if (sign != '+' && kind != '{') {
      // White space between the line's beginning and the tag goes.
      const std::size_t line_start = text.rfind('\n') + 1;
      if ((line_start > 0 || line_starting_) && trimmed_left(text.substr(line_start)).empty())
        text = text.substr(0, line_start);
    }
    add_data(text);
    skip(whole);
    const int line = line_;
    skip(signed_tag ? 3 : 2);
    line_starting_ = false;
    if (kind == '#') {
      read_comment();
    } else if (kind == '{') {
      add(TokenType::variable_begin, line);
      read_tag(TokenType::variable_end, "}}");
    } else if (!read_raw()) {
      add(TokenType::block_begin, line);
      read_tag(TokenType::block_end, "%}");
    }
  }

  void read_comment() {
    const std::size_t end = rest().find("#}");
    if (end == std::string_view::npos) fail("Missing end of comment tag");
    const char sign = end > 0 ? rest()[end - 1] : '\0';
    skip(end + 2);
    end_tag(sign, true);
  }

  /// Behind a tag whose last character was `sign`.
  void end_tag(char sign, bool trims_newline) {
    line_starting_ = false;
    if (sign == '-') {
      const std::size_t before = at_;
      skip_white_space();
      line_starting_ = at_ > before && source_[at_ - 1] == '\n';
    } else if (sign != '+' && trims_newline && sees("\n")) {
      skip(1);
      line_starting_ = true;
    }
  }

  /// Whether a block whose "{%" lies behind is `word` alone; then its end lies behind as well.
  bool read_lone_word(std::string_view word, bool trims_newline) {
    std::string_view text = trimmed_left(rest());
    if (!text.starts_with(word)) return false;
    text = trimmed_left(text.substr(word.size()));
    char sign = '\0';
    if (text.starts_with("-") || (trims_newline && text.starts_with("+"))) {
      sign = text.front();
      text.remove_prefix(1);
    }
    if (!text.starts_with("%}")) return false;
    skip(static_cast<std::size_t>(text.data() - rest().data()) + 2);
    end_tag(sign, trims_newline);
    return true;
  }

  /// {% raw %}...{% endraw %}, whose "{%" lies behind.
  bool read_raw() {
    if (!read_lone_word("raw", false)) return false;
    const std::size_t begin = at_;
    const bool line_starting = line_starting_;
    for (std::size_t found = source_.find("{%", begin); found != std::string::npos;
         found = source_.find("{%", found + 1)) {
      std::string_view text = std::string_view(source_).substr(begin, found - begin);
      const char sign = found + 2 < source_.size() ? source_[found + 2] : '\0';
      if (sign == '-') {
        text = trimmed_right(text);
      } else if (sign != '+') {
        const std::size_t line_start = text.rfind('\n') + 1;
        if ((line_start > 0 || line_starting) && trimmed_left(text.substr(line_start)).empty())
          text = text.substr(0, line_start);
      }
      const int line = line_;
      skip(found + (sign == '-' || sign == '+' ? 3 : 2) - begin);
      if (read_lone_word("endraw", true)) {
        if (!text.empty()) add(TokenType::data, line, std::string(text));
        return true;
      }
      at_ = begin;
      line_ = line;
    }
    fail("Missing end of raw directive");
  }

  void read_tag(TokenType end, std::string_view mark) {
    std::string brackets;  // those that are still to be closed
    while (true) {
      if (brackets.empty()) {
        const bool block = end == TokenType::block_end;
        char sign = '\0';
        if (sees("-") || (block && sees("+"))) sign = rest().front();
        if (rest().substr(sign ? 1 : 0).starts_with(mark)) {
          add(end, line_);
          skip(mark.size() + (sign ? 1 : 0));
          end_tag(sign, block);
          return;
        }
      }
      if (at_ == source_.size()) {
        // The parser says what it would have wanted.
        return;
      }
      const std::size_t before = at_;
      skip_white_space();
      if (at_ > before) continue;
      if (read_number() || read_name() || read_string()) continue;
      read_symbol(brackets);
    }
  }

  /// The end of digits with single underscores between them.
  std::size_t digits_from(std::size_t at, int base = 10) const {
    while (at < source_.size() && is_digit_of(source_[at], base)) {
      ++at;
      if (at + 1 < source_.size() && source_[at] == '_' && is_digit_of(source_[at + 1], base)) ++at;
    }
    return at;
  }

  bool read_number() {
    if (!is_digit(source_[at_])) return false;
    // A fraction needs digits on both sides, and none begins behind a point.
    const bool behind_point = at_ > 0 && source_[at_ - 1] == '.';
    std::size_t end = digits_from(at_);
    const auto digit_at = [&](std::size_t at) { return at < source_.size() && is_digit(source_[at]); };
    bool is_real = false;
    if (!behind_point) {
      std::size_t real_end = end;
      if (real_end < source_.size() && source_[real_end] == '.' && digit_at(real_end + 1)) {
        real_end = digits_from(real_end + 1);
        is_real = true;
      }
      if (real_end < source_.size() && (source_[real_end] | 0x20) == 'e') {
        std::size_t exponent = real_end + 1;
        if (exponent < source_.size() && (source_[exponent] == '+' || source_[exponent] == '-'))
          ++exponent;
        if (digit_at(exponent)) {
          real_end = digits_from(exponent);
          is_real = true;
        }
      }
      if (is_real) end = real_end;
    }
    if (is_real) {
      std::string digits = source_.substr(at_, end - at_);
      std::erase(digits, '_');
      add(TokenType::real, line_).real = std::strtod(digits.c_str(), nullptr);
      at_ = end;
      return true;
    }
    int base = 10;
    std::size_t begin = at_;
    if (source_[at_] == '0') {
      const char letter = at_ + 1 < source_.size() ? static_cast<char>(source_[at_ + 1] | 0x20) : '\0';
      base = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 10;
      const std::size_t first = at_ + 2 + (at_ + 2 < source_.size() && source_[at_ + 2] == '_');
      if (base != 10 && first < source_.size() && is_digit_of(source_[first], base)) {
        begin = first;
        end = digits_from(first, base);
      } else {
        // Zeros alone: "012" is two numbers.
        base = 10;
        end = at_;
        while (end < source_.size() &&
               (source_[end] == '0' ||
                (source_[end] == '_' && end + 1 < source_.size() && source_[end + 1] == '0')))
          ++end;
      }
    }
    std::string digits = source_.substr(begin, end - begin);
    std::erase(digits, '_');
    Token& token = add(TokenType::integer, line_, digits);
    const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), token.integer, base);
    if (read.ec != std::errc()) fail(fmt::format("the number {} does not fit 64 bits", digits));
    at_ = end;
    return true;
  }

  bool read_name() {
    std::size_t end = at_;
    while (end < source_.size()) {
      const auto byte = static_cast<std::uint8_t>(source_[end]);
      if (byte < 0x80) {
        if (!is_digit(source_[end]) && source_[end] != '_' &&
            !((source_[end] | 0x20) >= 'a' && (source_[end] | 0x20) <= 'z'))
          break;
        ++end;
        continue;
      }
      const CodePoint next = code_point_at(source_, end);
      if (!is_word_character(next.value)) break;
      end += next.bytes;
    }
    if (end == at_) return false;
    add(TokenType::name, line_, source_.substr(at_, end - at_));
    at_ = end;
    return true;
  }

  bool read_string() {
    const char quote = source_[at_];
    if (quote != '"' && quote != '\'') return false;
    std::size_t end = at_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) fail(fmt::format("unexpected char {} at {}", quote == '"' ? "'\"'" : "\"'\"", at_));
    add(TokenType::string, line_, unescaped(std::string_view(source_).substr(at_ + 1, end - at_ - 1)));
    skip(end + 1 - at_);
    return true;
  }

  /// Python's escapes.
  std::string unescaped(std::string_view text) const {
    std::string result;
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (text[i] != '\\' || i + 1 == text.size()) {
        result += text[i];
        continue;
      }
      const char c = text[++i];
      const auto hexadecimal = [&](std::size_t digits) {
        std::uint32_t code = 0;
        const std::string_view spelled = text.substr(i + 1, digits);
        const auto read = std::from_chars(spelled.data(), spelled.data() + spelled.size(), code, 16);
        if (spelled.size() < digits || read.ec != std::errc() || read.ptr != spelled.data() + digits)
          fail(fmt::format("truncated \\{} escape in a string", c));
        i += digits;
        return code;
      };
      switch (c) {
        case '\n': break;  // a line that goes on
        case '\\':
        case '\'':
        case '"': result += c; break;
        case 'a': result += '\a'; break;
        case 'b': result += '\b'; break;
        case 'f': result += '\f'; break;
        case 'n': result += '\n'; break;
        case 'r': result += '\r'; break;
        case 't': result += '\t'; break;
        case 'v': result += '\v'; break;
        case 'x': append_code_point(result, hexadecimal(2)); break;
        case 'u': append_escaped(result, text, i, hexadecimal(4)); break;
        case 'U': {
          const std::uint32_t code = hexadecimal(8);
          if (code > 0x10FFFF) fail("illegal Unicode character in a string");
          append_escaped(result, text, i, code);
          break;
        }
        case 'N': fail("\\N escapes in strings are not known");
        default:
          if (c >= '0' && c <= '7') {
            std::uint32_t code = 0;
            std::size_t digits = 0;
            while (digits < 3 && i + digits < text.size() && is_digit_of(text[i + digits], 8))
              code = code * 8 + static_cast<std::uint32_t>(text[i + digits++] - '0');
            i += digits - 1;
            append_code_point(result, code);
          } else {
            result += '\\';
            result += c;
          }
      }
    }
    return result;
  }

  void append_escaped(std::string& result, std::string_view, std::size_t, std::uint32_t code) const {
    if (code >= 0xD800 && code < 0xE000) fail("surrogates in a string cannot be written");
    append_code_point(result, code);
  }

  void read_symbol(std::string& brackets) {
    static constexpr std::array<std::string_view, 26> symbols = {
        "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
        "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};
    const auto found = std::ranges::find_if(symbols, [&](std::string_view s) { return sees(s); });
    if (found == symbols.end()) {
      const CodePoint next = code_point_at(source_, at_);
      fail(fmt::format("unexpected char '{}' at {}", source_.substr(at_, next.bytes), at_));
    }
    const char c = found->front();
    if (c == '(') brackets += ')';
    if (c == '[') brackets += ']';
    if (c == '{') brackets += '}';
    if (c == ')' || c == ']' || c == '}') {
      if (brackets.empty()) fail(fmt::format("unexpected '{}'", c));
      if (brackets.back() != c) fail(fmt::format("unexpected '{}', expected '{}'", c, brackets.back()));
      brackets.pop_back();
    }
    add(TokenType::symbol, line_, std::string(*found));
    at_ += found->size();
  }

  std::string source_;
  std::size_t at_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source) { return Lexer(source).run(); }

}  // namespace plimsoll::jinja
