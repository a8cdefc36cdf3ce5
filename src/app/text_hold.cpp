#include "app/text_hold.h"

#include <fmt/format.h>

namespace plimsoll {

void TextHold::grow_to(Bytes text_bytes) {
  const auto wanted = checked_multiply(text_bytes, bytes_per_byte);
  if (wanted && *wanted <= held_.bytes()) return;
  held_ = Reservation();
  held_ = line_.hold_text(fmt::format("tokenizing a text of {}", format_bytes(text_bytes)), wanted,
                          bytes_per_byte);
}

Reservation TextHold::settle(Bytes bytes) {
  held_ = Reservation();
  return line_.ledger().count_held(Account::text, bytes);
}

}  // namespace plimsoll
