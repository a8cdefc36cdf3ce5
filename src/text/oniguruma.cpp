#include "text/oniguruma.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/error.h"
#include "text/library_tables.h"
#include "text/regex.h"
#include "text/unicode.h"

namespace plimsoll {
namespace {

/// Superscript digits and fractions, which \w and \b take for a word's outside of brackets only.
constexpr std::string_view lone_word = R"(\x{B2}\x{B3}\x{B9}\x{BC}-\x{BE})";

struct NamedClass {
  std::string_view name;   ///< lower case, without spaces, "_" and "-"
  std::string_view items;  ///< for the inside of a bracket
  std::span<const library::Range> more = {}, still_more = {};  ///< what items lack in PCRE
};

/// POSIX brackets, over all of Unicode.
constexpr NamedClass posix_classes[] = {
    {"alnum", R"(\p{Alphabetic}\p{Nd})", library::more_alpha, library::more_digit},
    {"alpha", R"(\p{Alphabetic})", library::more_alpha},
    {"ascii", R"(\x{0}-\x{7F})"},
    {"blank", R"(\p{Zs}\t)"},
    {"cntrl", R"(\p{Cc})"},
    {"digit", R"(\p{Nd})", library::more_digit},
    {"graph", R"(\p{L}\p{M}\p{N}\p{P}\p{S}\p{Cf}\p{Co}\p{Cs})", library::more_graph},
    {"lower", R"(\p{Lowercase})", library::more_lower},
    {"print", R"(\p{L}\p{M}\p{N}\p{P}\p{S}\p{Zs}\p{Cf}\p{Co}\p{Cs})", library::more_graph},
    {"punct", R"(\p{P}\p{S})", library::more_punct},
    {"space", white_space_class},
    {"upper", R"(\p{Uppercase})", library::more_upper},
    {"xdigit", "0-9A-Fa-f"},
    {"word", R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc})", library::more_word},
};

/// What properties of these names hold; those of the POSIX brackets besides, but for "punct".
constexpr NamedClass named_classes[] = {
    {"punct", R"(\p{P})", library::more_points},
    {"any", R"(\x{0}-\x{10FFFF})"},
    {"assigned", ""},
    {"letter", R"(\p{L})"},
    {"uppercaseletter", R"(\p{Lu})"},
    {"lowercaseletter", R"(\p{Ll})"},
    {"titlecaseletter", R"(\p{Lt})"},
    {"casedletter", R"(\p{Lu}\p{Ll}\p{Lt})"},
    {"lc", R"(\p{Lu}\p{Ll}\p{Lt})"},
    {"modifierletter", R"(\p{Lm})"},
    {"otherletter", R"(\p{Lo})"},
    {"mark", R"(\p{M})"},
    {"combiningmark", R"(\p{M})"},
    {"nonspacingmark", R"(\p{Mn})"},
    {"spacingmark", R"(\p{Mc})"},
    {"enclosingmark", R"(\p{Me})"},
    {"number", R"(\p{N})"},
    {"decimalnumber", R"(\p{Nd})"},
    {"letternumber", R"(\p{Nl})"},
    {"othernumber", R"(\p{No})"},
    {"punctuation", R"(\p{P})"},
    {"connectorpunctuation", R"(\p{Pc})"},
    {"dashpunctuation", R"(\p{Pd})"},
    {"openpunctuation", R"(\p{Ps})"},
    {"closepunctuation", R"(\p{Pe})"},
    {"initialpunctuation", R"(\p{Pi})"},
    {"finalpunctuation", R"(\p{Pf})"},
    {"otherpunctuation", R"(\p{Po})"},
    {"symbol", R"(\p{S})"},
    {"mathsymbol", R"(\p{Sm})"},
    {"currencysymbol", R"(\p{Sc})"},
    {"modifiersymbol", R"(\p{Sk})"},
    {"othersymbol", R"(\p{So})"},
    {"separator", R"(\p{Z})"},
    {"spaceseparator", R"(\p{Zs})"},
    {"lineseparator", R"(\p{Zl})"},
    {"paragraphseparator", R"(\p{Zp})"},
    {"other", R"(\p{C})"},
    {"control", R"(\p{Cc})"},
    {"format", R"(\p{Cf})"},
    {"surrogate", R"(\p{Cs})"},
    {"privateuse", R"(\p{Co})"},
    {"unassigned", R"(\p{Cn})"},
};

std::string items_of(const NamedClass& known) {
  std::string items(known.items);
  for (const auto& ranges : {known.more, known.still_more})
    for (const auto& [first, last] : ranges)
      items += fmt::format("\\x{{{:X}}}-\\x{{{:X}}}", static_cast<std::uint32_t>(first),
                           static_cast<std::uint32_t>(last));
  return items;
}

const NamedClass* find_class(std::span<const NamedClass> classes, std::string_view name) {
  const auto found = std::ranges::find(classes, name, &NamedClass::name);
  return found == classes.end() ? nullptr : &*found;
}

/// The items of a POSIX bracket with a name that is known.
std::string posix_items(std::string_view name) {
  return items_of(*find_class(posix_classes, name));
}

/// "\p{NAME}" in PCRE's spelling where it knows the name.
std::optional<std::string> pcre_property(const std::string& name) {
  for (const char* form : {R"(\p{{sc:{}}})", R"(\p{{{}}})"}) {
    const std::string candidate = fmt::format(fmt::runtime(form), name);
    int error = 0;
    PCRE2_SIZE offset = 0;
    pcre2_code* code =
        pcre2_compile(reinterpret_cast<PCRE2_SPTR>(candidate.data()), candidate.size(), PCRE2_UTF,
                      &error, &offset, nullptr);
    if (code == nullptr) continue;
    pcre2_code_free(code);
    return candidate;
  }
  return std::nullopt;
}

/// A set of characters on its way to PCRE: what one bracket can hold, and expressions that each
/// match one character besides.
struct Set {
  std::string items;
  std::vector<std::string> others;
};

class Translator {
 public:
  explicit Translator(std::string_view pattern) : pattern_(pattern) {}

