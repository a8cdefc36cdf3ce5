// How a tokenizer.json goes into the keys of a GGUF header: under the names that the format has for
// some of them, and as a whole for the tokenizer here.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "file/hf_added_tokens.h"
#include "file/json_reader.h"

namespace plimsoll {

/// What tokenizer.ggml.model and pre call a tokenizer.
struct GgufTokenizer {
  std::string_view model;  ///< unnamed_tokenizer where the format has no name for it
  std::string_view pre;
  /// Words begin with a space mark in the vocabulary ("bert").
  bool marks_words = false;
};
/// Not of the format: other programs refuse such a file, instead of reading it wrongly.
inline constexpr std::string_view unnamed_tokenizer = "huggingface";

/// Throws Error(unsupported_model) for a model of another type than BPE, Unigram, WordPiece and
/// WordLevel, and for dropout.
GgufTokenizer gguf_tokenizer(const JsonKeys& tokenizer);

/// The value of tokenizer.plimsoll.pipeline: see PipelineTokenizer.
std::string pipeline_json(const Json& tokenizer, const std::vector<HfAddedToken>& added,
                          bool marks_words);

/// True where a text is normalised to begin with a space, or cut as if it did.
bool adds_space_prefix(const JsonKeys& tokenizer);
/// The map of a "Precompiled" normalizer, its bytes; empty where there is none.
std::string precompiled_charsmap(const JsonKeys& tokenizer);

}  // namespace plimsoll
