#include "file/metadata_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <vector>

namespace plimsoll {
namespace {

constexpr Bytes length_bytes = 8;
/// Length of the key, one character, type, one byte of value.
constexpr Bytes least_entry_bytes = 14;

MetadataType read_type(HeaderCursor& cursor, std::string_view key) {
  const std::uint32_t type = cursor.u32("value type");
  if (type > static_cast<std::uint32_t>(MetadataType::f64))
    cursor.corrupt(
        fmt::format("key {}: wanted a value type from 0 to 12, found {}", quoted(key), type));
  return static_cast<MetadataType>(type);
}

std::uint64_t length_at(const std::uint8_t* bytes) {
  std::uint64_t length;
  std::memcpy(&length, bytes, sizeof length);
  return length;
}

void refuse_duplicates(const HeaderCursor& cursor, std::span<const Metadata::Entry> entries) {
  std::vector<std::uint32_t> order(entries.size());
  std::iota(order.begin(), order.end(), 0u);
  const auto key = [&](std::uint32_t i) { return entries[i].key; };
  std::ranges::sort(order, {}, key);
  const auto twice = std::ranges::adjacent_find(order, {}, key);
  if (twice != order.end())
    cursor.corrupt(fmt::format("key {}: wanted once, found twice", quoted(key(*twice))));
}

}  // namespace

Bytes element_bytes(MetadataType type) {
  switch (type) {
    case MetadataType::u8:
    case MetadataType::i8:
    case MetadataType::boolean:
      return 1;
    case MetadataType::u16:
    case MetadataType::i16:
      return 2;
    case MetadataType::u32:
    case MetadataType::i32:
    case MetadataType::f32:
      return 4;
    case MetadataType::u64:
    case MetadataType::i64:
    case MetadataType::f64:
      return 8;
    case MetadataType::string:
    case MetadataType::array:
      return 0;
  }
  return 0;
}

Metadata MetadataReader::read(HeaderCursor& cursor, std::uint64_t count) {
  if (count > cursor.remaining() / least_entry_bytes || count > most_keys)
    cursor.corrupt(fmt::format(
        "wanted {} metadata keys, found {} bytes before the end of the file (at most {} keys)",
        count, cursor.remaining(), std::min(most_keys, cursor.remaining() / least_entry_bytes)));
  Metadata metadata;
  metadata.entries_.reserve(count);
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::string_view key = cursor.string(fmt::format("metadata key {}", i));
    if (key.empty() || key.size() > longest_key)
      cursor.corrupt(fmt::format("metadata key {}: wanted 1 to {} bytes, found {}", i, longest_key,
                                 key.size()));
    cursor.claim(sizeof(Metadata::Entry));
    metadata.entries_.push_back({key, read_value(cursor, key)});
  }
  refuse_duplicates(cursor, metadata.entries_);
  return metadata;
}

MetadataValue MetadataReader::read_value(HeaderCursor& cursor, std::string_view key) {
  MetadataValue value;
  value.type_ = value.element_type_ = read_type(cursor, key);
  if (value.type_ == MetadataType::array) {
    value.element_type_ = read_type(cursor, key);
    if (value.element_type_ == MetadataType::array)
      cursor.corrupt(fmt::format(
          "key {}: wanted an array of plain values, found an array of arrays", quoted(key)));
    value.size_ = cursor.count(std::max<Bytes>(1, value.element_type_ == MetadataType::string
                                                      ? length_bytes
                                                      : element_bytes(value.element_type_)),
                               fmt::format("elements of {}", quoted(key)));
  }
  read_elements(cursor, key, value);
  return value;
}

void MetadataReader::read_elements(HeaderCursor& cursor, std::string_view key,
                                   MetadataValue& value) {
  const std::string what = fmt::format("value of {}", quoted(key));
  if (value.element_type_ != MetadataType::string) {
    // The product cannot overflow: a count was held against the bytes that remain.
    const Bytes bytes = value.size_ * element_bytes(value.element_type_);
    value.data_ = cursor.skip(bytes, what);
    if (value.element_type_ == MetadataType::boolean) {
      const auto* other =
          std::find_if(value.data_, value.data_ + bytes, [](std::uint8_t b) { return b > 1; });
      if (other != value.data_ + bytes)
        cursor.corrupt(
            fmt::format("key {}: wanted a boolean of 0 or 1, found {}", quoted(key), *other));
    }
    return;
  }
  const std::uint64_t start = cursor.position();
  value.data_ = cursor.skip(0, what);
  if (value.is_array()) value.string_offsets_.reserve(value.size_);
  for (std::uint64_t i = 0; i < value.size_; ++i) {
    // Fits 32 bits, because no header is longer than HeaderBytes::limit.
    if (value.is_array()) {
      cursor.claim(sizeof(std::uint32_t));
      value.string_offsets_.push_back(static_cast<std::uint32_t>(cursor.position() - start));
    }
    cursor.string(what);
  }
}

Bytes MetadataReader::table_bytes(const Metadata& metadata) {
  Bytes bytes = metadata.entries_.capacity() * sizeof(Metadata::Entry);
  for (const Metadata::Entry& entry : metadata.entries_)
    bytes += entry.value.string_offsets_.capacity() * sizeof(std::uint32_t);
  return bytes;
}

void MetadataReader::remove(Metadata& metadata,
                            const std::function<bool(std::string_view key)>& goes) {
  std::erase_if(metadata.entries_, [&](const Metadata::Entry& entry) { return goes(entry.key); });
}

void MetadataReader::replace(Metadata& metadata, Metadata&& others) {
  for (Metadata::Entry& other : others.entries_) {
    const auto same = std::ranges::find(metadata.entries_, other.key, &Metadata::Entry::key);
    if (same != metadata.entries_.end())
      same->value = std::move(other.value);
    else
      metadata.entries_.push_back(std::move(other));
  }
}

void MetadataReader::shorten(Metadata& metadata, std::string_view key, std::uint64_t size) {
  MetadataValue& value =
      std::ranges::find(metadata.entries_, key, &Metadata::Entry::key)->value;
  value.size_ = size;
  if (value.element_type_ == MetadataType::string) value.string_offsets_.resize(size);
}

std::span<const std::uint8_t> MetadataReader::payload(const MetadataValue& value) {
  if (value.element_type_ != MetadataType::string)
    return {value.data_, value.size_ * element_bytes(value.element_type_)};
  if (value.size_ == 0) return {};
  const std::uint8_t* last = value.data_ + (value.is_array() ? value.string_offsets_.back() : 0);
  return {value.data_, last + length_bytes + length_at(last)};
}

}  // namespace plimsoll
