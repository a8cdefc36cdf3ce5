// Several files that are read as if they were one.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "file/byte_source.h"
#include "file/input_file.h"

namespace plimsoll {

/// Lays files out one after the other, each from a multiple of 4 KiB on, so that every byte keeps
/// its remainder by 4 KiB and direct I/O needs no copy. What lies between two files is zeros.
class JoinedFiles final : public ByteSource {
 public:
  /// Owns the files, one at least; `path` names the whole in messages.
  JoinedFiles(std::string path, std::vector<std::unique_ptr<InputFile>> files);

  /// Where the bytes of a file begin.
  std::uint64_t begin_of(std::size_t file) const { return begins_[file]; }
  /// The file that this byte is in, or in front of which it lies.
  std::size_t file_at(std::uint64_t offset) const;

  const std::string& path() const override { return path_; }
  std::vector<std::string> paths() const override;
  std::vector<FileStamp> stamps() const override;
  Bytes size() const override;  ///< of all files, without what lies between them
  void read(std::uint64_t offset, Bytes bytes, void* destination) const override;
  void check_unchanged() const override;

  std::size_t files() const { return files_.size(); }
  const InputFile& file(std::size_t index) const { return *files_[index]; }
  Bytes memory_bytes() const;

 private:
  std::string path_;
  std::vector<std::unique_ptr<InputFile>> files_;
  std::vector<std::uint64_t> begins_;
};

}  // namespace plimsoll