  std::string translate() {
    if (pattern_.size() > longest) refuse("it is too long");
    groups_.push_back({0, 0});
    while (!at_end()) step();
    if (groups_.size() > 1) refuse("a group is not closed");
    close_options();
    return std::move(out_);
  }

 private:
  static constexpr std::size_t none = static_cast<std::size_t>(-1);
  static constexpr std::size_t deepest = 128;
  static constexpr std::size_t longest = 32 * 1024;

  struct Group {
    std::size_t begin;  ///< of its text in out_
    int options;        ///< groups that were opened for options up to its end
  };

  [[noreturn]] void refuse(std::string_view what) const {
    throw Error(ErrorCode::unsupported_model,
                fmt::format("the regular expression \"{}\" can't be used: {} at {}",
                            pattern_.substr(0, 256), what, at_),
                "the tokenizer's files are damaged, or its expression is of an unknown kind");
  }

  bool at_end() const { return at_ >= pattern_.size(); }
  char peek(std::size_t ahead = 0) const {
    return at_ + ahead < pattern_.size() ? pattern_[at_ + ahead] : '\0';
  }
  bool starts_with(std::string_view text) const { return pattern_.substr(at_).starts_with(text); }
  std::string_view take_character() {
    std::size_t length = 0;
    decode_character(pattern_.substr(at_), length);
    const std::string_view character = pattern_.substr(at_, length);
    at_ += length;
    return character;
  }
  void begin_atom() {
    atom_ = out_.size();
    is_quantified_ = false;
  }
  void atom(std::string_view text) {
    begin_atom();
    out_ += text;
  }

  void step() {
    switch (peek()) {
      case '\\':
        ++at_;
        return escape();
      case '[': {
        ++at_;
        const std::string set = bracket(0);
        return atom(set);
      }
      case '(':
        return open_group();
      case ')':
        return close_group();
      case '|':
        // An option counts up to the end of its group, in all of its branches.
        ++at_;
        out_ += '|';
        atom_ = none;
        return;
      case '^':
        ++at_;
        return atom("(?m:^)");
      case '$':
        ++at_;
        return atom("(?m:$)");
      case '*':
      case '+':
      case '?':
        return quantifier();
      case '{':
        return interval();
      default: {
        const std::string_view character = take_character();
        if (character == "]" || character == "}")
          atom(fmt::format("\\{}", character));
        else
          atom(character);
      }
    }
  }

  // --- Groups ---

