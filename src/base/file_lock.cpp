#include "base/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <chrono>
#include <thread>

namespace plimsoll {

FileLock::FileLock(const std::string& path) {
  constexpr std::chrono::milliseconds patience(1000), step(2);
  fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (fd_ < 0) return;
  const auto end = std::chrono::steady_clock::now() + patience;
  while (!(is_held_ = ::flock(fd_, LOCK_EX | LOCK_NB) == 0) &&
         std::chrono::steady_clock::now() < end)
    std::this_thread::sleep_for(step);
}

FileLock::~FileLock() {
  if (fd_ >= 0) ::close(fd_);
}

}  // namespace plimsoll
