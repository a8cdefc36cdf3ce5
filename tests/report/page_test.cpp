#include "report/page.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <regex>
#include <stack>

#include "base/bytes.h"
#include "report/svg.h"
#include "text/utf8.h"

namespace plimsoll {
namespace {

const std::string hostile =
    "</title></svg><script>alert(1)</script><img src=\"http://x/\" onerror='x'>&amp;\x1b[2J\xFF";

Plot sample(const std::string& label) {
  return {.title = label,
          .x = {label, Unit::bytes},
          .y = {label, Unit::plain, true},
          .series = {{label, {{1e6, 0.1, label, Range{0.05, 0.2}}, {2e6, 0.01, label}}, true},
                     {label, {{1.5e6, 0, label}}}},
          .markers = {{label, 1.2e6}, {label, 0.05, false}}};
}

std::string page_with(const std::string& text) {
  Page page(text);
  page.heading(text);
  page.paragraph(text);
  page.table({{text, "number"}, {{{text}, {"1.5", 1.5}}, {{"b"}, {"-", std::nullopt}}}});
  page.plot(sample(text));
  return page.html();
}

/// Whether every element that is opened is closed, in order. Attributes are quoted and hold no '<'
/// or
/// '>', which is checked on the way.
void expect_well_formed(const std::string& html) {
  std::stack<std::string> open;
  const std::regex tag("<(/?)([a-z][a-z0-9]*)((?: [a-zA-Z-]+=(?:\"[^\"<>]*\"|[a-z]+))*)(/?)>");
  const std::string body = std::regex_replace(
      html, std::regex("<(style|script)>[^<]*</(style|script)>|<!doctype html>"), "");
  std::size_t tags = 0;
  for (auto it = std::sregex_iterator(body.begin(), body.end(), tag); it != std::sregex_iterator();
       ++it, ++tags) {
    const std::string name = (*it)[2];
    if (name == "meta" || (*it)[4] == "/") continue;
    if ((*it)[1].length() == 0) {
      open.push(name);
      continue;
    }
    ASSERT_FALSE(open.empty());
    ASSERT_EQ(open.top(), name);
    open.pop();
  }
  EXPECT_TRUE(open.empty());
  EXPECT_EQ(static_cast<std::size_t>(std::count(body.begin(), body.end(), '<')), tags)
      << "markup that is no tag";
}

TEST(Page, ShowsHostileTextsAndObeysNone) {
  const std::string html = page_with(hostile);
  EXPECT_EQ(html.find("<script>alert"), std::string::npos);
  EXPECT_EQ(html.find("<img"), std::string::npos);
  EXPECT_EQ(html.find('\x1b'), std::string::npos);
  EXPECT_FALSE(find_invalid_utf8(html));
  EXPECT_NE(html.find("&lt;script&gt;alert(1)&lt;/script&gt;"), std::string::npos);
  EXPECT_NE(html.find("&amp;amp;"), std::string::npos);
  expect_well_formed(html);
}

TEST(Page, IsWholeInItself) {
  const std::string html = page_with("plain");
  expect_well_formed(html);
  for (const char* part : {" src=", " href=", "url(", "@import", "http:", "https:"})
    EXPECT_EQ(html.find(part), std::string::npos) << part;
  EXPECT_NE(html.find("default-src 'none'"), std::string::npos);
  EXPECT_NE(html.find("prefers-color-scheme: dark"), std::string::npos);
  EXPECT_NE(html.find("@media print"), std::string::npos);
  EXPECT_NE(html.find("width=device-width"), std::string::npos);
}

TEST(Page, NumbersAreRightAlignedAndSortable) {
  const std::string html = page_with("plain");
  EXPECT_NE(html.find("<td class=\"n\" data-value=\"1.5\">1.5</td>"), std::string::npos);
  EXPECT_NE(html.find("<td>-</td>"), std::string::npos);
}

TEST(Svg, PlacesPointsAndSaysTheirValues) {
  const std::string svg = draw_svg(sample("here"), 720, 420);
  EXPECT_NE(svg.find("<title>here\nhere: 977 KiB\nhere: 0.1 (0.05 to 0.2)</title>"),
            std::string::npos)
      << svg;
  // Bytes grow to the right, values upwards: down the page they become smaller.
  const std::regex mark("<g class=\"s0\" transform=\"translate\\(([0-9.]+) ([0-9.]+)\\)\">");
  std::vector<std::pair<double, double>> places;
  for (auto it = std::sregex_iterator(svg.begin(), svg.end(), mark); it != std::sregex_iterator();
       ++it)
    places.emplace_back(std::stod((*it)[1]), std::stod((*it)[2]));
  ASSERT_EQ(places.size(), 2u);
  EXPECT_LT(places[0].first, places[1].first);
  EXPECT_LT(places[0].second, places[1].second);
  for (const auto& [x, y] : places) {
    EXPECT_GT(x, 0);
    EXPECT_LT(x, 720);
    EXPECT_GT(y, 0);
    EXPECT_LT(y, 420);
  }
}

TEST(Svg, AnySizeAndNoPoints) {
  Plot plot = sample("a");
  for (const int size : {1, 10, 100, 3000}) EXPECT_FALSE(draw_svg(plot, size, size).empty());
  plot.series.clear();
  plot.markers.clear();
  EXPECT_FALSE(draw_svg(plot, 300, 200).empty());
}

}  // namespace
}  // namespace plimsoll
