#include "base/small_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>

namespace plimsoll {
namespace {

constexpr std::string_view white_space = " \t\r\n";

}  // namespace

std::optional<std::string> read_small_file(const std::string& path, Bytes most) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return std::nullopt;
  std::string content;
  char buffer[4096];
  for (;;) {
    const ssize_t count = read(file, buffer, sizeof buffer);
    if (count < 0 && errno == EINTR) continue;
    const bool is_too_long = count > 0 && content.size() + static_cast<Bytes>(count) > most;
    if (count <= 0 || is_too_long) {
      close(file);
      if (count < 0 || is_too_long) return std::nullopt;
      return content;
    }
    content.append(buffer, static_cast<std::size_t>(count));
  }
}

bool is_nested_deeper(std::string_view json, int most) {
  int depth = 0;
  bool is_in_string = false;
  for (std::size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (c == '"') is_in_string = !is_in_string;
    if (is_in_string) {
      if (c == '\\') ++i;
      continue;
    }
    if ((c == '[' || c == '{') && ++depth > most) return true;
    if (c == ']' || c == '}') --depth;
  }
  return false;
}

std::optional<std::uint64_t> number_field(std::string_view text, std::string_view key) {
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (!line.starts_with(key)) continue;
    line.remove_prefix(key.size());
    const std::size_t first = line.find_first_not_of(white_space);
    if (first == std::string_view::npos || first == 0) continue;  // a longer word
    line.remove_prefix(first);
    std::uint64_t value;
    const auto [rest, error] = std::from_chars(line.data(), line.data() + line.size(), value);
    if (error == std::errc()) return value;
  }
  return std::nullopt;
}

std::optional<Bytes> kib_field(std::string_view text, std::string_view key) {
  const auto kib = number_field(text, key);
  return kib ? checked_multiply(*kib, KiB) : std::nullopt;
}

std::optional<std::uint64_t> whole_number(std::string_view text) {
  const std::size_t first = text.find_first_not_of(white_space);
  if (first == std::string_view::npos) return std::nullopt;
  text = text.substr(first, text.find_last_not_of(white_space) - first + 1);
  std::uint64_t value;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || rest != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace plimsoll
