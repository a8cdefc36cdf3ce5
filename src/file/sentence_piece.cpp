#include "file/sentence_piece.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "file/input_file.h"

namespace plimsoll {
namespace {

constexpr Bytes largest_model = 256 * MiB;

/// Fields of a message, one after the other.
/// Encoding: https://protobuf.dev/programming-guides/encoding/
class Message {
 public:
  enum class Wire { number = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

  Message(std::string_view content, const std::string& path) : rest_(content), path_(path) {}

  /// False at the end. Afterwards the field's number, and its value by its wire type.
  bool next() {
    if (rest_.empty()) return false;
    const std::uint64_t tag = varint();
    field = tag >> 3;
    wire = static_cast<Wire>(tag & 7);
    switch (wire) {
      case Wire::number:
        number = varint();
        return true;
      case Wire::fixed64:
        bytes = take(8);
        return true;
      case Wire::fixed32:
        bytes = take(4);
        return true;
      case Wire::bytes:
        bytes = take(varint());
        return true;
    }
    corrupt(fmt::format("wanted a wire type of 0, 1, 2 or 5, found {}", tag & 7));
  }

  [[noreturn]] void corrupt(const std::string& message) const {
    throw Error(ErrorCode::file_corrupt,
                fmt::format("{}: wanted a SentencePiece model: {}", path_, message),
                "the file is damaged, or a tokenizer of another kind: take the model's "
                "tokenizer.json");
  }

  std::uint64_t field = 0;
  Wire wire = Wire::number;
  std::uint64_t number = 0;
  std::string_view bytes;

 private:
  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<std::uint8_t>(take(1)[0]);
      value |= std::uint64_t{byte & 0x7fu} << shift;
      if (byte < 0x80) return value;
    }
    corrupt("found a number of more than 64 bits");
  }

  std::string_view take(std::uint64_t length) {
    if (length > rest_.size())
      corrupt(fmt::format("wanted {} bytes more, found {}", length, rest_.size()));
    const std::string_view taken = rest_.substr(0, length);
    rest_.remove_prefix(length);
    return taken;
  }

  std::string_view rest_;
  const std::string& path_;
};

SentencePiece read_piece(std::string_view content, const std::string& path) {
  SentencePiece piece{{}, 0, TokenTable::Kind::normal};
  for (Message message(content, path); message.next();) {
    if (message.field == 1 && message.wire == Message::Wire::bytes) piece.text = message.bytes;
    if (message.field == 2 && message.wire == Message::Wire::fixed32)
      std::memcpy(&piece.score, message.bytes.data(), sizeof piece.score);
    if (message.field == 3 && message.wire == Message::Wire::number) {
      if (message.number < 1 || message.number > 6)
        message.corrupt(fmt::format("wanted a piece of type 1 to 6, found {}", message.number));
      // The numbers are GGUF's too.
      piece.kind = static_cast<TokenTable::Kind>(message.number);
    }
  }
  return piece;
}

}  // namespace

SentencePieceModel read_sentence_pieces(const std::string& path,
                                        const std::function<void(const SentencePiece&)>& take) {
  constexpr std::uint64_t pieces_field = 1, normalizer_field = 3, dummy_prefix_field = 3;
  const InputFile file(path);
  std::string content(std::min(file.size(), largest_model), '\0');
  file.read(0, content.size(), content.data());
  Message whole(content, path);
  if (file.size() > largest_model)
    whole.corrupt(
        fmt::format("wanted at most {}, found {} bytes", format_bytes(largest_model), file.size()));
  SentencePieceModel model;
  while (whole.next()) {
    if (whole.wire != Message::Wire::bytes) continue;
    if (whole.field == pieces_field) {
      take(read_piece(whole.bytes, path));
      ++model.pieces;
    } else if (whole.field == normalizer_field) {
      for (Message rules(whole.bytes, path); rules.next();)
        if (rules.field == dummy_prefix_field && rules.wire == Message::Wire::number)
          model.adds_space_prefix = rules.number != 0;
    }
  }
  if (model.pieces == 0) whole.corrupt("found no pieces");
  return model;
}

}  // namespace plimsoll
