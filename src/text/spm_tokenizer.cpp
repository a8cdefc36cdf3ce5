#include "text/spm_tokenizer.h"

#include <fmt/format.h>

#include <bit>
#include <cmath>

#include "base/error.h"
#include "text/merge.h"
#include "text/subword_model.h"
#include "text/utf8.h"

namespace plimsoll {
namespace {

constexpr std::string_view scores_key = "tokenizer.ggml.scores";

/// Numbers in the opposite order of scores; equal scores get equal numbers.
std::uint32_t priority_of(double score) {
  if (std::isnan(score)) return ~std::uint32_t{0};
  const float value = static_cast<float>(score) + 0.0f;  // -0 becomes +0
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t ascending = bits >> 31 ? ~bits : bits | 0x80000000u;
  return ~ascending;
}

/// In a table of pairs of bytes.
std::size_t pair_of(char first, char second) {
  return std::size_t{static_cast<std::uint8_t>(first)} * 256 + static_cast<std::uint8_t>(second);
}

}  // namespace

SpmTokenizer::SpmTokenizer(const Metadata& metadata)
    : VocabularyTokenizer(metadata, {.bos = 1, .eos = 2, .unknown = 0, .adds_bos = true}) {
  const auto count = static_cast<std::size_t>(vocabulary().size());
  priorities_.assign(count, priority_of(0));
  if (const MetadataValue* scores = metadata.find(scores_key)) {
    if (!scores->is_array() || scores->size() != count) {
      throw Error(ErrorCode::invalid_model, fmt::format("{} has {} entries and the vocabulary {}",
                                                        scores_key, scores->size(), count));
    }
    const bool is_float =
        scores->element_type() == MetadataType::f32 || scores->element_type() == MetadataType::f64;
    for (std::size_t i = 0; i < count; ++i) {
      priorities_[i] =
          priority_of(is_float ? scores->as_float(i) : static_cast<double>(scores->as_integer(i)));
    }
  }
  joins_words_ = vocabulary().joins_words();
  neighbours_.assign(256 * 256, false);
  for (TokenId id = 0; id < vocabulary().size(); ++id) {
    const std::string_view text = vocabulary().text(id);
    for (std::size_t i = 0; i + 1 < text.size(); ++i)
      neighbours_[pair_of(text[i], text[i + 1])] = true;
  }
  adds_space_ = metadata.boolean("tokenizer.ggml.add_space_prefix").value_or(true);
}

std::size_t SpmTokenizer::encode_open(std::string_view text, const TextPlace& place,
                                      std::vector<TokenId>& out) const {
  for (std::size_t at = text.size() - 1; at > 0; --at) {
    if ((text[at] & 0xC0) == 0x80) continue;
    const char before = text[at - 1] == ' ' ? space_mark.back() : text[at - 1];
    const char behind = text[at] == ' ' ? space_mark.front() : text[at];
    if (neighbours_[pair_of(before, behind)]) continue;
    encode_text(text.substr(0, at), place, out);
    return at;
  }
  return 0;
}

void SpmTokenizer::encode_text(std::string_view text, const TextPlace& place,
                               std::vector<TokenId>& out) const {
  std::string marked(adds_space_ && place.is_at_start ? space_mark : "");
  marked += replace_all(text, " ", space_mark);

  SubwordScratch scratch;
  scratch.ledger = ledger();
  const auto lookup = [&](const Symbol& left, const Symbol& right) -> Merge {
    const TokenId token =
        vocabulary().find_plain({marked.data() + left.begin, left.length + right.length});
    return {token == no_token ? 0 : priorities_[static_cast<std::size_t>(token)], token};
  };
  const auto take = [&](const Symbol& symbol) {
    if (symbol.token != no_token)
      out.push_back(symbol.token);
    else
      append_fallback(vocabulary(), {marked.data() + symbol.begin, symbol.length}, true, out);
  };
  const auto append_symbols = [&](std::size_t& begin, std::size_t end, std::size_t most) {
    while (begin < end && scratch.merge.symbols.size() < most) {
      const std::size_t length = next_utf8(std::string_view(marked).substr(begin)).length;
      scratch.merge.append(static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(length),
                           vocabulary().find_plain({marked.data() + begin, length}));
      begin += length;
    }
  };
  const auto encode_part = [&](std::size_t begin, std::size_t end) {
    if (end - begin > merge_window) {
      const auto make_more = [&] {
        return [&, at = begin](std::size_t most) mutable { append_symbols(at, end, most); };
      };
      return merge_long_piece(scratch, end - begin, out, make_more, lookup, take);
    }
    scratch.merge.clear();
    append_symbols(begin, end, merge_window + 1);
    merge_symbols(scratch.merge, lookup);
    for (std::int32_t i = 0; i >= 0;) {
      const Symbol& symbol = scratch.merge.symbols[static_cast<std::size_t>(i)];
      take(symbol);
      i = symbol.next;
    }
  };

  std::size_t begin = 0;
  for (std::size_t at = marked.find(space_mark, 1); at != std::string::npos;
       at = marked.find(space_mark, at + 1)) {
    if (joins_words_.test(static_cast<std::uint8_t>(marked[at - 1]))) continue;
    encode_part(begin, at);
    begin = at;
  }
  encode_part(begin, marked.size());
}

std::string SpmTokenizer::decode_normal(std::string_view piece) const {
  return replace_all(piece, space_mark, " ");
}

Bytes SpmTokenizer::memory_bytes() const {
  return shared_memory_bytes() + sizeof *this - sizeof(Vocabulary) - sizeof(SpecialTokens) +
         priorities_.capacity() * sizeof(std::uint32_t) + neighbours_.capacity() / 8;
}

}  // namespace plimsoll
