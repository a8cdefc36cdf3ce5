#include "report/page.h"

#include <fmt/format.h>

#include <algorithm>

#include "report/svg.h"

namespace plimsoll {
namespace {

/// Every plot is drawn twice, so that its text is readable on a phone too: one of them is shown.
constexpr int wide_width = 860, wide_height = 440;
constexpr int narrow_width = 340, narrow_height = 320;

constexpr const char* style = R"(
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1b1f24; --dim: #59636e; --grid: #e4e8ec;
  --s0: #0b63b0; --s1: #b4480a; --s2: #0a7d5a; --s3: #8a3f8f; --s4: #866800; --s5: #51606e; }
@media screen and (prefers-color-scheme: dark) {
  :root { --paper: #14171a; --ink: #e6e8ea; --dim: #9aa4ae; --grid: #2b3137;
    --s0: #6cb0f5; --s1: #f29a5c; --s2: #4fc79b; --s3: #d48fd8; --s4: #d9b840; --s5: #a7b4c0; } }
* { box-sizing: border-box; }
body { max-width: 960px; margin: 0 auto; padding: 24px 20px 48px; background: var(--paper);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.6em; line-height: 1.2; margin: 0 0 .6em; }
h2 { font-size: 1.2em; line-height: 1.3; margin: 1.8em 0 .5em; }
p { margin: .6em 0; max-width: 68ch; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 8px; text-align: left; white-space: nowrap;
  border-bottom: 1px solid var(--grid); }
th { vertical-align: bottom; border-bottom: 2px solid var(--dim); }
th:first-child, td:first-child { position: sticky; left: 0; background: var(--paper); }
.n { text-align: right; }
th button { all: unset; cursor: pointer; font-weight: 600; }
th button:focus-visible { outline: 2px solid var(--s0); outline-offset: 2px; }
th[aria-sort=ascending] button::after { content: " \2191"; }
th[aria-sort=descending] button::after { content: " \2193"; }
figure { margin: 1.8em 0 0; break-inside: avoid; }
figcaption { font-weight: 600; margin-bottom: .3em; }
.note, .legend { color: var(--dim); font-size: 14px; margin: .2em 0; }
.legend span { margin-right: 1.2em; white-space: nowrap; }
svg { display: block; max-width: 100%; height: auto; }
svg.mark { display: inline; margin-right: 5px; }
svg text { font: 12px system-ui, sans-serif; fill: var(--ink); }
svg path { stroke-width: 1.5; }
.grid { stroke: var(--grid); stroke-width: 1; }
.axis { stroke: var(--dim); }
.marker { stroke: var(--dim); stroke-dasharray: 5 4; }
.s0 { color: var(--s0); } .s1 { color: var(--s1); } .s2 { color: var(--s2); }
.s3 { color: var(--s3); } .s4 { color: var(--s4); } .s5 { color: var(--s5); }
g path { fill: currentColor; stroke: var(--paper); stroke-width: 1; }
g .interval { fill: none; stroke: currentColor; stroke-width: 1.5; }
.line { fill: none; stroke: currentColor; }
.narrow { display: none; }
@media screen and (max-width: 640px) { .wide { display: none; } .narrow { display: block; } }
@media print { body { max-width: none; padding: 0; font-size: 11pt; } .scroll { overflow: visible; }
  table { font-size: 8.5pt; } th, td { padding: 3px 6px; } }
)";

constexpr const char* script = R"(
for (const button of document.querySelectorAll("th button")) button.onclick = () => {
  const head = button.parentNode, body = head.closest("table").tBodies[0];
  const up = head.getAttribute("aria-sort") !== "ascending";
  for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const key = row => row.cells[head.cellIndex];
  const compare = (a, b) => "value" in a.dataset && "value" in b.dataset
    ? a.dataset.value - b.dataset.value
    : a.textContent.localeCompare(b.textContent, undefined, {numeric: true});
  const rows = [...body.rows].sort((a, b) => compare(key(a), key(b)));
  body.append(...(up ? rows : rows.reverse()));
};
)";

}  // namespace

Page::Page(const std::string& title) : title_(escape_markup(title)) {}

void Page::heading(const std::string& text) {
  body_ += fmt::format("<h2>{}</h2>\n", escape_markup(text));
}

void Page::paragraph(const std::string& text) {
  body_ += fmt::format("<p>{}</p>\n", escape_markup(text));
}

void Page::table(const Table& table) {
  body_ += "<div class=\"scroll\"><table>\n<thead><tr>";
  for (std::size_t c = 0; c < table.columns.size(); ++c) {
    const bool number = std::any_of(table.rows.begin(), table.rows.end(),
                                    [c](const auto& row) { return row[c].number.has_value(); });
    body_ += fmt::format("<th scope=\"col\"{}><button type=\"button\">{}</button></th>",
                         number ? " class=\"n\"" : "", escape_markup(table.columns[c]));
  }
  body_ += "</tr></thead>\n<tbody>\n";
  for (const auto& row : table.rows) {
    body_ += "<tr>";
    for (const Table::Cell& cell : row)
      body_ += cell.number ? fmt::format("<td class=\"n\" data-value=\"{}\">{}</td>", *cell.number,
                                         escape_markup(cell.text))
                           : fmt::format("<td>{}</td>", escape_markup(cell.text));
    body_ += "</tr>\n";
  }
  body_ += "</tbody>\n</table></div>\n";
}

void Page::plot(const Plot& plot) {
  body_ += fmt::format("<figure>\n<figcaption>{}</figcaption>\n", escape_markup(plot.title));
  if (plot.series.size() > 1) {
    body_ += "<p class=\"legend\">";
    for (std::size_t s = 0; s < plot.series.size(); ++s)
      body_ += fmt::format("<span>{}{}</span>", svg_mark(s), escape_markup(plot.series[s].name));
    body_ += "</p>\n";
  }
  body_ += "<div class=\"wide\">" + draw_svg(plot, wide_width, wide_height) + "</div>\n";
  body_ += "<div class=\"narrow\">" + draw_svg(plot, narrow_width, narrow_height) + "</div>\n";
  const std::string missing = describe_missing(plot, x_scale(plot), y_scale(plot));
  if (!missing.empty()) body_ += fmt::format("<p class=\"note\">{}</p>\n", escape_markup(missing));
  body_ += "</figure>\n";
}

std::string Page::html() const {
  // The policy holds what the page promises: nothing is fetched, whatever it shows.
  return fmt::format(
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
      "'unsafe-inline'; script-src 'unsafe-inline'\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<title>{0}</title>\n<style>{1}</style>\n</head>\n<body>\n<h1>{0}</h1>\n{2}<script>{3}</"
      "script>\n"
      "</body>\n</html>\n",
      title_, style, body_, script);
}

}  // namespace plimsoll
