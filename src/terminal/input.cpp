#include "terminal/input.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

namespace plimsoll {
namespace {

volatile std::sig_atomic_t interrupts = 0;

}  // namespace

bool standard_input_speaks(double seconds) {
  pollfd waiting{STDIN_FILENO, POLLIN, 0};
  int ready;
  do {
    ready = ::poll(&waiting, 1, static_cast<int>(seconds * 1000));
  } while (ready < 0 && errno == EINTR);
  return ready != 0;
}

bool standard_input_is_terminal() { return ::isatty(STDIN_FILENO) == 1; }

InterruptGuard::InterruptGuard() {
  interrupts = 0;
  struct sigaction action {};
  action.sa_handler = [](int) { interrupts = 1; };  // no SA_RESTART: waits end
  ::sigaction(SIGINT, &action, &before_);
}

InterruptGuard::~InterruptGuard() { ::sigaction(SIGINT, &before_, nullptr); }

void InterruptGuard::end_by_signal() {
  std::signal(SIGINT, SIG_DFL);
  std::raise(SIGINT);
  std::_Exit(128 + SIGINT);  // where the signal is blocked
}

bool InterruptGuard::interrupted() const { return interrupts != 0; }

void InterruptGuard::forget() { interrupts = 0; }

bool InterruptGuard::take() {
  const bool was = interrupts != 0;
  interrupts = 0;
  return was;
}

}  // namespace plimsoll
