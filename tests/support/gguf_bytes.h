// Builds the bytes of a GGUF file field by field, true or false, for tests of the reader. Shares no
// code with the writer.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace plimsoll::test {

class GgufBytes {
 public:
  /// Magic, version and the two counts.
  GgufBytes(std::uint64_t tensors, std::uint64_t keys, std::uint32_t version = 3) {
    bytes_.reserve(64);
    raw("GGUF");
    number(version);
    number(tensors);
    number(keys);
  }

  template <class T>
  GgufBytes& number(T value) {
    for (std::size_t i = 0; i < sizeof(T); ++i)
      bytes_.push_back(reinterpret_cast<const std::uint8_t*>(&value)[i]);
    return *this;
  }
  GgufBytes& raw(std::string_view text) {
    bytes_.insert(bytes_.end(), text.begin(), text.end());
    return *this;
  }
  GgufBytes& string(std::string_view text) { return number(std::uint64_t{text.size()}).raw(text); }

  /// Key and type of an entry; its value follows.
  GgufBytes& key(std::string_view name, std::uint32_t type) { return string(name).number(type); }
  GgufBytes& array(std::string_view name, std::uint32_t element, std::uint64_t size) {
    return key(name, 9).number(element).number(size);
  }
  GgufBytes& u32(std::string_view name, std::uint32_t value) { return key(name, 4).number(value); }

  GgufBytes& tensor(std::string_view name, const std::vector<std::uint64_t>& shape,
                    std::uint32_t type, std::uint64_t offset) {
    string(name).number(static_cast<std::uint32_t>(shape.size()));
    for (const std::uint64_t dimension : shape) number(dimension);
    return number(type).number(offset);
  }

  GgufBytes& pad(std::size_t alignment = 32) {
    while (bytes_.size() % alignment != 0) bytes_.push_back(0);
    return *this;
  }
  /// `count` bytes of data.
  GgufBytes& data(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) bytes_.push_back(static_cast<std::uint8_t>(i * 7 + 1));
    return *this;
  }

  const std::vector<std::uint8_t>& bytes() const { return bytes_; }

 private:
  std::vector<std::uint8_t> bytes_;
};

}  // namespace plimsoll::test
