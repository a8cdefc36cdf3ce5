#include "text/pre_tokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>
#include <utf8proc.h>

#include <array>
#include <new>

#include "base/error.h"
#include "text/utf8.h"

namespace plimsoll {
namespace {

/// Unicode's White_Space. PCRE's own \s adds U+180E, which has not been white space since
/// Unicode 6.3 and is not for the engines that the vocabularies were trained with.
constexpr std::string_view white_space =
    R"(\x{9}-\x{D}\x{20}\x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})";

/// Spells out \s and \S; \S only outside of brackets.
std::string expand_white_space(std::string_view pattern) {
  std::string result;
  bool in_class = false;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] == '\\' && i + 1 < pattern.size()) {
      const char escaped = pattern[++i];
      if (escaped == 's') {
        result += in_class ? std::string(white_space) : fmt::format("[{}]", white_space);
      } else if (escaped == 'S') {
        result += fmt::format("[^{}]", white_space);
      } else {
        result += '\\';
        result += escaped;
      }
      continue;
    }
    if (pattern[i] == '[') in_class = true;
    if (pattern[i] == ']') in_class = false;
    result += pattern[i];
  }
  return result;
}

std::string pcre_message(int code) {
  std::array<unsigned char, 256> buffer{};
  pcre2_get_error_message(code, buffer.data(), buffer.size());
  return reinterpret_cast<const char*>(buffer.data());
}

/// Number of digits in `text` if it holds nothing else, otherwise 0.
std::size_t count_if_digits(std::string_view text) {
  std::size_t count = 0;
  while (!text.empty()) {
    utf8proc_int32_t character = 0;
    const auto length = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                         static_cast<utf8proc_ssize_t>(text.size()), &character);
    if (length <= 0) return 0;
    const utf8proc_category_t category = utf8proc_category(character);
    if (category != UTF8PROC_CATEGORY_ND && category != UTF8PROC_CATEGORY_NL &&
        category != UTF8PROC_CATEGORY_NO) {
      return 0;
    }
    text.remove_prefix(static_cast<std::size_t>(length));
    ++count;
  }
  return count;
}

/// Appends the lengths of groups of three digits, the first one shorter where that is needed.
void group_digits(std::string_view digits, std::size_t count, std::vector<std::uint32_t>& pieces) {
  std::size_t in_group = (count + 2) % 3 + 1;
  while (!digits.empty()) {
    std::size_t length = 0;
    for (std::size_t i = 0; i < in_group; ++i) length += next_utf8(digits.substr(length)).length;
    pieces.push_back(static_cast<std::uint32_t>(length));
    digits.remove_prefix(length);
    in_group = 3;
  }
}

}  // namespace

/// A compiled pattern.
struct PreTokenizer::Pattern {
  struct Free {
    void operator()(pcre2_code* code) const { pcre2_code_free(code); }
    void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
  };
  std::unique_ptr<pcre2_code, Free> code;

  explicit Pattern(std::string_view pattern) {
    const std::string text = expand_white_space(pattern);
    int error = 0;
    PCRE2_SIZE offset = 0;
    code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                             PCRE2_UTF | PCRE2_UCP | PCRE2_DOLLAR_ENDONLY | PCRE2_NO_AUTO_CAPTURE,
                             &error, &offset, nullptr));
    if (!code) {
      throw Error(ErrorCode::internal,
                  fmt::format("pattern \"{}\": {} at {}", text, pcre_message(error), offset));
    }
    // Where memory may not be executable this fails, and matching interprets the pattern with the
    // same result.
    pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE);
  }

  /// Appends the lengths of the matches in `text` and of what stands between them.
  void split(std::string_view text, pcre2_match_data* match,
             std::vector<std::uint32_t>& pieces) const {
    const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
    const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(match);
    std::size_t done = 0;      // bytes of pieces appended
    std::size_t position = 0;  // where the next match may begin
    const auto append_until = [&](std::size_t end) {
      if (end > done) pieces.push_back(static_cast<std::uint32_t>(end - done));
      done = end;
    };
    while (position < text.size()) {
      int result = pcre2_match(code.get(), subject, text.size(), position, PCRE2_NO_UTF_CHECK,
                               match, nullptr);
      if (result == PCRE2_ERROR_JIT_STACKLIMIT) {
        result = pcre2_match(code.get(), subject, text.size(), position,
                             PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, match, nullptr);
      }
      if (result == PCRE2_ERROR_NOMATCH) break;
      if (result < 0) {
        throw Error(ErrorCode::invalid_text,
                    fmt::format("a piece of text of {} bytes can't be cut into words: {}",
                                text.size(), pcre_message(result)),
                    "break the text into lines");
      }
      append_until(bounds[0]);
      append_until(bounds[1]);
      position = bounds[1] > bounds[0]
                     ? bounds[1]
                     : bounds[1] +
                           (bounds[1] < text.size() ? next_utf8(text.substr(bounds[1])).length : 1);
    }
    append_until(text.size());
  }

  Bytes memory_bytes() const {
    std::size_t size = 0;
    std::size_t jit_size = 0;
    pcre2_pattern_info(code.get(), PCRE2_INFO_SIZE, &size);
    pcre2_pattern_info(code.get(), PCRE2_INFO_JITSIZE, &jit_size);
    return sizeof *this + size + jit_size;
  }
};

PreTokenizer::PreTokenizer(const PreTokenizerKind& kind) : kind_(kind) {
  patterns_.reserve(kind.patterns.size());
  for (const std::string_view pattern : kind.patterns) patterns_.emplace_back(pattern);
}

PreTokenizer::~PreTokenizer() = default;

std::vector<std::uint32_t> PreTokenizer::split(std::string_view text) const {
  std::vector<std::uint32_t> pieces;
  if (text.empty()) return pieces;
  pieces.push_back(static_cast<std::uint32_t>(text.size()));

  const std::unique_ptr<pcre2_match_data, Pattern::Free> match(pcre2_match_data_create(1, nullptr));
  if (!match) throw std::bad_alloc();
  std::vector<std::uint32_t> cut;
  const auto cut_every_piece = [&](const auto& cut_piece) {
    cut.clear();
    std::size_t begin = 0;
    for (const std::uint32_t length : pieces) {
      cut_piece(text.substr(begin, length));
      begin += length;
    }
    pieces.swap(cut);
  };
  for (std::size_t i = 0; i < patterns_.size(); ++i) {
    cut_every_piece([&](std::string_view piece) { patterns_[i].split(piece, match.get(), cut); });
    if (i > 0 || !kind_.groups_digits) continue;
    cut_every_piece([&](std::string_view piece) {
      if (const std::size_t count = count_if_digits(piece)) {
        group_digits(piece, count, cut);
      } else {
        cut.push_back(static_cast<std::uint32_t>(piece.size()));
      }
    });
  }
  return pieces;
}

Bytes PreTokenizer::memory_bytes() const {
  Bytes bytes = sizeof *this;
  for (const Pattern& pattern : patterns_) bytes += pattern.memory_bytes();
  return bytes;
}

}  // namespace plimsoll
