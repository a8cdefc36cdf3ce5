// A plot in characters: marks for points, Braille patterns (two by four dots to a cell) for lines.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

#include "report/plot.h"
#include "terminal/output.h"

namespace plimsoll {
namespace {

constexpr int plot_rows = 14;
constexpr int rows_per_tick = 3;
constexpr int columns_per_tick = 12;
constexpr int longest_label = 24;

struct Look {
  const char *mark, *letter;  ///< with and without UTF-8
  Style style;
};

constexpr std::array<Look, 6> looks = {{
    {"●", "o", Style::blue},
    {"■", "x", Style::green},
    {"▲", "^", Style::magenta},
    {"◆", "*", Style::yellow},
    {"○", "+", Style::cyan},
    {"□", "#", Style::grey},
}};

const Look& look(std::size_t series) { return looks[series % looks.size()]; }

/// U+2800 and the dots of a cell, as UTF-8.
std::string braille(std::uint8_t dots) {
  return {static_cast<char>(0xE2), static_cast<char>(0xA0 | dots >> 6),
          static_cast<char>(0x80 | (dots & 0x3F))};
}

/// A grid of cells, row 0 on top.
class Canvas {
 public:
  Canvas(int width, int height, const Terminal& terminal)
      : width_(width), height_(height), terminal_(terminal) {
    cells_.resize(static_cast<std::size_t>(width * height));
  }

  int column(double place) const { return cell(place, width_); }
  int row(double place) const { return cell(1 - place, height_); }

  void put(int column, int row, const char* utf8, const char* ascii, Style style) {
    Cell& cell = at(column, row);
    cell.text = terminal_.styled(style, terminal_.utf8 ? utf8 : ascii);
    cell.dots = 0;
  }

  /// Between two places, in dots a quarter of a row high; what stands there already stays.
  void line(double x0, double y0, double x1, double y1, Style style) {
    const int dots_x = 2 * width_, dots_y = 4 * height_;
    const int steps = std::max({1, static_cast<int>(std::abs(x1 - x0) * dots_x),
                                static_cast<int>(std::abs(y1 - y0) * dots_y)});
    for (int i = 0; i <= steps; ++i) {
      const double t = static_cast<double>(i) / steps;
      const int x = cell(x0 + t * (x1 - x0), dots_x), y = cell(1 - (y0 + t * (y1 - y0)), dots_y);
      Cell& target = at(x / 2, y / 4);
      if (!target.text.empty() && target.dots == 0) continue;
      // Unicode's order: the upper three rows of each column first, then the lowest row.
      target.dots |=
          static_cast<std::uint8_t>(y % 4 < 3 ? 1 << (y % 4 + 3 * (x % 2)) : 0x40 << (x % 2));
      target.text = terminal_.styled(style, terminal_.utf8 ? braille(target.dots) : ".");
    }
  }

  /// Writes `text` where all its cells and one on each side are free or begin beyond the edge.
  bool write(int column, int row, const std::string& text) {
    const int length = columns_of(text);
    if (row < 0 || row >= height_ || column < 0 || column + length > width_) return false;
    for (int c = column; c < std::min(column + length + 1, width_); ++c)
      if (!at(c, row).text.empty()) return false;
    // One character to a cell.
    for (std::size_t i = 0; i < text.size(); ++column) {
      std::size_t end = i + 1;
      while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) ++end;
      at(column, row).text = text.substr(i, end - i);
      i = end;
    }
    return true;
  }

  std::string line_of(int row) const {
    std::string out, spaces;
    for (int c = 0; c < width_; ++c) {
      const std::string& text = cells_[static_cast<std::size_t>(row * width_ + c)].text;
      if (text.empty() || text == " ") {
        spaces += ' ';
        continue;
      }
      out += spaces + text;
      spaces.clear();
    }
    return out;
  }

 private:
  struct Cell {
    std::string text;
    std::uint8_t dots = 0;  ///< of a line; 0 where anything else stands
  };
  static int cell(double place, int cells) {
    return std::clamp(static_cast<int>(place * cells), 0, cells - 1);
  }
  Cell& at(int column, int row) { return cells_[static_cast<std::size_t>(row * width_ + column)]; }

