#include "text/vocabulary_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "text/subword_model.h"
#include "text/work_refusal.h"
#include "text/utf8.h"

namespace plimsoll {
namespace {

/// Positions in a text, up to three times longer with its spaces marked, are kept in 31 bits.
constexpr Bytes longest_input = 512 * MiB;

/// Longer texts are tokenized in parts of about so many bytes.
constexpr std::size_t part_bytes = 128 * 1024;
/// Working memory by bytes of text: up to three times longer normalized, in pieces of 4 bytes each
/// before and behind a step.
constexpr std::size_t work_of_byte = 20;

/// The border of a character at or before `end`.
std::size_t character_border(std::string_view text, std::size_t end) {
  while (end > 0 && end < text.size() && (text[end] & 0xC0) == 0x80) --end;
  return end;
}

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
  const Reservation work = reserve_work(text.size());
  std::vector<TokenId> out;
  bool is_at_start = true;
  special_.split(text, special, [&](const Fragment& fragment) {
    if (fragment.token == no_token) {
      const auto begin = static_cast<std::size_t>(fragment.text.data() - text.data());
      const std::size_t end = begin + fragment.text.size();
      const auto range = std::ranges::lower_bound(special, end, {}, &ByteRange::end);
      const bool may_be_special = range != special.end() && range->begin <= begin;
      encode_plain(fragment.text, {is_at_start, begin == 0, may_be_special}, out);
    } else {
      out.push_back(fragment.token);
    }
    is_at_start = fragment.token != no_token;
  });
  return out;
}

void VocabularyTokenizer::encode_plain(std::string_view text, TextPlace place,
                                       std::vector<TokenId>& out) const {
  for (std::size_t size = part_bytes; takes_parts() && text.size() >= 2 * size;) {
    const std::size_t taken = encode_open(text.substr(0, character_border(text, size)), place, out);
    size = taken > 0 ? part_bytes : 2 * size;
    if (taken == 0) continue;
    text.remove_prefix(taken);
    place.is_at_start = place.is_first = false;
  }
  encode_text(text, place, out);
}

std::size_t VocabularyTokenizer::encode_beginning(std::string_view text, Progress& progress,
                                                  std::vector<TokenId>& out) const {
  if (!takes_parts() || !special_.takes_parts()) return 0;
  // Up to here it is certain where a special token begins.
  const std::size_t certain =
      character_border(text, text.size() - std::min(text.size(), special_.longest()));
  const Reservation work = reserve_work(text.size());
  std::size_t taken = 0;
  bool is_open = true;
  std::vector<ByteRange> passed;
  special_.split_part(text, progress.passed, passed, [&](const Fragment& fragment) {
    const auto begin = static_cast<std::size_t>(fragment.text.data() - text.data());
    const std::size_t end = begin + fragment.text.size();
    is_open = is_open && begin < certain;
    if (!is_open) return;
    if (fragment.token != no_token) {
      out.push_back(fragment.token);
      taken = end;
      progress = {.is_first = false, .is_at_start = true};
      return;
    }
    const TextPlace place{progress.is_at_start, progress.is_first, false};
    if (end < certain) {
      encode_plain(fragment.text, place, out);
      taken = end;
    } else {
      is_open = false;
      taken += encode_open(text.substr(begin, certain - begin), place, out);
      if (taken == begin) return;
    }
    progress = {.is_first = false, .is_at_start = false};
  });
  // A mark that is spelled out is passed over as a whole.
  if (taken > 0) progress.passed = 0;
  for (const ByteRange& mark : passed)
    if (mark.begin < taken && taken < mark.end) progress.passed = mark.end - taken;
  return taken;
}

void VocabularyTokenizer::encode_end(std::string_view text, Progress progress,
                                     std::vector<TokenId>& out) const {
  const Reservation work = reserve_work(text.size());
  std::vector<ByteRange> passed;
  bool is_first = progress.is_first, is_at_start = progress.is_at_start;
  special_.split_part(text, progress.passed, passed, [&](const Fragment& fragment) {
    if (fragment.token == no_token)
      encode_plain(fragment.text, {is_at_start, is_first, false}, out);
    else
      out.push_back(fragment.token);
    is_first = false;
    is_at_start = fragment.token != no_token;
  });
}

Bytes VocabularyTokenizer::work_bytes(std::size_t text_bytes) const {
  const std::size_t at_once = takes_parts() ? std::min(text_bytes, 2 * part_bytes) : text_bytes;
  const std::size_t symbols = std::min(text_bytes, merge_window);
  return at_once * work_of_byte + MergeScratch::bytes_for(symbols) + 4 * KiB;
}

Reservation VocabularyTokenizer::reserve_work(std::size_t text_bytes) const {
  if (ledger() == nullptr) return {};
  const Bytes work = work_bytes(text_bytes);
  try {
    return ledger()->reserve(Account::text, work);
  } catch (const Error& error) {
    throw WorkRefusal(fmt::format("tokenizing a text of {} takes {} of working memory: {}",
                                  format_bytes(text_bytes), format_bytes(work), error.message()),
                      text_bytes, work, ledger()->budget());
  }
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
