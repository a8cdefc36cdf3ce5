// Rows of a file on their way into another format: to f32, checked, rounded, a few at a time, so
// that what is staged stays in the caches and far below what is loaded.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/bytes.h"
#include "file/model_file.h"
#include "kernels/kernels.h"
#include "kernels/quantise.h"

namespace plimsoll {

/// True if all values are finite. `format` is dense.
bool all_finite(const Format& format, const void* values, std::int64_t count);

/// Throws Error(invalid_weights) for rows [begin, end) of a tensor.
[[noreturn]] void throw_not_finite(const TensorInfo& info, std::int64_t begin, std::int64_t end);

/// Rows of a tensor that are read at a time: a multiple of RowRounder::rows_together.
std::int64_t chunk_rows(const TensorInfo& info);

/// Bytes of staging that reading a chunk takes, whole pages.
Bytes chunk_staging_bytes(const TensorInfo& info);

/// Reads rows [begin, end), at most a chunk, into the page-aligned staging, at the file's place
/// within a page, so that most of the read can go around the file cache. Returns the first. Throws
/// as ModelFile::read does.
const std::uint8_t* read_chunk(const ModelFile& file, const TensorInfo& info, std::int64_t begin,
                               std::int64_t end, std::byte* staging);

/// Rounds rows of one tensor. One per worker; refers to its staging.
class RowRounder {
 public:
  static constexpr std::int64_t rows_together = quantise_rows_together;
  static_assert(rows_together % tile_rows == 0);

  /// Bytes of staging, a multiple of 64.
  static Bytes staging_bytes(const Format& target, std::int64_t columns);

  /// `columns` is a multiple of the blocks of both formats; `staging` has
  /// staging_bytes(target, columns), 64-byte aligned.
  RowRounder(const Kernels& kernels, const Format& source, const Format& target,
             std::int64_t columns, std::byte* staging);

  /// Rounds `count` rows, at most rows_together, as the source's file has them, into `out`: as a
  /// file of the target has them; a level of the source's codes takes their leading bits. What is
  /// beyond F16 becomes its largest value. False, with nothing
  /// written, if a value is not finite.
  bool round(const std::uint8_t* rows, std::int64_t count, std::uint8_t* out);

  /// Room in the staging for the result of one call.
  std::uint8_t* room() const { return room_; }

 private:
  void decode(const std::uint8_t* rows, std::int64_t count);

  const Kernels& kernels_;
  const Format& source_;
  const Format& target_;
  std::int64_t columns_;
  float* values_;   ///< [rows_together][columns]
  float* scratch_;  ///< of the kernel
  std::uint8_t* room_;
};

}  // namespace plimsoll
