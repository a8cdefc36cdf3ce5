#include "text/bpe_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "text/hash.h"
#include "text/utf8.h"

namespace plimsoll {
namespace {

constexpr std::string_view merges_key = "tokenizer.ggml.merges";

/// GPT-2's spelling of bytes as characters: the printable ones of Latin-1 as themselves, the
/// others, in their order, as U+0100 and up.
struct ByteSpelling {
  struct Text {
    std::array<char, 2> bytes;
    std::uint8_t length;
    std::string_view view() const { return {bytes.data(), length}; }
  };
  std::array<Text, 256> texts{};
  std::array<std::int16_t, 0x144> bytes{};  ///< by code point, -1 where it spells nothing

  constexpr ByteSpelling() {
    bytes.fill(-1);
    int next = 0x100;
    for (int byte = 0; byte < 256; ++byte) {
      const bool is_printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
      const int code_point = is_printable ? byte : next++;
      bytes[static_cast<std::size_t>(code_point)] = static_cast<std::int16_t>(byte);
      Text& text = texts[static_cast<std::size_t>(byte)];
      if (code_point < 0x80) {
        text = {{static_cast<char>(code_point), 0}, 1};
      } else {
        text = {{static_cast<char>(0xC0 | code_point >> 6),
                 static_cast<char>(0x80 | (code_point & 0x3F))},
                2};
      }
    }
  }
};
constexpr ByteSpelling byte_spelling;

const MetadataValue& merges_of(const Metadata& metadata) {
  const MetadataValue* merges = metadata.find(merges_key);
  if (merges == nullptr || !merges->is_array() || merges->element_type() != MetadataType::string) {
    throw Error(ErrorCode::invalid_model,
                fmt::format("{} should be an array of strings and is {}", merges_key,
                            merges == nullptr ? "missing" : "of another type"),
                "convert the model again with its tokenizer");
  }
  return *merges;
}

}  // namespace

MergeTable::MergeTable(const Vocabulary& vocabulary, const MetadataValue& merges) {
  rules_.reserve(merges.size());
  std::string joined;
  TokenId previous = no_token;
  // Lists of merges mostly follow the order of their results, which spares most searches for them.
  const auto find_result = [&](std::string_view text) {
    for (TokenId id = previous; id != no_token && id <= previous + 1 && vocabulary.contains(id);
         ++id) {
      if (vocabulary.text(id) == text) return id;
    }
    return vocabulary.find(text);
  };
  for (std::uint64_t i = 0; i < merges.size(); ++i) {
    const std::string_view text = merges.as_string(i);
    const std::size_t space = text.find(' ', 1);
    if (space == std::string_view::npos) continue;
    const TokenId left = vocabulary.find(text.substr(0, space));
    const TokenId right = vocabulary.find(text.substr(space + 1));
    if (left == no_token || right == no_token) continue;
    joined.assign(text.substr(0, space));
    joined += text.substr(space + 1);
    const TokenId result = find_result(joined);
    if (result == no_token) continue;
    rules_.push_back({left, right, result});
    previous = result;
  }
  rules_.shrink_to_fit();

  slots_.assign(rules_.size() + rules_.size() / 2 + 1, -1);
  for (std::size_t i = 0; i < rules_.size(); ++i) {
    const std::size_t slot = slot_for(rules_[i].left, rules_[i].right);
    if (slots_[slot] < 0) slots_[slot] = static_cast<std::int32_t>(i);
  }
}

std::size_t MergeTable::slot_for(TokenId left, TokenId right) const {
  const std::uint64_t pair =
      std::uint64_t{static_cast<std::uint32_t>(left)} << 32 | static_cast<std::uint32_t>(right);
  std::size_t slot = slot_of(mix(pair ^ 0xD6E8FEB86659FD93u, 0x9E3779B97F4A7C15u), slots_.size());
  while (slots_[slot] >= 0) {
    const Rule& rule = rules_[static_cast<std::size_t>(slots_[slot])];
    if (rule.left == left && rule.right == right) break;
    if (++slot == slots_.size()) slot = 0;
  }
  return slot;
}

Merge MergeTable::find(TokenId left, TokenId right) const {
  const std::int32_t rule = slots_[slot_for(left, right)];
  if (rule < 0) return {0, no_token};
  return {static_cast<std::uint32_t>(rule), rules_[static_cast<std::size_t>(rule)].result};
}

Bytes MergeTable::memory_bytes() const {
  return sizeof *this + rules_.capacity() * sizeof(Rule) + slots_.capacity() * sizeof(std::int32_t);
}

BpeTokenizer::BpeTokenizer(const Metadata& metadata, const PreTokenizerKind& kind)
    : VocabularyTokenizer(metadata, {.adds_bos = kind.adds_bos}),
      kind_(kind),
      pre_tokenizer_(kind),
      merges_(vocabulary(), merges_of(metadata)) {
  for (std::size_t byte = 0; byte < 256; ++byte) {
    byte_tokens_[byte] = vocabulary().find(byte_spelling.texts[byte].view());
  }
}

void BpeTokenizer::encode_text(std::string_view text, bool, std::vector<TokenId>& out) const {
  std::string marked;
  if (kind_.is_raw) {
    marked = replace_all(text, " ", space_mark);
    text = marked;
  }
  MergeScratch scratch;
  std::string spelling;
  for (const std::uint32_t length : pre_tokenizer_.split(text)) {
    encode_piece(text.substr(0, length), scratch, spelling, out);
    text.remove_prefix(length);
  }
}

void BpeTokenizer::encode_piece(std::string_view piece, MergeScratch& scratch,
                                std::string& spelling, std::vector<TokenId>& out) const {
  const bool is_newlines = piece.find_first_not_of('\n') == std::string_view::npos;
  if (kind_.ignores_merges || (kind_.is_raw && is_newlines)) {
    spelling.clear();
    if (kind_.is_raw) {
      spelling = piece;
    } else {
      for (const char c : piece)
        spelling += byte_spelling.texts[static_cast<std::uint8_t>(c)].view();
    }
    if (const TokenId token = vocabulary().find(spelling); token != no_token) {
      out.push_back(token);
      return;
    }
  }

  scratch.clear();
  for (std::size_t begin = 0; begin < piece.size();) {
    const std::size_t length = kind_.is_raw ? next_utf8(piece.substr(begin)).length : 1;
    scratch.append(static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(length),
                   kind_.is_raw ? vocabulary().find(piece.substr(begin, length))
                                : byte_tokens_[static_cast<std::uint8_t>(piece[begin])]);
    begin += length;
  }
  merge_symbols(scratch, [&](const Symbol& left, const Symbol& right) {
    return merges_.find(left.token, right.token);
  });
  for (std::int32_t i = 0; i >= 0;) {
    const Symbol& symbol = scratch.symbols[static_cast<std::size_t>(i)];
    if (symbol.token != no_token) {
      out.push_back(symbol.token);
    } else {
      append_fallback(piece.substr(symbol.begin, symbol.length), kind_.is_raw, out);
    }
    i = symbol.next;
  }
}

std::string BpeTokenizer::decode_normal(std::string_view piece) const {
  if (kind_.is_raw) return replace_all(piece, space_mark, " ");
  std::string bytes;
  while (!piece.empty()) {
    const std::size_t length = next_utf8(piece).length;
    std::size_t code_point = static_cast<std::uint8_t>(piece[0]);
    if (length == 2) {
      code_point = (code_point & 0x1F) << 6 | (static_cast<std::uint8_t>(piece[1]) & 0x3F);
    }
    const bool spells_byte = length <= 2 && code_point < byte_spelling.bytes.size() &&
                             byte_spelling.bytes[code_point] >= 0;
    // Tokens that were added to a vocabulary later are often spelled in plain text.
    if (spells_byte) {
      bytes += static_cast<char>(byte_spelling.bytes[code_point]);
    } else {
      bytes += piece.substr(0, length);
    }
    piece.remove_prefix(length);
  }
  return bytes;
}

Bytes BpeTokenizer::memory_bytes() const {
  return shared_memory_bytes() + pre_tokenizer_.memory_bytes() + merges_.memory_bytes() +
         sizeof *this - sizeof(Vocabulary) - sizeof(SpecialTokens) - sizeof(PreTokenizer) -
         sizeof(MergeTable);
}

}  // namespace plimsoll
