// Tokens back to text: the "decoder" of tokenizer.json.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "file/json_reader.h"

namespace plimsoll {

/// Immutable and thread-safe.
class Decoder {
 public:
  class Step {
   public:
    virtual ~Step() = default;
    /// A whole text's tokens, of which some may become empty or one.
    virtual void apply(std::vector<std::string>& tokens) const = 0;
    /// One token in the midst of a text; false where what it becomes can't be told alone, as far as
    /// it changes anything there.
    virtual void apply(std::string& token) const = 0;
    virtual Bytes memory_bytes() const = 0;
  };

  Decoder() = default;  ///< joins tokens with spaces
  /// Reads a "decoder"; one without members joins tokens with spaces. Throws
  /// Error(unsupported_model) with the name of a step that is not known, Error(invalid_model) for
  /// parts of wrong types.
  explicit Decoder(const JsonKeys& description);
  explicit Decoder(std::vector<std::unique_ptr<Step>> steps) : steps_(std::move(steps)) {}

  /// The text of a whole sequence of tokens. Bytes that are no UTF-8 are left as they are.
  std::string decode(std::vector<std::string> tokens) const;
  /// The bytes that a token stands for in the midst of a text.
  std::string piece(std::string_view token) const;

  Bytes memory_bytes() const;  ///< without sizeof *this

 private:
  std::vector<std::unique_ptr<Step>> steps_;
};

/// GPT-2's characters become the bytes that they stand for.
std::unique_ptr<Decoder::Step> byte_level_decoding();
/// Every `from` becomes `to`.
std::unique_ptr<Decoder::Step> replacing_decoding(std::string_view from, std::string_view to);
/// Words are joined with spaces, tokens that begin with `prefix` to the one before; `cleanup` takes
/// spaces before punctuation and contractions away.
std::unique_ptr<Decoder::Step> word_piece_decoding(std::string prefix, bool cleanup);

}  // namespace plimsoll
