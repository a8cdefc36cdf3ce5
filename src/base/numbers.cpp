#include "base/numbers.h"

#include <fmt/format.h>

namespace plimsoll {

std::string format_count(double count) {
  if (count >= 0.995e9) return fmt::format("{:.2f} billion", count / 1e9);
  if (count >= 0.995e6) return fmt::format("{:.2f} million", count / 1e6);
  return grouped(static_cast<std::int64_t>(count));
}

std::string format_rate(double rate) {
  return rate >= 999.5 ? grouped(static_cast<std::int64_t>(rate + 0.5))
                       : fmt::format("{:.{}f}", rate,
                                     rate >= 99.95   ? 0
                                     : rate >= 9.995 ? 1
                                                     : 2);
}

std::string grouped(std::int64_t value) {
  const std::string digits = fmt::format("{}", value);
  std::string out;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    const bool after_digit = i > 0 && digits[i - 1] != '-';
    if (after_digit && (digits.size() - i) % 3 == 0) out += ',';
    out += digits[i];
  }
  return out;
}

}  // namespace plimsoll
