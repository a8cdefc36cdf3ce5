#include "file/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <optional>
#include <set>
#include <string_view>

#include "base/error.h"
#include "file/header_bytes.h"
#include "file/json_reader.h"

namespace plimsoll {
namespace {

constexpr Bytes length_bytes = 8;
constexpr Bytes longest_index = 64 * MiB;

/// Bits of one value; empty for a type that the format got later.
std::optional<Bytes> bits_of(std::string_view type) {
  if (type == "BOOL" || type.starts_with("F8") || type == "U8" || type == "I8") return 8;
  if (type == "F16" || type == "BF16" || type == "I16" || type == "U16") return 16;
  if (type == "F32" || type == "I32" || type == "U32") return 32;
  if (type == "F64" || type == "I64" || type == "U64" || type == "C64") return 64;
  return std::nullopt;
}

class HeaderReader {
 public:
  explicit HeaderReader(const InputFile& file) : file_(file) {}

  std::vector<SafetensorsEntry> read() {
    const Bytes length = read_length();
    data_start_ = length_bytes + length;
    JsonCollector collector(file_.path());
    parse_json(file_, length_bytes, length, collector);
    const Json header = collector.take();
    if (!header.is_object())
      corrupt(fmt::format("wanted an object as its header, found {}", header.type_name()));
    std::vector<SafetensorsEntry> entries;
    for (const auto& [name, value] : header.items())
      if (name != "__metadata__") entries.push_back(read_entry(name, value));
    check_places(entries);
    return entries;
  }

 private:
  [[noreturn]] void corrupt(const std::string& message) const {
    throw Error(ErrorCode::file_corrupt, fmt::format("{}: {}", file_.path(), message),
                "the file is incomplete or damaged: download it again");
  }

  Bytes read_length() const {
    if (file_.size() < length_bytes)
      corrupt(fmt::format("wanted a safetensors file, found {} bytes", file_.size()));
    std::uint64_t length;
    file_.read(0, sizeof length, &length);
    const Bytes most = std::min(file_.size() - length_bytes, longest_safetensors_header);
    if (length > most)
      corrupt(fmt::format(
          "wanted a safetensors file with a header of at most {} bytes, found the length {}", most,
          length));
    return length;
  }

  SafetensorsEntry read_entry(const std::string& name, const Json& value) const {
    const auto wrong = [&](std::string_view key, std::string_view wanted) {
      corrupt(fmt::format("tensor {}: wanted {} as \"{}\"", plimsoll::quoted(name), wanted, key));
    };
    if (!value.is_object())
      corrupt(fmt::format("tensor {}: wanted an object", plimsoll::quoted(name)));
    const auto member = [&](const char* key) -> const Json& {
      static const Json missing;
      const auto found = value.find(key);
      return found == value.end() ? missing : *found;
    };
    SafetensorsEntry entry;
    entry.name = name;
    const Json& type = member("dtype");
    if (!type.is_string()) wrong("dtype", "a string");
    entry.type = type.get<std::string>();

    const Json& shape = member("shape");
    if (!shape.is_array()) wrong("shape", "an array");
    std::optional<Bytes> values = 1;
    for (const Json& dimension : shape) {
      if (!dimension.is_number_unsigned() ||
          dimension.get<std::uint64_t>() >
              static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
        wrong("shape", "whole numbers below 2^63");
      entry.shape.push_back(dimension.get<std::int64_t>());
      if (values) values = checked_multiply(*values, dimension.get<std::uint64_t>());
    }

    const Json& offsets = member("data_offsets");
    if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
        !offsets[1].is_number_unsigned())
      wrong("data_offsets", "two whole numbers");
    const auto begin = offsets[0].get<std::uint64_t>(), end = offsets[1].get<std::uint64_t>();
    const Bytes data_bytes = file_.size() - data_start_;
    if (begin > end || end > data_bytes)
      corrupt(fmt::format("tensor {}: wanted bytes within the {} that the file has, found {} to {}",
                          plimsoll::quoted(name), data_bytes, begin, end));
    entry.offset = data_start_ + begin;
    entry.bytes = end - begin;
    if (const auto bits = bits_of(entry.type)) {
      const auto all_bits = values ? checked_multiply(*values, *bits) : std::nullopt;
      if (!all_bits || *all_bits / 8 != entry.bytes)
        corrupt(fmt::format(
            "tensor {}: wanted {} bytes by its shape and type {}, found {}", plimsoll::quoted(name),
            all_bits ? fmt::to_string(*all_bits / 8) : "more than 2^61", entry.type, entry.bytes));
    }
    return entry;
  }

  /// The format wants every byte to belong to one tensor.
  void check_places(std::vector<SafetensorsEntry>& entries) const {
    std::ranges::sort(entries, [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
      return std::tie(a.offset, a.bytes) < std::tie(b.offset, b.bytes);
    });
    std::uint64_t place = data_start_;
    for (const SafetensorsEntry& entry : entries) {
      if (entry.offset != place)
        corrupt(fmt::format("tensor {}: wanted to start at byte {} of the data, found {}",
                            plimsoll::quoted(entry.name), place - data_start_,
                            entry.offset - data_start_));
      place = entry.offset + entry.bytes;
    }
    if (place != file_.size())
      corrupt(fmt::format("wanted {} bytes by its header, found {}", place, file_.size()));
  }

  const InputFile& file_;
  std::uint64_t data_start_ = 0;
};

}  // namespace

SafetensorsFile open_safetensors(const std::string& path) {
  SafetensorsFile result;
  result.file = std::make_unique<InputFile>(path);
  result.entries = HeaderReader(*result.file).read();
  return result;
}

std::vector<SafetensorsFile> open_safetensors_index(const std::string& path) {
  std::vector<SafetensorsFile> files;
  if (!path.ends_with(".json")) {
    files.push_back(open_safetensors(path));
    return files;
  }
  const auto index = read_json_object(path, longest_index);
  if (!index)
    throw Error(ErrorCode::file_not_found, fmt::format("{}: no such file", path),
                "check the path of the model");
  const JsonKeys keys(*index, path);
  const Json* map = keys.find("weight_map");
  if (!map || !map->is_object()) keys.invalid("weight_map", "an object");
  std::set<std::string> names;
  for (const Json& name : *map) {
    // A plain name: an index must not lead out of its folder.
    if (!name.is_string() || name.get<std::string>().find('/') != std::string::npos)
      keys.invalid("weight_map", "names of files beside it");
    names.insert(name.get<std::string>());
  }
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  std::set<std::string_view> present;
  for (const std::string& name : names) {
    const std::string file = (folder / name).string();
    if (!file_exists(file))
      throw Error(ErrorCode::file_not_found,
                  fmt::format("{}: no such file, but {} names it", file, path),
                  "the model is incomplete: download the missing file");
    files.push_back(open_safetensors(file));
    for (const SafetensorsEntry& entry : files.back().entries) present.insert(entry.name);
  }
  for (const auto& [tensor, name] : map->items())
    if (!present.contains(tensor))
      throw Error(ErrorCode::invalid_model,
                  fmt::format("{}: wanted tensor {} in {}, found none", path,
                              plimsoll::quoted(tensor), name.get<std::string>()),
                  "index and files are not of the same model: download them again");
  return files;
}

}  // namespace plimsoll
