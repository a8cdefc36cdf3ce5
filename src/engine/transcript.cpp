#include "engine/transcript.h"

#include <algorithm>
#include <utility>

namespace plimsoll {
namespace {

/// Without the first `count` bytes of all.
std::vector<TextPart> without_beginning(std::span<const TextPart> parts, std::size_t count) {
  std::vector<TextPart> rest;
  for (const TextPart& part : parts) {
    const std::size_t cut = std::min(count, part.text.size());
    count -= cut;
    if (cut < part.text.size()) rest.push_back({part.text.substr(cut), part.is_input});
  }
  return rest;
}

bool begins_with(std::span<const TokenId> tokens, std::span<const TokenId> beginning) {
  return tokens.size() >= beginning.size() &&
         std::equal(beginning.begin(), beginning.end(), tokens.begin());
}

/// The ids of a text that stands behind another. Some tokenizers put a space before all that begins
/// a text: a character stands in for what comes before, one that does not merge with what follows.
std::vector<TokenId> encode_following(const Tokenizer& tokenizer, std::span<const TextPart> parts) {
  std::vector<TokenId> alone = tokenizer.encode(parts);
  if (alone.empty() || tokenizer.is_control(alone.front()) ||
      tokenizer.is_end_of_generation(alone.front()))
    return alone;
  for (const char* stand_in : {"a", "1", ".", "\n"}) {
    std::vector<TextPart> both = {{stand_in, true}};
    const std::vector<TokenId> before = tokenizer.encode(both);
    both.insert(both.end(), parts.begin(), parts.end());
    std::vector<TokenId> tokens = tokenizer.encode(both);
    if (!begins_with(tokens, before)) continue;
    tokens.erase(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(before.size()));
    return tokens;
  }
  return alone;
}

}  // namespace

/// Bytes of text from the beginning that `parts` have too.
std::size_t Transcript::common_with(std::span<const TextPart> parts) const {
  std::size_t at = 0, span = 0;
  for (const TextPart& part : parts)
    for (const char c : part.text) {
      if (at == text_.size() || text_[at] != c) return at;
      while (spans_[span].end <= at) ++span;
      const Origin origin = spans_[span].origin;
      if (origin != Origin::said && (origin == Origin::input) != part.is_input) return at;
      ++at;
    }
  return at;
}

void Transcript::append(const TextPart& part, std::size_t from) {
  const Origin origin = part.is_input ? Origin::input : Origin::prompt;
  text_.append(part.text, from);
  if (spans_.empty() || spans_.back().origin != origin)
    spans_.push_back({text_.size(), origin});
  else
    spans_.back().end = text_.size();
}

void Transcript::read(std::span<const TextPart> parts) {
  std::string all;
  for (const TextPart& part : parts) all += part.text;
  const std::size_t common = common_with(parts);
  Border kept{0, 0};
  for (const Border& border : borders_) {
    const bool inside_character =
        border.text < all.size() && (static_cast<unsigned char>(all[border.text]) & 0xC0) == 0x80;
    if (border.text <= common && !inside_character) kept = border;
  }
  const std::vector<TextPart> rest = without_beginning(parts, kept.text);
  const std::vector<TokenId> tokens =
      kept.text == 0 ? tokenizer_->encode(rest) : encode_following(*tokenizer_, rest);

  text_.resize(kept.text);
  tokens_.resize(kept.tokens);
  while (!borders_.empty() && borders_.back().tokens > kept.tokens) borders_.pop_back();
  while (!spans_.empty() && (spans_.size() > 1 ? spans_[spans_.size() - 2].end : 0) >= kept.text)
    spans_.pop_back();
  if (!spans_.empty()) spans_.back().end = kept.text;
  for (const TextPart& part : rest) append(part, 0);
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  borders_.push_back({text_.size(), tokens_.size()});
}

void Transcript::say(std::span<const TokenId> answer) {
  const std::size_t begin = text_.size();
  for (const TokenId token : answer) {
    if (token < tokenizer_->vocabulary_size()) text_ += tokenizer_->bytes_of(token, true);
    tokens_.push_back(token);
    borders_.push_back({text_.size(), tokens_.size()});
  }
  if (text_.size() > begin) spans_.push_back({text_.size(), Origin::said});
}

}  // namespace plimsoll
