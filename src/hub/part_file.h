// A file that grows while it is downloaded.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "base/bytes.h"
#include "hub/digest.h"

namespace plimsoll {

/// Appends to a file and digests what goes in. What is written is pushed to the disk and out of the kernel's file cache as
/// it goes. Everything throws Error(write_failed).
class PartFile {
 public:
  /// Goes on with what `path` has (reading it once for the digest), or begins anew. `kind` empty: nothing to check against;
  /// `whole` is the length that the file will have (a git_blob's digest needs it).
  PartFile(std::string path, std::optional<Digest::Kind> kind, Bytes whole);
  ~PartFile();
  PartFile(const PartFile&) = delete;
  PartFile& operator=(const PartFile&) = delete;

  Bytes bytes() const { return bytes_; }
  void append(std::span<const std::uint8_t> data);
  /// To nothing.
  void restart();
  /// Writes what is buffered.
  void flush();
  /// Syncs it and puts it under `target`. `sum()` comes before.
  void finish(const std::string& target);
  /// The digest of all; empty without a kind.
  std::string sum();

 private:
  void write_out(std::span<const std::uint8_t> data);
  void push_to_disk();
  [[noreturn]] void fail(const char* action, int error) const;

  std::string path_;
  std::optional<Digest::Kind> kind_;
  Bytes whole_;
  std::optional<Digest> digest_;
  std::string buffer_;
  int fd_ = -1;
  Bytes bytes_ = 0;    ///< appended
  Bytes written_ = 0;  ///< of bytes_, handed to the kernel
  Bytes started_ = 0;  ///< of written_, on its way to the disk
  Bytes dropped_ = 0;  ///< of started_, on the disk and out of the cache
};

}  // namespace plimsoll
