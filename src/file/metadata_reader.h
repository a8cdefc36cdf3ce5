// Reads the key-value part of a GGUF header, and gives the writer the raw bytes of a value.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>

#include "file/header_bytes.h"
#include "file/metadata.h"

namespace plimsoll {

/// Bytes of one element; 0 for strings and arrays, which have no fixed size.
Bytes element_bytes(MetadataType type);

class MetadataReader {
 public:
  /// More keys than any model has; bounds the table that a small file can ask for.
  static constexpr std::uint64_t most_keys = 65536;
  static constexpr std::size_t longest_key = 65535;  ///< by the specification

  /// `count` entries from the cursor on. Throws Error(file_corrupt) naming the key: unknown types,
  /// nested arrays, booleans that are neither 0 nor 1, claims beyond the file's end, duplicate and
  /// empty keys.
  static Metadata read(HeaderCursor& cursor, std::uint64_t count);

  /// Bytes that the table holds beside the header.
  static Bytes table_bytes(const Metadata& metadata);

  /// Takes the keys out that `goes` says.
  static void remove(Metadata& metadata, const std::function<bool(std::string_view key)>& goes);
  /// Puts the entries of `others` in the place of those with the same keys, or behind all.
  static void replace(Metadata& metadata, Metadata&& others);
  /// Keeps the first `size` elements of an array, which has more.
  static void shorten(Metadata& metadata, std::string_view key, std::uint64_t size);

  /// A value as it stands in a file after its type (and, for arrays, after element type and count).
  static std::span<const std::uint8_t> payload(const MetadataValue& value);

 private:
  static MetadataValue read_value(HeaderCursor& cursor, std::string_view key);
  static void read_elements(HeaderCursor& cursor, std::string_view key, MetadataValue& value);
};

}  // namespace plimsoll
