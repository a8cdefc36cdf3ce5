// How tensors are cut for their way through a worker's staging: into pieces of bounded size,
// however many rows there are and however wide they are.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/bytes.h"
#include "file/model_file.h"

namespace plimsoll {

/// A file's tensor, and the format that its rows are to have: in memory, or in another file. Blocks
/// of both divide the columns.
struct Conversion {
  const TensorInfo* info;
  const Format* format;

  bool is_as_in_file() const { return format == info->format; }
  /// Leading bits of the file's codes: nothing is rounded again.
  bool is_lowered() const { return is_level_of(*info->format, *format); }
  bool is_rounded() const { return !is_as_in_file() && !is_lowered(); }
};

/// Of `rows` rows from `row` on, the `columns` columns from `column` on.
struct Piece {
  std::int64_t row, rows;
  std::int64_t column, columns;
};

/// Columns that are staged together at most. A row is cut only where its numbers do not depend on
/// each other: every block is read, and plainly rounded, by itself. A multiple of 256.
constexpr std::int64_t most_piece_columns = 64 * 1024;

/// Rows of a tensor that are read together: a multiple of those that are rounded together, which
/// tiles of planes divide.
std::int64_t chunk_rows(const TensorInfo& info);

/// One tensor in pieces that lie one behind the other in a file.
class FilePieces {
 public:
  /// By what the file has of it.
  explicit FilePieces(const TensorInfo& info);
  /// So that what becomes of a piece stays bounded too. `needs_whole_rows`: rounding with error
  /// feedback, beside whose moments a few rows are little.
  FilePieces(const Conversion& conversion, bool needs_whole_rows);

  std::int64_t count() const;
  Piece operator[](std::int64_t i) const;
  /// At least as large as any, in both directions.
  Piece largest() const;

 private:
  FilePieces(const TensorInfo& info, std::int64_t rows_together);
  void cut_columns();

  std::int64_t rows_, columns_;              ///< of the tensor
  std::int64_t piece_rows_, piece_columns_;  ///< of each piece but the last ones
};

/// Bytes of page-aligned staging that reading a piece of so many rows and columns takes, whole
/// pages.
Bytes piece_staging_bytes(const Format& format, std::int64_t rows, std::int64_t columns);

/// Reads a piece into staging, row behind row. Whole rows go to the file's place within a page, so
/// that most of the read can go around the file cache. Returns the first. Throws as ModelFile::read
/// does.
const std::uint8_t* read_piece(const ModelFile& file, const TensorInfo& info, const Piece& piece,
                               std::byte* staging);

}  // namespace plimsoll
