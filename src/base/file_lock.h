// A lock among processes and threads, for the moments in which a shared file is read, changed and
// put in its place.
#pragma once

#include <string>

namespace plimsoll {

/// Held from construction to destruction by whoever got it. The file stays, empty; the lock goes
/// with its holder, also where that is killed.
class FileLock {
 public:
  /// Waits for others, but no longer than a second: nobody holds it for longer than reading and
  /// writing a small file takes, unless something stopped them.
  explicit FileLock(const std::string& path);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

  /// False where the file cannot be made or locked, or somebody kept it.
  bool is_held() const { return is_held_; }

 private:
  int fd_ = -1;
  bool is_held_ = false;
};

}  // namespace plimsoll
