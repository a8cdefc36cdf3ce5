#include "text/unigram_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "text/utf8.h"

namespace plimsoll {
namespace {

constexpr std::string_view scores_key = "tokenizer.ggml.scores";
constexpr std::string_view exact_scores_key = "tokenizer.plimsoll.scores";
/// What an unknown character costs more than the worst token.
constexpr double unknown_penalty = 10;

}  // namespace

UnigramModel::UnigramModel(const Vocabulary& vocabulary, const Metadata& metadata,
                           UnigramOptions options)
    : vocabulary_(vocabulary), options_(options) {
  const auto count = static_cast<std::size_t>(vocabulary.size());
  const MetadataValue* exact = metadata.find(exact_scores_key);
  const MetadataValue* scores = exact ? exact : metadata.find(scores_key);
  if (!scores || !scores->is_array() || scores->size() != count)
    throw Error(ErrorCode::invalid_model,
                fmt::format("{} should be an array of {} numbers and {}", scores_key, count,
                            scores ? "is something else" : "is missing"),
                "convert the model again with its tokenizer");
  double worst = std::numeric_limits<double>::infinity();
  if (exact)
    exact_scores_.resize(count);
  else
    scores_.resize(count);
  for (std::size_t i = 0; i < count; ++i) {
    const double score = scores->as_float(i);
    if (exact)
      exact_scores_[i] = score;
    else
      scores_[i] = static_cast<float>(score);
    // Padding has no part in this.
    if (vocabulary.kind(static_cast<TokenId>(i)) != TokenKind::unused &&
        !vocabulary.is_added(static_cast<TokenId>(i)))
      worst = std::min(worst, score);
  }
  unknown_score_ = worst - unknown_penalty;

  by_text_.reserve(count);
  for (TokenId id = 0; id < vocabulary.size(); ++id)
    if (!vocabulary.text(id).empty() && vocabulary.is_plain(id)) by_text_.push_back(id);
  for (TokenId id = 0; id < vocabulary.size(); ++id)
    if (vocabulary.is_own_mark(id) && vocabulary.find(vocabulary.text(id)) == id)
      marks_.push_back(id);
  by_text_.insert(by_text_.end(), marks_.begin(), marks_.end());
  std::ranges::stable_sort(by_text_, {}, [&](TokenId id) { return vocabulary.text(id); });
  // Of duplicates the last one has the text.
  const auto last = std::unique(by_text_.rbegin(), by_text_.rend(), [&](TokenId a, TokenId b) {
    return vocabulary.text(a) == vocabulary.text(b);
  });
  by_text_.erase(by_text_.begin(), last.base());
  by_text_.shrink_to_fit();
  std::size_t at = 0;
  for (std::size_t byte = 0; byte < first_bytes_.size(); ++byte) {
    while (at < by_text_.size() &&
           static_cast<std::uint8_t>(vocabulary.text(by_text_[at])[0]) < byte)
      ++at;
    first_bytes_[byte] = static_cast<std::uint32_t>(at);
  }
}

template <class Take>
void UnigramModel::for_each_beginning(std::string_view text, bool reads_marks, Take take) const {
  const auto byte = static_cast<std::uint8_t>(text[0]);
  auto low = by_text_.begin() + first_bytes_[byte];
  auto high = by_text_.begin() + first_bytes_[byte + 1u];
  for (std::size_t length = 1; low != high; ++length) {
    // All of [low, high) begin with `length` bytes of the text; the shortest stands first.
    if (vocabulary_.text(*low).size() == length) {
      if (reads_marks || !std::ranges::binary_search(marks_, *low)) take(*low, length);
      ++low;
    }
    if (length == text.size()) return;
    const auto next = static_cast<std::uint8_t>(text[length]);
    const auto byte_at = [&](TokenId id) {
      return static_cast<std::uint8_t>(vocabulary_.text(id)[length]);
    };
    low = std::lower_bound(low, high, next,
                           [&](TokenId id, std::uint8_t value) { return byte_at(id) < value; });
    high = std::upper_bound(low, high, next,
                            [&](std::uint8_t value, TokenId id) { return value < byte_at(id); });
  }
}

TokenId UnigramModel::find(std::string_view text, bool reads_marks) const {
  TokenId found = no_token;
  for_each_beginning(text, reads_marks, [&](TokenId token, std::size_t length) {
    if (length == text.size()) found = token;
  });
  return found;
}

/// A token of the best path, or a run of unknown characters.
void UnigramModel::append(std::string_view text, bool reads_marks,
                          std::vector<TokenId>& out) const {
  if (const TokenId token = find(text, reads_marks); token != no_token) return out.push_back(token);
  if (options_.falls_back_to_bytes) {
    const std::size_t before = out.size();
    for (const char c : text) {
      const TokenId id = vocabulary_.find_byte(static_cast<std::uint8_t>(c));
      if (id == no_token) break;
      out.push_back(id);
    }
    if (out.size() - before == text.size()) return;
    out.resize(before);
  }
  if (options_.unknown == no_token) refuse_character(text);
  out.push_back(options_.unknown);
}

void UnigramModel::encode(std::string_view piece, SubwordScratch& scratch,
                          std::vector<TokenId>& out) const {
  std::vector<SubwordScratch::Best>& best = scratch.best;
  best.assign(piece.size() + 1, {0, -1, no_token});
  for (std::size_t begin = 0; begin < piece.size();) {
    const double score_here = best[begin].score;
    const std::size_t character = next_utf8(piece.substr(begin)).length;
    const auto consider = [&](std::size_t end, double score, TokenId token) {
      SubwordScratch::Best& target = best[end];
      if (target.begin >= 0 && score <= target.score) return;
      target = {score, static_cast<std::int32_t>(begin), token};
    };
    bool has_character = false;
    for_each_beginning(piece.substr(begin), scratch.reads_marks,
                       [&](TokenId token, std::size_t length) {
                         consider(begin + length, score_of(token) + score_here, token);
                         has_character = has_character || length == character;
                       });
    if (!has_character) consider(begin + character, unknown_score_ + score_here, no_token);
    begin += character;
  }
  // Backwards along the best path, then in order: the beginnings are kept in place of the scores.
  std::size_t count = 0;
  for (auto end = static_cast<std::int32_t>(piece.size()); end > 0; ++count) {
    const SubwordScratch::Best here = best[static_cast<std::size_t>(end)];
    best[piece.size() - count].score = static_cast<double>(end);
    best[piece.size() - count].token = here.token;
    end = here.begin;
  }
  std::size_t begin = 0;
  for (std::size_t i = count; i > 0;) {
    const SubwordScratch::Best& first = best[piece.size() - --i];
    auto end = static_cast<std::size_t>(first.score);
    // The unknown token, spelled out, is one of a run of unknown characters.
    const auto is_unknown = [&](TokenId token) {
      return token == no_token || token == options_.unknown;
    };
    while (is_unknown(first.token) && i > 0 && is_unknown(best[piece.size() - (i - 1)].token))
      end = static_cast<std::size_t>(best[piece.size() - --i].score);
    append(piece.substr(begin, end - begin), scratch.reads_marks, out);
    begin = end;
  }
}

Bytes UnigramModel::memory_bytes() const {
  return sizeof *this + (by_text_.capacity() + marks_.capacity()) * sizeof(TokenId) +
         scores_.capacity() * sizeof(float) + exact_scores_.capacity() * sizeof(double);
}

}  // namespace plimsoll
