#include "hub/header_scan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <limits>
#include <string>

#include "base/error.h"

namespace plimsoll {
namespace {

/// Longer ones are no header of a model; ModelFile has its own bound.
constexpr Bytes longest_header = 1 * GiB;

[[noreturn]] void refuse(const std::string& found) {
  throw Error(ErrorCode::file_corrupt, "wanted the header of a model file, found " + found,
              "check that the address is that of the file itself");
}

/// Steps over fields; once a step needs more than there is, it only counts.
class Scanner {
 public:
  explicit Scanner(std::span<const std::uint8_t> begin) : begin_(begin) {}

  bool ended() const { return position_ > begin_.size(); }
  Bytes position() const { return position_; }

  void skip(std::uint64_t bytes) {
    if (bytes > longest_header || position_ + bytes > longest_header)
      refuse(fmt::format("one that claims more than {}", format_bytes(longest_header)));
    position_ += bytes;
  }

  /// 0 where there are no more bytes.
  template <typename Number>
  Number number() {
    Number value = 0;
    if (position_ + sizeof(Number) <= begin_.size())
      std::memcpy(&value, begin_.data() + position_, sizeof(Number));
    skip(sizeof(Number));
    return value;
  }

  void text() { skip(number<std::uint64_t>()); }

  /// A metadata value (GGUF's specification, gguf_metadata_value_type).
  void value(std::uint32_t type, int depth = 0) {
    constexpr std::uint32_t string_type = 8, array_type = 9;
    if (type == string_type) {
      text();
    } else if (type == array_type) {
      const auto item = number<std::uint32_t>();
      const auto count = number<std::uint64_t>();
      if (ended()) return;
      if (depth > 4) refuse("arrays in arrays in arrays");
      if (item == string_type || item == array_type) {
        if (count > longest_header) refuse("an array without end");
        for (std::uint64_t i = 0; i < count && !ended(); ++i) value(item, depth + 1);
      } else {
        const std::uint64_t size = size_of(item);
        if (count > longest_header / size) refuse("an array without end");
        skip(count * size);
      }
    } else {
      skip(size_of(type));
    }
  }

 private:
  static std::uint64_t size_of(std::uint32_t type) {
    constexpr std::uint64_t sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    if (type >= std::size(sizes) || sizes[type] == 0)
      refuse(fmt::format("a metadata value of the unknown type {}", type));
    return sizes[type];
  }

  std::span<const std::uint8_t> begin_;
  Bytes position_ = 0;
};

bool is_web_page(std::span<const std::uint8_t> begin) {
  std::string text;
  for (const std::uint8_t byte : begin.first(std::min<std::size_t>(begin.size(), 64)))
    if (text.size() < 16 && (byte > ' ' || !text.empty()))
      text += static_cast<char>(std::tolower(byte));
  return text.starts_with("<!doctype") || text.starts_with("<html") || text.starts_with("<?xml") ||
         text.starts_with("<head");
}

}  // namespace

HeaderScan scan_gguf_header(std::span<const std::uint8_t> begin) {
  constexpr Bytes fixed = 24;  // magic, version, two counts
  if (is_web_page(begin)) refuse("a web page");
  if (begin.size() >= 4 && std::memcmp(begin.data(), "GGUF", 4) != 0) refuse("other first bytes");
  if (begin.size() < fixed) return {false, fixed};
  Scanner scan(begin.first(begin.size()));
  scan.skip(4);
  const auto version = scan.number<std::uint32_t>();
  if (version != 2 && version != 3) return {true, fixed};  // opening refuses it
  const auto tensors = scan.number<std::uint64_t>();
  const auto keys = scan.number<std::uint64_t>();
  for (std::uint64_t i = 0; i < keys && !scan.ended(); ++i) {
    scan.text();
    const auto type = scan.number<std::uint32_t>();
    if (!scan.ended()) scan.value(type);
  }
  for (std::uint64_t i = 0; i < tensors && !scan.ended(); ++i) {
    scan.text();
    const auto rank = scan.number<std::uint32_t>();
    if (scan.ended()) break;
    if (rank > 8) refuse(fmt::format("a tensor of rank {}", rank));
    scan.skip(rank * sizeof(std::uint64_t) + sizeof(std::uint32_t) + sizeof(std::uint64_t));
  }
  return {!scan.ended(), scan.position()};
}

HeaderScan scan_safetensors_header(std::span<const std::uint8_t> begin) {
  if (is_web_page(begin)) refuse("a web page");
  std::uint64_t length = 0;
  if (begin.size() < sizeof(length)) return {false, sizeof(length)};
  std::memcpy(&length, begin.data(), sizeof(length));
  if (length > longest_header) refuse(fmt::format("one that claims {} bytes", length));
  if (begin.size() > sizeof(length) && begin[sizeof(length)] != '{') refuse("other first bytes");
  const Bytes whole = sizeof(length) + length;
  return {begin.size() >= whole, whole};
}

void refuse_web_page(std::span<const std::uint8_t> begin, std::string_view path) {
  if (!is_web_page(begin) || path.ends_with(".html")) return;
  throw Error(ErrorCode::network_failed,
              fmt::format("wanted {}, found a web page in its place", path),
              "a network that wants a login answers so; a page of a site needs the address of the file "
              "itself");
}

}  // namespace plimsoll