  void open_group() {
    if (groups_.size() > deepest) refuse("groups are nested too deeply");
    begin_atom();
    const std::size_t begin = out_.size();
    ++at_;
    if (peek() != '?') {
      out_ += '(';
      groups_.push_back({begin, 0});
      atom_ = none;
      return;
    }
    for (const std::string_view opening : {"?:", "?=", "?!", "?>", "?<=", "?<!"}) {
      if (!starts_with(opening)) continue;
      out_ += '(';
      out_ += opening;
      at_ += opening.size();
      groups_.push_back({begin, 0});
      atom_ = none;
      return;
    }
    if (starts_with("?#")) {
      const std::size_t end = pattern_.find(')', at_);
      if (end == pattern_.npos) refuse("a comment is not closed");
      at_ = end + 1;
      return;
    }
    if (starts_with("?<") || starts_with("?'")) {
      const char closing = peek(1) == '<' ? '>' : '\'';
      const std::size_t end = pattern_.find(closing, at_ + 2);
      if (end == pattern_.npos) refuse("a name is not closed");
      out_ += fmt::format("(?<{}>", pattern_.substr(at_ + 2, end - at_ - 2));
      at_ = end + 1;
      groups_.push_back({begin, 0});
      atom_ = none;
      return;
    }
    // Options.
    std::string on, off;
    bool is_on = true;
    std::size_t next = at_ + 1;
    for (; next < pattern_.size(); ++next) {
      const char c = pattern_[next];
      if (c == '-')
        is_on = false;
      else if (c == 'i' || c == 'x')
        (is_on ? on : off) += c;
      else if (c == 'm')
        (is_on ? on : off) += 's';
      else
        break;
    }
    const char closing = next < pattern_.size() ? pattern_[next] : '\0';
    if (closing != ':' && closing != ')') refuse("a group of a kind that is not known begins");
    at_ = next + 1;
    out_ += fmt::format("(?{}{}{}:", on, off.empty() ? "" : "-", off);
    atom_ = none;
    if (closing == ':')
      groups_.push_back({begin, 0});
    else
      ++groups_.back().options;
  }

  void close_options() {
    for (int i = 0; i < groups_.back().options; ++i) out_ += ')';
  }

  void close_group() {
    if (groups_.size() == 1) refuse("a group is closed that was not opened");
    ++at_;
    close_options();
    out_ += ')';
    atom_ = groups_.back().begin;
    is_quantified_ = false;
    groups_.pop_back();
  }

  // --- Quantifiers ---

  /// Puts the last atom, with what quantifies it already, into a group.
  void wrap_atom() {
    if (atom_ == none) refuse("there is nothing to repeat");
    out_.insert(atom_, "(?:");
    out_ += ')';
  }

  void quantifier() {
    if (atom_ == none) refuse("there is nothing to repeat");
    if (is_quantified_) wrap_atom();
    out_ += peek();
    ++at_;
    if (peek() == '?' || peek() == '+') {
      out_ += peek();
      ++at_;
    }
    quantified();
  }

  void quantified() { is_quantified_ = true; }

  void interval() {
    std::size_t next = at_ + 1;
    const auto number = [&]() -> std::optional<int> {
      int value = 0;
      const std::size_t begin = next;
      while (next < pattern_.size() && pattern_[next] >= '0' && pattern_[next] <= '9') {
        value = value * 10 + (pattern_[next] - '0');
        if (value > 65535) refuse("a number of repetitions is too big");
        ++next;
      }
      return next == begin ? std::nullopt : std::optional(value);
    };
    const std::optional<int> least = number();
    const bool is_range = next < pattern_.size() && pattern_[next] == ',';
    std::optional<int> most = least;
    if (is_range) {
      ++next;
      most = number();
    }
    if (next >= pattern_.size() || pattern_[next] != '}' || (!least && !most)) {
      ++at_;
      return atom("\\{");
    }
    at_ = next + 1;
    if (atom_ == none) refuse("there is nothing to repeat");
    if (is_quantified_) wrap_atom();
    int low = least.value_or(0);
    if (most && *most < low) refuse("a range of repetitions is upside down");
    if (most)
      out_ += fmt::format("{{{},{}}}", low, *most);
    else
      out_ += fmt::format("{{{},}}", low);
    if (peek() == '?') {
      if (is_range) {
        out_ += '?';
        ++at_;
      } else {
        // "a{2}?" is not lazy but optional.
        wrap_atom();
        out_ += '?';
        ++at_;
      }
    }
    quantified();
  }

