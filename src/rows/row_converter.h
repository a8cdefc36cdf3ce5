// Rows of a file's tensor on their way into another format: read, decoded, checked and rounded
// through bounded staging, a few at a time, so that they stay in the caches on the way.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/threads.h"
#include "rows/pieces.h"
#include "rows/row_rounder.h"

namespace plimsoll {

/// Of one tensor, for one worker. Refers to its staging.
class RowConverter {
 public:
  /// Bytes of page-aligned staging for pieces of at most so many rows and columns, whole pages.
  static Bytes staging_bytes(const Conversion& conversion, std::int64_t rows, std::int64_t columns);

  /// With feedback, pieces have all columns.
  RowConverter(const Kernels& kernels, const ModelFile& file, const Conversion& conversion,
               std::int64_t rows, std::int64_t columns, std::byte* staging,
               const ColumnWeights& weights = {});

  /// The piece as the file has it, row behind row, valid until the next call. Throws as
  /// ModelFile::read does.
  const std::uint8_t* read(const Piece& piece);

  /// Shows what becomes of a piece that was read, in order: `rows` are `count` rows, from `row` on,
  /// of the piece's columns, as a file of the wanted format has them; valid during the call. As the
  /// file has them already: all at once, unchecked. Throws Error(invalid_weights) naming the tensor
  /// when a value is not finite.
  using Show = FunctionRef<void(std::int64_t row, std::int64_t count, const std::uint8_t* rows)>;
  void convert(const Piece& piece, const std::uint8_t* read, Show show);

 private:
  void decode(const std::uint8_t* rows, std::int64_t count) const;

  const Kernels& kernels_;
  const ModelFile& file_;
  Conversion conversion_;
  ColumnWeights weights_;
  std::byte* staging_;
  float* values_;       ///< of rows that are rounded together
  std::byte* scratch_;  ///< of the rounder
  std::uint8_t* room_;  ///< for these in the wanted format
};

}  // namespace plimsoll
