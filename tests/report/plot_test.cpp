#include "report/plot.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <sstream>

#include "base/bytes.h"
#include "text/utf8.h"

namespace plimsoll {
namespace {

Terminal terminal(int width, bool utf8 = true, bool colour = false) {
  return {.is_terminal = true, .colour = colour, .utf8 = utf8, .width = width};
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

Plot sample() {
  return {.title = "Distance from the reference",
          .x = {"size of the file", Unit::bytes},
          .y = {"KL, nats per token", Unit::plain, true},
          .series = {{"measured",
                      {{2.0 * MiB, 0.03, "Q2", Range{0.02, 0.04}},
                       {3.0 * MiB, 0.002, "Q5", Range{-0.001, 0.004}},
                       {4.5 * MiB, 0.0003, "Q8"}}},
                     {"predicted", {{2.0 * MiB, 0.04}, {4.5 * MiB, 0.0002}}, true}},
          .markers = {{"your budget", 4.0 * MiB}, {"good", 0.01, false}}};
}

TEST(Scale, PlacesValuesInOrderWithinTheAxis) {
  for (const bool logarithmic : {false, true}) {
    const Scale scale({"", Unit::plain, logarithmic}, {0.001, 2, 70});
    const double first = *scale.place(0.001), middle = *scale.place(2), last = *scale.place(70);
    EXPECT_LE(0, first);
    EXPECT_LT(first, middle);
    EXPECT_LT(middle, last);
    EXPECT_LE(last, 1);
  }
  // On a logarithmic axis equal ratios are equally far apart.
  const Scale scale({"", Unit::plain, true}, {1, 10, 100});
  EXPECT_NEAR(*scale.place(10) - *scale.place(1), *scale.place(100) - *scale.place(10), 1e-12);
  EXPECT_FALSE(scale.place(0));
  EXPECT_FALSE(scale.place(-1));
  EXPECT_FALSE(scale.place(std::nan("")));
}

TEST(Scale, TicksAreFewRoundAndDistinct) {
  std::mt19937 random(3);
  std::uniform_real_distribution<double> exponent(-9, 12), width(-3, 3);
  for (int i = 0; i < 4000; ++i) {
    const Axis axis{"", i % 2 ? Unit::bytes : Unit::plain, i % 4 >= 2};
    const double low = std::pow(10, exponent(random)),
                 high = low * (1 + std::pow(10, width(random)));
    if (axis.unit == Unit::bytes && high - low < 10) continue;  // no part of a byte
    const int most = 2 + i % 9;
    const std::vector<Tick> ticks = Scale(axis, {low, high}).ticks(most);
    ASSERT_GE(ticks.size(), 1u) << low << " " << high << " " << most;
    ASSERT_LE(ticks.size(), static_cast<std::size_t>(most) + 3) << low << " " << high;
    for (std::size_t t = 0; t < ticks.size(); ++t) {
      EXPECT_GE(ticks[t].place, -1e-6);
      EXPECT_LE(ticks[t].place, 1 + 1e-6);
      if (t == 0) continue;
      EXPECT_GT(ticks[t].place, ticks[t - 1].place);
      EXPECT_NE(ticks[t].label, ticks[t - 1].label) << low << " " << high << " " << most;
    }
  }
}

TEST(Scale, TicksAreWhatPeopleExpect) {
  const auto labels = [](const Axis& axis, std::vector<double> values, int most) {
    std::string out;
    for (const Tick& tick : Scale(axis, values).ticks(most)) out += tick.label + " ";
    return out;
  };
  EXPECT_EQ(labels({"", Unit::plain}, {0, 10}, 5), "0 2 4 6 8 10 ");
  EXPECT_EQ(labels({"", Unit::plain, true}, {0.002, 3}, 4), "0.01 0.1 1 ");
  EXPECT_EQ(labels({"", Unit::plain, true}, {1, 9}, 9), "1 2 5 10 ");
  EXPECT_EQ(labels({"", Unit::bytes}, {2.0 * MiB, 4.5 * MiB}, 6),
            "2 MiB 2.5 MiB 3 MiB 3.5 MiB 4 MiB 4.5 MiB ");
  EXPECT_EQ(labels({"", Unit::bytes, true}, {300.0 * MiB, 5.0 * GiB}, 6),
            "512 MiB 1 GiB 2 GiB 4 GiB ");
}

TEST(Scale, NothingAndSingleValuesHaveAnAxisToo) {
  for (const bool logarithmic : {false, true})
    for (const std::vector<double>& values :
         std::vector<std::vector<double>>{{},
                                          {0},
                                          {-3},
                                          {5},
                                          {5, 5},
                                          {1e-300},
                                          {std::nan("")},
                                          {std::numeric_limits<double>::infinity()}}) {
      const Scale scale({"", Unit::plain, logarithmic}, values);
      EXPECT_LE(scale.ticks(5).size(), 9u);
      for (const double value : values)
        if (const auto place = scale.place(value)) {
          EXPECT_GE(*place, 0);
          EXPECT_LE(*place, 1);
        }
    }
}

TEST(DrawPlot, NeverWiderThanTheTerminal) {
  Plot hostile = sample();
  hostile.title = std::string(200, 'x');
  hostile.series[0].name = "a\x1b[2Jb\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n";
  hostile.series[0].points[0].label = "\x1b]0;title\x07\xFF";
  hostile.y.label = std::string(300, '\n');
  for (const Plot& plot : {sample(), hostile})
    for (const bool utf8 : {true, false})
      for (int width = 28; width <= 130; ++width) {
        const std::string picture = draw_plot(plot, terminal(width, utf8));
        EXPECT_EQ(picture.find('\x1b'), std::string::npos);
        EXPECT_FALSE(find_invalid_utf8(picture));
        for (const std::string& line : lines_of(picture))
          EXPECT_LE(columns_of(line), width) << line;
      }
}

TEST(DrawPlot, ShowsPointsLabelsLegendAndMarkers) {
  const std::string picture = draw_plot(sample(), terminal(80));
  for (const char* part :
       {"Distance from the reference", "KL, nats per token", "size of the file", "Q2 ●", "Q5", "Q8",
        "your budget", "good", "measured", "■ predicted", "0.01", "3 MiB", "┊", "┄"})
    EXPECT_NE(picture.find(part), std::string::npos) << part << "\n" << picture;
  const std::string ascii = draw_plot(sample(), terminal(80, false));
  for (const char c : ascii) EXPECT_GT(c, 0) << ascii;
  EXPECT_NE(ascii.find("Q2 o"), std::string::npos) << ascii;
  const std::string colours = draw_plot(sample(), terminal(80, true, true));
  EXPECT_NE(colours.find("\x1b[34m"), std::string::npos);
}

TEST(DrawPlot, HigherValuesStandHigher) {
  const std::vector<std::string> lines = lines_of(draw_plot(sample(), terminal(80)));
  const auto row = [&lines](const std::string& label) {
    for (std::size_t i = 0; i < lines.size(); ++i)
      if (lines[i].find(label) != std::string::npos) return static_cast<int>(i);
    return -1;
  };
  EXPECT_GE(row("Q2"), 0);
  EXPECT_LT(row("Q2"), row("Q5"));
  EXPECT_LT(row("Q5"), row("Q8"));
}

TEST(DrawPlot, NamesWhatHasNoPlace) {
  Plot plot = sample();
  plot.series[0].points[1].y = 0;
  plot.series[0].points[2].y = std::nan("");
  EXPECT_NE(draw_plot(plot, terminal(80)).find("Q5 and 1 more have no place on these axes"),
            std::string::npos);
  plot.series.clear();
  plot.markers.clear();
  EXPECT_FALSE(draw_plot(plot, terminal(80)).empty());
}

}  // namespace
}  // namespace plimsoll
