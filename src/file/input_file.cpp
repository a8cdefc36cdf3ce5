#include "file/input_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <system_error>
#include <utility>

#include "base/error.h"

namespace plimsoll {
namespace {

/// Alignment of direct I/O that every file system in use accepts.
constexpr Bytes direct_block = 4 * KiB;
constexpr Bytes bounce_bytes = 1 * MiB;
/// What is asked and decided at once about being cached, and read at once where pages have to be
/// dropped again.
constexpr Bytes extent_bytes = 4 * MiB;

std::string reason(int error) { return std::generic_category().message(error); }

/// cachestat(2), Linux 6.5; the number is the same on every architecture. Declared here because
/// older headers lack it.
constexpr long cachestat_number = 451;
struct CachestatRange {
  std::uint64_t offset;
  std::uint64_t length;
};
struct CachestatResult {
  std::uint64_t cached;
  std::uint64_t dirty;
  std::uint64_t writeback;
  std::uint64_t evicted;
  std::uint64_t recently_evicted;
};

/// pread() that is repeated when a signal interrupts it.
ssize_t read_some(int fd, void* buffer, Bytes bytes, std::uint64_t offset) {
  ssize_t got;
  do {
    got = ::pread(fd, buffer, bytes, static_cast<off_t>(offset));
  } while (got < 0 && errno == EINTR);
  return got;
}

}  // namespace

bool file_exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

InputFile::InputFile(std::string path, Mode mode) : path_(std::move(path)) {
  // O_NONBLOCK: opening a pipe must not wait for somebody to write to it.
  fd_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd_ < 0) {
    const int error = errno;
    if (error == ENOENT || error == ENOTDIR || error == ENAMETOOLONG)
      throw Error(ErrorCode::file_not_found, fmt::format("{}: {}", path_, reason(error)),
                  "check the path of the model file");
    throw_unreadable(error);
  }
  struct stat found;
  if (::fstat(fd_, &found) != 0 || !S_ISREG(found.st_mode)) {
    const bool directory = S_ISDIR(found.st_mode);
    ::close(fd_);
    throw Error(ErrorCode::file_unreadable,
                fmt::format("{}: wanted a file, found {}", path_,
                            directory ? "a directory" : "a device or pipe"),
                directory ? "name the .gguf file inside it" : "copy the model to a file first");
  }
  try {
    mark_ = InputMark(fd_, path_, true);
  } catch (...) {
    ::close(fd_);
    throw;
  }
  size_ = static_cast<Bytes>(found.st_size);
  modified_ = found.st_mtim;
  // Reading what is cached must not start reading ahead into the cache.
  ::posix_fadvise(fd_, 0, 0, POSIX_FADV_RANDOM);

  if (mode == Mode::buffered) return;
  direct_fd_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_DIRECT);
  struct stat same;
  direct_works_ = direct_fd_ >= 0 && ::fstat(direct_fd_, &same) == 0 &&
                  same.st_dev == found.st_dev && same.st_ino == found.st_ino;
}

InputFile::~InputFile() {
  if (direct_fd_ >= 0) ::close(direct_fd_);
  ::close(fd_);
}

void InputFile::throw_shorter(std::uint64_t wanted_end) const {
  struct stat now;
  const Bytes size = ::fstat(fd_, &now) == 0 ? static_cast<Bytes>(now.st_size) : size_;
  throw Error(
      ErrorCode::file_corrupt,
      fmt::format(
          "{}: wanted bytes up to {}, found a file of {} bytes (it had {} when it was opened)",
          path_, wanted_end, size, size_),
      "do not change the file while it is in use");
}

FileStamp InputFile::stamp() const {
  struct stat now;
  if (::fstat(fd_, &now) != 0) throw_unreadable(errno);
  const auto nanoseconds = [](const timespec& time) {
    return static_cast<std::int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
  };
  return {static_cast<std::uint64_t>(now.st_dev), static_cast<std::uint64_t>(now.st_ino),
          static_cast<Bytes>(now.st_size), nanoseconds(now.st_mtim), nanoseconds(now.st_ctim)};
}

void InputFile::check_unchanged() const {
  struct stat now;
  if (::fstat(fd_, &now) != 0) throw_unreadable(errno);
  if (static_cast<Bytes>(now.st_size) == size_ && now.st_mtim.tv_sec == modified_.tv_sec &&
      now.st_mtim.tv_nsec == modified_.tv_nsec)
    return;
  throw Error(ErrorCode::file_corrupt,
              fmt::format("{}: was changed while it was being read (it had {} bytes when it was "
                          "opened, and has {} now)",
                          path_, size_, static_cast<Bytes>(now.st_size)),
              "wait until whatever writes it has finished, then try again");
}

void InputFile::throw_unreadable(int error) const {
  throw Error(ErrorCode::file_unreadable,
              fmt::format("{}: cannot be read: {}", path_, reason(error)),
              error == EACCES || error == EPERM   ? "check the file's permissions"
              : error == EMFILE || error == ENFILE ? "let this process open more files: ulimit -n"
                                                   : "check the disk and the file system");
}

