#include "report/evaluation_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "app/planning.h"
#include "base/numbers.h"
#include "report/page.h"
#include "terminal/output.h"

namespace plimsoll {
namespace {

using nlohmann::ordered_json;

constexpr std::size_t longest_name = 24;

std::string stem(const std::string& path) {
  const std::filesystem::path file(path);
  return file.extension() == ".gguf" ? file.stem().string() : file.filename().string();
}

ordered_json interval_json(const std::optional<Interval>& interval) {
  return interval ? ordered_json{interval->low, interval->high} : ordered_json();
}

ordered_json optional_json(const std::optional<double>& value) {
  return value ? ordered_json(*value) : ordered_json();
}

ordered_json result_json(const EvaluationReport& report, const EvaluationResult& result) {
  const Evaluation& e = result.evaluation;
  const nlohmann::json plan = to_json(result.plan);
  ordered_json json = {{"model", result.path},
                       {"file_bytes", result.file_bytes},
                       {"weight_bytes", result.plan.account(Account::weights)},
                       {"bits_per_weight", result.plan.bits_per_weight},
                       {"formats", plan.at("formats")},
                       {"predicted_kl_nats", result.plan.kl_nats},
                       {"quality", plan.at("quality")},
                       {"scored_tokens", e.scored_tokens},
                       {"nll", e.nll},
                       {"nll_error", optional_json(e.nll_error)},
                       {"nll_interval", interval_json(e.nll_interval)},
                       {"perplexity", e.perplexity()},
                       {"perplexity_interval", interval_json(e.perplexity_interval())}};
  const auto distance = [&](const char* key, const auto& value) {
    json[key] = e.distance ? value(*e.distance) : ordered_json();
  };
  distance("kl", [](const Distance& d) -> ordered_json { return d.kl; });
  distance("kl_error", [](const Distance& d) { return optional_json(d.kl_error); });
  distance("kl_interval", [](const Distance& d) { return interval_json(d.kl_interval); });
  distance("kl_p99", [](const Distance& d) -> ordered_json { return d.kl_p99; });
  distance("kl_max", [](const Distance& d) -> ordered_json { return d.kl_max; });
  distance("same_top", [](const Distance& d) -> ordered_json { return d.same_top; });
  distance("same_top_interval",
           [](const Distance& d) { return interval_json(d.same_top_interval); });
  distance("reference_nll", [](const Distance& d) -> ordered_json { return d.reference_nll; });
  json["context"] = report.context;
  json["chunks"] = e.chunks;
  json["peak_bytes"] = result.peak_bytes;
  json["budget_bytes"] = result.budget_bytes;
  json["predicted_peak_bytes"] = result.predicted_peak_bytes;
  return json;
}

/// Whether its weights are other than the file's own.
bool is_rounded(const EvaluationResult& result) { return !result.plan.formats.empty(); }

bool any_rounded(const EvaluationReport& report) {
  return std::any_of(report.results.begin(), report.results.end(), is_rounded);
}

/// What tells the results apart: model, budget or both.
std::vector<std::string> name_columns(const EvaluationReport& report) {
  std::vector<std::string> columns;
  if (report.models.size() > 1 || report.budgets.size() == 1) columns.push_back("model");
  if (report.budgets.size() > 1) columns.push_back("budget");
  return columns;
}

std::vector<Table::Cell> name_cells(const EvaluationReport& report, const EvaluationResult& result) {
  std::vector<Table::Cell> cells;
  for (const std::string& column : name_columns(report))
    cells.push_back(
        column == "budget"
            ? Table::Cell{report.budgets[result.budget], static_cast<double>(result.budget_bytes)}
            : Table::Cell{printable_line(report.models[result.model], longest_name)});
  return cells;
}

Bytes predicted_peak(const EvaluationReport& report) {
  Bytes peak = 0;
  for (const EvaluationResult& result : report.results)
    peak = std::max(peak, result.predicted_peak_bytes);
  return peak;
}

std::string describe_one(const EvaluationReport& report, const Terminal& terminal) {
  const Evaluation& e = report.results.front().evaluation;
  std::string out;
  const auto row = [&out](const char* name, const std::string& value, const std::string& rest) {
    out += fmt::format("{:<11}{:>10}  {}\n", name, value, rest);
  };
  const char* about = terminal.utf8 ? "±" : "+-";
  const auto reach = [about](const std::optional<Interval>& interval, int digits) {
    return interval
               ? fmt::format("{} {:.{}f} ", about, (interval->high - interval->low) / 2, digits)
               : std::string();
  };
  const auto perplexity = e.perplexity_interval();
  row("perplexity", fmt::format("{:.3f}", e.perplexity()),
      perplexity ? fmt::format("{:.3f} to {:.3f}", perplexity->low, perplexity->high) : "");
  row("nll", fmt::format("{:.4f}", e.nll), reach(e.nll_interval, 4) + "nats per token");
  if (e.distance) {
    row("kl", fmt::format("{:.6f}", e.distance->kl),
        reach(e.distance->kl_interval, 6) + "nats per token from the reference");
    row("kl p99", fmt::format("{:.6f}", e.distance->kl_p99),
        fmt::format("99th percentile of single tokens, {:.6f} at most", e.distance->kl_max));
  }
  if (const EvaluationResult& result = report.results.front(); is_rounded(result))
    row("predicted", format_nats(result.plan.kl_nats),
        fmt::format("nats lost by rounding ({})", describe(result.plan.quality)));
  if (e.distance) {
    const auto& same = e.distance->same_top_interval;
    row("same top", fmt::format("{:.2f} %", 100 * e.distance->same_top),
        (same ? fmt::format("{:.2f} to {:.2f} ", 100 * same->low, 100 * same->high) : "") +
            "of positions have the same likeliest token");
  }
  row("scored", grouped(e.scored_tokens),
      fmt::format("tokens in {} chunk{}{}", grouped(e.chunks), e.chunks == 1 ? "" : "s",
                  e.nll_interval ? "; intervals hold 95 %" : ", too few for intervals"));
  row("peak", format_bytes(report.peak_bytes),
      fmt::format("of {}", format_bytes(report.budget_bytes)));
  return out;
}

/// A row for each result; `about` is the sign before half an interval.
Table results_table(const EvaluationReport& report, const char* about) {
  Table table;
  table.columns = name_columns(report);
  for (const char* column : {"file", "weights", "bits", "peak", "nll", "perplexity"})
    table.columns.push_back(column);
  const bool compared = report.reference.has_value(), rounded = any_rounded(report);
  if (rounded) table.columns.push_back("predicted");
  if (compared)
    for (const char* column : {"kl", "kl p99", "kl max", "same top"})
      table.columns.push_back(column);
  const auto with_reach = [about](double value, const std::optional<Interval>& interval,
                                  int digits) {
    std::string text = fmt::format("{:.{}f}", value, digits);
    if (interval)
      text += fmt::format(" {} {:.{}f}", about, (interval->high - interval->low) / 2, digits);
    return Table::Cell{text, value};
  };
  const auto bytes = [](Bytes value) {
    return Table::Cell{format_bytes(value), static_cast<double>(value)};
  };
  for (const EvaluationResult& result : report.results) {
    const Evaluation& e = result.evaluation;
    std::vector<Table::Cell> row = name_cells(report, result);
    row.push_back(bytes(result.file_bytes));
    row.push_back(bytes(result.plan.account(Account::weights)));
    row.push_back(
        {fmt::format("{:.2f}", result.plan.bits_per_weight), result.plan.bits_per_weight});
    row.push_back(bytes(result.peak_bytes));
    row.push_back(with_reach(e.nll, e.nll_interval, 4));
    row.push_back({fmt::format("{:.3f}", e.perplexity()), e.perplexity()});
    if (rounded)
      row.push_back(
          {is_rounded(result) ? format_nats(result.plan.kl_nats) : "exact", result.plan.kl_nats});
    if (compared) {
      const Distance& d = *e.distance;
      row.push_back(with_reach(d.kl, d.kl_interval, 6));
      row.push_back({fmt::format("{:.4f}", d.kl_p99), d.kl_p99});
      row.push_back({fmt::format("{:.4f}", d.kl_max), d.kl_max});
      row.push_back({fmt::format("{:.2f} %", 100 * d.same_top), d.same_top});
    }
    table.rows.push_back(std::move(row));
  }
  return table;
}

/// The columns of a table in characters; those that may be missing go, in their order, until it is
/// at most `width` wide.
std::string describe_table(const Table& table, int width,
                           std::initializer_list<std::string_view> may_be_missing) {
  std::vector<int> widths;
  int whole = -2;
  for (std::size_t c = 0; c < table.columns.size(); ++c) {
    int widest = columns_of(table.columns[c]);
    for (const auto& row : table.rows) widest = std::max(widest, columns_of(row[c].text));
    widths.push_back(widest);
    whole += widest + 2;
  }
  for (const std::string_view head : may_be_missing) {
    if (whole <= width) break;
    const auto c = std::find(table.columns.begin(), table.columns.end(), head);
    if (c == table.columns.end()) continue;
    int& column = widths[static_cast<std::size_t>(c - table.columns.begin())];
    whole -= column + 2;
    column = 0;
  }
  std::string out;
  const auto write_row = [&](const auto& text_of) {
    std::string line;
    for (std::size_t c = 0; c < widths.size(); ++c) {
      if (widths[c] == 0) continue;
      const std::string& text = text_of(c);
      const std::string padding(static_cast<std::size_t>(widths[c] - columns_of(text)), ' ');
      line += c == 0 ? text + padding : "  " + padding + text;
    }
    out += line + '\n';
  };
  write_row([&](std::size_t c) -> const std::string& { return table.columns[c]; });
  for (const auto& row : table.rows)
    write_row([&](std::size_t c) -> const std::string& { return row[c].text; });
  return out;
}

/// Points over the bytes that the weights take. Where budgets are compared, a line for each model;
/// otherwise one series of all. `point_of(result)` sets y, or gives nothing.
template <class PointOf>
void add_series(Plot& plot, const EvaluationReport& report, const std::string& suffix,
                const PointOf& point_of) {
  const bool lines = report.budgets.size() > 1;
  std::vector<Series> found(lines ? report.models.size() : 1);
  for (const EvaluationResult& result : report.results) {
    std::optional<Point> point = point_of(result);
    if (!point) continue;
    point->x = static_cast<double>(result.plan.account(Account::weights));
    found[lines ? result.model : 0].points.push_back(*std::move(point));
  }
  for (std::size_t i = 0; i < found.size(); ++i) {
    Series& series = found[i];
    if (series.points.empty()) continue;
    series.name = (lines ? report.models[i] : "models") + suffix;
    series.line = lines;
    std::stable_sort(series.points.begin(), series.points.end(),
                     [](const Point& a, const Point& b) { return a.x < b.x; });
    plot.series.push_back(std::move(series));
  }
}

const std::string& point_label(const EvaluationReport& report, const EvaluationResult& result) {
  return report.budgets.size() > 1 ? report.budgets[result.budget] : report.models[result.model];
}

Plot kl_plot(const EvaluationReport& report) {
  Plot plot{.title = "Distance from the reference",
            .x = {"weights in memory", Unit::bytes},
            .y = {"KL, nats per token", Unit::plain, true},
            .series = {}};
  add_series(plot, report, "", [&report](const EvaluationResult& result) {
    const Distance& distance = *result.evaluation.distance;
    Point point{.y = distance.kl, .label = point_label(report, result)};
    if (const auto& interval = distance.kl_interval)
      point.y_range = {interval->low, interval->high};
    return std::optional(point);
  });
  return plot;
}

Plot with_predictions(Plot plot, const EvaluationReport& report) {
  add_series(plot, report, ", predicted", [](const EvaluationResult& result) {
    return is_rounded(result) ? std::optional(Point{.y = result.plan.kl_nats}) : std::nullopt;
  });
  return plot;
}

Plot perplexity_plot(const EvaluationReport& report) {
  Plot plot{.title = "Perplexity",
            .x = {"weights in memory", Unit::bytes},
            .y = {"perplexity"},
            .series = {}};
  add_series(plot, report, "", [&report](const EvaluationResult& result) {
    return std::optional(
        Point{.y = result.evaluation.perplexity(), .label = point_label(report, result)});
  });
  if (const auto& distance = report.results.front().evaluation.distance)
    plot.markers.push_back({"reference", std::exp(distance->reference_nll), false});
  return plot;
}

/// How the weights of each are held.
Table formats_table(const EvaluationReport& report) {
  Table table;
  table.columns = name_columns(report);
  table.columns.insert(table.columns.end(), {"formats in memory", "prediction"});
  for (const EvaluationResult& result : report.results) {
    table.rows.push_back(name_cells(report, result));
    table.rows.back().push_back({format_mix(result.plan.shares)});
    table.rows.back().push_back(
        {std::string(is_rounded(result) ? describe(result.plan.quality) : "exact")});
  }
  return table;
}

/// "7,680 tokens scored, in 60 chunks of 256".
std::string describe_scored(const EvaluationReport& report) {
  const Evaluation& e = report.results.front().evaluation;
  return fmt::format("{} tokens scored, in {} chunk{} of {}", grouped(e.scored_tokens),
                     grouped(e.chunks), e.chunks == 1 ? "" : "s", grouped(report.context));
}

std::string describe_several(const EvaluationReport& report, const Terminal& terminal) {
  const char* about = terminal.utf8 ? "±" : "+-";
  const char* aside = report.budgets.size() > 1 ? "file" : "weights";
  std::string out =
      describe_table(results_table(report, about), terminal.width,
                     {"kl max", aside, "kl p99", "bits", "nll", "peak", "perplexity"});
  out += fmt::format("\n{}{}; peak {} of {}\n\n", describe_scored(report),
                     report.results.front().evaluation.nll_interval
                         ? fmt::format("; {} holds 95 %", about)
                         : ", too few for intervals",
                     format_bytes(report.peak_bytes), format_bytes(report.budget_bytes));
  return out + draw_plot(report.reference ? kl_plot(report) : perplexity_plot(report), terminal);
}

}  // namespace

std::vector<std::string> short_names(const std::vector<std::string>& paths) {
  std::vector<std::string> names;
  for (const std::string& path : paths) names.push_back(stem(path));
  if (names.size() < 2) return names;
  std::size_t common = names.front().size();
  for (const std::string& name : names)
    common = std::min(
        common, static_cast<std::size_t>(std::mismatch(name.begin(), name.end(),
                                                       names.front().begin(), names.front().end())
                                             .first -
                                         name.begin()));
  const std::size_t word = names.front().substr(0, common).find_last_of("-. ");
  if (word == std::string::npos) return names;
  const bool nothing_left = std::any_of(
      names.begin(), names.end(), [word](const auto& name) { return name.size() == word + 1; });
  if (!nothing_left)
    for (std::string& name : names) name.erase(0, word + 1);
  return names;
}

std::vector<std::string> budget_names(const std::vector<Bytes>& budgets) {
  std::vector<std::string> names;
  for (const Bytes budget : budgets) names.push_back(format_bytes(budget));
  std::vector<std::string> sorted = names;
  std::sort(sorted.begin(), sorted.end());
  if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end())
    std::transform(budgets.begin(), budgets.end(), names.begin(), [](Bytes budget) {
      return fmt::format("{} B", grouped(static_cast<std::int64_t>(budget)));
    });
  return names;
}

