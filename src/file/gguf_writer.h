// Writes GGUF version 3, atomically: a temporary file beside the target, fsync, rename.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "file/metadata.h"
#include "file/output_path.h"
#include "format/format.h"

namespace plimsoll {

/// Collects metadata and tensor declarations, then streams tensor data in declaration order. The target appears, whole,
/// only when finish() returns; destruction without finish() removes the temporary file. Tensor data are aligned to 32
/// bytes, or to the value of "general.alignment" where that is added. Misuse (a key or tensor twice, a value that does not
/// fit its type, data beyond the last tensor) throws Error(internal).
class GgufWriter {
 public:
  /// Throws Error(write_failed) when no file can be made in the target's folder.
  explicit GgufWriter(OutputPath path);
  ~GgufWriter();
  GgufWriter(const GgufWriter&) = delete;
  GgufWriter& operator=(const GgufWriter&) = delete;

  void add_integer(std::string_view key, std::int64_t value, MetadataType type = MetadataType::u32);
  void add_number(std::string_view key, double value, MetadataType type = MetadataType::f32);
  void add_bool(std::string_view key, bool value);
  void add_string(std::string_view key, std::string_view value);
  void add_strings(std::string_view key, std::span<const std::string> values);
  void add_integers(std::string_view key, std::span<const std::int32_t> values);
  void add_numbers(std::string_view key, std::span<const float> values);
  void add_value(std::string_view key, const MetadataValue& value);  ///< copies one from another file

  /// shape[0] is the contiguous dimension and a multiple of the format's block.
  void add_tensor(std::string_view name, const Format& format, std::span<const std::int64_t> shape);

  /// What a tensor's declaration takes of the header.
  static Bytes declaration_bytes(std::string_view name, int rank);
  /// Of the file before its tensors' data, with `declarations` still to come.
  Bytes header_bytes(Bytes declarations) const;

  /// Data of the declared tensors in order, in any pieces. The first call writes the header.
  /// Throws Error(write_failed) (not writable, disk full); the target is then unchanged.
  void write(std::span<const std::uint8_t> data);
  /// Throws Error(write_failed), or Error(internal) when data is missing.
  void finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace plimsoll
