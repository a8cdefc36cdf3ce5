#include "report/svg.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "terminal/output.h"

namespace plimsoll {
namespace {

constexpr std::size_t looks = 6;
constexpr double text_height = 12;  ///< of the page's font for plots
constexpr double text_width = 6.6;  ///< of a character, generously
constexpr double mark_radius = 4.5;
constexpr double pixels_per_x_tick = 80, pixels_per_y_tick = 48;
constexpr std::size_t longest_label = 32;

/// The shape of a series around (0, 0): told apart without colours, too.
const char* shape(std::size_t series) {
  constexpr std::array<const char*, looks> shapes = {
      "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0z", "M-4 -4h8v8h-8z", "M0 -5l5 9h-10z",
      "M0 -5.5l5.5 5.5l-5.5 5.5l-5.5 -5.5z",           "M0 5l5 -9h-10z", "M-5 -2h10v4h-10z"};
  return shapes[series % looks];
}

struct Box {
  double x, y, width, height;
  bool overlaps(const Box& other) const {
    return x < other.x + other.width && other.x < x + width && y < other.y + other.height &&
           other.y < y + height;
  }
};

double width_of(const std::string& text) { return text_width * columns_of(text); }

class Drawing {
 public:
  Drawing(const Plot& plot, int width, int height)
      : plot_(plot), x_(x_scale(plot)), y_(y_scale(plot)), whole_{0, 0, 1.0 * width, 1.0 * height} {
    y_ticks_ = y_.ticks(std::max(2, static_cast<int>(height / pixels_per_y_tick)));
    double margin = 0;
    for (const Tick& tick : y_ticks_) margin = std::max(margin, width_of(tick.label));
    const double left = margin + 10, top = 28, bottom = 44, right = 14;
    area_ = {left, top, std::max(1.0, width - left - right), std::max(1.0, height - top - bottom)};
  }

  std::string draw() {
    out_ = fmt::format(
        "<svg role=\"img\" aria-label=\"{}\" width=\"{:.0f}\" height=\"{:.0f}\" viewBox=\"0 0 "
        "{:.0f} "
        "{:.0f}\">\n",
        escape_markup(plot_.title), whole_.width, whole_.height, whole_.width, whole_.height);
    axes();
    markers();
    lines();
    // Labels keep clear of all marks.
    each_point(
        [this](std::size_t s, const Point& point, double x, double y) { mark(point, s, x, y); });
    label_markers();
    each_point(
        [this](std::size_t, const Point& point, double x, double y) { label_point(point, x, y); });
    return out_ + "</svg>\n";
  }

 private:
  double left() const { return area_.x; }
  double right() const { return area_.x + area_.width; }
  double top() const { return area_.y; }
  double bottom() const { return area_.y + area_.height; }
  double at_x(double place) const { return left() + place * area_.width; }
  double at_y(double place) const { return bottom() - place * area_.height; }

  void line(const char* kind, double x0, double y0, double x1, double y1) {
    out_ += fmt::format("<path class=\"{}\" d=\"M{:.1f} {:.1f}L{:.1f} {:.1f}\"/>\n", kind, x0, y0,
                        x1, y1);
  }
  void text(const char* anchor, double x, double y, const std::string& what) {
    out_ += fmt::format("<text text-anchor=\"{}\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n", anchor, x,
                        y, escape_markup(what));
  }

  void axes() {
    const double half = text_height / 2 - 2;
    for (const Tick& tick : y_ticks_) {
      line("grid", left(), at_y(tick.place), right(), at_y(tick.place));
      text("end", left() - 6, at_y(tick.place) + half, tick.label);
    }
    double free_from = 0;
    for (const Tick& tick :
         x_.ticks(std::max(2, static_cast<int>(area_.width / pixels_per_x_tick)))) {
      const double width = width_of(tick.label);
      const double middle =
          std::clamp(at_x(tick.place), width / 2, std::max(width / 2, whole_.width - width / 2));
      line("grid", at_x(tick.place), top(), at_x(tick.place), bottom());
      if (middle - width / 2 < free_from) continue;
      text("middle", middle, bottom() + text_height + 5, tick.label);
      free_from = middle + width / 2 + text_width;
    }
    line("axis", left(), bottom(), right(), bottom());
    line("axis", left(), top(), left(), bottom());
    text("start", 2, text_height + 2, plot_.y.label);
    text("end", right(), bottom() + 2 * text_height + 14, plot_.x.label);
  }

  void markers() {
    for (const Marker& marker : plot_.markers) {
      const auto place = (marker.vertical ? x_ : y_).place(marker.at);
      if (!place) continue;
      const double x = at_x(*place), y = at_y(*place);
      if (marker.vertical) {
        line("marker", x, top(), x, bottom());
        taken_.push_back({x - 1, top(), 2, area_.height});
      } else {
        line("marker", left(), y, right(), y);
        taken_.push_back({left(), y - 1, area_.width, 2});
      }
    }
  }

