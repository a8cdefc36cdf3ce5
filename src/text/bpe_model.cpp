#include "text/bpe_model.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "text/byte_spelling.h"
#include "text/hash.h"
#include "text/utf8.h"

namespace plimsoll {
namespace {

constexpr std::string_view merges_key = "tokenizer.ggml.merges";
constexpr std::string_view merge_ids_key = "tokenizer.plimsoll.merges";

}  // namespace

MergeTable::MergeTable(const Vocabulary& vocabulary, const Metadata& metadata,
                       std::string_view prefix) {
  const MetadataValue* ids = metadata.find(merge_ids_key);
  if (ids) {
    add_ids(vocabulary, *ids, prefix);
  } else {
    const MetadataValue* merges = metadata.find(merges_key);
    if (merges == nullptr || !merges->is_array() ||
        merges->element_type() != MetadataType::string)
      throw Error(ErrorCode::invalid_model,
                  fmt::format("{} should be an array of strings and is {}", merges_key,
                              merges == nullptr ? "missing" : "of another type"),
                  "convert the model again with its tokenizer");
    add_texts(vocabulary, *merges, prefix);
  }
  rules_.shrink_to_fit();

  slots_.assign(rules_.size() + rules_.size() / 2 + 1, -1);
  for (std::size_t i = 0; i < rules_.size(); ++i)
    slots_[slot_for(rules_[i].left, rules_[i].right)] = static_cast<std::int32_t>(i);
}

void MergeTable::add_texts(const Vocabulary& vocabulary, const MetadataValue& merges,
                           std::string_view prefix) {
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
    const std::string_view end = text.substr(space + 1);
    joined += end.substr(std::min(prefix.size(), end.size()));
    const TokenId result = find_result(joined);
    if (result == no_token) continue;
    rules_.push_back({left, right, result});
    previous = result;
  }
}

void MergeTable::add_ids(const Vocabulary& vocabulary, const MetadataValue& merges,
                         std::string_view prefix) {
  if (!merges.is_array() || merges.size() % 2 != 0)
    throw Error(ErrorCode::invalid_model,
                fmt::format("{} should be pairs of ids", merge_ids_key));
  rules_.reserve(merges.size() / 2);
  std::string joined;
  for (std::uint64_t i = 0; i < merges.size(); i += 2) {
    const std::int64_t left = merges.as_integer(i), right = merges.as_integer(i + 1);
    if (left < 0 || right < 0 || left >= vocabulary.size() || right >= vocabulary.size()) continue;
    joined.assign(vocabulary.text(static_cast<TokenId>(left)));
    const std::string_view end = vocabulary.text(static_cast<TokenId>(right));
    joined += end.substr(std::min(prefix.size(), end.size()));
    const TokenId result = vocabulary.find(joined);
    if (result == no_token) continue;
    rules_.push_back({static_cast<TokenId>(left), static_cast<TokenId>(right), result});
  }
}

