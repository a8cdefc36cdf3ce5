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

namespace {

/// The best paths to the places of a piece, from the last place on that all of them go through.
/// Whatever follows, the way to that place stays, and is taken: a piece of any length is worked off
/// with the memory of a window, unless its best paths keep apart.
class Paths {
 public:
  /// `longest`: bytes of the longest token.
  Paths(UnigramScratch& scratch, std::string_view piece, std::size_t longest)
      : scores_(scratch.scores), steps_(scratch.steps), live_(scratch.live), piece_(piece),
        reach_(std::max<std::size_t>(longest, 4)), next_commit_(unigram_window) {
    const std::size_t held = std::min(piece.size(), unigram_window + reach_) + 1;
    scores_.assign(held, 0);
    steps_.assign(held, 0);
  }

  double score(std::size_t place) const { return scores_[place - scores_begin_]; }
  void consider(std::size_t begin, std::size_t end, double score) {
    double& best = scores_[end - scores_begin_];
    std::uint32_t& step = steps_[end - begin_];
    if (step > 0 && score <= best) return;
    best = score;
    step = static_cast<std::uint32_t>(end - begin);
  }

  /// Makes room for what begins at `place`; `make_room(bytes)` first. `take(begin, end)` gets the
  /// tokens that are certain.
  template <class MakeRoom, class Take>
  void advance(std::size_t place, const MakeRoom& make_room, const Take& take) {
    if (place < scores_begin_ + unigram_window || piece_.size() <= unigram_window + reach_) return;
    const auto ahead = scores_.begin() + static_cast<std::ptrdiff_t>(place - scores_begin_);
    std::copy(ahead, scores_.end(), scores_.begin());
    scores_begin_ = place;
    if (place >= next_commit_) {
      if (const std::size_t common = common_place(place); common > begin_) {
        take_until(common, take);
        steps_.erase(steps_.begin(), steps_.begin() + static_cast<std::ptrdiff_t>(common - begin_));
        begin_ = common;
      }
      // Paths that keep apart are gone back on less and less often.
      next_commit_ = place + std::max(unigram_window, place - begin_);
    }
    const std::size_t wanted =
        std::min(piece_.size(), place + unigram_window + reach_) - begin_ + 1;
    if (wanted > steps_.capacity()) {
      const std::size_t capacity = std::min(2 * wanted, piece_.size() + 1);
      make_room((capacity + steps_.capacity()) * sizeof(std::uint32_t));
      steps_.reserve(capacity);
    }
    steps_.resize(wanted, 0);
  }

  template <class Take>
  void finish(const Take& take) {
    take_until(piece_.size(), take);
  }

 private:
  /// The last place that the best paths to all places from `place` on go through.
  std::size_t common_place(std::size_t place) {
    live_.clear();
    for (std::size_t end = place; end - begin_ < steps_.size(); ++end)
      if (end == begin_ || steps_[end - begin_] > 0) live_.push_back(end);
    std::ranges::make_heap(live_);
    for (;;) {
      const std::size_t last = live_.front();
      while (!live_.empty() && live_.front() == last) {
        std::ranges::pop_heap(live_);
        live_.pop_back();
      }
      if (live_.empty()) return last;
      live_.push_back(last - steps_[last - begin_]);
      std::ranges::push_heap(live_);
    }
  }

  template <class Take>
  void take_until(std::size_t end, const Take& take) {
    // Backwards along the path, turning its steps round, then forwards.
    std::size_t at = end;
    std::uint32_t step = steps_[at - begin_];
    while (at > begin_) {
      at -= step;
      std::swap(step, steps_[at - begin_]);
    }
    while (at < end) {
      const std::size_t next = at + steps_[at - begin_];
      take(at, next);
      at = next;
    }
  }

  std::vector<double>& scores_;         ///< of the places from scores_begin_ on
  std::vector<std::uint32_t>& steps_;   ///< bytes of the best path's last token; 0: no path
  std::vector<std::size_t>& live_;
  const std::string_view piece_;
  const std::size_t reach_;
  std::size_t scores_begin_ = 0;
  std::size_t begin_ = 0;  ///< what lies before is taken
  std::size_t next_commit_;
};

}  // namespace

void UnigramModel::encode(std::string_view piece, SubwordScratch& scratch,
                          std::vector<TokenId>& out) const {
  constexpr std::size_t none = static_cast<std::size_t>(-1);
  std::size_t unknown_begin = none, unknown_end = 0;  // a run of unknown characters
  const auto flush_unknown = [&] {
    if (unknown_begin == none) return;
    append(piece.substr(unknown_begin, unknown_end - unknown_begin), scratch.reads_marks, out);
    unknown_begin = none;
  };
  const auto take = [&](std::size_t begin, std::size_t end) {
    const TokenId token = find(piece.substr(begin, end - begin), scratch.reads_marks);
    // The unknown token, spelled out, is one of a run of unknown characters.
    if (token != no_token && token != options_.unknown) {
      flush_unknown();
      out.push_back(token);
      return;
    }
    if (unknown_begin == none) unknown_begin = begin;
    unknown_end = end;
  };
  const auto make_room = [&](Bytes bytes) { scratch.make_room(bytes, piece.size()); };

  Paths paths(scratch.unigram, piece, vocabulary_.longest_text());
  for (std::size_t begin = 0; begin < piece.size();) {
    paths.advance(begin, make_room, take);
    const double score_here = paths.score(begin);
    const std::size_t character = next_utf8(piece.substr(begin)).length;
    bool has_character = false;
    for_each_beginning(piece.substr(begin), scratch.reads_marks,
                       [&](TokenId token, std::size_t length) {
                         paths.consider(begin, begin + length, score_of(token) + score_here);
                         has_character = has_character || length == character;
                       });
    if (!has_character) paths.consider(begin, begin + character, unknown_score_ + score_here);
    begin += character;
  }
  paths.finish(take);
  flush_unknown();
}

Bytes UnigramModel::memory_bytes() const {
  return sizeof *this + (by_text_.capacity() + marks_.capacity()) * sizeof(TokenId) +
         scores_.capacity() * sizeof(float) + exact_scores_.capacity() * sizeof(double);
}

}  // namespace plimsoll
