#include "hub/child.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cmath>
#include <exception>
#include <new>
#include <string>
#include <system_error>

#include "base/error.h"
#include "hub/parse_json.h"

namespace plimsoll {
namespace {

std::atomic<bool> interrupted{false};
std::atomic<pid_t> running_child{0};

void note_interrupt(int) { interrupted = true; }

/// Ctrl-C on a terminal reaches both processes, a plain kill only this one.
void pass_on(int) {
  if (const pid_t child = running_child; child > 0) ::kill(child, SIGTERM);
}

constexpr std::array stop_signals = {SIGINT, SIGTERM, SIGHUP};

/// Handlers that do not restart system calls, so that waiting ends at once.
class SignalGuard {
 public:
  explicit SignalGuard(void (*handler)(int)) {
    struct sigaction action {};
    action.sa_handler = handler;
    for (std::size_t i = 0; i < stop_signals.size(); ++i) {
      ::sigaction(stop_signals[i], nullptr, &before_[i]);
      if (before_[i].sa_handler != SIG_IGN) ::sigaction(stop_signals[i], &action, nullptr);
    }
  }
  ~SignalGuard() {
    for (std::size_t i = 0; i < stop_signals.size(); ++i)
      ::sigaction(stop_signals[i], &before_[i], nullptr);
  }
  SignalGuard(const SignalGuard&) = delete;
  SignalGuard& operator=(const SignalGuard&) = delete;

 private:
  std::array<struct sigaction, stop_signals.size()> before_{};
};

nlohmann::json to_json(const Error& error) {
  return {{"error",
           {{"code", static_cast<int>(error.code())},
            {"message", error.message()},
            {"hint", error.hint()}}}};
}

nlohmann::json outcome_of(const std::function<nlohmann::json()>& work) {
  try {
    return {{"value", work()}};
  } catch (const Error& error) {
    return to_json(error);
  } catch (const std::bad_alloc&) {
    return to_json(Error(ErrorCode::machine_limit, "the machine has no more memory to give",
                         "stop other programs"));
  } catch (const std::exception& error) {
    return to_json(Error(ErrorCode::internal, error.what(), "this is a bug in plimsoll"));
  }
}

void write_all(int descriptor, std::string_view text) {
  while (!text.empty()) {
    const ssize_t put = ::write(descriptor, text.data(), text.size());
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return;
    text.remove_prefix(static_cast<std::size_t>(put));
  }
}

std::string read_all(int descriptor) {
  std::string text;
  std::array<char, 4096> buffer;
  for (;;) {
    const ssize_t got = ::read(descriptor, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return text;
    text.append(buffer.data(), static_cast<std::size_t>(got));
  }
}

[[noreturn]] void run_child(int descriptor, pid_t parent, const std::function<nlohmann::json()>& work) {
  const SignalGuard guard(note_interrupt);
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGXFSZ, SIG_IGN);  // a limit on file sizes is an error like a full disk
  // Nobody would wait for the result of a child whose parent was killed.
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (::getppid() != parent) ::_exit(1);
  const nlohmann::json outcome = outcome_of(work);
  write_all(descriptor, outcome.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  ::_exit(0);
}

}  // namespace

nlohmann::json in_child(const std::function<nlohmann::json()>& work) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0)
    throw Error(ErrorCode::machine_limit, "no pipe: " + std::generic_category().message(errno));
  const pid_t parent = ::getpid();
  interrupted = false;
  const pid_t child = ::fork();
  if (child == 0) run_child(ends[1], parent, work);
  ::close(ends[1]);
  if (child < 0) {
    const int error = errno;
    ::close(ends[0]);
    throw Error(ErrorCode::machine_limit,
                "no process to download with: " + std::generic_category().message(error));
  }
  running_child = child;
  const SignalGuard guard(pass_on);
  const std::string text = read_all(ends[0]);
  ::close(ends[0]);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  running_child = 0;
  const nlohmann::json outcome = parse_json(text);
  if (outcome.is_object() && outcome.contains("value")) return outcome["value"];
  if (outcome.is_object() && outcome.contains("error")) {
    const nlohmann::json& error = outcome["error"];
    throw Error(static_cast<ErrorCode>(error["code"].get<int>()), error["message"].get<std::string>(),
                error["hint"].get<std::string>());
  }
  throw Error(ErrorCode::internal,
              WIFSIGNALED(status)
                  ? fmt::format("the process that downloads was ended by signal {}", WTERMSIG(status))
                  : std::string("the process that downloads ended without a result"),
              "what it has stays: the same command goes on from there");
}

bool is_interrupted() { return interrupted; }

void stop_if_interrupted() {
  if (interrupted) throw Error(ErrorCode::interrupted, "stopped");
}

void wait_seconds(double seconds) {
  timespec left{static_cast<time_t>(seconds),
                static_cast<long>((seconds - std::floor(seconds)) * 1e9)};
  while (!interrupted && ::nanosleep(&left, &left) != 0 && errno == EINTR) {
  }
  stop_if_interrupted();
}

}  // namespace plimsoll
