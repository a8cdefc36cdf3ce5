// Generated text on standard output.
#pragma once

#include <string_view>

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

}  // namespace plimsoll
