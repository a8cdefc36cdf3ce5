// Typed key-value metadata of a model file, held as views into the file's header.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace plimsoll {

/// GGUF's value types, by their numbers in the file.
enum class MetadataType : std::uint32_t {
  u8 = 0, i8 = 1, u16 = 2, i16 = 3, u32 = 4, i32 = 5, f32 = 6, boolean = 7, string = 8, array = 9, u64 = 10, i64 = 11,
  f64 = 12,
};
std::string_view name(MetadataType type);

/// One value. Arrays give access by index; strings are views into the header, valid as long as the ModelFile.
class MetadataValue {
 public:
  MetadataType type() const { return type_; }
  bool is_array() const { return type_ == MetadataType::array; }
  /// Of an array's elements; nested arrays are not read (Error(file_corrupt) at opening names the key).
  MetadataType element_type() const { return element_type_; }
  std::uint64_t size() const { return size_; }  ///< elements; 1 for a scalar

  /// Scalars, or element `index` of an array (index < size()). Integers convert where the value fits; Error
  /// (invalid_model) where the type or range is wrong.
  std::int64_t as_integer(std::uint64_t index = 0) const;
  double as_float(std::uint64_t index = 0) const;
  bool as_bool(std::uint64_t index = 0) const;
  std::string_view as_string(std::uint64_t index = 0) const;

 private:
  friend class MetadataReader;
  MetadataType type_ = MetadataType::u8;
  MetadataType element_type_ = MetadataType::u8;
  std::uint64_t size_ = 1;
  const std::uint8_t* data_ = nullptr;              ///< first element
  std::vector<std::uint32_t> string_offsets_;  ///< of each string's length field from data_, for string arrays
};

/// The keys of a file in their order.
class Metadata {
 public:
  const MetadataValue* find(std::string_view key) const;  ///< null when missing
  bool contains(std::string_view key) const { return find(key) != nullptr; }

  /// Empty when the key is missing; Error(invalid_model) naming the key when its type is wrong.
  std::optional<std::int64_t> integer(std::string_view key) const;
  std::optional<double> number(std::string_view key) const;
  std::optional<bool> boolean(std::string_view key) const;
  std::optional<std::string_view> string(std::string_view key) const;

  struct Entry {
    std::string_view key;
    MetadataValue value;
  };
  std::span<const Entry> entries() const { return entries_; }

 private:
  friend class MetadataReader;
  std::vector<Entry> entries_;
};

}  // namespace plimsoll
