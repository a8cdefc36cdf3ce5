#include "cli/program.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>

#include "support/temporary_folder.h"

namespace plimsoll::test {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto patience = std::chrono::seconds(60);

/// What a user has kept or set must not matter, nor be changed.
void set_folders() {
  static const TemporaryFolder folder;
  ::setenv("XDG_CACHE_HOME", folder.path().c_str(), 1);
  ::setenv("XDG_CONFIG_HOME", folder.path().c_str(), 1);
  ::unsetenv("PLIMSOLL_CONFIG");
  ::setenv("XDG_STATE_HOME", folder.path().c_str(), 1);
}

[[noreturn]] void execute(const std::vector<std::string>& arguments) {
  std::vector<char*> pointers{const_cast<char*>(PLIMSOLL_BINARY)};
  for (const std::string& argument : arguments)
    pointers.push_back(const_cast<char*>(argument.c_str()));
  pointers.push_back(nullptr);
  ::execv(PLIMSOLL_BINARY, pointers.data());
  ::_exit(126);
}

struct Pipe {
  int read_end = -1, write_end = -1;
  Pipe() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) == 0) {
      read_end = ends[0];
      write_end = ends[1];
    }
  }
  void close_read() { close_one(read_end); }
  void close_write() { close_one(write_end); }
  ~Pipe() {
    close_read();
    close_write();
  }

 private:
  static void close_one(int& end) {
    if (end >= 0) ::close(end);
    end = -1;
  }
};

}  // namespace

bool exists(const std::string& path) { return std::filesystem::exists(path); }

nlohmann::json Outcome::json() const {
  nlohmann::json parsed = nlohmann::json::parse(out, nullptr, false);
  EXPECT_TRUE(parsed.is_object()) << "standard output: " << out << "\nstandard error: " << error;
  return parsed.is_object() ? parsed : nlohmann::json::object();
}

Outcome run_program(const Invocation& invocation) {
  Pipe in, out, error;
  set_folders();
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(in.read_end, 0);
    ::dup2(out.write_end, 1);
    ::dup2(error.write_end, 2);
    if (!invocation.output_file.empty()) {
      const int file = ::open(invocation.output_file.c_str(), O_WRONLY | O_APPEND);
      ::dup2(file, 1);
    }
    if (invocation.closed_input) ::close(0);
    if (invocation.closed_output) ::close(1);
    ::signal(SIGPIPE, SIG_DFL);
    for (const auto& [name, value] : invocation.environment)
      ::setenv(name.c_str(), value.c_str(), 1);
    for (const std::string& name : invocation.missing_environment) ::unsetenv(name.c_str());
    if (invocation.data_limit) {
      const rlimit limit{*invocation.data_limit, *invocation.data_limit};
      setrlimit(RLIMIT_DATA, &limit);
    }
    if (invocation.file_size_limit) {
      const rlimit limit{*invocation.file_size_limit, *invocation.file_size_limit};
      ::setrlimit(RLIMIT_FSIZE, &limit);
      ::signal(SIGXFSZ, SIG_DFL);
    }
    execute(invocation.arguments);
  }
  in.close_read();
  out.close_write();
  error.close_write();

  Outcome outcome;
  std::string_view rest = invocation.input;
  if (rest.empty()) in.close_write();
  ::signal(SIGPIPE, SIG_IGN);
  if (in.write_end >= 0) ::fcntl(in.write_end, F_SETFL, O_NONBLOCK);
  const auto deadline = Clock::now() + patience;
  bool expired = false;
  while (out.read_end >= 0 || error.read_end >= 0) {
    std::array<pollfd, 3> waiting{
        {{out.read_end, POLLIN, 0}, {error.read_end, POLLIN, 0}, {in.write_end, POLLOUT, 0}}};
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0 || ::poll(waiting.data(), waiting.size(), static_cast<int>(left)) == 0) {
      expired = true;
      ::kill(child, SIGKILL);
      break;
    }
    const auto drain = [](const pollfd& ready, Pipe& pipe, std::string& text) {
      if (!ready.revents) return;
      std::array<char, 65536> buffer;
      const ssize_t got = ::read(pipe.read_end, buffer.data(), buffer.size());
      if (got > 0)
        text.append(buffer.data(), static_cast<std::size_t>(got));
      else
        pipe.close_read();
    };
    drain(waiting[0], out, outcome.out);
    drain(waiting[1], error, outcome.error);
    if (waiting[2].revents) {
      const ssize_t put = ::write(in.write_end, rest.data(), rest.size());
      if (put > 0) rest.remove_prefix(static_cast<std::size_t>(put));
      if ((put < 0 && errno != EAGAIN) || rest.empty()) in.close_write();
    }
  }
  EXPECT_FALSE(expired) << "the program did not end";
  int status = 0;
  ::waitpid(child, &status, 0);
  if (WIFEXITED(status)) outcome.exit_code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) outcome.signal = WTERMSIG(status);
  return outcome;
}

