#include "text/vocabulary_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "text/utf8.h"

namespace plimsoll {
namespace {

/// Positions in a text, up to three times longer with its spaces marked, are kept in 31 bits.
constexpr Bytes longest_input = 512 * MiB;

std::optional<TokenId> if_any(TokenId id) {
  return id == no_token ? std::nullopt : std::optional<TokenId>(id);
}

}  // namespace

std::vector<TokenId> VocabularyTokenizer::encode_marked(std::string_view text,
                                                        std::span<const ByteRange> special) const {
  if (text.size() > longest_input) {
    throw Error(ErrorCode::invalid_text,
                fmt::format("the text has {}, wanted at most {}", format_bytes(text.size()),
                            format_bytes(longest_input)),
                "tokenize it in parts");
  }
  if (const std::optional<std::size_t> offset = find_invalid_utf8(text)) {
    throw Error(
        ErrorCode::invalid_text,
        fmt::format("the text is not UTF-8: byte 0x{:02X} at offset {}",
                    static_cast<unsigned>(static_cast<unsigned char>(text[*offset])), *offset),
        "convert the text to UTF-8");
  }
  std::vector<TokenId> out;
  bool is_at_start = true;
  for (const Fragment& fragment : special_.split(text, special)) {
    if (fragment.token == no_token) {
      const auto begin = static_cast<std::size_t>(fragment.text.data() - text.data());
      const std::size_t end = begin + fragment.text.size();
      const auto range = std::ranges::lower_bound(special, end, {}, &ByteRange::end);
      const bool may_be_special = range != special.end() && range->begin <= begin;
      encode_text(fragment.text, {is_at_start, begin == 0, may_be_special}, out);
    } else {
      out.push_back(fragment.token);
    }
    is_at_start = fragment.token != no_token;
  }
  return out;
}

std::string VocabularyTokenizer::bytes_of(TokenId token, bool show_special) const {
  // Models pad their output beyond the vocabulary; those ids stand for nothing.
  if (!vocabulary_.contains(token)) return {};
  const std::string_view text = vocabulary_.text(token);
  switch (vocabulary_.kind(token)) {
    case TokenKind::normal:
      return decode_normal(text);
    case TokenKind::user_defined:
      return vocabulary_.is_verbatim(token) ? std::string(text) : decode_normal(text);
    case TokenKind::control:
    case TokenKind::unknown:
      return show_special ? std::string(text) : std::string();
    case TokenKind::byte: {
      const std::optional<std::uint8_t> byte = vocabulary_.byte_of(token);
      return byte ? std::string(1, static_cast<char>(*byte)) : decode_normal(text);
    }
    case TokenKind::unused:
    case TokenKind::undefined:
      return {};
  }
  return {};
}

std::string_view VocabularyTokenizer::piece(TokenId token) const {
  return vocabulary_.contains(token) ? vocabulary_.text(token) : std::string_view();
}

std::optional<TokenId> VocabularyTokenizer::bos() const { return if_any(vocabulary_.bos()); }
std::optional<TokenId> VocabularyTokenizer::eos() const { return if_any(vocabulary_.eos()); }

bool VocabularyTokenizer::is_end_of_generation(TokenId token) const {
  return vocabulary_.is_end_of_generation(token);
}

bool VocabularyTokenizer::is_control(TokenId token) const {
  return vocabulary_.contains(token) && vocabulary_.kind(token) == TokenKind::control;
}

std::optional<TokenId> VocabularyTokenizer::find(std::string_view piece) const {
  return if_any(vocabulary_.find(piece));
}

}  // namespace plimsoll
