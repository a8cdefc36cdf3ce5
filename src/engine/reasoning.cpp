#include "engine/reasoning.h"

#include <algorithm>
#include <utility>

namespace plimsoll {
namespace {

constexpr std::string_view white_space = " \t\r\n";

/// Bytes at the end of `text` that may be the beginning of `mark`.
std::size_t overlap(std::string_view text, std::string_view mark) {
  for (std::size_t length = std::min(text.size(), mark.size() - 1); length > 0; --length)
    if (text.ends_with(mark.substr(0, length))) return length;
  return 0;
}

}  // namespace

std::string_view trimmed(std::string_view text) {
  const std::size_t first = text.find_first_not_of(white_space);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(white_space) + 1 - first);
}

ReasoningSplitter::ReasoningSplitter(ReasoningMarks marks) : marks_(std::move(marks)) {
  if (marks_.end.empty())
    state_ = State::answer;
  else if (marks_.opened_by_prompt)
    state_ = State::reasoning_begins;
  else
    state_ = marks_.begin.empty() ? State::answer : State::beginning;
}

void ReasoningSplitter::advance(bool at_end, std::vector<Piece>& pieces) {
  for (;;) {
    const std::size_t first = std::min(held_.find_first_not_of(white_space), held_.size());
    const std::string_view rest = std::string_view(held_).substr(first);
    switch (state_) {
      case State::beginning:
        if (rest.starts_with(marks_.begin)) {
          held_.erase(0, first + marks_.begin.size());
          state_ = State::reasoning_begins;
          continue;
        }
        if (!at_end && std::string_view(marks_.begin).starts_with(rest)) return;
        state_ = State::answer;
        continue;
      case State::reasoning_begins:
        // The mark once more: a model that does not see that the prompt had it.
        if (marks_.opened_by_prompt && !marks_.begin.empty()) {
          if (rest.starts_with(marks_.begin)) {
            held_.erase(0, first + marks_.begin.size());
            marks_.opened_by_prompt = false;
            continue;
          }
          if (!at_end && !rest.empty() && std::string_view(marks_.begin).starts_with(rest)) return;
        }
        held_.erase(0, first);
        if (held_.empty()) return;
        state_ = State::reasoning;
        continue;
      case State::reasoning: {
        const std::size_t end = held_.find(marks_.end);
        const bool ends = end != std::string::npos;
        std::size_t ready = ends ? end : held_.size();
        if (!ends && !at_end) ready -= overlap(held_, marks_.end);
        // White space before the mark is none of it; where the text just ends, nothing may follow.
        const std::size_t last =
            std::string_view(held_).substr(0, ready).find_last_not_of(white_space);
        const std::size_t shown = last == std::string_view::npos ? 0 : last + 1;
        if (shown > 0) pieces.push_back({held_.substr(0, shown), true});
        if (!ends) {
          held_.erase(0, shown);
          return;
        }
        held_.erase(0, end + marks_.end.size());
        state_ = State::answer_begins;
        continue;
      }
      case State::answer_begins:
        held_.erase(0, first);
        if (held_.empty()) return;
        state_ = State::answer;
        continue;
      case State::answer:
        if (!held_.empty()) pieces.push_back({std::exchange(held_, {}), false});
        return;
    }
  }
}

std::vector<ReasoningSplitter::Piece> ReasoningSplitter::push(std::string_view text) {
  held_ += text;
  std::vector<Piece> pieces;
  advance(false, pieces);
  return pieces;
}

std::vector<ReasoningSplitter::Piece> ReasoningSplitter::flush() {
  std::vector<Piece> pieces;
  advance(true, pieces);
  return pieces;
}

SplitAnswer split_reasoning(const ReasoningMarks& marks, std::string_view text) {
  SplitAnswer answer;
  if (marks.begin.empty() && marks.end.empty()) {
    answer.text = text;
    return answer;
  }
  ReasoningSplitter splitter(marks);
  const auto take = [&](const std::vector<ReasoningSplitter::Piece>& pieces) {
    for (const auto& piece : pieces)
      (piece.is_reasoning ? answer.reasoning : answer.text) += piece.text;
  };
  constexpr std::size_t step = 4 * KiB;  // so that little of it is there twice
  for (std::size_t at = 0; at < text.size(); at += step) take(splitter.push(text.substr(at, step)));
  take(splitter.flush());
  return answer;
}

}  // namespace plimsoll
