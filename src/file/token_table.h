// A vocabulary while it is being put together: texts, scores and kinds by id.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "file/metadata_builder.h"

namespace plimsoll {

class TokenTable {
 public:
  /// By their numbers in tokenizer.ggml.token_type.
  enum class Kind : std::uint8_t { normal = 1, unknown, control, user_defined, unused, byte };

  /// Takes tokens with ids below `size`; those that are never set are unused padding.
  explicit TokenTable(std::int64_t size) : tokens_(static_cast<std::size_t>(size)) {}

  std::int64_t size() const { return static_cast<std::int64_t>(tokens_.size()); }
  bool contains(std::int64_t id) const { return id >= 0 && id < size(); }
  /// Sets or replaces a token; `id` must be contained.
  void set(std::int64_t id, std::string_view text, Kind kind, float score = 0);
  void set_score(std::int64_t id, float score) {
    tokens_[static_cast<std::size_t>(id)].score = score;
  }
  bool is_set(std::int64_t id) const { return tokens_[static_cast<std::size_t>(id)].is_set; }
  Kind kind(std::int64_t id) const { return tokens_[static_cast<std::size_t>(id)].kind; }
  std::string_view text(std::int64_t id) const;

  /// Adds tokenizer.ggml.tokens, token_type and, `with_scores`, scores.
  void add_to(MetadataBuilder& metadata, bool with_scores) const;

 private:
  struct Token {
    std::uint32_t begin = 0, length = 0;  ///< of its text in texts_
    float score = padding_score;
    Kind kind = Kind::unused;
    bool is_set = false;
  };
  static constexpr float padding_score = -10000;

  std::string texts_;
  std::vector<Token> tokens_;
};

/// "<0x0A>" and its like, which stand for one byte.
bool spells_byte(std::string_view text);

}  // namespace plimsoll
