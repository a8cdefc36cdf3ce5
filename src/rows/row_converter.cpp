#include "rows/row_converter.h"

#include <algorithm>

#include "base/region.h"

namespace plimsoll {
namespace {

constexpr std::int64_t rows_together = RowRounder::rows_together;
constexpr Bytes alignment = 64;

/// Of a piece of so many rows, those that are rounded together, as f32.
Bytes value_bytes(std::int64_t rows, std::int64_t columns) {
  return round_up(static_cast<Bytes>(std::min(rows, rows_together) * columns) * sizeof(float),
                  alignment);
}

}  // namespace

Bytes RowConverter::staging_bytes(const Conversion& conversion, std::int64_t rows,
                                  std::int64_t columns) {
  const Bytes read = piece_staging_bytes(*conversion.info->format, rows, columns);
  if (conversion.is_as_in_file()) return read;
  const Format& to = *conversion.format;
  const Bytes room = round_up(
      static_cast<Bytes>(std::min(rows, rows_together)) * row_bytes(to, columns), alignment);
  return read + round_up(value_bytes(rows, columns) + RowRounder::scratch_bytes(to, columns) + room,
                         page_bytes);
}

RowConverter::RowConverter(const Kernels& kernels, const ModelFile& file,
                           const Conversion& conversion, std::int64_t rows, std::int64_t columns,
                           std::byte* staging, const ColumnWeights& weights)
    : kernels_(kernels),
      file_(file),
      conversion_(conversion),
      weights_(weights),
      staging_(staging) {
  std::byte* const values = staging + piece_staging_bytes(*conversion.info->format, rows, columns);
  values_ = reinterpret_cast<float*>(values);
  scratch_ = values + value_bytes(rows, columns);
  room_ = reinterpret_cast<std::uint8_t*>(scratch_ +
                                          RowRounder::scratch_bytes(*conversion.format, columns));
}

const std::uint8_t* RowConverter::read(const Piece& piece) {
  return read_piece(file_, *conversion_.info, piece, staging_);
}

void RowConverter::decode(const std::uint8_t* rows, std::int64_t count) const {
  const Format& from = *conversion_.info->format;
  if (from.id == FormatId::F16)
    kernels_.float_from_half(reinterpret_cast<const std::uint16_t*>(rows), count, values_);
  else
    from.decode(rows, values_, count / from.block_values);
}

void RowConverter::convert(const Piece& piece, const std::uint8_t* read, Show show) {
  if (conversion_.is_as_in_file()) return show(piece.row, piece.rows, read);
  const Format &from = *conversion_.info->format, &to = *conversion_.format;
  const Bytes row = row_bytes(from, piece.columns);
  const RowRounder rounder(kernels_, to, piece.columns, weights_, scratch_);
  for (std::int64_t at = 0; at < piece.rows; at += rows_together) {
    const std::int64_t rows = std::min(rows_together, piece.rows - at);
    const std::int64_t count = rows * piece.columns;
    const std::uint8_t* const source = read + static_cast<Bytes>(at) * row;
    decode(source, count);
    if (!all_finite(format(FormatId::F32), values_, count))
      throw_not_finite(*conversion_.info, piece.row + at, piece.row + at + rows);
    if (conversion_.is_lowered())
      lower(from, to, source, room_, count / from.block_values);
    else
      rounder.round(values_, rows, room_);
    show(piece.row + at, rows, room_);
  }
}

}  // namespace plimsoll
