#include "text/subword_model.h"

#include <fmt/format.h>

#include "base/error.h"
#include "text/work_refusal.h"

namespace plimsoll {

void SubwordScratch::make_room(Bytes bytes, std::size_t piece_bytes) {
  if (ledger == nullptr || bytes <= room.bytes()) return;
  try {
    if (room.bytes() > 0)
      room.resize(bytes);
    else
      room = ledger->reserve(Account::text, bytes);
  } catch (const Error& error) {
    throw WorkRefusal(fmt::format("a piece of text of {} takes {} of working memory to tokenize: {}",
                                  format_bytes(piece_bytes), format_bytes(bytes), error.message()),
                      piece_bytes, bytes, ledger->budget());
  }
}

void append_fallback(const Vocabulary& vocabulary, std::string_view character, bool by_bytes,
                     std::vector<TokenId>& out) {
  if (by_bytes) {
    const std::size_t before = out.size();
    for (const char c : character) {
      const TokenId id = vocabulary.find_byte(static_cast<std::uint8_t>(c));
      if (id == no_token) break;
      out.push_back(id);
    }
    if (out.size() - before == character.size()) return;
    out.resize(before);
  }
  // Some vocabularies name an end of text as their unknown token, which must not stand inside of
  // one.
  const TokenId unknown = vocabulary.unknown();
  if (unknown == no_token || vocabulary.is_end_of_generation(unknown)) refuse_character(character);
  out.push_back(unknown);
}

void refuse_character(std::string_view character) {
  std::string bytes;
  for (const char c : character.substr(0, 32))
    bytes += fmt::format(" {:02X}", static_cast<unsigned>(static_cast<unsigned char>(c)));
  throw Error(
      ErrorCode::invalid_text,
      fmt::format("the vocabulary has no token for the bytes{} and none for what is unknown",
                  bytes),
      "leave the character out, or use another model");
}

}  // namespace plimsoll
