// Messages typed at a terminal, with editing and history.
#pragma once

#include <memory>
#include <string>

#include "base/bytes.h"
#include "base/error.h"
#include "terminal/history.h"

namespace plimsoll {

/// budget_refused: `bytes` came for a message, and there was room for `most`. None of them were kept. Whoever gave the room
/// knows how much more memory would do.
class MessageRefusal : public Error {
 public:
  MessageRefusal(Bytes bytes, Bytes most);
  Bytes bytes() const { return bytes_; }

 private:
  Bytes bytes_;
};

/// Reads from standard input, a terminal, and shows on whichever of standard error and output is
/// one too. Messages of any length arrive whole. Several lines are one message where they are
/// pasted together, where a line ends in a backslash, between """ and """, or with Alt-Enter
/// between them. A long paste stands for itself as "[pasted text ...]" until the message is sent.
///
/// One at a time. An InterruptGuard lives while read() and listen() run.
class LineReader {
 public:
  enum class Outcome { line, interrupted, end };

  explicit LineReader(HistoryFile history);
  ~LineReader();
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;

  /// Shows "> " and waits for a message, which goes into the history. Bytes that are no UTF-8 are
  /// in it as they came. Throws MessageRefusal when more than `most` bytes come for it; they are
  /// dropped.
  Outcome read(std::string& message, Bytes most);
  /// Takes what has been typed ahead. Call it now and then while something else is done, so that
  /// lines that are typed one after the other stay several messages.
  void listen();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace plimsoll