std::string describe_report(const EvaluationReport& report, const Terminal& terminal) {
  return report.results.size() == 1 ? describe_one(report, terminal)
                                    : describe_several(report, terminal);
}

ordered_json report_json(const EvaluationReport& report) {
  if (report.results.size() == 1) return result_json(report, report.results.front());
  ordered_json json;
  for (const EvaluationResult& result : report.results)
    json["models"].push_back(result_json(report, result));
  json["reference"] = report.reference ? ordered_json(*report.reference) : ordered_json();
  json["text"] = report.text;
  json["context"] = report.context;
  json["chunks"] = report.results.front().evaluation.chunks;
  json["scored_tokens"] = report.results.front().evaluation.scored_tokens;
  json["peak_bytes"] = report.peak_bytes;
  json["budget_bytes"] = report.budget_bytes;
  json["predicted_peak_bytes"] = predicted_peak(report);
  return json;
}

std::string report_page(const EvaluationReport& report) {
  const bool several = report.results.size() > 1;
  const bool models = report.models.size() > 1, budgets = report.budgets.size() > 1;
  Page page((models ? fmt::format("{} models", report.models.size())
                    : stem(report.results.front().path)) +
            (budgets ? fmt::format(" under {} budgets", report.budgets.size()) : "") +
            (models ? " on one text" : ""));
  page.paragraph(fmt::format("{} of {}, the second half of each.", describe_scored(report),
                             std::filesystem::path(report.text).filename().string()) +
                 (report.reference ? fmt::format(" The reference is {}.", stem(*report.reference))
                                   : std::string()));
  page.table(results_table(report, "±"));
  if (report.results.front().evaluation.nll_interval)
    page.paragraph(
        "± is a 95 % interval for texts of this kind, with the chunk as the unit: tokens of one "
        "chunk "
        "are not independent. All are compared on the same tokens here: the differences between "
        "them are surer than that.");
  page.paragraph(
      "nll and kl are nats per token; bits are those of a weight as held in memory; peak is what "
      "the "
      "kernel counted for the whole process.");
  if (any_rounded(report)) {
    page.paragraph(
        "Weights were rounded to fit. predicted is what that was expected to cost, in nats of KL "
        "from the file's own weights, before anything was loaded.");
    page.table(formats_table(report));
  }
  if (several) {
    if (report.reference) page.plot(with_predictions(kl_plot(report), report));
    page.plot(perplexity_plot(report));
  }
  return page.html();
}

}  // namespace plimsoll
