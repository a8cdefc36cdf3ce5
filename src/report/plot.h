// A plot as a plain value, and what all its pictures share: scales and ticks. draw_plot shows it in
// a terminal, Page (page.h) in a web page.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "terminal/terminal.h"

namespace plimsoll {

enum class Unit { plain, bytes };

struct Axis {
  std::string label;
  Unit unit = Unit::plain;
  bool logarithmic = false;
};

struct Range {
  double low = 0, high = 0;
};

struct Point {
  double x = 0, y = 0;
  std::string label = {};             ///< beside the point where there is room
  std::optional<Range> y_range = {};  ///< an interval that holds y
};

struct Series {
  std::string name;  ///< for the legend, which stands where there are several
  std::vector<Point> points;
  bool line = false;  ///< joins the points in their order
};

/// A line across the plot: a budget, a reference.
struct Marker {
  std::string label;
  double at = 0;
  bool vertical = true;  ///< at an x, otherwise at a y
};

/// Labels and names may be anything (they come from model files): every picture makes them
/// harmless.
struct Plot {
  std::string title;
  Axis x, y;
  std::vector<Series> series;
  std::vector<Marker> markers = {};
};

/// At most `most_width` columns and never wider than the terminal (from 28 columns); ends with a
/// line break. Points that have no place on a
/// logarithmic axis are named below.
std::string draw_plot(const Plot& plot, const Terminal& terminal, int most_width = 84);

struct Tick {
  double place;  ///< 0 to 1 along the axis
  std::string label;
};

/// From values to places along an axis that shows them all, with a little air at both ends.
class Scale {
 public:
  Scale(const Axis& axis, const std::vector<double>& values);

  /// 0 to 1 for the values that it was made from; empty for what has no place (not a number, not
  /// above zero on a logarithmic axis).
  std::optional<double> place(double value) const;
  /// At round values, not many more than `most` (2 or more): steps of 1, 2 or 5 times a power of
  /// ten, powers of ten (with their 2 and 5 folds) on logarithmic axes, of two for bytes.
  std::vector<Tick> ticks(int most) const;

 private:
  std::vector<double> linear_ticks(int most) const;
  std::vector<double> logarithmic_ticks(int most) const;
  double transformed(double value) const;

  Axis axis_;
  double low_ = 0, high_ = 1;  ///< logarithms on a logarithmic axis
};

Scale x_scale(const Plot& plot);
Scale y_scale(const Plot& plot);

/// "Q4_0 and 2 more have no place on these axes", or nothing where every point has one.
std::string describe_missing(const Plot& plot, const Scale& x, const Scale& y);

/// "4.35 MiB", "0.005078".
std::string format_value(double value, Unit unit);

}  // namespace plimsoll
