#include "planes/planes.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "format/half.h"

namespace plimsoll {
namespace {

constexpr int plane_lines[digit_planes] = {2, 1, 1, 1, 1, 2};
constexpr int line_bytes = 64;

/// Planes of a grid, in place of the first digit planes.
enum GridPlane { points_plane, marks_plane, high_bits_plane };

int plane_count(const CodeLayout& layout) {
  if (!layout.grid) return planes_of_level(layout.bits);
  return layout.grid->bits > 8 ? high_bits_plane + 1 : high_bits_plane;
}

/// What a tile takes in a plane.
Bytes tile_bytes(const CodeLayout& layout, int plane) {
  if (!layout.grid) return static_cast<Bytes>(plane_lines[plane] * line_bytes);
  return static_cast<Bytes>(plane == points_plane  ? points_per_tile(*layout.grid)
                            : plane == marks_plane ? mark_bytes_per_tile(*layout.grid)
                                                   : high_bytes_per_tile(*layout.grid));
}

/// Where the parts of the scale region begin, and its size.
struct ScaleLayout {
  int groups_per_tile;  // 0 with ScaleKind::none
  int scale_bits;       // of one group scale
  int min_bytes;        // of one group min, 0 where mins sit in the scale or are absent
  Bytes mins_offset, super_scales_offset, super_mins_offset, bytes;
};

ScaleLayout scale_layout(const CodeLayout& layout, std::int64_t rows, std::int64_t columns) {
  const Bytes tile_row_count = static_cast<Bytes>((rows + tile_rows - 1) / tile_rows);
  const Bytes tiles = tile_row_count * static_cast<Bytes>(columns / tile_columns);
  ScaleLayout result{};
  result.groups_per_tile = layout.scale == ScaleKind::none ? 0 : tile_columns / layout.scale_width;
  result.scale_bits = layout.scale == ScaleKind::f16 ? 16 : layout.scale == ScaleKind::odd4 ? 4 : 8;
  result.min_bytes = !layout.has_min || layout.scale == ScaleKind::u4 ? 0
                     : layout.has_super                               ? 1
                                                                      : 2;
  const Bytes groups = tiles * static_cast<Bytes>(result.groups_per_tile) * tile_rows;
  const Bytes supers =
      layout.has_super ? tile_row_count * static_cast<Bytes>(columns / 256) * tile_rows : 0;
  result.mins_offset = round_up(groups * static_cast<Bytes>(result.scale_bits) / 8, line_bytes);
  result.super_scales_offset =
      round_up(result.mins_offset + groups * static_cast<Bytes>(result.min_bytes), line_bytes);
  result.super_mins_offset = round_up(result.super_scales_offset + supers * 2, line_bytes);
  result.bytes = result.super_mins_offset + (layout.has_min ? supers * 2 : 0);
  return result;
}

Bytes plane_bytes(const CodeLayout& layout, int plane, std::int64_t rows, std::int64_t columns) {
  return static_cast<Bytes>((rows + tile_rows - 1) / tile_rows) *
         static_cast<Bytes>(columns / tile_columns) * tile_bytes(layout, plane);
}

/// Of a group of a lane's columns, counted over the whole tensor: the place of its scale, in
/// units of a scale or, of two scales that share a byte, in bytes.
std::int64_t scale_place(const ScaleLayout& layout, std::int64_t group, int lane) {
  return (layout.scale_bits == 4 ? group / 2 : group) * tile_rows + lane;
}

/// The 16 x 32 codes of one tile as the eight lines of dot steps, eight bytes to a word: what is
/// masked to a few bits of each byte can be shifted within the word, which every processor does to
/// many words at once.
struct TileLines {
  static constexpr int words = line_bytes / 8;
  alignas(64) std::uint64_t step[8][words];
};

/// Two bits of every code, from `shift` up, to a plane of pairs.
inline void pack_pairs(const TileLines& lines, int shift, std::uint8_t* out) {
  constexpr std::uint64_t pair_of_each_byte = 0x0303030303030303;
  std::uint64_t packed[2][TileLines::words] = {};
  for (int j = 0; j < 8; ++j)
    for (int i = 0; i < TileLines::words; ++i)
      packed[j & 1][i] |= (lines.step[j][i] >> shift & pair_of_each_byte) << (j & ~1);
  std::memcpy(out, packed, sizeof packed);
}

/// One bit of every code to a plane of bits.
inline void pack_bits(const TileLines& lines, int shift, std::uint8_t* out) {
  constexpr std::uint64_t bit_of_each_byte = 0x0101010101010101;
  std::uint64_t packed[TileLines::words] = {};
  for (int j = 0; j < 8; ++j)
    for (int i = 0; i < TileLines::words; ++i)
      packed[i] |= (lines.step[j][i] >> shift & bit_of_each_byte) << j;
  std::memcpy(out, packed, sizeof packed);
}

/// Where a tile goes in the planes of a grid.
struct GridTile {
  std::uint8_t *points, *marks, *high_bits;
};

/// The low bytes of four numbers of 16 bits, side by side.
inline std::uint32_t low_bytes(std::uint64_t four) {
  four &= 0x00ff00ff00ff00ff;
  four = (four | four >> 8) & 0x0000ffff0000ffff;
  return static_cast<std::uint32_t>(four | four >> 16);
}
/// Their lowest bits: the factor's four bits bring them next to each other, and no two terms of the
/// product to the same place.
inline std::uint64_t lowest_bits(std::uint64_t four) {
  return (four & 0x0001000100010001) * 0x0001000200040008 >> 48 & 15;
}

/// A tile's points, from the `first`th of each row.
void pack_points(const PointGrid& grid, const std::uint16_t (&points)[tile_rows][64], int first,
                 const GridTile& out) {
  const int point_lines = points_per_tile(grid) / line_bytes;
  for (int line = 0; line < point_lines; ++line) {
    std::uint64_t maps[3] = {};
    for (int row = 0; row < tile_rows; ++row) {
      std::uint64_t four;
      std::memcpy(&four, &points[row][first + 4 * line], sizeof four);
      const std::uint32_t low = low_bytes(four);
      std::memcpy(out.points + line * line_bytes + 4 * row, &low, sizeof low);
      for (int bit = 8; bit < grid.bits; ++bit)
        maps[bit - 8] |= lowest_bits(four >> bit) << 4 * row;
    }
    for (int bit = 8; bit < grid.bits; ++bit)
      std::memcpy(out.high_bits + ((bit - 8) * point_lines + line) * 8, &maps[bit - 8], 8);
  }
}

/// Marks of a tile's columns, or of its points: those of their first columns.
void pack_marks(const PointGrid& grid, const TileLines& lines, const GridTile& out) {
  if (!grid.marks_points) return pack_bits(lines, mark_bit, out.marks);
  for (int line = 0; line < points_per_tile(grid) / line_bytes; ++line) {
    std::uint64_t map = 0;
    for (int row = 0; row < tile_rows; ++row)
      for (int p = 0; p < 4; ++p) {
        const std::uint64_t codes = lines.step[(4 * line + p) * grid.coordinates / 4][row / 2];
        map |= (codes >> (row % 2 * 32 + mark_bit) & 1) << (4 * row + p);
      }
    std::memcpy(out.marks + line * 8, &map, sizeof map);
  }
}

/// The code of a tile's row and column.
int code_of_point(const PlaneView& view, std::int64_t tile, int row, int column) {
  const PointGrid& grid = *view.grid;
  const int points = points_per_tile(grid), p = column / grid.coordinates;
  const int n = p / 4 * line_bytes + 4 * row + p % 4;
  const auto bit = [](const std::uint8_t* map, int at) { return map[at / 8] >> at % 8 & 1; };
  int point = view.points[tile * points + n];
  for (int b = 8; b < grid.bits; ++b)
    point |= bit(view.high_bits + tile * high_bytes_per_tile(grid), (b - 8) * points + n) << b;
  const std::uint8_t* marks = view.marks + tile * mark_bytes_per_tile(grid);
  const int mark =
      grid.marks_points ? bit(marks, n) : marks[4 * row + column % 4] >> column / 4 & 1;
  return grid.levels[point * grid.coordinates + column % grid.coordinates] | mark << mark_bit;
}

}  // namespace

LevelTable make_level_table(const CodeLayout& layout, int level) {
  LevelTable table{};
  table.unit = layout.unit;
  const int dropped = layout.bits - level;
  const int codes = 1 << level, children = 1 << dropped;
  if (level == 8) {
    table.zero = -*std::min_element(layout.values, layout.values + 256);
    table.identity = true;
    for (int i = 0; i < 64; ++i) {
      table.centroid[i] = static_cast<std::uint8_t>(layout.values[16 * (i % 16)] + table.zero);
      table.identity &= table.centroid[i] == 16 * (i % 16);
    }
    return table;
  }
  double mean[64], low = 1e9, high = -1e9;
  for (int code = 0; code < codes; ++code) {
    double sum = 0;
    for (int child = 0; child < children; ++child) sum += layout.values[code << dropped | child];
    mean[code] = sum / children;
    low = std::min(low, mean[code]);
    high = std::max(high, mean[code]);
  }
  // The finest power of two up to the children's own step that fits a byte, so that full levels are
  // exact and means of a few children too.
  double steps_per_value = children;
  while (steps_per_value > 1 && (high - low) * steps_per_value > 127) steps_per_value /= 2;
  // Halves go up: values that are equally far apart stay so.
  const auto scaled = [&](double value) {
    return static_cast<int>(std::floor(value * steps_per_value + 0.5));
  };
  table.unit = layout.unit * static_cast<float>(1 / steps_per_value);
  // Codes that count up from the least value need no look-up.
  table.zero = -scaled(low);
  table.identity = true;
  for (int code = 0; code < codes; ++code) {
    table.centroid[code] = static_cast<std::uint8_t>(scaled(mean[code]) + table.zero);
    table.identity &= table.centroid[code] == code;
  }
  for (int i = codes; i < 64; ++i) table.centroid[i] = table.centroid[i % codes];
  return table;
}

Bytes PlaneTensor::memory_bytes(const CodeLayout& layout, std::int64_t rows, std::int64_t columns) {
  Bytes total = round_up(scale_layout(layout, rows, columns).bytes, page_bytes);
  for (int plane = 0; plane < plane_count(layout); ++plane)
    total += round_up(plane_bytes(layout, plane, rows, columns), page_bytes);
  return total;
}

PlaneTensor::PlaneTensor(Ledger& ledger, const Format& file_format, std::int64_t rows,
                         std::int64_t columns, int level, RegionSpace* space)
    : format_(&file_format), rows_(rows), columns_(columns) {
  assert(file_format.kind == Format::Kind::coded && columns % file_format.block_values == 0);
  const CodeLayout& layout = file_format.layout;
  view_.rows = rows;
  view_.columns = columns;
  view_.bits = layout.bits;
  view_.scale_kind = layout.scale;
  view_.scale_width = layout.scale_width;
  view_.has_min = layout.has_min;
  view_.has_super = layout.has_super;
  view_.grid = layout.grid;
  assert(!layout.grid || level == layout.bits);
  const auto region = [&](Bytes bytes) {
    return space ? Region(ledger, Account::weights, bytes, *space)
                 : Region(ledger, Account::weights, bytes);
  };
  for (int plane = 0; plane < plane_count(layout); ++plane) {
    const Bytes bytes_of_plane = plane_bytes(layout, plane, rows, columns);
    planes_[plane] = layout.grid || level_after_plane[plane] <= level
                         ? region(bytes_of_plane)
                         : Region::without_pages(ledger, Account::weights, bytes_of_plane);
  }
  if (layout.grid) {
    view_.points = planes_[points_plane].as<std::uint8_t>();
    view_.marks = planes_[marks_plane].as<std::uint8_t>();
    view_.high_bits = planes_[high_bits_plane].as<std::uint8_t>();
    view_.tables[plane_index(level)] = make_level_table(layout, level);
  } else {
    for (int plane = 0; plane < plane_count(layout); ++plane) {
      view_.digits[plane] = planes_[plane].as<std::uint8_t>();
      view_.tables[plane] = make_level_table(layout, level_after_plane[plane]);
    }
  }
  const ScaleLayout parts = scale_layout(layout, rows, columns);
  scales_ = region(parts.bytes);
  view_.scales = scales_.as<std::uint8_t>();
  if (parts.min_bytes) view_.mins = scales_.as<std::uint8_t>() + parts.mins_offset;
  if (layout.has_super) {
    view_.super_scales = reinterpret_cast<const std::uint16_t*>(scales_.as<std::uint8_t>() +
                                                                parts.super_scales_offset);
    if (layout.has_min)
      view_.super_mins = reinterpret_cast<const std::uint16_t*>(scales_.as<std::uint8_t>() +
                                                                parts.super_mins_offset);
  }
  levels_.assign(static_cast<std::size_t>(view_.tile_row_count()),
                 static_cast<std::uint8_t>(level));
  view_.levels = levels_.data();
}

Bytes PlaneTensor::plane_row_bytes(int plane) const {
  return static_cast<Bytes>(view_.tiles_per_row()) * tile_bytes(format_->layout, plane);
}

bool PlaneTensor::holds(std::int64_t tile_row, int plane) const {
  return view_.grid || plane < planes_of_level(level(tile_row));
}

Bytes PlaneTensor::bytes() const {
  Bytes total = scales_.size();
  const std::int64_t count = view_.tile_row_count();
  for (int plane = 0; plane < plane_count(format_->layout); ++plane) {
    total += planes_[plane].size();
    // Whole pages inside every run of tile rows that lack this plane have been given back.
    for (std::int64_t begin = 0; begin < count;) {
      std::int64_t end = begin;
      while (end < count && !holds(end, plane)) ++end;
      if (end == begin) {
        ++begin;
        continue;
      }
      const Bytes row = plane_row_bytes(plane);
      const Bytes first = round_up(static_cast<Bytes>(begin) * row, page_bytes);
      const Bytes last = end == count ? planes_[plane].size()
                                      : round_down(static_cast<Bytes>(end) * row, page_bytes);
      if (last > first) total -= last - first;
      begin = end;
    }
  }
  return total;
}

bool PlaneTensor::import_rows(const std::uint8_t* blocks, std::int64_t row_begin,
                              std::int64_t row_count, std::int64_t column_begin,
                              std::int64_t column_count) {
  assert(row_begin % tile_rows == 0 && row_begin + row_count <= rows_);
  assert(row_count % tile_rows == 0 || row_begin + row_count == rows_);
  assert(column_begin % 256 == 0 && column_begin + column_count <= columns_);
  assert(column_count % 256 == 0 || column_begin + column_count == columns_);
  const CodeLayout& layout = format_->layout;
  const ScaleLayout scale = scale_layout(layout, rows_, columns_);
  const Bytes file_row_bytes = row_bytes(*format_, column_count);
  const std::int64_t column_end = column_begin + column_count;
  const std::int64_t tiles_per_row = view_.tiles_per_row();
  // One stretch of 256 columns (or the block, where that is smaller and the row is not a multiple
  // of 256) at a time.
  const int stretch = columns_ % 256 == 0 ? 256 : format_->block_values;
  const int blocks_per_stretch = stretch / format_->block_values;
  const int groups_per_block =
      scale.groups_per_tile ? format_->block_values / layout.scale_width : 0;
  std::uint8_t* const scales = scales_.as<std::uint8_t>();
  std::uint8_t* const mins = scales + scale.mins_offset;
  auto* const super_scales = reinterpret_cast<std::uint16_t*>(scales + scale.super_scales_offset);
  auto* const super_mins = reinterpret_cast<std::uint16_t*>(scales + scale.super_mins_offset);

  BlockParts parts[8];
  alignas(64) std::uint8_t codes[tile_rows][256];
  std::uint16_t points[tile_rows][64] = {};
  TileLines lines;
  bool finite = true;
  const auto check = [&finite](std::uint16_t half) { finite &= (half & 0x7c00) != 0x7c00; };
  for (std::int64_t tile_row = row_begin / tile_rows; tile_row * tile_rows < row_begin + row_count;
       ++tile_row) {
    const int present = static_cast<int>(
        std::min<std::int64_t>(tile_rows, row_begin + row_count - tile_row * tile_rows));
    const int planes = planes_of_level(level(tile_row));
    if (present < tile_rows) {  // rows past the last: code 0, (super) scale 0
      std::memset(codes, 0, sizeof codes);
      std::memset(points, 0, sizeof points);
    }
    for (std::int64_t column = column_begin; column < column_end; column += stretch) {
      const std::int64_t first_tile = tile_row * tiles_per_row + column / tile_columns;
      for (int row = 0; row < present; ++row) {
        const std::uint8_t* source =
            blocks + static_cast<Bytes>(tile_row * tile_rows + row - row_begin) * file_row_bytes +
            row_bytes(*format_, column - column_begin);
        format_->split(source, parts, blocks_per_stretch);
        for (int block = 0; block < blocks_per_stretch; ++block) {
          std::memcpy(&codes[row][block * format_->block_values], parts[block].codes,
                      static_cast<std::size_t>(format_->block_values));
          for (int group = 0; group < groups_per_block; ++group) {
            const std::int64_t at =
                first_tile * scale.groups_per_tile + block * groups_per_block + group;
            const std::int64_t place = scale_place(scale, at, row);
            if (scale.scale_bits == 16) {
              std::memcpy(scales + 2 * place, &parts[block].scales[group], 2);
              check(parts[block].scales[group]);
            } else if (scale.scale_bits == 4) {
              const int first = at % 2 == 0 ? parts[block].scales[group] : scales[place] & 15;
              const int second = at % 2 == 0 ? 0 : parts[block].scales[group];
              scales[place] = static_cast<std::uint8_t>(first | second << 4);
            } else {
              scales[place] = static_cast<std::uint8_t>(parts[block].scales[group]);
            }
            if (scale.min_bytes == 2) {
              std::memcpy(mins + 2 * place, &parts[block].mins[group], 2);
              check(parts[block].mins[group]);
            } else if (scale.min_bytes == 1)
              mins[place] = static_cast<std::uint8_t>(parts[block].mins[group]);
          }
        }
        if (layout.grid) std::memcpy(points[row], parts[0].points, sizeof points[row]);
        if (layout.has_super) {
          const std::int64_t place = (tile_row * (columns_ / 256) + column / 256) * tile_rows + row;
          super_scales[place] = parts[0].super_scale;
          check(parts[0].super_scale);
          if (layout.has_min) {
            super_mins[place] = parts[0].super_min;
            check(parts[0].super_min);
          }
        }
      }
      for (int tile = 0; tile < stretch / tile_columns; ++tile) {
        // Rows become columns of the lines: four codes of a row are half a word.
        for (int row = 0; row < tile_rows; row += 2)
          for (int j = 0; j < 8; ++j) {
            std::uint32_t even, odd;
            std::memcpy(&even, &codes[row][tile * tile_columns + 4 * j], 4);
            std::memcpy(&odd, &codes[row + 1][tile * tile_columns + 4 * j], 4);
            lines.step[j][row / 2] = even | static_cast<std::uint64_t>(odd) << 32;
          }
        if (layout.grid) {
          const PointGrid& grid = *layout.grid;
          const auto place = [&](int plane) {
            return planes_[plane].as<std::uint8_t>() +
                   static_cast<Bytes>(first_tile + tile) * tile_bytes(layout, plane);
          };
          const GridTile out{place(points_plane), place(marks_plane), place(high_bits_plane)};
          pack_points(grid, points, tile * tile_columns / grid.coordinates, out);
          pack_marks(grid, lines, out);
          continue;
        }
        int place = layout.bits;  // bits not yet stored
        for (int plane = 0; plane < planes; ++plane) {
          place -= plane_bits[plane];
          std::uint8_t* out = planes_[plane].as<std::uint8_t>() +
                              (first_tile + tile) * plane_lines[plane] * line_bytes;
          if (plane_bits[plane] == 2)
            pack_pairs(lines, place, out);
          else
            pack_bits(lines, place, out);
        }
      }
    }
  }
  return finite;
}

Bytes PlaneTensor::drop(int to_level, std::int64_t tile_row_begin, std::int64_t tile_row_end) {
  assert(planes_of_level(to_level) > 0 && to_level <= view_.bits);
  assert(0 <= tile_row_begin && tile_row_begin <= tile_row_end &&
         tile_row_end <= view_.tile_row_count());
  if (view_.grid) return 0;
  const Bytes before = bytes();
  for (std::int64_t t = tile_row_begin; t < tile_row_end; ++t) {
    auto& level_of_row = levels_[static_cast<std::size_t>(t)];
    level_of_row = std::min(level_of_row, static_cast<std::uint8_t>(to_level));
  }
  // Neighbours may have lost the same plane before: pages that straddled the border are free now
  // too.
  for (int plane = planes_of_level(to_level); plane < planes_of_level(view_.bits); ++plane) {
    std::int64_t begin = tile_row_begin, end = tile_row_end;
    while (begin > 0 && planes_of_level(level(begin - 1)) <= plane) --begin;
    while (end < view_.tile_row_count() && planes_of_level(level(end)) <= plane) ++end;
    const Bytes row = plane_row_bytes(plane);
    const Bytes first = static_cast<Bytes>(begin) * row;
    const Bytes last =
        end == view_.tile_row_count() ? planes_[plane].size() : static_cast<Bytes>(end) * row;
    planes_[plane].give_back(first, last - first);
  }
  return before - bytes();
}

void PlaneTensor::restore(int to_level, std::int64_t tile_row_begin, std::int64_t tile_row_end) {
  assert(planes_of_level(to_level) > 0 && to_level <= view_.bits);
  if (view_.grid) return;
  const auto range = [&](int p) {
    const Bytes row = plane_row_bytes(p);
    // Outwards to whole pages: a page at the border may have been given back as part of a longer
    // run.
    const Bytes first = round_down(static_cast<Bytes>(tile_row_begin) * row, page_bytes);
    const Bytes last =
        std::min(planes_[p].size(), round_up(static_cast<Bytes>(tile_row_end) * row, page_bytes));
    return std::pair{first, last - first};
  };
  try {
    for (int plane = 0; plane < planes_of_level(to_level); ++plane)
      planes_[plane].take_back(range(plane).first, range(plane).second);
  } catch (...) {
    // What was taken for nothing goes back: dropping to the present levels again frees it.
    for (std::int64_t t = tile_row_begin; t < tile_row_end; ++t) drop(level(t), t, t + 1);
    throw;
  }
  for (std::int64_t t = tile_row_begin; t < tile_row_end; ++t) {
    auto& level_of_row = levels_[static_cast<std::size_t>(t)];
    level_of_row = std::max(level_of_row, static_cast<std::uint8_t>(to_level));
  }
}

void PlaneTensor::append_spans(std::vector<std::span<const std::byte>>& spans) const {
  const auto count = static_cast<std::int64_t>(levels_.size());
  for (int plane = 0; plane < plane_count(format_->layout); ++plane) {
    const Bytes row_bytes = plane_row_bytes(plane);
    for (std::int64_t row = 0; row < count;) {
      std::int64_t end = row;
      while (end < count && holds(end, plane)) ++end;
      if (end > row)
        spans.push_back({planes_[plane].data() + static_cast<Bytes>(row) * row_bytes,
                         static_cast<Bytes>(end - row) * row_bytes});
      row = end + 1;
    }
  }
  if (scales_.size() > 0) spans.push_back({scales_.data(), scales_.size()});
}

void PlaneTensor::dequantise_row(std::int64_t row, float* values) const {
  const std::int64_t tile_row = row / tile_rows;
  const int lane = static_cast<int>(row % tile_rows);
  const int planes = planes_of_level(level(tile_row));
  const LevelTable& table = view_.tables[planes - 1];
  const ScaleLayout layout = scale_layout(format_->layout, rows_, columns_);
  for (std::int64_t column = 0; column < columns_; ++column) {
    const std::int64_t tile = tile_row * view_.tiles_per_row() + column / tile_columns;
    const int c = static_cast<int>(column % tile_columns), j = c / 4, byte = 4 * lane + c % 4;
    int code = 0;
    if (view_.grid) {
      code = code_of_point(view_, tile, lane, c);
    } else {
      for (int plane = 0; plane < planes; ++plane) {
        const std::uint8_t* lines = view_.digits[plane] + tile * plane_lines[plane] * line_bytes;
        code = plane_bits[plane] == 2
                   ? code << 2 | (lines[(j & 1) * line_bytes + byte] >> (j & ~1) & 3)
                   : code << 1 | (lines[byte] >> j & 1);
      }
    }
    const int centroid = table.centroid_of(code, level(tile_row));
    const float value = static_cast<float>(centroid - table.zero) * table.unit;

    float scale = 1.0f, min = 0.0f;
    unsigned raw = 0;
    std::int64_t place = 0;
    if (layout.groups_per_tile) {
      const std::int64_t group = tile * layout.groups_per_tile + c / view_.scale_width;
      place = scale_place(layout, group, lane);
      raw = layout.scale_bits == 16 ? reinterpret_cast<const std::uint16_t*>(view_.scales)[place]
                                    : view_.scales[place];
      if (layout.scale_bits == 4) raw = raw >> 4 * (group % 2) & 15;
    }
    switch (view_.scale_kind) {
      case ScaleKind::none:
        break;
      case ScaleKind::f16:
        scale = half_to_float(static_cast<std::uint16_t>(raw));
        break;
      case ScaleKind::e8m0:
        scale = e8m0_to_float(static_cast<std::uint8_t>(raw));
        break;
      case ScaleKind::ue4m3:
        scale = ue4m3_to_float(static_cast<std::uint8_t>(raw));
        break;
      case ScaleKind::i8:
        scale = static_cast<float>(static_cast<std::int8_t>(raw));
        break;
      case ScaleKind::u8:
        scale = static_cast<float>(raw);
        break;
      case ScaleKind::u4:
        scale = static_cast<float>(raw & 15);
        break;
      case ScaleKind::odd4:
        scale = static_cast<float>(2 * raw + 1);
        break;
    }
    if (view_.has_super) {
      const std::int64_t super = (tile_row * (columns_ / 256) + column / 256) * tile_rows + lane;
      scale *= half_to_float(view_.super_scales[super]);
      if (view_.has_min) {
        const unsigned group_min = view_.scale_kind == ScaleKind::u4 ? raw >> 4 : view_.mins[place];
        min = -(static_cast<float>(group_min) * half_to_float(view_.super_mins[super]));
      }
    } else if (view_.has_min) {
      min = half_to_float(reinterpret_cast<const std::uint16_t*>(view_.mins)[place]);
    }
    values[column] = view_.has_min ? value * scale + min : value * scale;
  }
}

}  // namespace plimsoll
