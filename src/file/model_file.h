// A model: a GGUF file (versions 2 and 3), or a Hugging Face folder with safetensors files that is presented as the GGUF
// file that would be converted from it: same keys, same tensors, byte for byte. A GGUF file that is split over several
// is presented as the whole one, and one that another converter wrote in the layout of llama.cpp's
// (file/standard_layout.h). Its header is read and checked whole when
// opened; tensors are read later, by bounded ranges, without being mapped and without leaving pages in the kernel's file
// cache that were not there before.
// Specification: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "file/byte_source.h"
#include "file/header_bytes.h"
#include "file/metadata.h"
#include "format/format.h"

namespace plimsoll {

class InputFile;
class JoinedFiles;
struct GgufPart;

struct TensorInfo {
  std::string_view name;               ///< view into the header
  const Format* format;                ///< never null: unknown formats are refused at opening
  int rank;                            ///< 1 to 4
  std::array<std::int64_t, 4> shape;   ///< shape[0] is the contiguous one (columns); unused ones are 1
  std::uint64_t offset;                ///< from the start of the file, for ModelFile::read
  Bytes bytes;

  std::int64_t columns() const { return shape[0]; }
  std::int64_t rows() const { return shape[1] * shape[2] * shape[3]; }
};

class ModelFile {
 public:
  static constexpr Bytes any_room = HeaderBytes::limit;

  /// Of a GGUF file, or the first of several; of a folder with safetensors files, or a .safetensors file or index
  /// (.safetensors.index.json) in one; of a folder with one GGUF model.
  /// Throws Error: file_not_found (also for a part that is missing), file_unreadable (no model in the folder, permission,
  /// I/O), file_corrupt (magic, truncation, counts, offsets, overlaps), unsupported_version, unsupported_format,
  /// invalid_model (parts that do not belong together, or not the first); for folders also unsupported_model. Allocates
  /// no more than the files' sizes justify. `room`: bytes that headers and, in folders, descriptions may take; throws
  /// Error(budget_refused) before more is read.
  static ModelFile open(const std::string& path, Bytes room = any_room);
  ModelFile(ModelFile&&) noexcept;
  ModelFile& operator=(ModelFile&&) noexcept;
  ~ModelFile();

  const std::string& path() const;         ///< as it was given
  std::vector<std::string> files() const;  ///< paths of the files with tensors
  std::vector<FileStamp> stamps() const;   ///< of those, as they are now; throws Error(file_unreadable)
  Bytes size() const;          ///< of the file, or of all files with tensors
  Bytes header_bytes() const;  ///< held in memory for metadata and tensor table
  std::uint32_t version() const;         ///< of the GGUF format; 0 for folders
  const std::string& container() const;  ///< "GGUF version 3", "GGUF version 3 in 3 files", "safetensors in 2 files"
  const Metadata& metadata() const;
  std::span<const TensorInfo> tensors() const;  ///< in file order
  const TensorInfo* find_tensor(std::string_view name) const;

  /// Reads [offset, offset + bytes) of the file into `destination`. Thread-safe. Takes what the kernel has cached from
  /// there and the rest by direct I/O, which is fastest when offset, bytes and destination are multiples of 4 KiB.
  /// Throws Error(file_unreadable) on an I/O error and Error(file_corrupt) when the file has become shorter.
  void read(std::uint64_t offset, Bytes bytes, void* destination) const;

  /// Throws Error(file_corrupt) when a file is no longer what was opened. To be called when all has been read.
  void check_unchanged() const;

 private:
  struct State;
  /// `file` is what is read, `path` its name.
  static ModelFile open_gguf(const std::string& path, const std::string& file, Bytes room);
  static ModelFile open_folder(const std::string& path, Bytes room);
  /// Puts the tensors of all parts into `state`, which has those of the first.
  static std::unique_ptr<JoinedFiles> join_parts(State& state, const GgufPart& first,
                                                 std::unique_ptr<InputFile> input, Bytes room);

  explicit ModelFile(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace plimsoll
