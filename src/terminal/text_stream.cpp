#include "terminal/text_stream.h"

#include <unistd.h>

#include <algorithm>

#include "base/bytes.h"
#include "terminal/output.h"
#include "terminal/terminal.h"

namespace plimsoll {

TextStream::TextStream() : is_terminal_(Terminal::of(STDOUT_FILENO).is_terminal) {}

void TextStream::write(std::string_view text) {
  if (text.empty()) return;
  at_line_start_ = text.back() == '\n';
  if (is_terminal_)
    write_out(printable(text));
  else
    write_out(text);
}

void TextStream::write_dimmed(std::string_view text) {
  if (text.empty()) return;
  at_line_start_ = text.back() == '\n';
  const Terminal terminal = Terminal::of(STDOUT_FILENO);
  // Piece by piece: it may be a long prompt.
  constexpr std::size_t step = 4 * KiB;
  while (!text.empty()) {
    std::size_t size = std::min(step, text.size());
    while (size < text.size() && (text[size] & 0xC0) == 0x80) ++size;
    write_out(terminal.styled(Style::dim, printable(text.substr(0, size))));
    text.remove_prefix(size);
  }
}

void TextStream::end_line() {
  if (!at_line_start_) write_out("\n");
  at_line_start_ = true;
}

}  // namespace plimsoll
