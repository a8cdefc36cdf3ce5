// Lists of words, and "did you mean": the known one that a mistyped one was meant to be.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace plimsoll {

/// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b` (optimal
/// string alignment distance), of bytes.
std::size_t edit_distance(std::string_view a, std::string_view b);

/// The word that is nearest to `word`, whatever the case: at most a third of it is wrong, or it
/// begins like one word only. Empty when there is none.
std::string closest(std::string_view word, std::span<const std::string> known);

/// "did you mean X? HINT", or HINT alone; HINT may be empty.
std::string did_you_mean(std::string_view word, std::span<const std::string> known,
                         const std::string& hint);

std::string joined(std::span<const std::string> words, std::string_view separator);

}  // namespace plimsoll
