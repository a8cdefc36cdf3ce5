// A file that appears whole or not at all.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "file/output_path.h"

namespace plimsoll {

/// Collects bytes in a file that has no name yet (or a temporary one, where the file system knows
/// no nameless files) in the folder of its target; commit() syncs it and puts it in the target's
/// place. Until then, and after any error, the target is unchanged; without commit() nothing is
/// left behind.
///
/// What is written is pushed to the disk and out of the file cache as it goes, so that a process
/// with a memory limit holds no more than a few MiB of it there.
///
/// Everything throws Error(write_failed), and the two ends as OutputPath::refuse_foreign() does.
class OutputFile {
 public:
  /// A symbolic link is followed: its target is what gets replaced. The mode of an existing target
  /// is kept.
  explicit OutputFile(OutputPath path);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  /// Claims disk space for the whole file, so that a full disk is known before work is lost. Does
  /// nothing where the file system cannot.
  void preallocate(Bytes total);
  void append(std::span<const std::uint8_t> data);
  /// Bytes appended so far.
  Bytes size() const { return size_; }
  void commit();

 private:
  void write_out(std::span<const std::uint8_t> data);
  void push_to_disk(bool all);
  void discard() noexcept;
  [[noreturn]] void fail(const char* action, int error);

  OutputPath path_;
  std::string target_;
  std::string folder_;
  std::string temporary_;  ///< path, empty while the file has no name
  int fd_ = -1;
  std::vector<std::uint8_t> buffer_;  ///< what is appended in small pieces
  Bytes size_ = 0;
  Bytes written_ = 0;  ///< of size_, handed to the kernel
  Bytes started_ = 0;  ///< of written_, on its way to the disk
  Bytes dropped_ = 0;  ///< of started_, on the disk and out of the cache
};

}  // namespace plimsoll
