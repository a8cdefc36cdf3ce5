// The line: one picture of a budget, what every account holds of it, and how far the mark is.
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/ledger.h"
#include "engine/engine.h"
#include "terminal/terminal.h"

namespace plimsoll {

/// A bar as long as the budget: every account in its own colour or character, free water up to the
/// mark, then the numbers, which also explain the bar. What goes beyond the budget stands behind
/// the mark. One line where the terminal is wide, otherwise the bar and the numbers below it; no
/// line is wider than the terminal (from 28 columns). Without a line break at the end.
///
/// The bar's length is true to the sum; within it accounts that hold anything get a cell each as
/// long as there are cells, the rest in proportion.
std::string draw_line(const std::array<Bytes, account_count>& accounts, Bytes budget,
                      const Terminal& terminal);

/// What the Ledger holds by account, as the line shows it.
std::array<Bytes, account_count> ledger_accounts(const Ledger& ledger);

/// What a loaded model holds, and how many tokens of its context are in use; whole lines.
std::string draw_engine(const Engine& engine, std::int64_t tokens, const Terminal& terminal);

/// The bar and the sum alone, one line.
std::string draw_bar(const std::array<Bytes, account_count>& accounts, Bytes budget,
                     const Terminal& terminal);

/// The coloured or plain cell that stands for an account in the bar.
std::string account_cell(Account account, const Terminal& terminal);

/// "17.3 of 24.0 MiB", the unit once where both have the same.
std::string part_of(Bytes part, Bytes whole);

}  // namespace plimsoll
