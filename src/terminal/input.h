// Whether somebody is at standard input, and Ctrl-C.
#pragma once

#include <csignal>

namespace plimsoll {

/// False when nothing arrives on standard input, neither data nor its end, for `seconds`.
bool standard_input_speaks(double seconds);

bool standard_input_is_terminal();

/// Ctrl-C as a wish instead of an end, while one of these lives (one at a time).
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  /// Whether Ctrl-C was pressed since the last call of forget().
  bool interrupted() const;
  void forget();
  /// Both at once, of the one that lives.
  static bool take();
  /// Ends the process as Ctrl-C would have done.
  [[noreturn]] static void end_by_signal();

 private:
  struct sigaction before_ {};
};

}  // namespace plimsoll
