// Regular expressions over UTF-8, by PCRE2, with bounded work.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "base/bytes.h"

struct pcre2_real_code_8;
struct pcre2_real_match_data_8;

namespace plimsoll {

/// White_Space for the inside of a bracket. PCRE's own \s adds U+180E, which has not been white
/// space since Unicode 6.3 and is not for the engines that the vocabularies were trained with.
inline constexpr std::string_view white_space_class =
    R"(\x{9}-\x{D}\x{20}\x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})";
/// Letters, marks, decimal digits, connectors and joiners, likewise: \w as Rust's and Oniguruma's
/// expressions have it.
inline constexpr std::string_view word_class =
    R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200C}\x{200D})";

/// A compiled expression. Immutable and thread-safe.
class Regex {
 public:
  enum class Kind {
    perl,       ///< PCRE's own dialect, "\s" being Unicode's White_Space (\S only outside brackets)
    oniguruma,  ///< the dialect of tokenizer.json: Oniguruma with Ruby's syntax
    literal,    ///< the text itself
  };
  /// Throws Error(unsupported_model) with the expression and the place for what is wrong or of a
  /// kind that PCRE has not.
  Regex(std::string_view pattern, Kind kind);
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;
  ~Regex();

  /// Matches of one text, from left to right. An empty match directly behind another one is passed
  /// over.
  class Matches {
   public:
    Matches(const Regex& regex, std::string_view text);
    ~Matches();
    Matches(const Matches&) = delete;
    Matches& operator=(const Matches&) = delete;
    /// False at the end. Throws Error(invalid_text) where matching takes too much work.
    bool next();
    /// Likewise of a text that more may follow: false too where what follows might matter. There is
    /// no match then before `open`, where the one that is not certain begins (the text's end: none
    /// does). The expression takes_parts().
    bool next_certain();
    std::size_t open = 0;
    void restart(std::string_view text);
    std::size_t begin = 0, end = 0;

   private:
    int match(const pcre2_real_code_8* code, unsigned options);

    const Regex& regex_;
    std::string_view text_;
    std::size_t position_ = 0;
    std::size_t last_end_ = static_cast<std::size_t>(-1);
    pcre2_real_match_data_8* data_;
  };

  /// Matching can begin anew behind a match as if the text began there: nothing looks at what
  /// stands before it.
  bool takes_parts() const { return takes_parts_; }

  Bytes memory_bytes() const;  ///< without sizeof *this

 private:
  struct Free {
    void operator()(pcre2_real_code_8* code) const;
  };
  using Code = std::unique_ptr<pcre2_real_code_8, Free>;
  /// The same, compiled for next_certain() when it is first asked for.
  struct PartialCode {
    std::once_flag once;
    Code code;
  };
  const pcre2_real_code_8* partial_code() const;

  Code code_;
  std::unique_ptr<PartialCode> partial_ = std::make_unique<PartialCode>();
  bool takes_parts_ = false;
};

}  // namespace plimsoll