  // --- Escapes ---

  std::string_view braced(std::string_view what) {
    const std::size_t end = pattern_.find('}', at_);
    if (peek() != '{' || end == pattern_.npos) refuse(what);
    const std::string_view inside = pattern_.substr(at_ + 1, end - at_ - 1);
    at_ = end + 1;
    return inside;
  }

  static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
  }

  std::uint32_t hex(std::size_t most) {
    std::uint32_t value = 0;
    std::size_t digits = 0;
    for (; digits < most && hex_digit(peek()) >= 0; ++digits, ++at_)
      value = value * 16 + static_cast<std::uint32_t>(hex_digit(peek()));
    return value;
  }

  std::string code_point(std::uint32_t value) const {
    if (value > 0x10FFFF || (value >= 0xD800 && value < 0xE000))
      refuse("a character's number is out of range");
    return fmt::format("\\x{{{:X}}}", value);
  }

  /// What stands for one character, behind the backslash; empty where it is none of those.
  std::optional<std::string> escaped_character(bool in_set) {
    const char c = peek();
    switch (c) {
      case 'a':
        ++at_;
        return "\\x{7}";
      case 'e':
        ++at_;
        return "\\x{1B}";
      case 'f':
        ++at_;
        return "\\x{C}";
      case 'n':
        ++at_;
        return "\\n";
      case 'r':
        ++at_;
        return "\\r";
      case 't':
        ++at_;
        return "\\t";
      case 'v':
        ++at_;
        return "\\x{B}";
      case 'b':
        if (!in_set) return std::nullopt;
        ++at_;
        return "\\x{8}";
      case 'u':
        ++at_;
        return code_point(hex(4));
      case 'x': {
        ++at_;
        if (peek() == '{') {
          const std::string_view digits = braced("a character's number is not closed");
          std::uint32_t value = 0;
          for (const char digit : digits) {
            if (hex_digit(digit) < 0 || value > 0x10FFFF) refuse("wanted a character's number");
            value = value * 16 + static_cast<std::uint32_t>(hex_digit(digit));
          }
          return code_point(value);
        }
        std::string bytes(1, static_cast<char>(hex(2)));
        if (static_cast<unsigned char>(bytes[0]) < 0x80)
          return code_point(static_cast<unsigned char>(bytes[0]));
        // The bytes of one character, one by one.
        const auto lead = static_cast<unsigned char>(bytes[0]);
        const std::size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
        while (bytes.size() < length && peek() == '\\' && peek(1) == 'x') {
          at_ += 2;
          bytes += static_cast<char>(hex(2));
        }
        if (lead < 0xC2 || bytes.size() < length) refuse("wanted the bytes of a whole character");
        std::size_t decoded = 0;
        return code_point(decode_character(bytes, decoded));
      }
      case 'c':
        ++at_;
        if (at_end()) refuse("wanted a control character");
        return code_point(static_cast<std::uint32_t>(*take_character().data()) & 0x1F);
      case '0': {
        std::uint32_t value = 0;
        for (int digits = 0; digits < 3 && peek() >= '0' && peek() <= '7'; ++digits, ++at_)
          value = value * 8 + static_cast<std::uint32_t>(peek() - '0');
        return code_point(value);
      }
      default:
        break;
    }
    if (in_set && c >= '1' && c <= '7') {
      std::uint32_t value = 0;
      for (int digits = 0; digits < 3 && peek() >= '0' && peek() <= '7'; ++digits, ++at_)
        value = value * 8 + static_cast<std::uint32_t>(peek() - '0');
      return code_point(value);
    }
    return std::nullopt;
  }

  /// \d, \p{L} and their like, behind the backslash: true where it is one, as items of a bracket
  /// and whether they are what is not meant.
  bool escaped_set(bool in_set, std::string& items, bool& is_negated) {
    const char c = peek();
    is_negated = c >= 'A' && c <= 'Z';
    switch (c) {
      case 'd':
      case 'D':
        items = posix_items("digit");
        break;
      case 'w':
      case 'W':
        items = posix_items("word");
        if (!in_set) items += lone_word;
        break;
      case 's':
      case 'S':
        items = white_space_class;
        break;
      case 'h':
      case 'H':
        items = "0-9A-Fa-f";
        break;
      case 'p':
      case 'P': {
        ++at_;
        if (peek() != '{') {  // "\p" alone is the letter
          --at_;
          return false;
        }
        std::string_view name = braced("a property's name is not closed");
        if (name.starts_with('^')) {
          is_negated = !is_negated;
          name.remove_prefix(1);
        }
        items = property(name, in_set, is_negated);
        return true;
      }
      default:
        return false;
    }
    ++at_;
    return true;
  }