void InputFile::read(std::uint64_t offset, Bytes bytes, void* destination) const {
  if (bytes > size_ || offset > size_ - bytes) throw_shorter(offset + bytes);
  auto* to = static_cast<std::uint8_t*>(destination);
  while (bytes > 0) {
    // One run of extents that are all cached, or all not.
    const auto extent_end = [&](std::uint64_t at) {
      return std::min(round_down(at, extent_bytes) + extent_bytes, offset + bytes);
    };
    std::uint64_t end = extent_end(offset);
    const bool cached = is_cached(offset, end - offset);
    while (end < offset + bytes && is_cached(end, extent_end(end) - end) == cached)
      end = extent_end(end);
    const Bytes run = end - offset;
    if (cached)
      read_cached(offset, run, to);
    else if (!read_direct(offset, run, to))
      read_and_drop(offset, run, to);
    offset += run;
    to += run;
    bytes -= run;
  }
}

bool InputFile::is_cached(std::uint64_t offset, Bytes bytes) const {
  static const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  CachestatRange range{offset, bytes};
  CachestatResult result{};
  if (::syscall(cachestat_number, fd_, &range, &result, 0) != 0) return false;
  return result.cached >= (offset + bytes - 1) / page - offset / page + 1;
}

void InputFile::read_cached(std::uint64_t offset, Bytes bytes, std::uint8_t* destination) const {
  while (bytes > 0) {
    const ssize_t got = read_some(fd_, destination, bytes, offset);
    if (got < 0) throw_unreadable(errno);
    if (got == 0) throw_shorter(offset + bytes);
    offset += static_cast<Bytes>(got);
    destination += got;
    bytes -= static_cast<Bytes>(got);
  }
}

void InputFile::read_and_drop(std::uint64_t offset, Bytes bytes, std::uint8_t* destination) const {
  while (bytes > 0) {
    const Bytes piece = std::min(bytes, extent_bytes);
    read_cached(offset, piece, destination);
    // Only whole pages inside the range are dropped, so it is widened to them.
    const std::uint64_t first = round_down(offset, direct_block);
    ::posix_fadvise(fd_, static_cast<off_t>(first),
                    static_cast<off_t>(round_up(offset + piece, direct_block) - first),
                    POSIX_FADV_DONTNEED);
    offset += piece;
    destination += piece;
    bytes -= piece;
  }
}

/// False when the file system refuses direct I/O; nothing is lost then, the range is read anew.
bool InputFile::read_direct(std::uint64_t offset, Bytes bytes, std::uint8_t* destination) const {
  if (!direct_works_.load(std::memory_order_relaxed)) return false;
  const auto address = reinterpret_cast<std::uintptr_t>(destination);
  if (address % direct_block != offset % direct_block) {
    const Bytes size = std::min(bounce_bytes, round_up(bytes, direct_block) + direct_block);
    const std::unique_ptr<std::uint8_t, void (*)(void*)> bounce(
        static_cast<std::uint8_t*>(std::aligned_alloc(direct_block, size)), std::free);
    if (!bounce) throw std::bad_alloc();
    while (bytes > 0) {
      const Bytes piece = std::min(bytes, size - offset % direct_block);
      if (!read_window(offset, piece, bounce.get(), destination)) return false;
      offset += piece;
      destination += piece;
      bytes -= piece;
    }
    return true;
  }

  alignas(direct_block) std::uint8_t page[direct_block];
  const Bytes head = std::min(bytes, round_up(offset, direct_block) - offset);
  if (head > 0 && !read_window(offset, head, page, destination)) return false;
  const Bytes middle = round_down(bytes - head, direct_block);
  if (middle > 0 && !read_blocks(offset + head, middle, destination + head)) return false;
  const Bytes tail = bytes - head - middle;
  return tail == 0 || read_window(offset + head + middle, tail, page, destination + head + middle);
}

/// Reads the blocks around a range into `window`, which holds them, and copies the range out.
bool InputFile::read_window(std::uint64_t offset, Bytes bytes, std::uint8_t* window,
                            std::uint8_t* destination) const {
  const Bytes before = offset % direct_block;
  if (!read_blocks(offset - before, before + bytes, window)) return false;
  std::memcpy(destination, window + before, bytes);
  return true;
}

/// Reads at least `wanted` bytes from an aligned offset to an aligned address that has room up to
/// the next multiple.
bool InputFile::read_blocks(std::uint64_t offset, Bytes wanted, std::uint8_t* blocks) const {
  Bytes done = 0;
  while (done < wanted) {
    const ssize_t got =
        read_some(direct_fd_, blocks + done, round_up(wanted - done, direct_block), offset + done);
    if (got < 0 && (errno == EINVAL || errno == EOPNOTSUPP)) {
      direct_works_.store(false, std::memory_order_relaxed);
      return false;
    }
    if (got < 0) throw_unreadable(errno);
    if (done + static_cast<Bytes>(got) >= wanted) return true;
    // A short read goes on at a whole block; one that ends inside a block has met the end of the
    // file.
    const Bytes whole = round_down(static_cast<Bytes>(got), direct_block);
    if (whole == 0) throw_shorter(offset + wanted);
    done += whole;
  }
  return true;
}

}  // namespace plimsoll
