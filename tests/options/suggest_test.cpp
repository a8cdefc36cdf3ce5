#include "options/suggest.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <random>
#include <string>
#include <vector>

namespace plimsoll {
namespace {

TEST(Suggest, DistancesByHand) {
  EXPECT_EQ(edit_distance("", ""), 0u);
  EXPECT_EQ(edit_distance("", "abc"), 3u);
  EXPECT_EQ(edit_distance("abc", ""), 3u);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3u);
  EXPECT_EQ(edit_distance("rnu", "run"), 1u);  // neighbours swapped
  EXPECT_EQ(edit_distance("ca", "abc"), 3u);   // no edit inside a swap
}

/// The definition, without a table.
std::size_t plain_distance(std::string_view a, std::string_view b) {
  if (a.empty() || b.empty()) return a.size() + b.size();
  std::size_t best =
      std::min({plain_distance(a.substr(1), b) + 1, plain_distance(a, b.substr(1)) + 1,
                plain_distance(a.substr(1), b.substr(1)) + (a[0] != b[0])});
  if (a.size() > 1 && b.size() > 1 && a[0] == b[1] && a[1] == b[0])
    best = std::min(best, plain_distance(a.substr(2), b.substr(2)) + 1);
  return best;
}

TEST(Suggest, DistancesOfRandomWords) {
  std::mt19937 random(1);
  for (int i = 0; i < 300; ++i) {
    std::string a, b;
    for (std::string* word : {&a, &b})
      for (unsigned n = random() % 7; n > 0; --n) *word += static_cast<char>('a' + random() % 3);
    EXPECT_EQ(edit_distance(a, b), plain_distance(a, b)) << a << " " << b;
  }
}

TEST(Suggest, Closest) {
  const std::vector<std::string> known{"run",      "plan",    "fit",     "eval",
                                       "tokenize", "--top-p", "--memory"};
  EXPECT_EQ(closest("rnu", known), "run");
  EXPECT_EQ(closest("PLAN", known), "plan");
  EXPECT_EQ(closest("plna", known), "plan");
  EXPECT_EQ(closest("tok", known), "tokenize");
  EXPECT_EQ(closest("--top_p", known), "--top-p");
  EXPECT_EQ(closest("--mem", known), "--memory");
  EXPECT_EQ(closest("memroy", known), "--memory");
  for (const char* word : {"", "-", "x", "serve", "chat", "quantize"})
    EXPECT_EQ(closest(word, known), "") << word;
  EXPECT_EQ(closest(std::string(100000, 'x'), known), "");
}

TEST(Suggest, Hints) {
  const std::vector<std::string> known{"fast", "thorough"};
  EXPECT_EQ(did_you_mean("fsat", known, ""), "did you mean fast?");
  EXPECT_EQ(did_you_mean("fsat", known, "see help"), "did you mean fast? see help");
  EXPECT_EQ(did_you_mean("zzzzz", known, "see help"), "see help");
}

}  // namespace
}  // namespace plimsoll
