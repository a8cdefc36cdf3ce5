#include "base/bytes.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "base/error.h"

namespace plimsoll {
namespace {

struct Unit {
  std::string_view name;  // lower case
  Bytes bytes;
};

// The first letter alone means the binary unit, since memory is bought and limited in those.
constexpr Unit units[] = {
    {"", 1},
    {"b", 1},
    {"k", KiB},
    {"kib", KiB},
    {"kb", 1'000},
    {"m", MiB},
    {"mib", MiB},
    {"mb", 1'000'000},
    {"g", GiB},
    {"gib", GiB},
    {"gb", 1'000'000'000},
    {"t", 1024 * GiB},
    {"tib", 1024 * GiB},
    {"tb", 1'000'000'000'000},
    {"p", 1024 * 1024 * GiB},
    {"pib", 1024 * 1024 * GiB},
    {"pb", 1'000'000'000'000'000},
    {"e", 1024 * 1024 * GiB * 1024},
    {"eib", 1024 * 1024 * GiB * 1024},
    {"eb", 1'000'000'000'000'000'000},
};

bool is_digit(char c) { return c >= '0' && c <= '9'; }

[[noreturn]] void reject(std::string_view text, const char* why) {
  throw Error(ErrorCode::usage, fmt::format("\"{}\" is not a size: {}", text, why),
              "write a size as 512MiB, 1.2GiB, 800MB or a plain number of bytes");
}

}  // namespace

Bytes parse_bytes(std::string_view text) {
  // Exact in integers: 0.1GiB must mean the same everywhere, and doubles cannot hold 63 bits.
  constexpr Bytes limit = Bytes{1} << 63;
  std::size_t at = 0;
  if (text.empty()) reject(text, "it is empty");
  if (!is_digit(text[0])) reject(text, "it must start with a digit");

  Bytes whole = 0;
  for (; at < text.size() && is_digit(text[at]); ++at) {
    const auto scaled = checked_multiply(whole, 10);
    const auto sum = scaled ? checked_add(*scaled, static_cast<Bytes>(text[at] - '0')) : scaled;
    if (!sum) reject(text, "it does not fit 63 bits");
    whole = *sum;
  }
  std::uint64_t fraction = 0;  // numerator over scale
  std::uint64_t scale = 1;
  bool has_fraction = false;
  if (at < text.size() && text[at] == '.') {
    has_fraction = true;
    const std::size_t first = ++at;
    for (; at < text.size() && is_digit(text[at]); ++at) {
      // Digits beyond the 18th are less than a byte of any unit that one could mean.
      if (scale < 1'000'000'000'000'000'000) {
        fraction = fraction * 10 + static_cast<std::uint64_t>(text[at] - '0');
        scale *= 10;
      }
    }
    if (at == first) reject(text, "digits are missing after the point");
  }
  if (at < text.size() && text[at] == ' ') {
    if (++at == text.size()) reject(text, "it ends in a space");
  }

  std::string suffix(text.substr(at));
  std::transform(suffix.begin(), suffix.end(), suffix.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  const auto unit = std::find_if(std::begin(units), std::end(units),
                                 [&](const Unit& u) { return u.name == suffix; });
  if (unit == std::end(units)) reject(text, "the unit is unknown");
  if (has_fraction && unit->bytes == 1) reject(text, "bytes come whole");

  const auto product = checked_multiply(whole, unit->bytes);
  if (!product) reject(text, "it does not fit 63 bits");
  const auto part = static_cast<Bytes>(static_cast<unsigned __int128>(fraction) * unit->bytes /
                                       static_cast<unsigned __int128>(scale));
  const auto bytes = checked_add(*product, part);
  if (!bytes || *bytes >= limit) reject(text, "it does not fit 63 bits");
  if (*bytes == 0) reject(text, "it is less than one byte");
  return *bytes;
}

std::string format_bytes(Bytes bytes) {
  constexpr std::array<const char*, 7> names = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes < 1000) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  // 999.5 would round to four digits.
  while (value >= 999.5 && unit + 1 < names.size()) {
    value /= 1024.0;
    ++unit;
  }
  const int decimals = value >= 99.95 ? 0 : value >= 9.995 ? 1 : value >= 0.9995 ? 2 : 3;
  return fmt::format("{:.{}f} {}", value, decimals, names[unit]);
}

}  // namespace plimsoll
