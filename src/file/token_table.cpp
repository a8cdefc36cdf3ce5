#include "file/token_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "base/error.h"

namespace plimsoll {

void TokenTable::set(std::int64_t id, std::string_view text, Kind kind, float score) {
  if (texts_.size() + text.size() > std::numeric_limits<std::uint32_t>::max())
    throw Error(ErrorCode::invalid_model, "the texts of the vocabulary take more than 4 GiB",
                "the tokenizer's files are damaged");
  Token& token = tokens_[static_cast<std::size_t>(id)];
  token = {static_cast<std::uint32_t>(texts_.size()), static_cast<std::uint32_t>(text.size()),
           score, kind, true};
  texts_ += text;
}

std::string_view TokenTable::text(std::int64_t id) const {
  const Token& token = tokens_[static_cast<std::size_t>(id)];
  return std::string_view(texts_).substr(token.begin, token.length);
}

void TokenTable::add_to(MetadataBuilder& metadata, bool with_scores) const {
  const auto count = static_cast<std::uint64_t>(size());
  std::string elements;
  elements.reserve(texts_.size() + 16 * count);
  for (std::int64_t id = 0; id < size(); ++id) {
    if (is_set(id))
      MetadataBuilder::append_string(elements, text(id));
    else
      MetadataBuilder::append_string(elements, fmt::format("[PAD{}]", id));
  }
  metadata.reserve(elements.size() + 8 * count + 1 * KiB);
  metadata.add_array("tokenizer.ggml.tokens", MetadataType::string, count, elements);
  std::string().swap(elements);
  if (with_scores) {
    std::vector<float> scores(count);
    std::ranges::transform(tokens_, scores.begin(), &Token::score);
    metadata.add_numbers("tokenizer.ggml.scores", scores);
  }
  std::vector<std::int32_t> kinds(count);
  std::ranges::transform(tokens_, kinds.begin(),
                         [](const Token& token) { return static_cast<std::int32_t>(token.kind); });
  metadata.add_integers("tokenizer.ggml.token_type", kinds);
}

bool spells_byte(std::string_view text) {
  const auto is_digit = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F') || (c >= 'a' && c <= 'f');
  };
  return text.size() == 6 && text.starts_with("<0x") && text[5] == '>' && is_digit(text[3]) &&
         is_digit(text[4]);
}

}  // namespace plimsoll