  void label_markers() {
    constexpr double away = 5, half = text_height / 2;
    for (const Marker& marker : plot_.markers) {
      const auto place = (marker.vertical ? x_ : y_).place(marker.at);
      if (!place) continue;
      const double x = at_x(*place), y = at_y(*place);
      if (marker.vertical)
        label(marker.label, {{"start", x + away, top() + half},
                             {"end", x - away, top() + half},
                             {"start", x + away, bottom() - half - 2},
                             {"end", x - away, bottom() - half - 2}});
      else
        label(marker.label, {{"end", right(), y - half - 2},
                             {"start", left() + away, y - half - 2},
                             {"end", right(), y + half + 2},
                             {"start", left() + away, y + half + 2},
                             {"middle", (left() + right()) / 2, y - half - 2}});
    }
  }

  void lines() {
    for (std::size_t s = 0; s < plot_.series.size(); ++s) {
      if (!plot_.series[s].line) continue;
      std::string path;
      for (const Point& point : plot_.series[s].points)
        if (const auto px = x_.place(point.x), py = y_.place(point.y); px && py)
          path += fmt::format("{}{:.1f} {:.1f}", path.empty() ? "M" : "L", at_x(*px), at_y(*py));
      if (!path.empty())
        out_ += fmt::format("<path class=\"line s{}\" d=\"{}\"/>\n", s % looks, path);
    }
  }

  /// Calls draw(series, point, x, y) for every point that has a place.
  template <class Draw>
  void each_point(Draw&& draw) {
    for (std::size_t s = 0; s < plot_.series.size(); ++s)
      for (const Point& point : plot_.series[s].points)
        if (const auto px = x_.place(point.x), py = y_.place(point.y); px && py)
          draw(s, point, at_x(*px), at_y(*py));
  }

  void mark(const Point& point, std::size_t series, double x, double y) {
    taken_.push_back({x - mark_radius, y - mark_radius, 2 * mark_radius, 2 * mark_radius});
    std::string about = point.label.empty() ? plot_.series[series].name : point.label;
    about += fmt::format("{}{}: {}\n{}: {}", about.empty() ? "" : "\n", plot_.x.label,
                         format_value(point.x, plot_.x.unit), plot_.y.label,
                         format_value(point.y, plot_.y.unit));
    std::string interval;
    if (point.y_range) {
      about += fmt::format(" ({} to {})", format_value(point.y_range->low, plot_.y.unit),
                           format_value(point.y_range->high, plot_.y.unit));
      const double low = at_y(y_.place(point.y_range->low).value_or(0)) - y;
      const double high = at_y(y_.place(point.y_range->high).value_or(1)) - y;
      interval = fmt::format("<path class=\"interval\" d=\"M0 {:.1f}V{:.1f}\"/>", high, low);
    }
    out_ += fmt::format(
        "<g class=\"s{}\" transform=\"translate({:.1f} {:.1f})\"><title>{}</title>{}<path "
        "d=\"{}\"/></g>\n",
        series % looks, x, y, escape_markup(about), interval, shape(series));
  }

  /// Beside the point; the tooltip has it in any case.
  void label_point(const Point& point, double x, double y) {
    constexpr double away = mark_radius + 3, up = away + text_height / 2;
    label(point.label, {{"start", x + away, y},
                        {"end", x - away, y},
                        {"middle", x, y - up},
                        {"middle", x, y + up},
                        {"start", x + away, y - away},
                        {"start", x + away, y + away},
                        {"end", x - away, y - away},
                        {"end", x - away, y + away}});
  }

  struct Place {
    const char* anchor;  ///< of the text at x; y is the middle of its height
    double x, y;
  };

  /// At the first place where it touches nothing; nowhere if there is none.
  void label(const std::string& whole, std::initializer_list<Place> places) {
    if (whole.empty()) return;
    const std::string what = printable_line(whole, longest_label);
    const double width = width_of(what);
    for (const Place& place : places) {
      const double share = *place.anchor == 's' ? 0 : *place.anchor == 'e' ? 1 : 0.5;
      const Box box = {place.x - share * width, place.y - text_height / 2, width, text_height};
      const bool inside = box.x >= left() && box.x + width <= whole_.width && box.y >= top() &&
                          box.y + text_height <= bottom();
      if (!inside || std::any_of(taken_.begin(), taken_.end(),
                                 [&box](const Box& other) { return box.overlaps(other); }))
        continue;
      taken_.push_back(box);
      text(place.anchor, place.x, place.y + text_height / 2 - 2, what);
      return;
    }
  }

  const Plot& plot_;
  Scale x_, y_;
  Box whole_, area_;
  std::vector<Tick> y_ticks_;
  std::vector<Box> taken_;
  std::string out_;
};

}  // namespace

std::string escape_markup(std::string_view text) {
  std::string out;
  for (const char c : printable(text)) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string draw_svg(const Plot& plot, int width, int height) {
  return Drawing(plot, width, height).draw();
}

std::string svg_mark(std::size_t series) {
  return fmt::format(
      "<svg class=\"mark\" aria-hidden=\"true\" width=\"12\" height=\"12\" viewBox=\"-6 -6 12 "
      "12\"><g class=\"s{}\"><path d=\"{}\"/></g></svg>",
      series % looks, shape(series));
}

}  // namespace plimsoll
