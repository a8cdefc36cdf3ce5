#include "file/text_input.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include "base/error.h"

namespace plimsoll {
namespace {

/// Up to a buffer full; 0 at the end.
std::size_t read_some(int descriptor, const std::string& what, std::string& buffer) {
  for (;;) {
    const ssize_t got = ::read(descriptor, buffer.data(), buffer.size());
    if (got >= 0) return static_cast<std::size_t>(got);
    if (errno != EINTR)
      throw Error(ErrorCode::file_unreadable,
                  fmt::format("cannot read {}: {}", what, std::strerror(errno)));
  }
}

constexpr std::size_t block_bytes = 64 * KiB;

std::string read_all(int descriptor, const std::string& what,
                     const std::function<void(Bytes)>& accept) {
  std::string text;
  std::string buffer(block_bytes, '\0');
  while (const std::size_t got = read_some(descriptor, what, buffer)) {
    if (accept) accept(text.size() + got);
    text.append(buffer.data(), got);
  }
  return text;
}

/// Throws as read_text_file does.
int open_text_file(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) {
    const bool missing = errno == ENOENT || errno == ENOTDIR;
    throw Error(missing ? ErrorCode::file_not_found : ErrorCode::file_unreadable,
                fmt::format("cannot open {}: {}", path, std::strerror(errno)),
                missing ? "check the path" : "check the file's permissions");
  }
  struct stat status {};
  if (::fstat(descriptor, &status) == 0 && S_ISDIR(status.st_mode)) {
    ::close(descriptor);
    throw Error(ErrorCode::file_unreadable, fmt::format("{} is a directory", path),
                "name a text file");
  }
  return descriptor;
}

}  // namespace

std::string read_text_file(const std::string& path, const std::function<void(Bytes)>& accept,
                           Reading reading) {
  const int descriptor = open_text_file(path);
  const auto close_it = [](const int* open) { ::close(*open); };
  const std::unique_ptr<const int, decltype(close_it)> closer(&descriptor, close_it);
  InputMark mark;
  if (reading == Reading::input) mark = InputMark(descriptor, path, false);
  struct stat status {};
  if (accept && ::fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode))
    accept(static_cast<Bytes>(status.st_size));
  return read_all(descriptor, path, accept);
}

std::string read_standard_input(const std::function<void(Bytes)>& accept) {
  return read_all(STDIN_FILENO, "standard input", accept);
}

BlockReader::BlockReader(const std::string& path) : BlockReader(open_text_file(path), path, true) {}

BlockReader::BlockReader(int descriptor, std::string what, bool is_owned)
    : descriptor_(descriptor), what_(std::move(what)), is_owned_(is_owned) {
  try {
    mark_ = InputMark(descriptor_, what_, true);
  } catch (...) {
    if (is_owned_) ::close(descriptor_);
    throw;
  }
}

BlockReader::BlockReader(BlockReader&& other) noexcept
    : descriptor_(other.descriptor_),
      what_(std::move(other.what_)),
      is_owned_(std::exchange(other.is_owned_, false)),
      mark_(std::move(other.mark_)),
      block_(std::move(other.block_)) {}

BlockReader::~BlockReader() {
  if (is_owned_) ::close(descriptor_);
}

std::string_view BlockReader::next() {
  block_.resize(block_bytes);
  return std::string_view(block_).substr(0, read_some(descriptor_, what_, block_));
}

void LineBlocks::refuse(Bytes length) {
  constexpr Bytes most_counted = 1 * GiB;
  while (!rest_.empty() && length <= most_counted) {
    const std::size_t end = std::min(rest_.find('\n'), rest_.size());
    length += end;
    if (end < rest_.size()) break;
    rest_ = reader_.next();
  }
  throw Error(ErrorCode::budget_refused,
              fmt::format("a line of {}{} comes in, and {} are there to hold it",
                          length > most_counted ? "more than " : "", format_bytes(length),
                          format_bytes(most_)),
              hint_(length));
}

bool LineBlocks::next(std::string& line) {
  line.clear();
  for (bool has_begun = false;; has_begun = true) {
    if (rest_.empty()) rest_ = reader_.next();
    if (rest_.empty()) return has_begun && !line.empty();
    const std::size_t end = std::min(rest_.find('\n'), rest_.size());
    if (line.size() + end > most_) {
      const Bytes begun = line.size();
      line = std::string();
      refuse(begun);
    }
    line += rest_.substr(0, end);
    const bool is_whole = end < rest_.size();
    rest_.remove_prefix(is_whole ? end + 1 : end);
    if (is_whole) return true;
  }
}

}  // namespace plimsoll
