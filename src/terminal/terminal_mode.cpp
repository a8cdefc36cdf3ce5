#include "terminal/terminal_mode.h"

#include <signal.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <string_view>

namespace plimsoll {
namespace {

// What handlers of signals need: nothing here is changed while they are installed.
termios original{}, quiet{};
int marks_descriptor = -1;
volatile std::sig_atomic_t stopped = 0;
constexpr std::string_view marks_on = "\x1b[?2004h";
constexpr std::string_view marks_off = "\x1b[?2004l\x1b[0m";
constexpr std::array ending_signals = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
std::array<struct sigaction, ending_signals.size()> actions_before{};
struct sigaction stop_action_before {};

void mark(std::string_view sequence) {
  if (marks_descriptor >= 0) (void)!::write(marks_descriptor, sequence.data(), sequence.size());
}

/// Only of a process in the foreground: another one would be stopped for it.
bool owns_terminal() { return ::tcgetpgrp(STDIN_FILENO) == ::getpgrp(); }

void give_back() {
  if (!owns_terminal()) return;
  mark(marks_off);
  ::tcsetattr(STDIN_FILENO, TCSADRAIN, &original);
}

void take() {
  if (!owns_terminal()) return;
  ::tcsetattr(STDIN_FILENO, TCSADRAIN, &quiet);
  mark(marks_on);
}

void end_by(int signal) {
  give_back();
  ::signal(signal, SIG_DFL);
  sigset_t set;
  ::sigemptyset(&set);
  ::sigaddset(&set, signal);
  ::pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
  ::raise(signal);
}

void stop_by(int) {
  const int kept = errno;
  TerminalMode::stop();
  errno = kept;
}

void handle_stop() {
  struct sigaction action {};
  action.sa_handler = stop_by;
  action.sa_flags = SA_RESTART;
  ::sigaction(SIGTSTP, &action, nullptr);
}

}  // namespace

TerminalMode::TerminalMode(int marks_to) {
  marks_descriptor = marks_to;
  ::tcgetattr(STDIN_FILENO, &original);
  quiet = original;
  quiet.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO | ECHONL);
  quiet.c_cc[VMIN] = 1;
  quiet.c_cc[VTIME] = 0;
  for (std::size_t i = 0; i < ending_signals.size(); ++i) {
    ::sigaction(ending_signals[i], nullptr, &actions_before[i]);
    if (actions_before[i].sa_handler == SIG_IGN) continue;  // as nohup wants it
    struct sigaction action {};
    action.sa_handler = end_by;
    ::sigaction(ending_signals[i], &action, nullptr);
  }
  ::sigaction(SIGTSTP, nullptr, &stop_action_before);
  if (stop_action_before.sa_handler != SIG_IGN) handle_stop();
  take();
}

TerminalMode::~TerminalMode() {
  give_back();
  for (std::size_t i = 0; i < ending_signals.size(); ++i)
    ::sigaction(ending_signals[i], &actions_before[i], nullptr);
  ::sigaction(SIGTSTP, &stop_action_before, nullptr);
}

void TerminalMode::stop() {
  give_back();
  ::signal(SIGTSTP, SIG_DFL);
  sigset_t set, before;
  ::sigemptyset(&set);
  ::sigaddset(&set, SIGTSTP);
  ::raise(SIGTSTP);
  ::pthread_sigmask(SIG_UNBLOCK, &set, &before);  // stops here, until SIGCONT
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  handle_stop();
  take();
  stopped = 1;
}

bool TerminalMode::was_stopped() {
  const bool was = stopped != 0;
  stopped = 0;
  return was;
}

}  // namespace plimsoll
