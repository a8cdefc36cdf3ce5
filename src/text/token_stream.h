// A text that comes in blocks as tokens, in the memory of its longest piece.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "text/tokenizer.h"

namespace plimsoll {

/// Gives the ids that Tokenizer::encode() gives for the whole text. Not thread-safe.
class TokenStream {
 public:
  /// Holds at most `most` bytes of text. `tokenizer` outlives it.
  TokenStream(const Tokenizer& tokenizer, Bytes most);

  /// Appends the tokens that have become certain with these bytes, which may end inside of a
  /// character. Throws Error(invalid_text) with the offset of what is no UTF-8,
  /// Error(budget_refused) where more than `most` bytes have no place at which they can be cut.
  void push(std::string_view bytes, std::vector<TokenId>& out);
  /// Appends what is left. Nothing can be pushed after that.
  void finish(std::vector<TokenId>& out);

 private:
  void check(std::size_t from, bool is_end);

  const Tokenizer& tokenizer_;
  const Bytes most_;
  Tokenizer::Progress progress_;
  std::string pending_;
  std::size_t whole_ = 0;  ///< bytes of pending_ that are whole characters
  std::size_t next_try_;   ///< bytes of pending_ at which something may have become certain
  std::size_t done_ = 0;   ///< bytes before pending_
};

}  // namespace plimsoll
