// tokenizer.json: a tokenizer as the Hugging Face library "tokenizers" saves it. Its two large
// parts, vocabulary and merges, go straight into compact tables.
// Format: https://github.com/huggingface/tokenizers (there is no specification beside the code)
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "file/json_reader.h"

namespace plimsoll {

struct TokenizerJson {
  std::string path;
  Json rest;  ///< the document without model.vocab and model.merges

  struct Token {
    std::int64_t id;
    double score;  ///< of Unigram models
    std::uint64_t begin;
    std::uint32_t length;  ///< of its text in `texts`
  };
  std::string texts;
  std::vector<Token> tokens;  ///< in the file's order

  std::string merges;  ///< as a GGUF array of strings "left right"
  std::uint64_t merge_count = 0;
  /// Of each merge's left part, where some part has a space in it, so that "left right" does not tell.
  std::vector<std::uint32_t> left_lengths;

  std::string_view text(const Token& token) const {
    return std::string_view(texts).substr(token.begin, token.length);
  }
  JsonKeys keys() const { return {rest, path}; }
  /// Calls `take` with each merge, in order.
  template <class Take>
  void for_each_merge(Take take) const {
    for (std::string_view left = merges; !left.empty();) {
      const std::size_t length = merge_length(left);
      take(left.substr(length_bytes, length));
      left.remove_prefix(length_bytes + length);
    }
  }

 private:
  static constexpr std::size_t length_bytes = 8;
  static std::size_t merge_length(std::string_view at);
};

/// Throws Error: file_corrupt, file_unreadable, invalid_model (parts of other types than known).
TokenizerJson read_tokenizer_json(const std::string& path);

/// vocab.json: texts and their ids, and nothing else. Throws the same.
TokenizerJson read_vocabulary_json(const std::string& path);

}  // namespace plimsoll
