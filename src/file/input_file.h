// A file that is read by ranges, past the kernel's file cache where the file system allows it.
#pragma once

#include <time.h>

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "file/byte_source.h"
#include "file/output_path.h"

namespace plimsoll {

/// True where something has this name, or its target where it is a link.
bool file_exists(const std::string& path);

/// A regular file, opened for reading. Owns its descriptors. Thread-safe. `size()` is that at
/// opening.
///
/// Memory in the file cache is charged to the process's control group at moments that nobody can
/// foretell, so reading leaves none behind: pages that are cached already are copied from there,
/// the others are read with O_DIRECT, or, where that is not possible, by pieces of 4 MiB that are
/// dropped at once, with what was cached of them.
class InputFile final : public ByteSource {
 public:
  /// `buffered` reads as on a file system that has no direct I/O.
  enum class Mode { direct, buffered };

  /// Throws Error: file_not_found, file_unreadable (not a regular file, permission, I/O), usage (it is going to be
  /// written, see InputMark).
  explicit InputFile(std::string path, Mode mode = Mode::direct);
  ~InputFile() override;
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  const std::string& path() const override { return path_; }
  std::vector<std::string> paths() const override { return {path_}; }
  std::vector<FileStamp> stamps() const override { return {stamp()}; }
  Bytes size() const override { return size_; }
  FileStamp stamp() const;  ///< throws Error(file_unreadable)

  /// Reads [offset, offset + bytes). No copy is made where `destination` and `offset` leave the
  /// same remainder by 4 KiB; otherwise what is not cached goes through a buffer of at most 1 MiB.
  /// Throws Error: file_unreadable on an I/O error, file_corrupt when the file ends before the
  /// range.
  void read(std::uint64_t offset, Bytes bytes, void* destination) const override;

  /// By size and time of modification. A file that was only renamed or unlinked is as it was.
  void check_unchanged() const override;

 private:
  bool is_cached(std::uint64_t offset, Bytes bytes) const;
  void read_cached(std::uint64_t offset, Bytes bytes, std::uint8_t* destination) const;
  void read_and_drop(std::uint64_t offset, Bytes bytes, std::uint8_t* destination) const;
  bool read_direct(std::uint64_t offset, Bytes bytes, std::uint8_t* destination) const;
  bool read_window(std::uint64_t offset, Bytes bytes, std::uint8_t* window,
                   std::uint8_t* destination) const;
  bool read_blocks(std::uint64_t offset, Bytes wanted, std::uint8_t* blocks) const;
  [[noreturn]] void throw_shorter(std::uint64_t wanted_end) const;
  [[noreturn]] void throw_unreadable(int error) const;

  std::string path_;
  InputMark mark_;
  Bytes size_ = 0;
  timespec modified_{};
  int fd_ = -1;         ///< through the file cache
  int direct_fd_ = -1;  ///< O_DIRECT, or -1
  mutable std::atomic<bool> direct_works_{false};
};

}  // namespace plimsoll
