// The one layout inside: a quantised matrix as digit planes and scale planes. Importing a file's
// blocks is exact; planes can be dropped and restored by row range while the rest stays in use. See
// plane_view.h for the layout and docs/decisions/planes.md for why.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/ledger.h"
#include "base/region.h"
#include "format/format.h"
#include "planes/plane_view.h"

namespace plimsoll {

/// The leading `level` bits of a layout's codes as a table: each centroid is the mean of the values
/// that share them.
LevelTable make_level_table(const CodeLayout& layout, int level);

class PlaneTensor {
 public:
  /// Bytes that a tensor holds at full level, as the Ledger counts them (whole pages). At a lower
  /// one it holds as many as a layout with so many bits.
  static Bytes memory_bytes(const CodeLayout& layout, std::int64_t rows, std::int64_t columns);

  PlaneTensor() = default;
  /// Reserves and maps the planes up to `level`; values are unspecified until imported. `format` is
  /// of Kind::coded, columns a multiple of its block; with a grid it has one level. Throws as
  /// Ledger::reserve does. With a `space`, what is there at once has its addresses from it.
  PlaneTensor(Ledger& ledger, const Format& format, std::int64_t rows, std::int64_t columns,
              int level, RegionSpace* space = nullptr);
  PlaneTensor(Ledger& ledger, const Format& format, std::int64_t rows, std::int64_t columns)
      : PlaneTensor(ledger, format, rows, columns, format.layout.bits) {}

  const Format& format() const { return *format_; }
  std::int64_t rows() const { return rows_; }
  std::int64_t columns() const { return columns_; }
  Bytes bytes() const;  ///< held now, as the Ledger counts them

  /// Takes `row_count` file rows from row_begin on (a multiple of 16; row_count too, unless they
  /// are the last rows) apart into the planes. `blocks` holds them as the file does. Planes above a
  /// tile row's level are skipped. Safe to call from several threads for rows of different tiles.
  /// Returns false if a scale or min was NaN or infinite (imported all the same).
  bool import_rows(const std::uint8_t* blocks, std::int64_t row_begin, std::int64_t row_count) {
    return import_rows(blocks, row_begin, row_count, 0, columns_);
  }
  /// The same for some columns of these rows, from column_begin on (a multiple of 256; column_count
  /// too, unless they are the last columns): `blocks` holds nothing else of each row.
  bool import_rows(const std::uint8_t* blocks, std::int64_t row_begin, std::int64_t row_count,
                   std::int64_t column_begin, std::int64_t column_count);

  /// Drops the planes above `level` (2, 3, 4, 5, 6 or 8 bits, at most the format's) of tile rows
  /// [begin, end): their whole pages go back to the kernel and the Ledger. Returns the bytes given
  /// back. Not while a kernel reads the tensor. Points of a grid have nothing to drop: they stay.
  Bytes drop(int level, std::int64_t tile_row_begin, std::int64_t tile_row_end);
  /// Makes room for the planes up to `level` again; their rows must be imported before use. Throws
  /// as Ledger::reserve does, and then nothing has changed.
  void restore(int level, std::int64_t tile_row_begin, std::int64_t tile_row_end);
  int level(std::int64_t tile_row) const { return levels_[static_cast<std::size_t>(tile_row)]; }

  /// The f32 values of one row at its present level: [columns].
  void dequantise_row(std::int64_t row, float* values) const;

  /// Memory that a product reads at the present levels.
  void append_spans(std::vector<std::span<const std::byte>>& spans) const;

  /// Valid as long as the tensor stays where it is.
  const PlaneView& view() const { return view_; }

 private:
  Bytes plane_row_bytes(int plane) const;
  bool holds(std::int64_t tile_row, int plane) const;

  const Format* format_ = nullptr;
  std::int64_t rows_ = 0;
  std::int64_t columns_ = 0;
  Region planes_[digit_planes];  ///< digit planes; or points, marks and high bits
  Region scales_;                ///< scales, mins, super scales, super mins, each 64-byte aligned
  std::vector<std::uint8_t> levels_;
  PlaneView view_{};
};

}  // namespace plimsoll
