// GPT-2's spelling of bytes as characters: the printable ones of Latin-1 as themselves, the others,
// in their order, as U+0100 and up.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace plimsoll {

class ByteSpelling {
 public:
  constexpr ByteSpelling() {
    bytes_.fill(-1);
    int next = 0x100;
    for (int byte = 0; byte < 256; ++byte) {
      const bool is_printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
      const int code_point = is_printable ? byte : next++;
      bytes_[static_cast<std::size_t>(code_point)] = static_cast<std::int16_t>(byte);
      Text& text = texts_[static_cast<std::size_t>(byte)];
      if (code_point < 0x80) {
        text = {{static_cast<char>(code_point), 0}, 1};
      } else {
        text = {{static_cast<char>(0xC0 | code_point >> 6),
                 static_cast<char>(0x80 | (code_point & 0x3F))},
                2};
      }
    }
  }

  constexpr std::string_view operator[](char byte) const {
    const Text& text = texts_[static_cast<std::uint8_t>(byte)];
    return {text.bytes.data(), text.length};
  }
  /// Empty where the character spells no byte.
  constexpr std::optional<char> byte_of(char32_t character) const {
    if (character >= bytes_.size() || bytes_[character] < 0) return std::nullopt;
    return static_cast<char>(bytes_[character]);
  }
  std::string spell(std::string_view bytes) const {
    std::string text;
    text.reserve(bytes.size() + bytes.size() / 4);
    for (const char byte : bytes) text += (*this)[byte];
    return text;
  }

 private:
  struct Text {
    std::array<char, 2> bytes;
    std::uint8_t length;
  };
  std::array<Text, 256> texts_{};
  std::array<std::int16_t, 0x144> bytes_{};  ///< by code point
};
inline constexpr ByteSpelling byte_spelling;

}  // namespace plimsoll
