#include "report/line.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>
#include <vector>

namespace plimsoll {
namespace {

using Accounts = std::array<Bytes, account_count>;

Accounts accounts(Bytes weights, Bytes kv, Bytes activations, Bytes text, Bytes runtime) {
  Accounts all{};
  all[static_cast<std::size_t>(Account::weights)] = weights;
  all[static_cast<std::size_t>(Account::kv)] = kv;
  all[static_cast<std::size_t>(Account::activations)] = activations;
  all[static_cast<std::size_t>(Account::text)] = text;
  all[static_cast<std::size_t>(Account::runtime)] = runtime;
  return all;
}

const Accounts small = accounts(8 * MiB, 512 * KiB, 3 * MiB, 240 * KiB, 5 * MiB);

Terminal terminal(int width, bool utf8 = true, bool colour = false) {
  return {.is_terminal = true, .colour = colour, .utf8 = utf8, .width = width};
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

TEST(Line, NeverWiderThanTheTerminal) {
  for (const bool utf8 : {true, false})
    for (const bool colour : {true, false})
      for (int width = 28; width <= 240; ++width)
        for (const Bytes budget : {Bytes{1}, 4 * MiB, 17 * MiB, 24 * MiB, 64 * GiB})
          for (const std::string& line :
               lines_of(draw_line(small, budget, terminal(width, utf8, colour))))
            EXPECT_LE(columns_of(line), width) << line;
}

TEST(Line, OneLineWhereThereIsRoom) {
  EXPECT_EQ(lines_of(draw_line(small, 24 * MiB, terminal(120))).size(), 1u);
  EXPECT_EQ(lines_of(draw_line(small, 24 * MiB, terminal(80))).size(), 2u);
}

TEST(Line, LengthIsTrueToTheSum) {
  // Cells of letters against all cells, within one cell of used / budget.
  for (const Bytes budget : {17 * MiB, 20 * MiB, 33 * MiB, 100 * MiB}) {
    const std::string line = lines_of(draw_line(small, budget, terminal(80, false)))[0];
    const std::string bar = line.substr(0, line.find("(-)"));
    const auto filled =
        static_cast<double>(std::count_if(bar.begin(), bar.end(), [](char c) { return c != '-'; }));
    Bytes used = 0;
    for (const Bytes bytes : small) used += bytes;
    EXPECT_NEAR(
        filled,
        static_cast<double>(bar.size()) * static_cast<double>(used) / static_cast<double>(budget),
        1.0)
        << line;
  }
}

TEST(Line, EveryAccountIsSeen) {
  const std::string line = lines_of(draw_line(small, 24 * MiB, terminal(80, false)))[0];
  for (const char letter : {'w', 'k', 'a', 't', 'r'})
    EXPECT_NE(line.substr(0, line.find("(-)")).find(letter), std::string::npos) << letter;
  const std::string all = draw_line(small, 24 * MiB, terminal(80));
  for (const char* name : {"weights 8.00M", "kv 512K", "activations 3.00M", "text 240K",
                           "runtime 5.00M", "of 24.0 MiB"})
    EXPECT_NE(all.find(name), std::string::npos) << name;
}

TEST(Line, TinyAccountsInAHugeBudget) {
  const std::string line = lines_of(draw_line(small, 1024 * GiB, terminal(80, false)))[0];
  const std::string bar = line.substr(0, line.find("(-)"));
  EXPECT_EQ(std::count(bar.begin(), bar.end(), '-'), static_cast<std::ptrdiff_t>(bar.size()) - 1);
}

TEST(Line, WhatIsTooMuchStandsBehindTheMark) {
  const std::string line = lines_of(draw_line(small, 4 * MiB, terminal(80, false)))[0];
  const std::size_t mark = line.find("(-)");
  ASSERT_NE(mark, std::string::npos);
  EXPECT_GT(mark, 0u);
  EXPECT_EQ(line[mark + 3], 'w');
  EXPECT_EQ(line.find("(-)", mark + 1), std::string::npos);
  // A byte too much shows as well.
  Bytes used = 0;
  for (const Bytes bytes : small) used += bytes;
  const std::string close = draw_line(small, used - 1, terminal(80, false));
  EXPECT_EQ(close[close.find("(-)") + 3], 'r');
  const std::string exact = draw_line(small, used, terminal(80, false));
  EXPECT_EQ(exact[exact.find("(-)") + 3], ' ');
}

TEST(Line, NothingAtAll) {
  EXPECT_NE(draw_line(Accounts{}, 0, terminal(80)).find("0 of 0 B"), std::string::npos);
}

TEST(Line, AsciiWithoutUtf8AndPlainWithoutColours) {
  const std::string ascii = draw_line(small, 24 * MiB, terminal(80, false));
  EXPECT_TRUE(std::all_of(ascii.begin(), ascii.end(),
                          [](char c) { return c == '\n' || (c >= ' ' && c <= '~'); }));
  EXPECT_EQ(draw_line(small, 24 * MiB, terminal(80)).find('\x1b'), std::string::npos);
  EXPECT_NE(draw_line(small, 24 * MiB, terminal(80, true, true)).find('\x1b'), std::string::npos);
}

TEST(PartOf, NamesTheUnitOnce) {
  EXPECT_EQ(part_of(17 * MiB, 24 * MiB), "17.0 of 24.0 MiB");
  EXPECT_EQ(part_of(512 * KiB, 24 * MiB), "512 KiB of 24.0 MiB");
}

}  // namespace
}  // namespace plimsoll
