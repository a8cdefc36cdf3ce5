// Runs the built program as its users do, and sees what comes out.
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace plimsoll::test {

inline const std::string bundled_model = PLIMSOLL_MODELS "/plimsoll-docs-4m-f16.gguf";
inline const std::string shared_folder = PLIMSOLL_SHARED;

/// Enough for the bundled model; sanitizers multiply what a process holds.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline const std::string enough_memory = "4GiB";
#else
inline const std::string enough_memory = "32MiB";
#endif

bool exists(const std::string& path);

struct Outcome {
  int exit_code = -1;  ///< -1 when a signal ended it
  int signal = 0;
  std::string out, error;

  /// The object on standard output; a test failure and null when that is anything else.
  nlohmann::json json() const;
};

struct Invocation {
  std::vector<std::string> arguments;
  std::string input = {};                            ///< of standard input, which ends behind it
  bool closed_input = false, closed_output = false;  ///< no such descriptor at all
  std::vector<std::pair<std::string, std::string>> environment = {};  ///< added
  std::string output_file = {};                                       ///< instead of a pipe
  std::vector<std::string> missing_environment = {};                  ///< removed
  std::optional<std::uint64_t> file_size_limit = {};                  ///< as of ulimit -f, in bytes
  std::optional<std::uint64_t> data_limit = {};                       ///< as of ulimit -d, in bytes
};

/// Kills the program and reports a failure when it takes longer than a minute.
Outcome run_program(const Invocation& invocation);
inline Outcome run_program(std::vector<std::string> arguments) {
  return run_program(Invocation{std::move(arguments)});
}

/// As a value of --memory: the most that the bundled model has to be rounded to at most so many bits for, as its plan says.
std::string memory_for_bits(double bits);

/// The program on a terminal of its own.
class TerminalProgram {
 public:
  explicit TerminalProgram(const std::vector<std::string>& arguments, int columns = 80);
  ~TerminalProgram();
  TerminalProgram(const TerminalProgram&) = delete;
  TerminalProgram& operator=(const TerminalProgram&) = delete;

  void type(const std::string& text);
  /// Reads until `text` has appeared behind what was waited for before; false after a minute or
  /// at the end.
  bool wait_for(const std::string& text);
  void resize(int columns);
  /// Whether the terminal is as a shell leaves it: whole lines, shown as they are typed.
  bool echoes() const;
  void send_signal(int signal) { ::kill(child_, signal); }
  bool is_running();
  /// Waits for its end; the exit code, -1 for a signal or a timeout.
  int wait();
  const std::string& screen() const { return screen_; }

 private:
  bool read_some();
  int terminal_ = -1;
  pid_t child_ = -1;
  bool reaped_ = false;
  int status_ = 0;
  std::string screen_;
  std::size_t seen_ = 0;
};

}  // namespace plimsoll::test