  std::string property(std::string_view name, bool in_set, bool& is_negated) const {
    std::string plain;
    for (const char c : name)
      if (c != ' ' && c != '_' && c != '-')
        plain += c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    if (plain == "assigned") {
      is_negated = !is_negated;
      return R"(\p{Cn})";
    }
    for (const auto& classes :
         {std::span<const NamedClass>(named_classes), std::span<const NamedClass>(posix_classes)})
      if (const NamedClass* known = find_class(classes, plain))
        return items_of(*known) + std::string(plain == "word" && !in_set ? lone_word : "");
    bool is_plain = !plain.empty();
    for (const char c : plain)
      is_plain = is_plain && ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'));
    if (is_plain) {
      if (const auto known = pcre_property(std::string(name))) return *known;
      // Categories' short names in any case.
      if (plain.size() <= 2) {
        plain[0] = static_cast<char>(plain[0] - (plain[0] >= 'a' ? 32 : 0));
        if (const auto known = pcre_property(plain)) return *known;
      }
    }
    refuse(fmt::format("the property \"{}\" is not known", name));
  }

  void escape() {
    if (at_end()) refuse("a backslash stands at the end");
    if (const auto character = escaped_character(false)) return atom(*character);
    std::string items;
    bool is_negated = false;
    if (escaped_set(false, items, is_negated))
      return atom(fmt::format("[{}{}]", is_negated ? "^" : "", items));
    const char c = peek();
    switch (c) {
      case 'b':
      case 'B': {
        ++at_;
        const bool is_border = c == 'b';
        return atom(fmt::format("(?:(?<=[{0}]){1}[{0}])|(?<![{0}]){2}[{0}]))",
                                posix_items("word") + std::string(lone_word),
                                is_border ? "(?!" : "(?=", is_border ? "(?=" : "(?!"));
      }
      case 'A':
      case 'z':
      case 'Z':
      case 'G':
      case 'K':
      case 'R':
      case 'X':
        ++at_;
        return atom({pattern_.data() + at_ - 2, 2});
      case 'N':
        ++at_;
        return atom("[^\\n]");
      case 'O':
        ++at_;
        return atom("(?s:.)");
      case 'y':
      case 'Y':
      case 'C':
      case 'M':
        refuse("an escape of a kind that is not known begins");
      case 'k':
      case 'g': {
        if (peek(1) != '<' && peek(1) != '\'') break;
        const char closing = peek(1) == '<' ? '>' : '\'';
        const std::size_t end = pattern_.find(closing, at_ + 2);
        if (end == pattern_.npos) refuse("a name is not closed");
        begin_atom();
        out_ += c == 'k' ? "\\k{" : "\\g<";
        const std::string_view name = pattern_.substr(at_ + 2, end - at_ - 2);
        if (c == 'k' && !name.empty() && ((name[0] >= '0' && name[0] <= '9') || name[0] == '-'))
          out_.replace(out_.size() - 3, 3, "\\g{");
        out_ += name;
        out_ += c == 'k' ? '}' : '>';
        at_ = end + 1;
        return;
      }
      default:
        break;
    }
    if (c >= '1' && c <= '9') {
      begin_atom();
      out_ += "\\g{";
      while (peek() >= '0' && peek() <= '9') out_ += pattern_[at_++];
      out_ += '}';
      return;
    }
    literal_escape(out_, true);
  }

