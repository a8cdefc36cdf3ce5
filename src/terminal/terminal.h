// What the other end of a stream can show, and a progress bar for it.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace plimsoll {

enum class Style {
  dim,
  strong,
  alarm,
  // the accounts of the line
  blue,
  cyan,
  green,
  yellow,
  magenta,
  grey,
};

struct Terminal {
  bool is_terminal = false;
  bool colour = false;  ///< a terminal that shows colours, and NO_COLOR is not set
  bool utf8 = false;    ///< the locale's character set is UTF-8
  int width = 80;       ///< columns; 100 where it is no terminal

  static Terminal of(int descriptor);

  /// `text` in a style where colours are shown, otherwise as it is.
  std::string styled(Style style, std::string_view text) const;
};

/// Columns that `text` takes: its characters, without escape sequences. For this program's own
/// texts, which hold no wide characters.
int columns_of(std::string_view text);

/// A bar on standard error while something takes long; nothing at all when that is no terminal.
/// Gone when destroyed.
class ProgressBar {
 public:
  enum class Unit { bytes, tokens, chunks };
  ProgressBar(std::string what, Unit unit);
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  void update(std::uint64_t done, std::uint64_t total);
  /// Removes it now.
  void clear();

 private:
  using Clock = std::chrono::steady_clock;
  std::string what_;
  Unit unit_;
  Terminal terminal_;
  Clock::time_point next_;
  bool shown_ = false;
};

}  // namespace plimsoll
