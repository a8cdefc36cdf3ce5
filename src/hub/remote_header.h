// The header of a file that is still elsewhere.
#pragma once

#include <string>

#include "hub/fetcher.h"
#include "hub/repository.h"

namespace plimsoll {

/// Reads headers by range requests, all together at most `most` bytes.
class HeaderReader {
 public:
  static constexpr Bytes most = 32 * MiB;

  HeaderReader(Fetcher& fetcher, const ModelName& name) : fetcher_(fetcher), name_(name) {}

  /// Makes `target`: a file of the remote one's length that has its header and then nothing (a hole), so that all that is
  /// read before tensors are loaded can be read from it. Fills in `file.bytes` where that was unknown. `file` is a GGUF or
  /// safetensors file by its ending. Servers without ranges are read from the beginning and cut off. Throws
  /// Error(file_corrupt), as refuse_answer and Fetcher do, and Error(write_failed).
  void copy_header(RemoteFile& file, const std::string& target);

  /// Bytes of bodies received so far.
  Bytes received() const { return received_; }

 private:
  std::string read_header(RemoteFile& file, bool is_gguf);
  Fetcher& fetcher_;
  const ModelName& name_;
  Bytes received_ = 0;
};

}  // namespace plimsoll
