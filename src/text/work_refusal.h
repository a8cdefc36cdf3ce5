// A text that there is no room to tokenize.
#pragma once

#include <string>

#include "base/bytes.h"
#include "base/error.h"

namespace plimsoll {

/// budget_refused: holding or tokenizing `text_bytes` of text that cannot be cut takes `wanted` bytes, and there are
/// `room`. Whoever gave the room knows how much more memory would do.
class WorkRefusal : public Error {
 public:
  WorkRefusal(const std::string& message, Bytes text_bytes, Bytes wanted, Bytes room)
      : Error(ErrorCode::budget_refused, message, "break the text into lines"),
        text_bytes_(text_bytes),
        wanted_(wanted),
        room_(room) {}

  Bytes text_bytes() const { return text_bytes_; }
  Bytes wanted() const { return wanted_; }
  Bytes room() const { return room_; }

 private:
  Bytes text_bytes_, wanted_, room_;
};

}  // namespace plimsoll
