#include "report/plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/bytes.h"
#include "terminal/output.h"

namespace plimsoll {
namespace {

constexpr double air = 0.05;  ///< of the axis, at both ends

struct ByteUnit {
  double bytes;
  const char* name;
};

ByteUnit unit_for(double bytes) {
  if (bytes >= static_cast<double>(GiB)) return {static_cast<double>(GiB), "GiB"};
  if (bytes >= static_cast<double>(MiB)) return {static_cast<double>(MiB), "MiB"};
  if (bytes >= static_cast<double>(KiB)) return {static_cast<double>(KiB), "KiB"};
  return {1, "B"};
}

/// 1, 2 or 5 times a power of ten, not below `least`.
double round_step(double least) {
  const double power = std::pow(10, std::floor(std::log10(least)));
  for (const double fold : {1.0, 2.0, 5.0})
    if (fold * power >= least * (1 - 1e-9)) return fold * power;
  return 10 * power;
}

std::string tick_label(double value, Unit unit) {
  if (unit == Unit::plain) return fmt::format("{:.7g}", value);
  const ByteUnit of = unit_for(value);
  return fmt::format("{:.7g} {}", value / of.bytes, of.name);
}

}  // namespace

Scale::Scale(const Axis& axis, const std::vector<double>& values) : axis_(axis) {
  bool any = false;
  for (const double value : values) {
    if (!std::isfinite(value) || (axis.logarithmic && value <= 0)) continue;
    const double at = transformed(value);
    low_ = any ? std::min(low_, at) : at;
    high_ = any ? std::max(high_, at) : at;
    any = true;
  }
  const bool positive = low_ >= 0;
  // A single value gets some room around it.
  double room = (high_ - low_) * air;
  if (room <= std::abs(high_) * 1e-12)
    room = axis.logarithmic ? 0.5 : std::max(std::abs(high_), 1.0) / 2;
  low_ -= room;
  high_ += room;
  if (!axis.logarithmic && positive) low_ = std::max(low_, 0.0);
}

double Scale::transformed(double value) const {
  return axis_.logarithmic ? std::log10(value) : value;
}

std::optional<double> Scale::place(double value) const {
  if (!std::isfinite(value) || (axis_.logarithmic && value <= 0)) return std::nullopt;
  return (transformed(value) - low_) / (high_ - low_);
}

std::vector<double> Scale::linear_ticks(int most) const {
  const double low = axis_.logarithmic ? std::pow(10, low_) : low_;
  const double high = axis_.logarithmic ? std::pow(10, high_) : high_;
  const double unit = axis_.unit == Unit::bytes ? unit_for(high).bytes : 1;
  // At most 2.5 times what is asked for, so that there is one at least.
  const double step = round_step((high - low) / unit / (most + 1)) * unit;
  std::vector<double> ticks;
  for (double k = std::ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; ++k)
    ticks.push_back(k == 0 ? 0 : k * step);
  return ticks;
}

std::vector<double> Scale::logarithmic_ticks(int most) const {
  const bool binary = axis_.unit == Unit::bytes;
  const double base = binary ? 2 : 10;
  const double first = low_ / std::log10(base), last = high_ / std::log10(base);
  const double every = std::max(1.0, std::ceil((last - first) / most));
  const bool folds = !binary && (last - first) * 3 <= most;
  std::vector<double> ticks;
  for (double k = std::floor(first / every) * every; k <= last; k += every)
    for (const double fold : {1.0, 2.0, 5.0}) {
      if (fold != 1 && !folds) continue;
      const double value = fold * std::pow(base, k);
      if (const double at = std::log10(value); at >= low_ && at <= high_) ticks.push_back(value);
    }
  return ticks;
}

std::vector<Tick> Scale::ticks(int most) const {
  std::vector<double> values;
  if (axis_.logarithmic) values = logarithmic_ticks(most);
  if (values.size() < 2) values = linear_ticks(most);
  std::vector<Tick> ticks;
  for (const double value : values)
    if (const auto at = place(value)) ticks.push_back({*at, tick_label(value, axis_.unit)});
  return ticks;
}

Scale x_scale(const Plot& plot) {
  std::vector<double> values;
  for (const Series& series : plot.series)
    for (const Point& point : series.points) values.push_back(point.x);
  for (const Marker& marker : plot.markers)
    if (marker.vertical) values.push_back(marker.at);
  return Scale(plot.x, values);
}

Scale y_scale(const Plot& plot) {
  std::vector<double> values;
  for (const Series& series : plot.series)
    for (const Point& point : series.points) {
      values.push_back(point.y);
      if (point.y_range) values.insert(values.end(), {point.y_range->low, point.y_range->high});
    }
  for (const Marker& marker : plot.markers)
    if (!marker.vertical) values.push_back(marker.at);
  return Scale(plot.y, values);
}

std::string describe_missing(const Plot& plot, const Scale& x, const Scale& y) {
  std::string first;
  int missing = 0;
  for (const Series& series : plot.series)
    for (const Point& point : series.points) {
      if (x.place(point.x) && y.place(point.y)) continue;
      if (missing++ == 0) first = point.label.empty() ? "a point" : printable_line(point.label, 40);
    }
  if (missing == 0) return {};
  if (missing > 1) first += fmt::format(" and {} more", missing - 1);
  return fmt::format("{} {} no place on these axes", first, missing > 1 ? "have" : "has");
}

std::string format_value(double value, Unit unit) {
  if (unit == Unit::bytes && value >= 0) return format_bytes(static_cast<Bytes>(value));
  return fmt::format("{:.4g}", value);
}

}  // namespace plimsoll