  int width_, height_;
  Terminal terminal_;
  std::vector<Cell> cells_;
};

void draw_markers(Canvas& canvas, const Plot& plot, const Scale& x, const Scale& y, int width) {
  for (const Marker& marker : plot.markers) {
    const auto place = (marker.vertical ? x : y).place(marker.at);
    if (!place) continue;
    const std::string label = printable_line(marker.label, longest_label);
    if (marker.vertical) {
      const int column = canvas.column(*place);
      for (int row = 0; row < plot_rows; ++row) canvas.put(column, row, "┊", ":", Style::dim);
      if (!canvas.write(column + 2, 0, label))
        canvas.write(column - 1 - columns_of(label), 0, label);
    } else {
      const int row = canvas.row(*place);
      for (int column = 0; column < width; ++column) canvas.put(column, row, "┄", "-", Style::dim);
      if (!canvas.write(width - columns_of(label), row - 1, label))
        canvas.write(width - columns_of(label), row + 1, label);
    }
  }
}

void draw_series(Canvas& canvas, const Plot& plot, const Scale& x, const Scale& y) {
  const auto each = [&](const auto& draw) {
    for (std::size_t s = 0; s < plot.series.size(); ++s)
      for (const Point& point : plot.series[s].points)
        if (const auto px = x.place(point.x), py = y.place(point.y); px && py)
          draw(s, point, *px, *py);
  };
  for (std::size_t s = 0; s < plot.series.size(); ++s) {
    std::optional<std::array<double, 2>> last;
    for (const Point& point : plot.series[s].points) {
      const auto px = x.place(point.x), py = y.place(point.y);
      if (!plot.series[s].line || !px || !py) continue;
      if (last) canvas.line((*last)[0], (*last)[1], *px, *py, look(s).style);
      last = {*px, *py};
    }
  }
  each([&](std::size_t s, const Point& point, double px, double py) {
    if (!point.y_range) return;
    const int top = canvas.row(y.place(point.y_range->high).value_or(py));
    const int bottom = canvas.row(y.place(point.y_range->low).value_or(0));
    for (int row = top; row <= bottom; ++row)
      canvas.put(canvas.column(px), row, "│", "|", look(s).style);
  });
  each([&](std::size_t s, const Point&, double px, double py) {
    canvas.put(canvas.column(px), canvas.row(py), look(s).mark, look(s).letter, look(s).style);
  });
  each([&](std::size_t, const Point& point, double px, double py) {
    if (point.label.empty()) return;
    const std::string label = printable_line(point.label, longest_label);
    const int column = canvas.column(px), row = canvas.row(py), length = columns_of(label);
    const std::array<std::array<int, 2>, 4> places = {{{column + 2, row},
                                                       {column - 1 - length, row},
                                                       {column - length / 2, row - 1},
                                                       {column - length / 2, row + 1}}};
    for (const auto& [at, on] : places)
      if (canvas.write(at, on, label)) break;
  });
}

/// At most `width` columns of `text`, without control characters.
std::string cut_line(const std::string& text, int width) {
  for (int most = width; most > 0; --most) {
    const std::string line = printable_line(text, static_cast<std::size_t>(most));
    if (columns_of(line) <= width) return line;
  }
  return {};
}

}  // namespace

std::string draw_plot(const Plot& plot, const Terminal& terminal, int most_width) {
  const Scale x = x_scale(plot), y = y_scale(plot);
  const int whole = std::min(terminal.width, most_width);
  const std::vector<Tick> y_ticks = y.ticks(plot_rows / rows_per_tick);
  int margin = 0;
  for (const Tick& tick : y_ticks) margin = std::max(margin, columns_of(tick.label));
  margin = std::min(margin, whole / 2);
  const int width = std::max(whole - margin - 2, 4);

  Canvas canvas(width, plot_rows, terminal);
  draw_markers(canvas, plot, x, y, width);
  draw_series(canvas, plot, x, y);

  const auto pick = [&terminal](const char* utf8, const char* ascii) {
    return terminal.utf8 ? utf8 : ascii;
  };
  std::vector<std::string> y_labels(plot_rows);
  for (const Tick& tick : y_ticks)
    y_labels[static_cast<std::size_t>(canvas.row(tick.place))] = cut_line(tick.label, margin);
  std::string out = terminal.styled(Style::strong, cut_line(plot.title, whole)) + '\n';
  out += cut_line(plot.y.label, whole) + '\n';
  for (int row = 0; row < plot_rows; ++row) {
    const std::string& label = y_labels[static_cast<std::size_t>(row)];
    out += fmt::format("{:>{}} {}{}\n", label, margin,
                       label.empty() ? pick("│", "|") : pick("┤", "+"), canvas.line_of(row));
  }

  Canvas labels(width, 1, terminal);
  std::string axis;
  std::vector<bool> ticked(static_cast<std::size_t>(width), false);
  for (const Tick& tick : x.ticks(std::max(2, width / columns_per_tick))) {
    const int column = canvas.column(tick.place), length = columns_of(tick.label);
    if (labels.write(std::clamp(column - length / 2, 0, std::max(0, width - length)), 0,
                     tick.label))
      ticked[static_cast<std::size_t>(column)] = true;
  }
  for (const bool tick : ticked) axis += tick ? pick("┬", "+") : pick("─", "-");
  out += fmt::format("{:{}} {}{}\n", "", margin, pick("└", "+"), axis);
  out += fmt::format("{:{}}  {}\n", "", margin, labels.line_of(0));
  out += fmt::format("{:>{}}\n", cut_line(plot.x.label, whole), whole);

  if (plot.series.size() > 1) {
    std::string legend;
    for (std::size_t s = 0; s < plot.series.size(); ++s) {
      const std::string item = fmt::format("{} {}", pick(look(s).mark, look(s).letter),
                                           cut_line(plot.series[s].name, longest_label));
      const std::size_t line = legend.rfind('\n') + 1;
      if (line < legend.size())
        legend += columns_of(legend.substr(line)) + 2 + columns_of(item) > whole ? "\n" : "  ";
      legend += terminal.styled(look(s).style, item);
    }
    out += legend + '\n';
  }
  const std::string missing = describe_missing(plot, x, y);
  if (!missing.empty()) out += cut_line(missing, whole) + '\n';
  return out;
}

}  // namespace plimsoll
