#include "file/header_bytes.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "file/file_kind.h"

namespace plimsoll {
namespace {

constexpr Bytes first_read = 256 * KiB;
constexpr Bytes most_read_ahead = 4 * MiB;
/// A multiple of every page size in use.
constexpr Bytes step = 64 * KiB;

[[noreturn]] void throw_no_memory(const std::string& path, Bytes bytes) {
  throw Error(ErrorCode::machine_limit,
              fmt::format("{}: no memory for {} of its header", path, format_bytes(bytes)),
              "free memory or raise the process's limit");
}

}  // namespace

HeaderRefusal::HeaderRefusal(const std::string& path, Bytes wanted, Bytes room)
    : Error(ErrorCode::budget_refused,
            fmt::format("{}: what it says of itself takes {} ({} bytes), and there is room for {}",
                        path, format_bytes(wanted), wanted, format_bytes(room))),
      wanted_(wanted),
      room_(room) {}

HeaderBytes::HeaderBytes(const InputFile& file, Bytes room)
    : file_(&file),
      path_(file.path()),
      file_bytes_(file.size()),
      room_(room),
      reserved_(round_up(std::min(file.size(), limit), step)) {
  if (reserved_ == 0) return;
  // Address space only; fill_to() makes memory of it by pieces.
  void* space = ::mmap(nullptr, reserved_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (space == MAP_FAILED) throw_no_memory(path_, reserved_);
  data_ = static_cast<std::uint8_t*>(space);
}

HeaderBytes::HeaderBytes(std::string path, std::string made)
    : made_(std::move(made)),
      path_(std::move(path)),
      file_bytes_(made_.size()),
      data_(reinterpret_cast<std::uint8_t*>(made_.data())),
      filled_(made_.size()) {}

HeaderBytes::~HeaderBytes() {
  if (reserved_ > 0) ::munmap(data_, reserved_);
}

void HeaderBytes::fill_to(Bytes wanted) {
  if (wanted <= filled_) return;
  if (wanted + claimed_ > room_) throw HeaderRefusal(path_, wanted + claimed_, room_);
  const Bytes ahead = std::clamp(filled_, first_read, most_read_ahead);
  const Bytes present = round_up(filled_, step);
  const Bytes to = std::min({std::max(wanted, filled_ + ahead), file_bytes_, limit,
                             std::max(wanted, room_ - claimed_)});
  const Bytes needed = round_up(to, step);
  if (needed > present &&
      ::mprotect(data_ + present, needed - present, PROT_READ | PROT_WRITE) != 0)
    throw_no_memory(path_, needed);
  file_->read(filled_, to - filled_, data_ + filled_);
  filled_ = to;
}

void HeaderBytes::claim(Bytes bytes) {
  claimed_ += bytes;
  // What was read ahead is not wanted yet: the next fill_to() sees whether both fit.
  if (claimed_ > room_) throw HeaderRefusal(path_, claimed_, room_);
}

void HeaderBytes::trim(Bytes used) {
  const Bytes kept = round_up(used, step);
  if (kept < reserved_) {
    ::munmap(data_ + kept, reserved_ - kept);
    reserved_ = kept;
  }
  filled_ = std::min(filled_, kept);
}

const std::uint8_t* HeaderCursor::skip(Bytes bytes, std::string_view what) {
  if (bytes > remaining())
    corrupt(fmt::format("{} at byte {}: wanted {} bytes, found {} before the end of the file", what,
                        position_, bytes, remaining()));
  if (bytes > HeaderBytes::limit - position_)
    corrupt(fmt::format("{} at byte {}: wanted {} bytes, found a header longer than {}", what,
                        position_, bytes, format_bytes(HeaderBytes::limit)));
  bytes_.fill_to(position_ + bytes);
  const std::uint8_t* result = bytes_.data() + position_;
  position_ += bytes;
  return result;
}

std::uint64_t HeaderCursor::count(Bytes least_bytes, std::string_view what) {
  const std::uint64_t at = position_;
  const std::uint64_t value = u64(what);
  if (value > remaining() / least_bytes)
    corrupt(
        fmt::format("{} at byte {}: wanted {}, of {} bytes each at least, found {} bytes before "
                    "the end of the file",
                    what, at, value, least_bytes, remaining()));
  return value;
}

std::string_view HeaderCursor::string(std::string_view what) {
  const std::uint64_t length = count(1, what);
  return {reinterpret_cast<const char*>(skip(length, what)), length};
}

void HeaderCursor::corrupt(const std::string& message) const {
  throw Error(ErrorCode::file_corrupt, fmt::format("{}: {}", path(), message),
              incomplete_hint(path()));
}

std::string quoted(std::string_view name) {
  constexpr std::size_t longest = 80;
  std::string printable(name.substr(0, longest));
  for (char& c : printable) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) c = '?';
  }
  return fmt::format("\"{}{}\"", printable, name.size() > longest ? "..." : "");
}

}  // namespace plimsoll
