#include "cli/input.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "base/error.h"

namespace plimsoll {
namespace {

volatile std::sig_atomic_t interrupts = 0;

std::string read_all(int descriptor, const std::string& what,
                     const std::function<void(Bytes)>& accept) {
  std::string text;
  std::string buffer(64 * KiB, '\0');
  for (;;) {
    const ssize_t got = ::read(descriptor, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0)
      throw Error(ErrorCode::file_unreadable,
                  fmt::format("cannot read {}: {}", what, std::strerror(errno)));
    if (got == 0) return text;
    if (accept) accept(text.size() + static_cast<Bytes>(got));
    text.append(buffer.data(), static_cast<std::size_t>(got));
  }
}

}  // namespace

std::string read_text_file(const std::string& path, const std::function<void(Bytes)>& accept) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) {
    const bool missing = errno == ENOENT || errno == ENOTDIR;
    throw Error(missing ? ErrorCode::file_not_found : ErrorCode::file_unreadable,
                fmt::format("cannot open {}: {}", path, std::strerror(errno)),
                missing ? "check the path" : "check the file's permissions");
  }
  const auto close_it = [](const int* open) { ::close(*open); };
  const std::unique_ptr<const int, decltype(close_it)> closer(&descriptor, close_it);
  struct stat status {};
  if (::fstat(descriptor, &status) == 0 && S_ISDIR(status.st_mode))
    throw Error(ErrorCode::file_unreadable, fmt::format("{} is a directory", path),
                "name a text file");
  if (accept && S_ISREG(status.st_mode)) accept(static_cast<Bytes>(status.st_size));
  return read_all(descriptor, path, accept);
}

std::string read_standard_input(const std::function<void(Bytes)>& accept) {
  return read_all(STDIN_FILENO, "standard input", accept);
}

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
