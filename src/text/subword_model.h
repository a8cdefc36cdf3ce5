// What makes tokens of a piece of text.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "text/merge.h"
#include "text/vocabulary.h"

namespace plimsoll {

/// Working memory, reused from piece to piece.
struct SubwordScratch {
  bool reads_marks = false;  ///< no part of the text is input: see Vocabulary::is_own_mark
  MergeScratch merge;
  std::string text;
  struct Best {
    double score;
    std::int32_t begin;  ///< of the last token of the best path to here; -1: there is none
    TokenId token;
  };
  std::vector<Best> best;
};

/// Immutable and thread-safe. Control tokens are never made out of text
/// unless the scratch says so.
class SubwordModel {
 public:
  virtual ~SubwordModel() = default;
  /// Appends the tokens of `piece` (valid UTF-8, not empty). Throws Error(invalid_text) for what the
  /// vocabulary can't say.
  virtual void encode(std::string_view piece, SubwordScratch& scratch,
                      std::vector<TokenId>& out) const = 0;
  virtual Bytes memory_bytes() const = 0;
};

/// For a `character` without a token: its bytes' tokens if `by_bytes` and all are there, otherwise
/// the vocabulary's unknown token, otherwise Error(invalid_text).
void append_fallback(const Vocabulary& vocabulary, std::string_view character, bool by_bytes,
                     std::vector<TokenId>& out);
/// Error(invalid_text): neither a token for these bytes nor one for what is unknown.
[[noreturn]] void refuse_character(std::string_view character);

}  // namespace plimsoll
