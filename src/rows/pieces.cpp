#include "rows/pieces.h"

#include <algorithm>

#include "base/region.h"
#include "kernels/quantise.h"

namespace plimsoll {
namespace {

/// Of file data read at a time by one worker: large enough for full disk speed; in small tensors a
/// part of them, so that staging stays small beside what is loaded.
constexpr Bytes most_chunk_bytes = 2 * MiB;
/// The same of file data with what becomes of it in another file: rounding takes longer than reading, and whatever the
/// format, staging is the same.
constexpr Bytes most_converted_bytes = 1 * MiB;
constexpr Bytes least_chunks = 8;
/// Codebooks are searched row by row, which takes long: smaller pieces keep all workers busy.
constexpr std::int64_t codebook_rows = 16;

/// Rows of so many bytes that are taken together.
std::int64_t rows_of_chunk(Bytes row, std::int64_t rows, Bytes most = most_chunk_bytes) {
  constexpr std::int64_t step = quantise_rows_together;
  const Bytes step_bytes = row * static_cast<Bytes>(step);
  const Bytes all = row * static_cast<Bytes>(rows);
  const auto steps =
      static_cast<std::int64_t>(std::min(most, all / least_chunks) / step_bytes);
  return std::max<std::int64_t>(steps, 1) * step;
}

std::int64_t divided(std::int64_t count, std::int64_t by) { return (count + by - 1) / by; }

}  // namespace

std::int64_t chunk_rows(const TensorInfo& info) {
  return rows_of_chunk(row_bytes(*info.format, info.columns()), info.rows());
}

FilePieces::FilePieces(const TensorInfo& info, std::int64_t rows_together)
    : rows_(info.rows()),
      columns_(info.columns()),
      piece_rows_(rows_together),
      piece_columns_(info.columns()) {}

FilePieces::FilePieces(const TensorInfo& info) : FilePieces(info, chunk_rows(info)) {
  cut_columns();
}

FilePieces::FilePieces(const Conversion& conversion, bool needs_whole_rows)
    : FilePieces(*conversion.info, 0) {
  const Bytes read = row_bytes(*conversion.info->format, columns_),
              written = row_bytes(*conversion.format, columns_);
  piece_rows_ = conversion.is_as_in_file() ? rows_of_chunk(read, rows_)
                                           : rows_of_chunk(read + written, rows_, most_converted_bytes);
  if (conversion.is_rounded() && conversion.format->encode_weighted) piece_rows_ = codebook_rows;
  if (!needs_whole_rows) cut_columns();
}

void FilePieces::cut_columns() {
  if (columns_ <= most_piece_columns) return;
  piece_rows_ = 1;
  piece_columns_ = most_piece_columns;
}

std::int64_t FilePieces::count() const {
  return divided(rows_, piece_rows_) * divided(columns_, piece_columns_);
}

Piece FilePieces::operator[](std::int64_t i) const {
  const std::int64_t across = divided(columns_, piece_columns_);
  const std::int64_t row = i / across * piece_rows_, column = i % across * piece_columns_;
  return {row, std::min(piece_rows_, rows_ - row), column,
          std::min(piece_columns_, columns_ - column)};
}

Piece FilePieces::largest() const { return {0, std::min(piece_rows_, rows_), 0, piece_columns_}; }

Bytes piece_staging_bytes(const Format& format, std::int64_t rows, std::int64_t columns) {
  return round_up(static_cast<Bytes>(rows) * row_bytes(format, columns) + page_bytes, page_bytes);
}

const std::uint8_t* read_piece(const ModelFile& file, const TensorInfo& info, const Piece& piece,
                               std::byte* staging) {
  const Bytes row = row_bytes(*info.format, info.columns());
  const std::uint64_t from =
      info.offset + static_cast<Bytes>(piece.row) * row + row_bytes(*info.format, piece.column);
  std::byte* const target = staging + from % page_bytes;
  if (piece.columns == info.columns()) {
    file.read(from, static_cast<Bytes>(piece.rows) * row, target);
  } else {
    const Bytes part = row_bytes(*info.format, piece.columns);
    for (Bytes r = 0; r < static_cast<Bytes>(piece.rows); ++r)
      file.read(from + r * row, part, target + r * part);
  }
  return reinterpret_cast<const std::uint8_t*>(target);
}

}  // namespace plimsoll
