// Puts the metadata part of a GGUF header together in memory.
#pragma once

#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "file/metadata.h"

namespace plimsoll {

/// Entries in the order of their addition, as they stand in a file. Misuse (a key twice, a value
/// that does not fit its type) throws Error(internal).
class MetadataBuilder {
 public:
  void add_integer(std::string_view key, std::int64_t value, MetadataType type = MetadataType::u32);
  void add_number(std::string_view key, double value, MetadataType type = MetadataType::f32);
  void add_bool(std::string_view key, bool value);
  void add_string(std::string_view key, std::string_view value);
  void add_strings(std::string_view key, std::span<const std::string> values);
  void add_integers(std::string_view key, std::span<const std::int32_t> values);
  void add_numbers(std::string_view key, std::span<const float> values);
  void add_value(std::string_view key, const MetadataValue& value);  ///< copies one
  /// An array of `size` elements whose bytes are as a file has them: see append_string().
  void add_array(std::string_view key, MetadataType element, std::uint64_t size,
                 std::string_view elements);

  /// A string as it stands in a file: its length in 8 bytes, then the text.
  static void append_string(std::string& out, std::string_view text);

  bool contains(std::string_view key) const { return names_.contains(key); }
  std::uint64_t keys() const { return names_.size(); }
  /// Room for so many bytes more, so that adding them copies nothing.
  void reserve(Bytes bytes) { bytes_.reserve(bytes_.size() + bytes); }
  const std::string& bytes() const { return bytes_; }
  /// Hands the bytes over and holds nothing any more.
  std::string take();

 private:
  void begin_entry(std::string_view key, MetadataType type);
  void begin_array(std::string_view key, MetadataType element, std::uint64_t size);

  std::string bytes_;
  std::set<std::string, std::less<>> names_;
};

}  // namespace plimsoll
