// tokenizer.model: a SentencePiece model, a protocol buffer. Messages and fields:
// https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "file/token_table.h"

namespace plimsoll {

struct SentencePiece {
  std::string_view text;  ///< valid during the call
  float score;
  TokenTable::Kind kind;
};

struct SentencePieceModel {
  std::int64_t pieces = 0;
  bool adds_space_prefix = true;
};

/// Calls `take` with every piece in order of its id. Throws Error: file_not_found, file_unreadable,
/// file_corrupt (no such message, a length beyond the file's end, no pieces).
SentencePieceModel read_sentence_pieces(const std::string& path,
                                        const std::function<void(const SentencePiece&)>& take);

}  // namespace plimsoll
