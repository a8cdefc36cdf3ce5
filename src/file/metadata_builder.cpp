#include "file/metadata_builder.h"

#include <fmt/format.h>

#include <utility>

#include "base/error.h"
#include "file/header_bytes.h"
#include "file/metadata_reader.h"

namespace plimsoll {
namespace {

template <class T>
void put(std::string& out, const T& value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

/// Appends `value` as a T. Throws where it does not fit.
template <class T>
void put_as(std::string& out, std::int64_t value) {
  if (!std::in_range<T>(value))
    throw Error(ErrorCode::internal, fmt::format("metadata value {} does not fit its type", value));
  put(out, static_cast<T>(value));
}

}  // namespace

void MetadataBuilder::append_string(std::string& out, std::string_view text) {
  put(out, static_cast<std::uint64_t>(text.size()));
  out += text;
}

void MetadataBuilder::begin_entry(std::string_view key, MetadataType type) {
  if (key.empty() || key.size() > MetadataReader::longest_key || !names_.emplace(key).second)
    throw Error(ErrorCode::internal,
                fmt::format("metadata key {} is empty, too long or there already", quoted(key)));
  append_string(bytes_, key);
  put(bytes_, type);
}

void MetadataBuilder::begin_array(std::string_view key, MetadataType element, std::uint64_t size) {
  begin_entry(key, MetadataType::array);
  put(bytes_, element);
  put(bytes_, size);
}

void MetadataBuilder::add_integer(std::string_view key, std::int64_t value, MetadataType type) {
  begin_entry(key, type);
  switch (type) {
    case MetadataType::u8:
      return put_as<std::uint8_t>(bytes_, value);
    case MetadataType::i8:
      return put_as<std::int8_t>(bytes_, value);
    case MetadataType::u16:
      return put_as<std::uint16_t>(bytes_, value);
    case MetadataType::i16:
      return put_as<std::int16_t>(bytes_, value);
    case MetadataType::u32:
      return put_as<std::uint32_t>(bytes_, value);
    case MetadataType::i32:
      return put_as<std::int32_t>(bytes_, value);
    case MetadataType::u64:
      return put_as<std::uint64_t>(bytes_, value);
    case MetadataType::i64:
      return put_as<std::int64_t>(bytes_, value);
    default:
      throw Error(ErrorCode::internal, fmt::format("{} is no integer type", plimsoll::name(type)));
  }
}

void MetadataBuilder::add_number(std::string_view key, double value, MetadataType type) {
  begin_entry(key, type);
  if (type == MetadataType::f32)
    put(bytes_, static_cast<float>(value));
  else if (type == MetadataType::f64)
    put(bytes_, value);
  else
    throw Error(ErrorCode::internal, fmt::format("{} is no type of numbers", plimsoll::name(type)));
}

void MetadataBuilder::add_bool(std::string_view key, bool value) {
  begin_entry(key, MetadataType::boolean);
  put(bytes_, static_cast<std::uint8_t>(value));
}

void MetadataBuilder::add_string(std::string_view key, std::string_view value) {
  begin_entry(key, MetadataType::string);
  append_string(bytes_, value);
}

void MetadataBuilder::add_strings(std::string_view key, std::span<const std::string> values) {
  begin_array(key, MetadataType::string, values.size());
  for (const std::string& value : values) append_string(bytes_, value);
}

void MetadataBuilder::add_integers(std::string_view key, std::span<const std::int32_t> values) {
  begin_array(key, MetadataType::i32, values.size());
  for (const std::int32_t value : values) put(bytes_, value);
}

void MetadataBuilder::add_numbers(std::string_view key, std::span<const float> values) {
  begin_array(key, MetadataType::f32, values.size());
  for (const float value : values) put(bytes_, value);
}

void MetadataBuilder::add_value(std::string_view key, const MetadataValue& value) {
  if (value.is_array())
    begin_array(key, value.element_type(), value.size());
  else
    begin_entry(key, value.type());
  const std::span<const std::uint8_t> payload = MetadataReader::payload(value);
  bytes_.append(reinterpret_cast<const char*>(payload.data()), payload.size());
}

void MetadataBuilder::add_array(std::string_view key, MetadataType element, std::uint64_t size,
                                std::string_view elements) {
  begin_array(key, element, size);
  bytes_ += elements;
}

std::string MetadataBuilder::take() {
  names_.clear();
  return std::exchange(bytes_, {});
}

}  // namespace plimsoll
