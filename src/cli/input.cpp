#include "cli/input.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
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

sigset_t interrupt_set() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  return set;
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
  ::sigaction(SIGINT, &action, nullptr);
}

InterruptGuard::~InterruptGuard() { std::signal(SIGINT, SIG_DFL); }

bool InterruptGuard::interrupted() const { return interrupts != 0; }

void InterruptGuard::forget() { interrupts = 0; }

LineReader::Outcome LineReader::read(std::string& line) {
  // Blocked outside of the wait, so that no Ctrl-C falls between the question and the wait.
  const sigset_t set = interrupt_set();
  sigset_t before;
  ::pthread_sigmask(SIG_BLOCK, &set, &before);
  const auto restore = [](sigset_t* old) { ::pthread_sigmask(SIG_SETMASK, old, nullptr); };
  const std::unique_ptr<sigset_t, decltype(restore)> restorer(&before, restore);
  for (;;) {
    if (const std::size_t end = pending_.find('\n'); end != std::string::npos) {
      line = pending_.substr(0, end);
      pending_.erase(0, end + 1);
      if (!line.empty() && line.back() == '\r') line.pop_back();
      return Outcome::line;
    }
    if (interrupts != 0) {
      interrupts = 0;
      pending_.clear();
      return Outcome::interrupted;
    }
    pollfd waiting{STDIN_FILENO, POLLIN, 0};
    if (::ppoll(&waiting, 1, nullptr, &before) < 0) {
      if (errno == EINTR) continue;
      return Outcome::end;
    }
    char buffer[4096];
    const ssize_t got = ::read(STDIN_FILENO, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got > 0) {
      pending_.append(buffer, static_cast<std::size_t>(got));
      continue;
    }
    if (pending_.empty()) return Outcome::end;
    line = std::exchange(pending_, {});
    return Outcome::line;
  }
}

}  // namespace plimsoll
