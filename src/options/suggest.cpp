#include "options/suggest.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <vector>

namespace plimsoll {
namespace {

/// Letters and digits alone count: "--top_k" is as good as "--top-k".
std::string folded(std::string_view word) {
  std::string out;
  for (const char c : word) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) || byte >= 0x80) out += static_cast<char>(std::tolower(byte));
  }
  return out;
}

}  // namespace

std::size_t edit_distance(std::string_view a, std::string_view b) {
  // Three rows of the table: of the last two bytes of a, and of the current one.
  std::vector<std::size_t> before, last(b.size() + 1), row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        row[j] = std::min(row[j], before[j - 2] + 1);
    }
    before = last;
    last = row;
  }
  return last[b.size()];
}

std::string closest(std::string_view word, std::span<const std::string> known) {
  constexpr std::size_t longest = 64;  // nobody mistypes more
  const std::string wanted = folded(word);
  if (wanted.empty() || wanted.size() > longest) return {};
  std::string best, beginning;
  std::size_t best_distance = std::max<std::size_t>(1, wanted.size() / 3) + 1, beginnings = 0;
  for (const std::string& candidate : known) {
    const std::string name = folded(candidate);
    if (name.size() > wanted.size() && name.starts_with(wanted)) {
      beginning = candidate;
      ++beginnings;
    }
    const std::size_t distance = edit_distance(wanted, name);
    // Not one letter of it would be left.
    if (distance >= std::max(wanted.size(), name.size())) continue;
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  if (beginnings == 1 && best_distance > 1) return beginning;
  return best;
}

std::string did_you_mean(std::string_view word, std::span<const std::string> known,
                         const std::string& hint) {
  const std::string meant = closest(word, known);
  if (meant.empty()) return hint;
  return fmt::format("did you mean {}?{}{}", meant, hint.empty() ? "" : " ", hint);
}

std::string joined(std::span<const std::string> words, std::string_view separator) {
  std::string out;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (i > 0) out += separator;
    out += words[i];
  }
  return out;
}

}  // namespace plimsoll
