// The terminal while a conversation lasts.
#pragma once

namespace plimsoll {

/// While it lives, what is typed stays unseen and waits whole (the kernel's own lines end after
/// 4,095 bytes), pastes are marked, and Ctrl-C is still a signal. The terminal is given back as it
/// was when it dies, when the process is stopped (Ctrl-Z) or ended by a signal. One at a time;
/// standard input is a terminal.
class TerminalMode {
 public:
  /// `marks_to`: a descriptor of the terminal that control sequences may be written to, or -1.
  explicit TerminalMode(int marks_to);
  ~TerminalMode();
  TerminalMode(const TerminalMode&) = delete;
  TerminalMode& operator=(const TerminalMode&) = delete;

  /// As Ctrl-Z does: gives the terminal back, stops until the process is continued, takes it again.
  static void stop();
  /// Whether that has happened since the last call.
  static bool was_stopped();
};

}  // namespace plimsoll
