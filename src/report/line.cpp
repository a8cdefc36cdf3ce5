#include "report/line.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "base/numbers.h"

namespace plimsoll {
namespace {

struct Look {
  std::string_view shade;   ///< without colours
  std::string_view letter;  ///< without UTF-8
  Style style;
};

/// By Account.
constexpr std::array<Look, account_count> looks = {{
    {"█", "w", Style::blue},
    {"▓", "k", Style::cyan},
    {"▒", "a", Style::green},
    {"░", "t", Style::yellow},
    {"▞", "i", Style::magenta},
    {"▚", "s", Style::magenta},
    {"▪", "r", Style::grey},
}};

constexpr int shortest_bar = 20;
constexpr int longest_bar = 64;

std::string repeated(std::string_view cell, int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += cell;
  return out;
}

/// "8.10M", as --memory reads it back.
std::string short_bytes(Bytes bytes) {
  std::string text = format_bytes(bytes);
  const std::size_t space = text.find(' ');
  return text.substr(0, space) + text[space + 1];
}

/// Cells of each account: `filled` in all, one at least for each that holds anything where that is
/// possible, otherwise by largest remainder.
std::array<int, account_count> share_cells(const std::array<Bytes, account_count>& accounts,
                                           Bytes used, int filled) {
  std::array<int, account_count> cells{};
  std::array<double, account_count> missing{};
  const auto holders = static_cast<int>(
      std::count_if(accounts.begin(), accounts.end(), [](Bytes bytes) { return bytes > 0; }));
  const bool one_each = filled >= holders;
  int given = 0;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    if (accounts[i] == 0) continue;
    const double exact = filled * (static_cast<double>(accounts[i]) / static_cast<double>(used));
    cells[i] = std::max(static_cast<int>(exact), one_each ? 1 : 0);
    missing[i] = exact - cells[i];
    given += cells[i];
  }
  for (; given < filled; ++given) {
    const auto i = std::max_element(missing.begin(), missing.end()) - missing.begin();
    ++cells[static_cast<std::size_t>(i)];
    missing[static_cast<std::size_t>(i)] -= 1;
  }
  for (; given > filled; --given) {  // small ones were rounded up
    const auto i = std::max_element(cells.begin(), cells.end()) - cells.begin();
    --cells[static_cast<std::size_t>(i)];
  }
  return cells;
}

std::string cells_and_mark(const std::array<Bytes, account_count>& accounts, Bytes used,
                           Bytes budget, int cells, const Terminal& terminal) {
  const std::string mark =
      terminal.styled(used > budget ? Style::alarm : Style::strong, terminal.utf8 ? "⊖" : "(-)");
  const double whole = static_cast<double>(std::max({used, budget, Bytes{1}}));
  const auto scaled = [&](Bytes bytes) {
    return static_cast<int>(std::lround(static_cast<double>(bytes) / whole * cells));
  };
  const int filled = used == 0 ? 0 : std::clamp(scaled(used), 1, cells);
  // Something over the budget shows at least one cell beyond the mark.
  const int line = used > budget ? std::min(scaled(budget), cells - 1) : cells;
  const auto share = share_cells(accounts, used, filled);
  std::string bar;
  int drawn = 0;
  for (std::size_t i = 0; i < share.size(); ++i) {
    const std::string cell = account_cell(static_cast<Account>(i), terminal);
    for (int n = 0; n < share[i]; ++n, ++drawn) {
      if (drawn == line) bar += mark;
      bar += cell;
    }
  }
  bar += terminal.styled(Style::dim, repeated(terminal.utf8 ? "─" : "-", cells - drawn));
  return drawn <= line ? bar + mark : bar;
}

Bytes sum_of(const std::array<Bytes, account_count>& accounts) {
  return std::accumulate(accounts.begin(), accounts.end(), Bytes{0});
}

/// The bar with room for `beside` more columns on its line.
std::string bar_and_sum(const std::array<Bytes, account_count>& accounts, Bytes budget, int beside,
                        const Terminal& terminal) {
  const Bytes used = sum_of(accounts);
  const std::string total = fmt::format(" {}", part_of(used, budget));
  const int room = terminal.width - 1 - beside - columns_of(total) - (terminal.utf8 ? 1 : 3);
  return cells_and_mark(accounts, used, budget, std::clamp(room, 1, longest_bar), terminal) + total;
}

}  // namespace

std::string account_cell(Account account, const Terminal& terminal) {
  const Look& look = looks[static_cast<std::size_t>(account)];
  if (!terminal.utf8) return terminal.styled(look.style, look.letter);
  return terminal.colour ? terminal.styled(look.style, "█") : std::string(look.shade);
}

std::string part_of(Bytes part, Bytes whole) {
  std::string a = format_bytes(part), b = format_bytes(whole);
  const auto unit = [](const std::string& text) { return text.substr(text.find(' ')); };
  if (unit(a) == unit(b)) a.resize(a.find(' '));
  return a + " of " + b;
}

std::string draw_bar(const std::array<Bytes, account_count>& accounts, Bytes budget,
                     const Terminal& terminal) {
  return bar_and_sum(accounts, budget, 0, terminal);
}

std::string draw_line(const std::array<Bytes, account_count>& accounts, Bytes budget,
                      const Terminal& terminal) {
  std::vector<std::string> items;
  int items_columns = 0;
  for (const Account account : all_accounts) {
    const Bytes bytes = accounts[static_cast<std::size_t>(account)];
    if (bytes == 0) continue;
    items.push_back(fmt::format("{} {} {}", account_cell(account, terminal), name(account),
                                short_bytes(bytes)));
    items_columns += columns_of(items.back()) + 2;
  }
  const int beside_bar =
      columns_of(part_of(sum_of(accounts), budget)) + (terminal.utf8 ? 3 : 5) + items_columns;
  const bool one_line = terminal.width - beside_bar >= shortest_bar;
  std::string out = bar_and_sum(accounts, budget, one_line ? items_columns : 0, terminal);
  int column = one_line ? columns_of(out) : terminal.width;
  for (const std::string& item : items) {
    const int columns = columns_of(item);
    if (column + 2 + columns > terminal.width) {
      out += '\n';
      out += item;
      column = columns;
    } else {
      out += "  ";
      out += item;
      column += 2 + columns;
    }
  }
  return out;
}

std::array<Bytes, account_count> ledger_accounts(const Ledger& ledger) {
  std::array<Bytes, account_count> accounts{};
  for (const Account account : all_accounts)
    accounts[static_cast<std::size_t>(account)] = ledger.used(account);
  return accounts;
}

std::string draw_engine(const Engine& engine, std::int64_t tokens, const Terminal& terminal) {
  const Plan& plan = engine.plan();
  std::string quality;
  if (plan.kl_nats > 0) quality = fmt::format(", quality {} nats", format_nats(plan.kl_nats));
  const std::string facts =
      fmt::format("context {} of {} tokens in {} bits, {:.2f} bits per weight, predicted peak {}{}",
                  grouped(tokens), grouped(plan.context), describe(plan.kv), plan.bits_per_weight,
                  format_bytes(plan.peak_bytes), quality);
  return draw_line(ledger_accounts(engine.context().ledger), plan.budget_bytes, terminal) + "\n" +
         terminal.styled(Style::dim, facts) + "\n";
}

}  // namespace plimsoll
