#include "hub/part_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "base/error.h"
#include "hub/child.h"

namespace plimsoll {
namespace {

constexpr Bytes buffer_bytes = 256 * KiB;
constexpr Bytes window_bytes = 8 * MiB;

void sync_folder(const std::string& path) {
  const std::string folder = std::filesystem::path(path).parent_path().string();
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  ::fsync(fd);  // some file systems cannot, and need not
  ::close(fd);
}

}  // namespace

PartFile::PartFile(std::string path, std::optional<Digest::Kind> kind, Bytes whole)
    : path_(std::move(path)), kind_(kind), whole_(whole) {
  fd_ = ::open(path_.c_str(), O_CREAT | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0644);
  if (fd_ < 0) fail("be written", errno);
  if (kind_) digest_.emplace(*kind_, whole_);
  std::vector<std::uint8_t> piece(buffer_bytes);
  for (;;) {
    const ssize_t got = ::read(fd_, piece.data(), piece.size());
    if (got < 0 && errno == EINTR) {
      stop_if_interrupted();
      continue;
    }
    if (got < 0) fail("be read again", errno);
    if (got == 0) break;
    if (digest_) digest_->update({piece.data(), static_cast<std::size_t>(got)});
    bytes_ += static_cast<Bytes>(got);
    if (bytes_ % window_bytes == 0) {
      ::posix_fadvise(fd_, 0, static_cast<off_t>(bytes_), POSIX_FADV_DONTNEED);
      stop_if_interrupted();
    }
  }
  written_ = started_ = dropped_ = bytes_;
  buffer_.reserve(buffer_bytes);
}

PartFile::~PartFile() {
  try {
    flush();
  } catch (const Error&) {
    // What could not be written will be downloaded again.
  }
  if (fd_ >= 0) ::close(fd_);
}

void PartFile::fail(const char* action, int error) const {
  const bool is_full = error == ENOSPC || error == EDQUOT;
  throw Error(ErrorCode::write_failed,
              fmt::format("{} cannot {}: {}", path_, action, std::generic_category().message(error)),
              is_full          ? "make room, then give the same command again: it goes on from there"
              : error == EFBIG ? "files may not be as large here: check ulimit -f and the file system, "
                                 "then give the same command again"
                               : "check the folder and its permissions");
}

void PartFile::append(std::span<const std::uint8_t> data) {
  if (digest_) digest_->update(data);
  bytes_ += data.size();
  if (buffer_.size() + data.size() > buffer_bytes) flush();
  if (data.size() >= buffer_bytes)
    write_out(data);
  else
    buffer_.append(reinterpret_cast<const char*>(data.data()), data.size());
}

void PartFile::flush() {
  const std::string data = std::exchange(buffer_, {});
  write_out({reinterpret_cast<const std::uint8_t*>(data.data()), data.size()});
  buffer_.reserve(buffer_bytes);
}

void PartFile::write_out(std::span<const std::uint8_t> data) {
  while (!data.empty()) {
    const ssize_t put = ::write(fd_, data.data(), data.size());
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) fail("be written", put < 0 ? errno : ENOSPC);
    data = data.subspan(static_cast<std::size_t>(put));
    written_ += static_cast<Bytes>(put);
    if (written_ - started_ >= window_bytes) push_to_disk();
  }
}

/// Starts writing what is new, waits for what was started before, and drops that from the cache.
void PartFile::push_to_disk() {
  const auto sync = [this](Bytes from, Bytes to, unsigned flags) {
    if (::sync_file_range(fd_, static_cast<off_t>(from), static_cast<off_t>(to - from), flags) != 0 &&
        (errno == EIO || errno == ENOSPC || errno == EDQUOT))
      fail("be written", errno);
  };
  sync(started_, written_, SYNC_FILE_RANGE_WRITE);
  if (started_ > dropped_) {
    sync(dropped_, started_,
         SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
    ::posix_fadvise(fd_, static_cast<off_t>(dropped_), static_cast<off_t>(started_ - dropped_),
                    POSIX_FADV_DONTNEED);
    dropped_ = started_;
  }
  started_ = written_;
}

void PartFile::restart() {
  buffer_.clear();
  if (::ftruncate(fd_, 0) != 0 || ::lseek(fd_, 0, SEEK_SET) != 0) fail("be emptied", errno);
  bytes_ = written_ = started_ = dropped_ = 0;
  if (kind_) digest_.emplace(*kind_, whole_);
}

std::string PartFile::sum() { return digest_ ? digest_->hex() : ""; }

void PartFile::finish(const std::string& target) {
  flush();
  if (::fsync(fd_) != 0) fail("be written to the disk", errno);
  ::posix_fadvise(fd_, 0, 0, POSIX_FADV_DONTNEED);
  if (std::rename(path_.c_str(), target.c_str()) != 0) fail("be renamed", errno);
  sync_folder(target);
}

}  // namespace plimsoll
