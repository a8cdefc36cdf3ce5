#include "file/metadata.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/error.h"
#include "file/header_bytes.h"

namespace plimsoll {
namespace {

template <class T>
T load(const std::uint8_t* data, std::uint64_t index) {
  T value;
  std::memcpy(&value, data + index * sizeof(T), sizeof value);
  return value;
}

[[noreturn]] void throw_type(std::string_view wanted, MetadataType found) {
  throw Error(ErrorCode::invalid_model,
              fmt::format("wanted {}, found a value of type {}", wanted, name(found)));
}

void check_index(std::uint64_t index, std::uint64_t size) {
  if (index >= size)
    throw Error(ErrorCode::internal, fmt::format("element {} of {} metadata values", index, size));
}

/// Runs `read` on the scalar at `key`, with the key's name in whatever it throws.
template <class T, class Read>
std::optional<T> scalar(const Metadata& metadata, std::string_view key, Read read) {
  const MetadataValue* value = metadata.find(key);
  if (!value) return std::nullopt;
  try {
    if (value->is_array()) throw_type("one value", MetadataType::array);
    return read(*value);
  } catch (const Error& error) {
    throw Error(error.code(), fmt::format("key {}: {}", quoted(key), error.message()),
                "the model's metadata is not as its architecture needs it: convert it again");
  }
}

}  // namespace

std::string_view name(MetadataType type) {
  constexpr std::string_view names[] = {"u8",      "i8",     "u16",   "i16", "u32", "i32", "f32",
                                        "boolean", "string", "array", "u64", "i64", "f64"};
  return names[static_cast<std::uint32_t>(type)];
}

std::int64_t MetadataValue::as_integer(std::uint64_t index) const {
  check_index(index, size_);
  switch (element_type_) {
    case MetadataType::u8:
      return load<std::uint8_t>(data_, index);
    case MetadataType::i8:
      return load<std::int8_t>(data_, index);
    case MetadataType::u16:
      return load<std::uint16_t>(data_, index);
    case MetadataType::i16:
      return load<std::int16_t>(data_, index);
    case MetadataType::u32:
      return load<std::uint32_t>(data_, index);
    case MetadataType::i32:
      return load<std::int32_t>(data_, index);
    case MetadataType::i64:
      return load<std::int64_t>(data_, index);
    case MetadataType::u64: {
      const auto value = load<std::uint64_t>(data_, index);
      constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
      if (value > static_cast<std::uint64_t>(most))
        throw Error(ErrorCode::invalid_model,
                    fmt::format("wanted an integer up to {}, found {}", most, value));
      return static_cast<std::int64_t>(value);
    }
    default:
      throw_type("an integer", element_type_);
  }
}

double MetadataValue::as_float(std::uint64_t index) const {
  check_index(index, size_);
  switch (element_type_) {
    case MetadataType::f32:
      return load<float>(data_, index);
    case MetadataType::f64:
      return load<double>(data_, index);
    case MetadataType::boolean:
    case MetadataType::string:
      throw_type("a number", element_type_);
    default:
      return static_cast<double>(as_integer(index));
  }
}

bool MetadataValue::as_bool(std::uint64_t index) const {
  check_index(index, size_);
  if (element_type_ != MetadataType::boolean) throw_type("a boolean", element_type_);
  return data_[index] != 0;
}

std::string_view MetadataValue::as_string(std::uint64_t index) const {
  check_index(index, size_);
  if (element_type_ != MetadataType::string) throw_type("a string", element_type_);
  const std::uint8_t* length = data_ + (is_array() ? string_offsets_[index] : 0);
  return {reinterpret_cast<const char*>(length) + sizeof(std::uint64_t),
          static_cast<std::size_t>(load<std::uint64_t>(length, 0))};
}

const MetadataValue* Metadata::find(std::string_view key) const {
  const auto found = std::ranges::find(entries_, key, &Entry::key);
  return found != entries_.end() ? &found->value : nullptr;
}

std::optional<std::int64_t> Metadata::integer(std::string_view key) const {
  return scalar<std::int64_t>(*this, key, [](const MetadataValue& v) { return v.as_integer(); });
}
std::optional<double> Metadata::number(std::string_view key) const {
  return scalar<double>(*this, key, [](const MetadataValue& v) { return v.as_float(); });
}
std::optional<bool> Metadata::boolean(std::string_view key) const {
  return scalar<bool>(*this, key, [](const MetadataValue& v) { return v.as_bool(); });
}
std::optional<std::string_view> Metadata::string(std::string_view key) const {
  return scalar<std::string_view>(*this, key, [](const MetadataValue& v) { return v.as_string(); });
}

}  // namespace plimsoll