TerminalProgram::TerminalProgram(const std::vector<std::string>& arguments, int columns) {
  winsize size{};
  size.ws_row = 24;
  size.ws_col = static_cast<unsigned short>(columns);
  set_folders();
  child_ = ::forkpty(&terminal_, nullptr, nullptr, &size);
  if (child_ == 0) {
    ::signal(SIGINT, SIG_DFL);
    ::setenv("TERM", "xterm-256color", 1);
    ::setenv("LC_ALL", "C.UTF-8", 1);
    ::unsetenv("NO_COLOR");
    execute(arguments);
  }
}

TerminalProgram::~TerminalProgram() {
  if (!reaped_ && child_ > 0) {
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, 0);
  }
  if (terminal_ >= 0) ::close(terminal_);
}

void TerminalProgram::type(const std::string& text) {
  // In pieces, reading what is shown meanwhile: both ways hold a few KiB only.
  std::string_view rest = text;
  while (!rest.empty()) {
    pollfd waiting{terminal_, POLLIN | POLLOUT, 0};
    ASSERT_GT(::poll(&waiting, 1, std::chrono::milliseconds(patience).count()), 0);
    if ((waiting.revents & POLLIN) != 0 && !read_some()) FAIL() << screen_;
    if ((waiting.revents & POLLOUT) == 0) continue;
    const ssize_t put = ::write(terminal_, rest.data(), std::min<std::size_t>(rest.size(), 1024));
    ASSERT_GT(put, 0);
    rest.remove_prefix(static_cast<std::size_t>(put));
  }
}

bool TerminalProgram::read_some() {
  pollfd waiting{terminal_, POLLIN, 0};
  if (::poll(&waiting, 1, std::chrono::milliseconds(patience).count()) <= 0) return false;
  std::array<char, 4096> buffer;
  const ssize_t got = ::read(terminal_, buffer.data(), buffer.size());
  if (got <= 0) return false;  // EIO: the program has left its terminal
  screen_.append(buffer.data(), static_cast<std::size_t>(got));
  return true;
}

bool TerminalProgram::wait_for(const std::string& text) {
  const auto deadline = Clock::now() + patience;
  for (;;) {
    if (const std::size_t found = screen_.find(text, seen_); found != std::string::npos) {
      seen_ = found + text.size();
      return true;
    }
    if (Clock::now() > deadline || !read_some()) return false;
  }
}

void TerminalProgram::resize(int columns) {
  winsize size{};
  size.ws_row = 24;
  size.ws_col = static_cast<unsigned short>(columns);
  ::ioctl(terminal_, TIOCSWINSZ, &size);
}

bool TerminalProgram::echoes() const {
  termios mode{};
  return ::tcgetattr(terminal_, &mode) == 0 && (mode.c_lflag & ICANON) != 0 &&
         (mode.c_lflag & ECHO) != 0;
}

bool TerminalProgram::is_running() {
  if (!reaped_ && ::waitpid(child_, &status_, WNOHANG) == child_) reaped_ = true;
  return !reaped_;
}

int TerminalProgram::wait() {
  while (read_some()) {
  }
  if (!reaped_) {
    const auto deadline = Clock::now() + patience;
    while (is_running()) {
      if (Clock::now() > deadline) return -1;
      ::usleep(10'000);
    }
  }
  return WIFEXITED(status_) ? WEXITSTATUS(status_) : -1;
}

std::string memory_for_bits(double bits) {
  const nlohmann::json plan =
      run_program({"plan", bundled_model, "--no-measure", "--memory", enough_memory, "--json"}).json();
  std::uint64_t most = 0;
  for (const nlohmann::json& point : plan.value("frontier", nlohmann::json::array()))
    if (point["bits_per_weight"] <= bits)
      most = std::max(most, point["peak_bytes"].get<std::uint64_t>());
  EXPECT_GT(most, 0u) << plan;
  // One process and the next differ by some pages.
  return std::to_string(most + (128 << 10));
}

}  // namespace plimsoll::test
