// Bytes that are read by ranges: a file, or what stands for one.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.h"

namespace plimsoll {

/// What tells one state of a file from another without reading it.
struct FileStamp {
  std::uint64_t device = 0, inode = 0;
  Bytes bytes = 0;
  std::int64_t modified = 0, changed = 0;  ///< nanoseconds since 1970: contents, contents or inode

  bool operator==(const FileStamp&) const = default;
};

/// Thread-safe.
class ByteSource {
 public:
  virtual ~ByteSource() = default;

  virtual const std::string& path() const = 0;  ///< names it in messages
  virtual std::vector<std::string> paths() const = 0;  ///< of every file that it reads
  /// Of what has been opened, in the order of paths(), as it is now.
  virtual std::vector<FileStamp> stamps() const = 0;
  virtual Bytes size() const = 0;               ///< of what is stored, when it was opened

  /// Reads [offset, offset + bytes) into `destination`. Fastest where both leave the same remainder
  /// by 4 KiB. Throws Error: file_unreadable on an I/O error, file_corrupt when what is stored ends
  /// before the range.
  virtual void read(std::uint64_t offset, Bytes bytes, void* destination) const = 0;

  /// Throws Error(file_corrupt) when what is stored is no longer what was opened: what has been
  /// read from it may then be half of the one and half of the other.
  virtual void check_unchanged() const = 0;
};

}  // namespace plimsoll
