// Answers on a terminal: streaming them, and conversations that are typed.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "engine/engine.h"
#include "text/chat_template.h"

namespace plimsoll {

/// Standard output for generated text: raw where it is no terminal, without control characters
/// where it is one.
class TextStream {
 public:
  TextStream();
  bool is_terminal() const { return is_terminal_; }
  /// Throws Error(write_failed).
  void write(std::string_view text);
  void write_dimmed(std::string_view text);
  /// Ends the line if it is not ended yet.
  void end_line();

 private:
  bool is_terminal_;
  bool at_line_start_ = true;
};

/// generate() with a progress bar on standard error while a long prompt is read. `keep_going`, if
/// given, is asked during that too.
Generated generate_with_progress(Session& session, std::span<const TokenId> prompt,
                                 const GenerateOptions& options,
                                 const std::function<bool(std::string_view)>& emit,
                                 const std::function<bool()>& keep_going = {});

/// "prompt 7 tokens at 2,310/s, answer 128 tokens at 410/s", and what ended it, without a line
/// break.
std::string speed_report(const Generated& generated);

/// A conversation typed at the terminal in a chat format, or without one, texts that are written
/// on. Ctrl-C stops an answer; Ctrl-C twice at the prompt, Ctrl-D or /quit leave. What no longer
/// fits the context is forgotten from the oldest turn on, and said. Returns when left.
void converse(Session& session, GenerateOptions options, const ChatTemplate* format);

}  // namespace plimsoll
