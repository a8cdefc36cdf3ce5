#include "text/merge.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>

namespace plimsoll {
namespace {

using Rules = std::map<std::pair<TokenId, TokenId>, Merge>;

/// The definition: look at all pairs, merge the best, begin again.
std::vector<TokenId> merge_slowly(std::vector<TokenId> tokens, const Rules& rules) {
  for (;;) {
    std::size_t best = tokens.size();
    Merge best_merge{0, no_token};
    for (std::size_t i = 0; i + 1 < tokens.size(); ++i) {
      const auto rule = rules.find({tokens[i], tokens[i + 1]});
      if (rule == rules.end()) continue;
      if (best_merge.token == no_token || rule->second.priority < best_merge.priority) {
        best = i;
        best_merge = rule->second;
      }
    }
    if (best_merge.token == no_token) return tokens;
    tokens[best] = best_merge.token;
    tokens.erase(tokens.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
}

std::vector<TokenId> merge_by_heap(const std::vector<TokenId>& tokens, const Rules& rules) {
  MergeScratch scratch;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    scratch.append(static_cast<std::uint32_t>(i), 1, tokens[i]);
  }
  merge_symbols(scratch, [&](const Symbol& left, const Symbol& right) {
    const auto rule = rules.find({left.token, right.token});
    return rule == rules.end() ? Merge{0, no_token} : rule->second;
  });
  std::vector<TokenId> merged;
  for (std::int32_t i = tokens.empty() ? -1 : 0; i >= 0;) {
    const Symbol& symbol = scratch.symbols[static_cast<std::size_t>(i)];
    merged.push_back(symbol.token);
    i = symbol.next;
  }
  return merged;
}

TEST(Merge, EqualsTheDefinition) {
  std::mt19937 random(20);
  for (int round = 0; round < 300; ++round) {
    // Each pair makes a token of its own, as texts do; priorities have ties in half of the rounds.
    Rules rules;
    const int letters = 2 + round % 3;
    TokenId next = letters;
    for (int i = 0; i < 30; ++i) {
      const auto pick = [&] {
        return static_cast<TokenId>(random() % static_cast<unsigned>(next));
      };
      const std::pair<TokenId, TokenId> pair(pick(), pick());
      const auto priority = static_cast<std::uint32_t>(round % 2 == 0 ? i : random() % 5);
      if (rules.emplace(pair, Merge{priority, next}).second) ++next;
    }
    std::vector<TokenId> tokens(random() % 70);
    for (TokenId& token : tokens)
      token = static_cast<TokenId>(random() % static_cast<unsigned>(letters));
    ASSERT_EQ(merge_by_heap(tokens, rules), merge_slowly(tokens, rules)) << "round " << round;
  }
}

}  // namespace
}  // namespace plimsoll
