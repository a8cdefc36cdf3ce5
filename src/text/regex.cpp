#include "text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

#include <array>
#include <new>

#include "base/error.h"
#include "text/oniguruma.h"
#include "text/utf8.h"

namespace plimsoll {
namespace {

/// Steps of one attempt to match, after which an expression counts as running away.
constexpr std::uint32_t most_steps = 10'000'000;
constexpr std::uint32_t most_heap_kib = 64 * 1024;

/// Spells out \s and \S; \S only outside of brackets.
std::string expand_white_space(std::string_view pattern) {
  std::string result;
  bool in_class = false;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] == '\\' && i + 1 < pattern.size()) {
      const char escaped = pattern[++i];
      if (escaped == 's') {
        result += in_class ? std::string(white_space_class) : fmt::format("[{}]", white_space_class);
      } else if (escaped == 'S') {
        result += fmt::format("[^{}]", white_space_class);
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

/// Whether the expression may have an anchor. A bracket that holds "]" first counts as closed
/// there, which can find one too many.
bool looks_at_beginnings(std::string_view pattern) {
  bool in_class = false;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] == '\\') {
      if (++i < pattern.size() && (pattern[i] == 'A' || pattern[i] == 'G')) return true;
    } else if (pattern[i] == '[') {
      in_class = true;
    } else if (pattern[i] == ']') {
      in_class = false;
    } else if (pattern[i] == '^' && !in_class) {
      return true;
    }
  }
  return false;
}

std::string pcre_message(int code) {
  std::array<unsigned char, 256> buffer{};
  pcre2_get_error_message(code, buffer.data(), buffer.size());
  return reinterpret_cast<const char*>(buffer.data());
}

template <class T, void (*Release)(T*)>
struct Releaser {
  void operator()(T* object) const { Release(object); }
};
template <class T, void (*Release)(T*)>
using Owner = std::unique_ptr<T, Releaser<T, Release>>;

pcre2_match_context* match_limits() {
  static const Owner<pcre2_match_context, pcre2_match_context_free> limits = [] {
    Owner<pcre2_match_context, pcre2_match_context_free> context(
        pcre2_match_context_create(nullptr));
    if (!context) throw std::bad_alloc();
    pcre2_set_match_limit(context.get(), most_steps);
    pcre2_set_heap_limit(context.get(), most_heap_kib);
    return context;
  }();
  return limits.get();
}

}  // namespace

void Regex::Free::operator()(pcre2_real_code_8* code) const { pcre2_code_free(code); }

Regex::Regex(std::string_view pattern, Kind kind) {
  const std::string text = kind == Kind::perl        ? expand_white_space(pattern)
                           : kind == Kind::oniguruma ? translate_oniguruma(pattern)
                                                     : std::string(pattern);
  const Owner<pcre2_compile_context, pcre2_compile_context_free> context(
      pcre2_compile_context_create(nullptr));
  if (!context) throw std::bad_alloc();
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  std::uint32_t options = PCRE2_UTF;
  if (kind == Kind::literal)
    options |= PCRE2_LITERAL;
  else
    options |= PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C;
  if (kind == Kind::perl) options |= PCRE2_DOLLAR_ENDONLY | PCRE2_NO_AUTO_CAPTURE;
  int error = 0;
  PCRE2_SIZE offset = 0;
  code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), options, &error,
                            &offset, context.get()));
  if (!code_)
    throw Error(ErrorCode::unsupported_model,
                fmt::format("the regular expression \"{}\" can't be used: {} at {} of \"{}\"",
                            pattern, pcre_message(error), offset, text),
                "the tokenizer's files are damaged, or its expression is of an unknown kind");
  std::uint32_t behind = 0;
  pcre2_pattern_info(code_.get(), PCRE2_INFO_MAXLOOKBEHIND, &behind);
  takes_parts_ = behind == 0 && (kind == Kind::literal || !looks_at_beginnings(text));
  // Where memory may not be executable this fails, and matching interprets the expression with the
  // same result.
  pcre2_jit_compile(code_.get(), PCRE2_JIT_COMPLETE);
}

Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;
Regex::~Regex() = default;

const pcre2_real_code_8* Regex::partial_code() const {
  std::call_once(partial_->once, [this] {
    partial_->code.reset(pcre2_code_copy(code_.get()));
    if (!partial_->code) throw std::bad_alloc();
    pcre2_jit_compile(partial_->code.get(), PCRE2_JIT_PARTIAL_HARD);
  });
  return partial_->code.get();
}

Bytes Regex::memory_bytes() const {
  std::size_t size = 0;
  std::size_t jit_size = 0;
  pcre2_pattern_info(code_.get(), PCRE2_INFO_SIZE, &size);
  pcre2_pattern_info(code_.get(), PCRE2_INFO_JITSIZE, &jit_size);
  return size + jit_size;
}

Regex::Matches::Matches(const Regex& regex, std::string_view text)
    : regex_(regex), text_(text), data_(pcre2_match_data_create(1, nullptr)) {
  if (!data_) throw std::bad_alloc();
}

Regex::Matches::~Matches() { pcre2_match_data_free(data_); }

void Regex::Matches::restart(std::string_view text) {
  text_ = text;
  position_ = 0;
  last_end_ = static_cast<std::size_t>(-1);
}

int Regex::Matches::match(const pcre2_real_code_8* code, unsigned options) {
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text_.data() ? text_.data() : "");
  options |= PCRE2_NO_UTF_CHECK;
  int result = pcre2_match(code, subject, text_.size(), position_, options, data_, match_limits());
  if (result == PCRE2_ERROR_JIT_STACKLIMIT)
    result = pcre2_match(code, subject, text_.size(), position_, options | PCRE2_NO_JIT, data_,
                         match_limits());
  if (result < 0 && result != PCRE2_ERROR_NOMATCH && result != PCRE2_ERROR_PARTIAL)
    throw Error(ErrorCode::invalid_text,
                fmt::format("a piece of text of {} bytes can't be cut into words: {}", text_.size(),
                            pcre_message(result)),
                "break the text into lines");
  return result;
}

bool Regex::Matches::next() {
  while (position_ <= text_.size()) {
    if (match(regex_.code_.get(), 0) < 0) break;
    const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(data_);
    // \K in a look-ahead can put the beginning behind the end.
    if (bounds[0] == bounds[1] && bounds[1] == last_end_) {
      position_ += position_ < text_.size() ? next_utf8(text_.substr(position_)).length : 1;
      continue;
    }
    end = bounds[1];
    begin = bounds[0] < end ? bounds[0] : end;
    position_ = last_end_ = end;
    return true;
  }
  position_ = text_.size() + 1;
  return false;
}

bool Regex::Matches::next_certain() {
  const pcre2_real_code_8* code = regex_.partial_code();
  open = text_.size();
  while (position_ <= text_.size()) {
    const int result = match(code, PCRE2_PARTIAL_HARD);
    if (result == PCRE2_ERROR_NOMATCH) break;
    const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(data_);
    if (result == PCRE2_ERROR_PARTIAL) {
      open = bounds[0];
      break;
    }
    // At the very end nothing is certain, not even that there is nothing.
    if (bounds[1] == text_.size()) {
      open = bounds[0] < position_ ? position_ : bounds[0];
      break;
    }
    if (bounds[0] == bounds[1] && bounds[1] == last_end_) {
      position_ += next_utf8(text_.substr(position_)).length;
      continue;
    }
    end = bounds[1];
    begin = bounds[0] < end ? bounds[0] : end;
    position_ = last_end_ = end;
    return true;
  }
  position_ = text_.size() + 1;
  return false;
}

}  // namespace plimsoll
