// plimsoll_limited REPORT GROUP COMMAND...: runs the command as a process of its own inside a memory control group (a folder, or "-"
// for none) and writes to REPORT how it ended and the kernel's count of its peak: "EXIT_CODE SIGNAL PEAK_BYTES", 0 for what is not.
//
// A small program does this because a process begins with the peak of the one that became it: below that of a suite in a large
// interpreter nothing could be seen.
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "plimsoll_limited: %s: %s\n", what, std::strerror(errno));
  std::exit(125);
}

[[noreturn]] void become(const char* group, char** command) {
  if (std::strcmp(group, "-") != 0) {
    std::FILE* const members = std::fopen((std::string(group) + "/cgroup.procs").c_str(), "w");
    if (!members || std::fprintf(members, "%d\n", getpid()) < 0 || std::fclose(members) != 0)
      fail("entering the control group");
  }
  execvp(command[0], command);
  fail(command[0]);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: plimsoll_limited REPORT GROUP COMMAND...\n");
    return 2;
  }
  const pid_t child = fork();
  if (child < 0) fail("fork");
  if (child == 0) become(argv[2], argv + 3);
  int status = 0;
  rusage usage{};
  while (wait4(child, &status, 0, &usage) < 0)
    if (errno != EINTR) fail("wait");
  std::FILE* const report = std::fopen(argv[1], "w");
  if (!report) fail(argv[1]);
  const int exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
  const int signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  std::fprintf(report, "%d %d %ld\n", exit_code, signal, usage.ru_maxrss * 1024);
  std::fclose(report);
  return signal ? 128 + signal : exit_code;
}
