// The regular expressions of tokenizer.json, which are Oniguruma's with Ruby's syntax, in PCRE2's.
// Syntax: https://github.com/kkos/oniguruma/blob/master/doc/RE
#pragma once

#include <string>
#include <string_view>

namespace plimsoll {

/// The same expression for PCRE2 (UTF, UCP, newline LF). Differences that are translated: sets
/// inside of sets and their intersections, \h, \v, \u, \O, \N, (?m), ^ and $ at every line, what \w
/// \d \s \b and the POSIX brackets mean, names of properties, {,n}, {n,m}+ (not possessive), {n}?
/// (not lazy), quantified quantifiers, options up to the end of a group. Throws
/// Error(unsupported_model) for what PCRE2 has not (absent operators, conditions, callouts, text
/// segments).
std::string translate_oniguruma(std::string_view pattern);

}  // namespace plimsoll
