// Which characters the sets of tokenizer.json's expressions hold: over all of Unicode, as the
// makers' library says (Split with that expression over every character).
#include "text/oniguruma.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "text/regex.h"
#include "text/unicode.h"

namespace plimsoll {
namespace {

struct SetCase {
  std::string_view expression;
  std::uint64_t count, sum;  ///< of the code points that it matches
};

constexpr SetCase set_cases[] = {
    {R"([[:alnum:]])", 143519, 15354313357},
    {R"([[:alpha:]])", 142759, 15314421907},
    {R"([[:ascii:]])", 128, 8128},
    {R"([[:blank:]])", 18, 124942},
    {R"([[:cntrl:]])", 65, 5215},
    {R"([[:digit:]])", 760, 39891450},
    {R"([[:graph:]])", 292447, 154231711121},
    {R"([[:lower:]])", 2569, 117919901},
    {R"([[:print:]])", 292464, 154231836054},
    {R"([[:punct:]])", 9369, 649005466},
    {R"([[:space:]])", 25, 141586},
    {R"([[:upper:]])", 1978, 97237165},
    {R"([[:xdigit:]])", 22, 1527},
    {R"([[:word:]])", 144665, 15621628979},
    {R"(\p{alnum})", 143519, 15354313357},
    {R"(\p{alpha})", 142759, 15314421907},
    {R"(\p{ascii})", 128, 8128},
    {R"(\p{blank})", 18, 124942},
    {R"(\p{cntrl})", 65, 5215},
    {R"(\p{digit})", 760, 39891450},
    {R"(\p{graph})", 292447, 154231711121},
    {R"(\p{lower})", 2569, 117919901},
    {R"(\p{print})", 292464, 154231836054},
    {R"(\p{punct})", 855, 28835015},
    {R"(\p{space})", 25, 141586},
    {R"(\p{upper})", 1978, 97237165},
    {R"(\p{xdigit})", 22, 1527},
    {R"(\p{word})", 144671, 15621630088},
    {R"(\w)", 144671, 15621630088},
    {R"(\d)", 760, 39891450},
    {R"(\s)", 25, 141586},
    {R"(\h)", 22, 1527},
    // Inside of a bracket \w lacks the superscripts and fractions that it has outside.
    {R"([\w])", 144665, 15621628979},
    {R"([\p{Word}])", 144665, 15621628979},
};

TEST(Oniguruma, SetsHoldWhatTheLibrarysHold) {
  for (const SetCase& set : set_cases) {
    const Regex regex(set.expression, Regex::Kind::oniguruma);
    std::string negated(set.expression);
    negated = negated[0] == '[' ? "[^" + negated + "]" : "(?!" + negated + ")(?m:.)";
    const Regex others(negated, Regex::Kind::oniguruma);
    Regex::Matches matches(regex, {}), other_matches(others, {});
    std::uint64_t count = 0, sum = 0, all = 0;
    std::string text;
    for (char32_t c = 0; c < 0x110000; ++c) {
      if (c >= 0xD800 && c < 0xE000) continue;
      text.clear();
      append_character(text, c);
      matches.restart(text);
      other_matches.restart(text);
      const bool is_one = matches.next();
      all += is_one != other_matches.next();
      if (!is_one) continue;
      ++count;
      sum += c;
    }
    EXPECT_EQ(count, set.count) << set.expression;
    EXPECT_EQ(sum, set.sum) << set.expression;
    EXPECT_EQ(all, 0x110000u - 0x800u) << set.expression;
  }
}

}  // namespace
}  // namespace plimsoll