[[gnu::always_inline]] inline std::size_t MergeTable::slot_for(TokenId left, TokenId right) const {
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

// Within the loop of merging: a call costs a tenth of it.
[[gnu::always_inline]] inline Merge MergeTable::find(TokenId left, TokenId right) const {
  const std::int32_t rule = slots_[slot_for(left, right)];
  if (rule < 0) return {0, no_token};
  return {static_cast<std::uint32_t>(rule), rules_[static_cast<std::size_t>(rule)].result};
}

Bytes MergeTable::memory_bytes() const {
  return rules_.capacity() * sizeof(Rule) + slots_.capacity() * sizeof(std::int32_t);
}

BpeModel::BpeModel(const Vocabulary& vocabulary, const Metadata& metadata, BpeOptions options)
    : vocabulary_(vocabulary),
      options_(std::move(options)),
      merges_(vocabulary, metadata, options_.prefix) {
  for (std::size_t byte = 0; byte < 256; ++byte)
    byte_tokens_[byte] = vocabulary.find_plain(byte_spelling[static_cast<char>(byte)]);
  if (!options_.is_in_bytes && options_.prefix.empty() && options_.suffix.empty() &&
      vocabulary.find_plain(space_mark) != no_token) {
    cuts_at_spaces_ = true;
    joins_words_ = vocabulary.joins_words();
  }
}

void BpeModel::encode(std::string_view piece, SubwordScratch& scratch,
                      std::vector<TokenId>& out) const {
  const bool is_line_ends = options_.keeps_line_ends && piece.find_first_not_of('\n') == piece.npos;
  if (options_.ignores_merges || is_line_ends) {
    std::string_view whole = piece;
    if (options_.is_in_bytes && piece.size() <= vocabulary_.longest_text()) {
      scratch.text.clear();
      for (const char c : piece) scratch.text += byte_spelling[c];
      whole = scratch.text;
    }
    if (const TokenId token = vocabulary_.find_plain(whole, scratch.reads_marks);
        token != no_token) {
      out.push_back(token);
      return;
    }
  }
  std::size_t begin = 0;
  if (cuts_at_spaces_) {
    for (std::size_t at = piece.find(space_mark, 1); at != piece.npos;
         at = piece.find(space_mark, at + 1)) {
      if (joins_words_.test(static_cast<std::uint8_t>(piece[at - 1]))) continue;
      const std::size_t last = last_utf8(piece.substr(0, at));
      // What stands before a character without a token, which may become nothing, can have to do
      // with what stands behind it.
      if (vocabulary_.find_plain(piece.substr(last, at - last)) == no_token) continue;
      encode_part(piece.substr(begin, at - begin), false, false, scratch, out);
      begin = at;
    }
  }
  encode_part(piece.substr(begin), true, true, scratch, out);
}

void BpeModel::append_symbols(std::string_view part, bool is_first, bool is_last,
                              std::size_t most, Progress& progress,
                              SubwordScratch& scratch) const {
  auto& [begin, unknown_begin, unknown_length] = progress;
  const auto flush_unknown = [&, &unknown_begin = unknown_begin, &unknown_length = unknown_length] {
    if (unknown_length > 0) scratch.merge.append(unknown_begin, unknown_length, options_.unknown);
    unknown_length = 0;
  };
  while (begin < part.size() && scratch.merge.symbols.size() < most) {
    const std::size_t length = options_.is_in_bytes ? 1 : next_utf8(part.substr(begin)).length;
    const auto position = static_cast<std::uint32_t>(begin);
    const auto bytes = static_cast<std::uint32_t>(length);
    std::string_view text = part.substr(begin, length);
    begin += length;
    const bool has_prefix = !options_.prefix.empty() && !(is_first && position == 0);
    const bool has_suffix = !options_.suffix.empty() && is_last && begin == part.size();
    if (has_prefix || has_suffix) {
      scratch.text.assign(has_prefix ? options_.prefix : "");
      scratch.text += text;
      if (has_suffix) scratch.text += options_.suffix;
      text = scratch.text;
    }
    const TokenId token = options_.is_in_bytes ? byte_tokens_[static_cast<std::uint8_t>(text[0])]
                                               : vocabulary_.find_plain(text);
    if (token != no_token || options_.is_strict) {
      flush_unknown();
      scratch.merge.append(position, bytes, token);
      continue;
    }
    if (options_.falls_back_to_bytes) {
      bool has_all = true;
      for (const char c : text)
        has_all = has_all && vocabulary_.find_byte(static_cast<std::uint8_t>(c)) != no_token;
      if (has_all) {
        for (const char c : text)
          scratch.merge.append(position, 1, vocabulary_.find_byte(static_cast<std::uint8_t>(c)));
        continue;
      }
    }
    if (options_.unknown == no_token) continue;
    if (!options_.fuses_unknown) flush_unknown();
    if (unknown_length == 0) unknown_begin = position;
    unknown_length += bytes;
  }
  if (begin == part.size()) flush_unknown();
}

void BpeModel::take(const Symbol& symbol, std::string_view part, std::vector<TokenId>& out) const {
  if (symbol.token != no_token)
    out.push_back(symbol.token);
  else
    append_fallback(vocabulary_, part.substr(symbol.begin, symbol.length),
                    options_.falls_back_to_bytes, out);
}

void BpeModel::encode_part(std::string_view part, bool is_first, bool is_last,
                           SubwordScratch& scratch, std::vector<TokenId>& out) const {
  if (part.size() > merge_window) return encode_long_part(part, is_first, is_last, scratch, out);
  scratch.merge.clear();
  Progress progress;
  append_symbols(part, is_first, is_last, part.size() + 1, progress, scratch);
  if (scratch.merge.symbols.empty()) return;
  merge_symbols(scratch.merge, [&](const Symbol& left, const Symbol& right) {
    return merges_.find(left.token, right.token);
  });
  for (std::int32_t i = 0; i >= 0;) {
    const Symbol& symbol = scratch.merge.symbols[static_cast<std::size_t>(i)];
    take(symbol, part, out);
    i = symbol.next;
  }
}

void BpeModel::encode_long_part(std::string_view part, bool is_first, bool is_last,
                                SubwordScratch& scratch, std::vector<TokenId>& out) const {
  const auto make_more = [&] {
    return [&, progress = Progress()](std::size_t most) mutable {
      append_symbols(part, is_first, is_last, most, progress, scratch);
    };
  };
  // A function of its own, so that the one for short parts stays in one piece.
  const auto lookup = [&](const Symbol& left, const Symbol& right) {
    return merges_.find(left.token, right.token);
  };
  merge_long_piece(scratch, part.size(), out, make_more, lookup,
                   [&](const Symbol& symbol) { take(symbol, part, out); });
}

Bytes BpeModel::memory_bytes() const {
  return sizeof *this + merges_.memory_bytes() + options_.prefix.capacity() +
         options_.suffix.capacity();
}

}  // namespace plimsoll
