// What a model thinks before it answers, told apart from the answer while both stream in.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/chat_template.h"

namespace plimsoll {

/// Reasoning stands at the beginning of an answer, between the marks that the model's template
/// knows; without marks all is answer. Neither the marks nor white space beside them is part of
/// either text.
class ReasoningSplitter {
 public:
  struct Piece {
    std::string text;
    bool is_reasoning = false;
  };

  explicit ReasoningSplitter(ReasoningMarks marks);

  /// What is certain now; at most two pieces that are not empty.
  std::vector<Piece> push(std::string_view text);
  /// The rest, where the text ends.
  std::vector<Piece> flush();

 private:
  enum class State { beginning, reasoning_begins, reasoning, answer_begins, answer };

  void advance(bool at_end, std::vector<Piece>& pieces);

  ReasoningMarks marks_;
  State state_;
  std::string held_;
};

struct SplitAnswer {
  std::string reasoning, text;
};
SplitAnswer split_reasoning(const ReasoningMarks& marks, std::string_view text);

/// `text` without white space around it.
std::string_view trimmed(std::string_view text);

}  // namespace plimsoll
