// Answers on a terminal: streaming them, and conversations that are typed.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "cli/chat_commands.h"
#include "engine/engine.h"
#include "engine/reasoning.h"
#include "terminal/line_reader.h"
#include "terminal/text_stream.h"

namespace plimsoll {

/// An answer as it comes: on a terminal its reasoning dimmed before it, elsewhere the answer alone.
class AnswerStream {
 public:
  explicit AnswerStream(TextStream& stream) : stream_(&stream) {}
  void write(const ReasoningSplitter::Piece& piece);

 private:
  TextStream* stream_;
  bool reasoned_ = false;
};

/// "prompt 7 tokens at 2,310/s, answer 128 tokens at 410/s, seed 3", and what ended it, without a
/// line break.
std::string speed_report(const Generated& generated, const SamplingOptions& sampling);

/// A conversation typed at the terminal: in the model's chat format, or without a conversation,
/// texts that are written on. Ctrl-C stops an answer, which stays as it is; Ctrl-C twice at the
/// prompt, Ctrl-D or /quit leave. What no longer fits the context is forgotten from the oldest turn
/// on, and said. Returns when left.
void converse(Chat& chat, LineReader& reader);

}  // namespace plimsoll
