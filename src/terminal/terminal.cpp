#include "terminal/terminal.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "base/bytes.h"
#include "terminal/output.h"

namespace plimsoll {
namespace {

/// POSIX's order: the first of these that is set and not empty decides.
bool locale_is_utf8() {
  for (const char* variable : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const char* value = std::getenv(variable);
    if (value == nullptr || *value == '\0') continue;
    std::string lower(value);
    std::transform(lower.begin(), lower.end(), lower.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return lower.find("utf-8") != std::string::npos || lower.find("utf8") != std::string::npos;
  }
  return false;
}

/// ECMA-48, Select Graphic Rendition.
std::string_view code(Style style) {
  switch (style) {
    case Style::dim:
      return "2";
    case Style::strong:
      return "1";
    case Style::alarm:
      return "1;31";
    case Style::blue:
      return "34";
    case Style::cyan:
      return "36";
    case Style::green:
      return "32";
    case Style::yellow:
      return "33";
    case Style::magenta:
      return "35";
    case Style::grey:
      return "90";
  }
  return "0";
}

constexpr auto first_shown_after = std::chrono::milliseconds(250);
constexpr auto shown_every = std::chrono::milliseconds(100);

}  // namespace

Terminal Terminal::of(int descriptor) {
  Terminal terminal;
  terminal.is_terminal = ::isatty(descriptor) == 1;
  terminal.utf8 = locale_is_utf8();
  terminal.width = 100;
  if (!terminal.is_terminal) return terminal;
  winsize size{};
  terminal.width =
      ::ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
  const char* no_colour = std::getenv("NO_COLOR");  // https://no-color.org
  const char* kind = std::getenv("TERM");
  terminal.colour = (no_colour == nullptr || *no_colour == '\0') && kind != nullptr &&
                    std::string_view(kind) != "dumb" && *kind != '\0';
  return terminal;
}

std::string Terminal::styled(Style style, std::string_view text) const {
  if (!colour) return std::string(text);
  return fmt::format("\x1b[{}m{}\x1b[0m", code(style), text);
}

int columns_of(std::string_view text) {
  int columns = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\x1b')
      i = std::min(text.find('m', i), text.size() - 1);
    else if ((static_cast<unsigned char>(text[i]) & 0xC0) != 0x80)
      ++columns;
  }
  return columns;
}

ProgressBar::ProgressBar(std::string what, Unit unit)
    : what_(std::move(what)),
      unit_(unit),
      terminal_(Terminal::of(STDERR_FILENO)),
      next_(Clock::now() + first_shown_after) {}

ProgressBar::~ProgressBar() { clear(); }

void ProgressBar::update(std::uint64_t done, std::uint64_t total) {
  if (!terminal_.is_terminal || total == 0 || Clock::now() < next_) return;
  next_ = Clock::now() + shown_every;
  done = std::min(done, total);
  const std::string numbers =
      unit_ == Unit::bytes
          ? fmt::format("{} of {}", format_bytes(done), format_bytes(total))
          : fmt::format("{} of {} {}", done, total, unit_ == Unit::tokens ? "tokens" : "chunks");
  const int room = terminal_.width - columns_of(what_) - columns_of(numbers) - 4;
  std::string bar;
  if (room >= 8) {
    const auto cells = static_cast<std::uint64_t>(std::min(room, 40));
    const std::uint64_t filled = static_cast<std::uint64_t>(
        static_cast<double>(done) / static_cast<double>(total) * static_cast<double>(cells));
    for (std::uint64_t i = 0; i < cells; ++i)
      bar += i < filled ? (terminal_.utf8 ? "█" : "#") : (terminal_.utf8 ? "─" : "-");
    bar += " ";
  }
  write_error(fmt::format("\r\x1b[K{} {}{}", what_, bar, numbers));
  shown_ = true;
}

void ProgressBar::clear() {
  if (shown_) write_error("\r\x1b[K");
  shown_ = false;
}

}  // namespace plimsoll
