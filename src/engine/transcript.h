// The text that a model has seen and said, with the ids that it stands for.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace plimsoll {

/// What a model said is never tokenized again: its own way to cut the text stays. A value; refers
/// to the tokenizer.
class Transcript {
 public:
  explicit Transcript(const Tokenizer& tokenizer) : tokenizer_(&tokenizer) {}

  /// Becomes the prompt that `parts` are. What it begins with in common with the transcript (the
  /// same text from the same origin; what the model said may come back from any) keeps its ids, the
  /// rest is tokenized as what follows them. Throws as Tokenizer::encode does; nothing has changed
  /// then.
  void read(std::span<const TextPart> parts);
  /// Behind it.
  void say(std::span<const TokenId> answer);
  void clear() { *this = Transcript(*tokenizer_); }

  const std::vector<TokenId>& tokens() const { return tokens_; }

 private:
  enum class Origin { prompt, input, said };
  struct Span {
    std::size_t end;  ///< in text_
    Origin origin;
  };
  /// Where text and ids may be cut: those before are those before.
  struct Border {
    std::size_t text, tokens;
  };

  std::size_t common_with(std::span<const TextPart> parts) const;
  void append(const TextPart& part, std::size_t from);

  const Tokenizer* tokenizer_;
  std::string text_;
  std::vector<Span> spans_;
  std::vector<TokenId> tokens_;
  std::vector<Border> borders_;
};

}  // namespace plimsoll
