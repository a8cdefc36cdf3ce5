#include "text/word_models.h"

#include <algorithm>

#include "text/utf8.h"

namespace plimsoll {

void WordPieceModel::encode(std::string_view piece, SubwordScratch& scratch,
                            std::vector<TokenId>& out) const {
  const std::size_t before = out.size();
  const auto give_up = [&] {
    out.resize(before);
    if (options_.unknown == no_token) refuse_character(piece);
    out.push_back(options_.unknown);
  };
  std::size_t characters = 0;
  for (std::size_t at = 0; at < piece.size(); at += next_utf8(piece.substr(at)).length)
    if (++characters > options_.longest_word) return give_up();

  for (std::size_t begin = 0; begin < piece.size();) {
    const std::string& prefix = begin > 0 ? options_.prefix : options_.first_prefix;
    std::size_t length = piece.size() - begin;
    if (prefix.size() + length > vocabulary_.longest_text()) {
      // Nothing that long is a token: back to the border of a character.
      length = vocabulary_.longest_text() - std::min(prefix.size(), vocabulary_.longest_text());
      while (length > 0 && (piece[begin + length] & 0xC0) == 0x80) --length;
    }
    scratch.text.assign(prefix);
    scratch.text += piece.substr(begin, length);
    TokenId token = no_token;
    while (length > 0) {
      token = vocabulary_.find_plain(scratch.text, scratch.reads_marks);
      if (token != no_token) break;
      do {
        --length;
      } while (length > 0 && (piece[begin + length] & 0xC0) == 0x80);
      scratch.text.resize(prefix.size() + length);
    }
    if (token == no_token) return give_up();
    out.push_back(token);
    begin += length;
  }
}

void WordLevelModel::encode(std::string_view piece, SubwordScratch& scratch,
                            std::vector<TokenId>& out) const {
  TokenId token = vocabulary_.find_plain(piece, scratch.reads_marks);
  if (token == no_token) token = unknown_;
  if (token == no_token) refuse_character(piece);
  out.push_back(token);
}

}  // namespace plimsoll
