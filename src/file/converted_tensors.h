// The bytes that a GGUF file's tensors would have, made from other files as they are read.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "file/byte_source.h"
#include "file/input_file.h"
#include "format/format.h"

namespace plimsoll {

/// One tensor and how its bytes come about.
struct ConvertedTensor {
  /// Of a file, as they stand there; null for values that are given below.
  const InputFile* file = nullptr;
  std::uint64_t from = 0;          ///< in the file
  const Format* stored = nullptr;  ///< F32, F16 or BF16
  std::int64_t rows = 1;           ///< 1 for vectors
  std::int64_t columns = 0;
  bool is_vector = false;  ///< becomes F32
  float added = 0;         ///< to every value of a vector
  /// Rows (of a vector: values) of one attention head whose two halves are interleaved: row 2i + s
  /// is row s * head_rows / 2 + i of the file, for i from 0 to head_rows / 2, s 0 and 1. That turns
  /// RoPE over halves into RoPE over adjacent pairs. 0: as they stand.
  std::int64_t head_rows = 0;
  std::vector<float> values = {};  ///< of a vector without a file

  const Format& format() const;  ///< of what comes out
  Bytes bytes() const;           ///< of what comes out
};

/// Lays tensors out one after the other, apart from each other, so that the bytes of those that are
/// read as they stand keep their remainder by 4 KiB and direct I/O needs no copy.
class ConvertedTensors final : public ByteSource {
 public:
  /// Owns the files; `path` names the whole in messages.
  ConvertedTensors(std::string path, std::vector<std::unique_ptr<InputFile>> files);

  /// The place of a tensor in what is read. Its file must be one of this source's; its rows times
  /// columns values lie inside.
  std::uint64_t add(ConvertedTensor tensor);

  const std::string& path() const override { return path_; }
  std::vector<std::string> paths() const override;
  std::vector<FileStamp> stamps() const override;
  Bytes size() const override { return size_; }  ///< of all files
  void read(std::uint64_t offset, Bytes bytes, void* destination) const override;
  void check_unchanged() const override;

  std::size_t files() const { return files_.size(); }
  Bytes memory_bytes() const;

 private:
  struct Placed {
    std::uint64_t offset;
    Bytes bytes;
    ConvertedTensor tensor;
  };

  std::string path_;
  std::vector<std::unique_ptr<InputFile>> files_;
  Bytes size_ = 0;
  std::uint64_t end_ = 0;
  std::vector<Placed> placed_;  ///< by offset
};

}  // namespace plimsoll
