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

/// In windows of `size` symbols, twice as many where those don't agree. Counts how often.
std::vector<TokenId> merge_windowed(const std::vector<TokenId>& tokens, const Rules& rules,
                                    std::size_t size, int& growths) {
  MergeScratch scratch;
  const auto lookup = [&](const Symbol& left, const Symbol& right) {
    const auto rule = rules.find({left.token, right.token});
    return rule == rules.end() ? Merge{0, no_token} : rule->second;
  };
  for (;; size *= 2, ++growths) {
    std::vector<TokenId> merged;
    std::size_t at = 0;
    std::uint32_t length = 0;
    const auto more = [&](std::size_t most) {
      for (; at < tokens.size() && scratch.symbols.size() < most; ++at)
        scratch.append(static_cast<std::uint32_t>(at), 1, tokens[at]);
    };
    const auto take = [&](const Symbol& symbol) {
      EXPECT_EQ(symbol.begin, length);
      length += symbol.length;
      merged.push_back(symbol.token);
    };
    if (merge_in_windows(scratch, size, more, lookup, take)) {
      EXPECT_EQ(length, tokens.size());
      return merged;
    }
    if (size > tokens.size()) {
      ADD_FAILURE() << "one window of everything does not agree";
      return {};
    }
    length = 0;
  }
}

/// Random letters, or a run of few in a pattern.
std::vector<TokenId> random_tokens(std::mt19937& random, std::size_t count, int letters) {
  std::vector<TokenId> tokens(count);
  const unsigned kind = random() % 4;
  const std::size_t period = 1 + random() % 6;
  for (std::size_t i = 0; i < count; ++i) {
    const bool repeats = kind != 0 && i >= period && (kind != 1 || random() % 50 != 0);
    tokens[i] = repeats ? tokens[i - period]
                        : static_cast<TokenId>(random() % static_cast<unsigned>(letters));
  }
  return tokens;
}

TEST(Merge, WindowsGiveWhatTheWholeGives) {
  std::mt19937 random(13);
  int growths = 0, windows = 0;
  for (int round = 0; round < 4000; ++round) {
    const int letters = 1 + round % 4;
    // Rules of the kind that training makes (each pair out of what is there already, worse than all
    // before), and any rules, whose results may be equal or better than what they are made of.
    Rules rules;
    TokenId next = letters;
    const bool is_trained = round % 2 == 0;
    const int count = 2 + static_cast<int>(random() % 40);
    for (int i = 0; i < count; ++i) {
      const auto pick = [&] {
        return static_cast<TokenId>(random() % static_cast<unsigned>(next));
      };
      const std::pair<TokenId, TokenId> pair(pick(), pick());
      const auto priority =
          static_cast<std::uint32_t>(is_trained ? i : random() % (2 + random() % 20));
      if (rules.emplace(pair, Merge{priority, next}).second) ++next;
    }
    const std::vector<TokenId> tokens = random_tokens(random, random() % 900, letters);
    const std::size_t size = 2 + random() % 120;
    windows += tokens.size() > size;
    ASSERT_EQ(merge_windowed(tokens, rules, size, growths), merge_by_heap(tokens, rules))
        << "round " << round;
  }
  EXPECT_GT(windows, 3000);
  EXPECT_GT(growths, 100);  // of windows that were too small for these rules
}

}  // namespace
}  // namespace plimsoll