  /// Any other character behind a backslash is itself.
  void literal_escape(std::string& out, bool is_atom) {
    if (is_atom) begin_atom();
    const std::string_view character = take_character();
    const char c = character[0];
    const bool is_plain = character.size() > 1 || (c >= '0' && c <= '9') ||
                          (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (!is_plain) out += '\\';
    out += character;
  }

  // --- Sets ---

  /// Behind "[": an expression for one character of the set.
  std::string bracket(std::size_t depth) {
    if (depth > deepest) refuse("sets are nested too deeply");
    bool is_negated = false;
    if (peek() == '^') {
      is_negated = true;
      ++at_;
    }
    std::vector<Set> parts(1);
    bool is_first = true;
    for (;; is_first = false) {
      if (at_end()) refuse("a set is not closed");
      Set& set = parts.back();
      if (peek() == ']' && !is_first) {
        ++at_;
        break;
      }
      if (starts_with("&&")) {
        at_ += 2;
        parts.emplace_back();
        continue;
      }
      if (peek() == '[') {
        if (peek(1) == ':' && posix_bracket(set)) continue;
        ++at_;
        set.others.push_back(bracket(depth + 1));
        continue;
      }
      const std::optional<std::string> low = set_character(set);
      if (!low) continue;
      // A range, unless the "-" stands last or before a set.
      if (peek() == '-' && peek(1) != ']' && peek(1) != '[' && at_ + 1 < pattern_.size() &&
          !is_set_escape(1)) {
        ++at_;
        const std::optional<std::string> high = set_character(set);
        if (!high) refuse("a range has no end");
        set.items += *low;
        set.items += '-';
        set.items += *high;
        continue;
      }
      set.items += *low;
    }
    return expression_of(parts, is_negated);
  }

  bool is_set_escape(std::size_t ahead) const {
    if (peek(ahead) != '\\') return false;
    const char c = peek(ahead + 1);
    return c == 'd' || c == 'D' || c == 'w' || c == 'W' || c == 's' || c == 'S' || c == 'h' ||
           c == 'H' || c == 'p' || c == 'P';
  }

  /// One character of a set; empty where it was a set by itself, which has been added.
  std::optional<std::string> set_character(Set& set) {
    if (peek() == '\\') {
      ++at_;
      if (at_end()) refuse("a backslash stands at the end");
      if (auto character = escaped_character(true)) return character;
      std::string items;
      bool is_negated = false;
      if (escaped_set(true, items, is_negated)) {
        if (is_negated)
          set.others.push_back(fmt::format("[^{}]", items));
        else
          set.items += items;
        return std::nullopt;
      }
      std::string literal;
      literal_escape(literal, false);
      return literal;
    }
    const std::string_view character = take_character();
    constexpr std::string_view special = "[]\\^-&:";
    std::string result;
    if (character.size() == 1 && special.find(character[0]) != special.npos) result += '\\';
    result += character;
    return result;
  }

  bool posix_bracket(Set& set) {
    const std::size_t end = pattern_.find(":]", at_ + 2);
    if (end == pattern_.npos) return false;
    std::string_view name = pattern_.substr(at_ + 2, end - at_ - 2);
    const bool is_negated = name.starts_with('^');
    if (is_negated) name.remove_prefix(1);
    const NamedClass* known = find_class(posix_classes, name);
    if (!known) return false;
    if (is_negated)
      set.others.push_back(fmt::format("[^{}]", items_of(*known)));
    else
      set.items += items_of(*known);
    at_ = end + 2;
    return true;
  }

  static std::string union_of(const Set& set) {
    if (set.others.empty())
      return set.items.empty() ? "(?!)" : fmt::format("[{}]", set.items);
    std::string result = "(?:";
    if (!set.items.empty()) result += fmt::format("[{}]|", set.items);
    for (std::size_t i = 0; i < set.others.size(); ++i)
      result += (i > 0 ? "|" : "") + set.others[i];
    return result + ')';
  }

  static std::string expression_of(const std::vector<Set>& parts, bool is_negated) {
    if (parts.size() == 1 && parts[0].others.empty() && !parts[0].items.empty())
      return fmt::format("[{}{}]", is_negated ? "^" : "", parts[0].items);
    std::string whole;
    for (std::size_t i = 0; i + 1 < parts.size(); ++i)
      whole += fmt::format("(?={})", union_of(parts[i]));
    whole += union_of(parts.back());
    return is_negated ? fmt::format("(?:(?!{})(?s:.))", whole) : fmt::format("(?:{})", whole);
  }

  std::string_view pattern_;
  std::size_t at_ = 0;
  std::string out_;
  std::size_t atom_ = none;  ///< where the last atom begins in out_
  bool is_quantified_ = false;
  std::vector<Group> groups_;
};

}  // namespace

std::string translate_oniguruma(std::string_view pattern) {
  return Translator(pattern).translate();
}

}  // namespace plimsoll
