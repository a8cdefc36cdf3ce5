// A plot as SVG, to stand inside a web page.
#pragma once

#include <string>
#include <string_view>

#include "report/plot.h"

namespace plimsoll {

/// `text` where HTML or SVG wants text or a quoted attribute: markup is shown, not obeyed, and
/// control characters and broken UTF-8 become U+FFFD.
std::string escape_markup(std::string_view text);

/// One <svg> of this many CSS pixels. Colours come from the page: classes s0 to s5 for series,
/// "grid", "axis" and "marker". Points have their values as <title>.
std::string draw_svg(const Plot& plot, int width, int height);

/// The mark of a series, as its own little <svg> for a legend.
std::string svg_mark(std::size_t series);

}  // namespace plimsoll
