// The most probable sequence of tokens under their own probabilities.
// Kudo 2018, arXiv 1804.10959; sentencepiece's and tokenizers' Viterbi search over it.
#pragma once

#include <array>
#include <vector>

#include "text/subword_model.h"

namespace plimsoll {

struct UnigramOptions {
  TokenId unknown = no_token;
  bool falls_back_to_bytes = false;
};

class UnigramModel final : public SubwordModel {
 public:
  /// `vocabulary` outlives the model. Throws Error(invalid_model): no scores, or another number of
  /// them.
  UnigramModel(const Vocabulary& vocabulary, const Metadata& metadata, UnigramOptions options);
  void encode(std::string_view piece, SubwordScratch& scratch,
              std::vector<TokenId>& out) const override;
  Bytes memory_bytes() const override;

 private:
  double score_of(TokenId token) const {
    const auto index = static_cast<std::size_t>(token);
    return exact_scores_.empty() ? static_cast<double>(scores_[index]) : exact_scores_[index];
  }
  /// Calls `take(token, length)` for every token that `text` begins with, shorter ones first.
  template <class Take>
  void for_each_beginning(std::string_view text, bool reads_marks, Take take) const;
  TokenId find(std::string_view text, bool reads_marks) const;
  void append(std::string_view text, bool reads_marks, std::vector<TokenId>& out) const;

  const Vocabulary& vocabulary_;
  const UnigramOptions options_;
  std::vector<TokenId> by_text_;                ///< ascending by text
  std::vector<TokenId> marks_;                  ///< those that only count where marks are read
  std::array<std::uint32_t, 257> first_bytes_;  ///< where the texts with each first byte begin
  std::vector<float> scores_;                   ///< natural logarithms, by token
  std::vector<double> exact_scores_;            ///< where they are no floats
  double unknown_score_ = 0;
};

}  // namespace plimsoll
