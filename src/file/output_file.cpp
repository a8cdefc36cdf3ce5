#include "file/output_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <random>
#include <system_error>
#include <utility>

#include "base/error.h"

namespace plimsoll {
namespace {

constexpr Bytes buffer_bytes = 256 * KiB;
/// How much is written before it is pushed on; about two of them stay in the file cache.
constexpr Bytes window_bytes = 8 * MiB;
constexpr int name_attempts = 100;

/// Short, so that it is a name wherever the target's is one.
std::string temporary_name(const std::string& folder) {
  std::random_device device;
  return fmt::format("{}/.tmp-{:08x}", folder, device());
}

}  // namespace

OutputFile::OutputFile(OutputPath path) : path_(std::move(path)), target_(path_.target()) {
  path_.refuse_foreign();
  const std::filesystem::path folder = std::filesystem::path(target_).parent_path();
  folder_ = folder.empty() ? std::filesystem::path(".").string() : folder.string();

  struct stat existing;
  const bool exists = ::stat(target_.c_str(), &existing) == 0;
  if (exists && !S_ISREG(existing.st_mode))
    throw Error(ErrorCode::write_failed,
                fmt::format("{}: wanted a file to replace, found {}", target_,
                            S_ISDIR(existing.st_mode) ? "a directory" : "a device or pipe"),
                "name a file");

  // A file without a name vanishes with the process, however that ends. It gets its name through
  // /proc.
  if (::access("/proc/self/fd", X_OK) == 0)
    fd_ = ::open(folder_.c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666);
  for (int attempt = 0; fd_ < 0 && attempt < name_attempts; ++attempt) {
    temporary_ = temporary_name(folder_);
    fd_ = ::open(temporary_.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666);
    if (fd_ < 0 && errno != EEXIST) break;
  }
  if (fd_ < 0) {
    temporary_.clear();
    fail("be created", errno);
  }
  if (exists) {
    // Failure is no loss: the file then has the mode of a new one.
    [[maybe_unused]] const int kept = ::fchmod(fd_, existing.st_mode & 07777);
  }
  buffer_.reserve(buffer_bytes);
}

OutputFile::~OutputFile() { discard(); }

void OutputFile::discard() noexcept {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
  temporary_.clear();
}

void OutputFile::fail(const char* action, int error) {
  std::string found = std::generic_category().message(error);
  struct statvfs space;
  if (error == ENOSPC && ::statvfs(folder_.c_str(), &space) == 0)
    found += fmt::format(", {} free", format_bytes(Bytes{space.f_bavail} * space.f_frsize));
  discard();
  throw Error(
      ErrorCode::write_failed, fmt::format("{} cannot {}: {}", target_, action, found),
      error == ENOSPC || error == EDQUOT || error == EFBIG
          ? "make room or choose another disk; a file that was there before is unchanged"
          : "check the folder and its permissions; a file that was there before is unchanged");
}

void OutputFile::preallocate(Bytes total) {
  if (fd_ < 0) fail("be written", EBADF);
  int result;
  do {
    result = ::fallocate(fd_, FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(total));
  } while (result != 0 && errno == EINTR);
  if (result != 0 && (errno == ENOSPC || errno == EFBIG || errno == EDQUOT))
    fail(fmt::format("be written with {}", format_bytes(total)).c_str(), errno);
}

void OutputFile::append(std::span<const std::uint8_t> data) {
  if (fd_ < 0) fail("be written", EBADF);
  size_ += data.size();
  if (buffer_.size() + data.size() > buffer_bytes) {
    write_out(buffer_);
    buffer_.clear();
    if (data.size() >= buffer_bytes) {
      write_out(data);
      return;
    }
  }
  buffer_.insert(buffer_.end(), data.begin(), data.end());
}

void OutputFile::write_out(std::span<const std::uint8_t> data) {
  while (!data.empty()) {
    const ssize_t put = ::write(fd_, data.data(), std::min<std::size_t>(data.size(), window_bytes));
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) fail("be written", put < 0 ? errno : ENOSPC);
    data = data.subspan(static_cast<std::size_t>(put));
    written_ += static_cast<Bytes>(put);
    if (written_ - started_ >= window_bytes) push_to_disk(false);
  }
}

/// Starts writing what is new, waits for what was started before, and drops that from the cache.
void OutputFile::push_to_disk(bool all) {
  // Not every file system supports this; commit() syncs everything, so only real failures count
  // here.
  const auto sync = [this](Bytes from, Bytes to, unsigned flags) {
    if (::sync_file_range(fd_, static_cast<off_t>(from), static_cast<off_t>(to - from), flags) !=
            0 &&
        (errno == EIO || errno == ENOSPC || errno == EDQUOT))
      fail("be written", errno);
  };
  const Bytes waited = all ? written_ : started_;
  if (written_ > started_) sync(started_, written_, SYNC_FILE_RANGE_WRITE);
  started_ = written_;
  if (waited > dropped_) {
    sync(dropped_, waited,
         SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
    ::posix_fadvise(fd_, static_cast<off_t>(dropped_), static_cast<off_t>(waited - dropped_),
                    POSIX_FADV_DONTNEED);
    dropped_ = waited;
  }
}

void OutputFile::commit() {
  if (fd_ < 0) fail("be written", EBADF);
  write_out(buffer_);
  buffer_.clear();
  // Gives back what was claimed and not used.
  if (::ftruncate(fd_, static_cast<off_t>(written_)) != 0) fail("be written", errno);
  if (::fsync(fd_) != 0) fail("be written to the disk", errno);
  push_to_disk(true);

  for (int attempt = 0; temporary_.empty() && attempt < name_attempts; ++attempt) {
    const std::string name = temporary_name(folder_);
    if (::linkat(AT_FDCWD, fmt::format("/proc/self/fd/{}", fd_).c_str(), AT_FDCWD, name.c_str(),
                 AT_SYMLINK_FOLLOW) == 0)
      temporary_ = name;
    else if (errno != EEXIST)
      break;
  }
  if (temporary_.empty()) fail("be named", errno);
  const int closed = ::close(fd_);
  fd_ = -1;
  if (closed != 0) fail("be written", errno);
  path_.refuse_foreign();  // that came meanwhile
  if (std::rename(temporary_.c_str(), target_.c_str()) != 0) fail("be replaced", errno);
  temporary_.clear();

  // The new name itself must survive a crash. Some file systems cannot sync folders, and need not.
  const int folder = ::open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder >= 0) {
    const int synced = ::fsync(folder);
    const int error = errno;
    ::close(folder);
    if (synced != 0 && error == EIO) fail("be synced in its folder", error);
  }
}

}  // namespace plimsoll
