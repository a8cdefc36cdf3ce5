// A text that is read and tokenized under the line.
#pragma once

#include "app/line.h"

namespace plimsoll {

/// Counts a text in the line before it is read, and its ids when it has become them.
class TextHold {
 public:
  explicit TextHold(const Line& line) : line_(line) {}

  /// The text has so many bytes: room for it and for tokenizing it. Throws Error(budget_refused).
  void grow_to(Bytes text_bytes);
  /// What of it stays, until that reservation goes.
  Reservation settle(Bytes bytes);

  /// Room that tokenizing may take for each byte of text: an id for every byte in a vector that has
  /// just grown, and the tokenizer's own notes (measured: 2 to 4 on prose).
  static constexpr Bytes bytes_per_byte = 16;

 private:
  const Line& line_;
  Reservation held_;
};

}  // namespace plimsoll
