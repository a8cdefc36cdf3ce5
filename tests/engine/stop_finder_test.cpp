#include "engine/stop_finder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "support/chain_model.h"
#include "support/fixture.h"

namespace plimsoll {
namespace {

using test::ChainKind;
using test::ChainToken;

struct Piece {
  std::string text;
  bool shown;
};

/// What should have come out, looked for in everything at once.
struct Wanted {
  std::string final, held;
  bool found = false;
};

Wanted search(const std::vector<Piece>& pieces, const std::vector<std::string>& stops) {
  Wanted wanted;
  std::string spelled, shown;
  std::vector<std::size_t> shown_before;  // of each place in what is spelled
  for (const Piece& piece : pieces) {
    for (const char c : piece.text) {
      shown_before.push_back(shown.size());
      spelled += c;
      if (piece.shown) shown += c;
    }
    std::size_t end = shown.npos;
    for (const std::string& stop : stops) {
      if (const std::size_t at = spelled.find(stop); at != spelled.npos)
        end = std::min(end, shown_before[at]);
      end = std::min(end, shown.find(stop));
    }
    if (end != shown.npos) return {shown.substr(0, end), "", true};
  }
  std::size_t kept = shown.size();
  for (const std::string& stop : stops)
    for (std::size_t length = 1; length < stop.size(); ++length) {
      const std::string begin = stop.substr(0, length);
      if (shown.ends_with(begin)) kept = std::min(kept, shown.size() - length);
      if (spelled.ends_with(begin)) kept = std::min(kept, shown_before[spelled.size() - length]);
    }
  return {shown.substr(0, kept), shown.substr(kept), false};
}

TEST(StopFinder, FindsWhatASearchOfEverythingFinds) {
  std::mt19937 random(3);
  int found = 0;
  for (int round = 0; round < 20000; ++round) {
    const auto text = [&random](std::size_t most) {
      std::string out;
      for (std::size_t i = 1 + random() % most; i > 0; --i) out += static_cast<char>('a' + random() % 2);
      return out;
    };
    std::vector<std::string> stops;
    for (std::size_t i = 1 + random() % 3; i > 0; --i) stops.push_back(text(7));
    std::vector<Piece> pieces;
    StopFinder finder(stops);
    std::string out;
    for (int i = 0; i < 12 && !finder.found(); ++i) {
      pieces.push_back({random() % 8 ? text(3) : "", random() % 3 > 0});
      out += finder.push(pieces.back().text, pieces.back().shown);
      const Wanted wanted = search(pieces, stops);
      ASSERT_EQ(finder.found(), wanted.found);
      ASSERT_EQ(out, wanted.final);
    }
    found += finder.found();
    ASSERT_EQ(out + finder.flush(), search(pieces, stops).final + search(pieces, stops).held);
  }
  EXPECT_GT(found, 5000);
  EXPECT_LT(found, 19000);
}

class Stops : public ::testing::Test {
 protected:
  Stops() {
    test::write_chain_model(path_, {{"go"},
                                    {"Hi"},
                                    {"<|a|>", ChainKind::control},
                                    {"\n"},
                                    {"<tool>", ChainKind::user_defined},
                                    {"x<|"},
                                    {"<|b|>", ChainKind::control},
                                    {"<|c|>", ChainKind::control},
                                    {"y"}});
    loaded_ = std::make_unique<test::Loaded>(path_);
  }

  Generated say(const std::vector<std::string>& stops, bool show_special = false) {
    loaded_->session->clear();
    GenerateOptions options;
    options.sampling.temperature = 0;
    options.stops = stops;
    options.show_special = show_special;
    const TokenId go = test::first_chain_token;
    std::string streamed;
    Generated result = generate(*loaded_->session, {&go, 1}, options, [&](std::string_view text) {
      streamed += text;
      return true;
    });
    EXPECT_EQ(streamed, result.text);
    return result;
  }

  test::TemporaryFolder folder_;
  std::string path_ = folder_.file("chain.gguf");
  std::unique_ptr<test::Loaded> loaded_;
};

TEST_F(Stops, MayBeTextsOfControlTokens) {
  const std::string all = "Hi\n<tool>x<|y";
  EXPECT_EQ(say({}).text, all);
  EXPECT_EQ(say({"never"}).text, all);
  EXPECT_EQ(say({"<|a|>\n\n", "<|b|>y"}).text, all) << "what is held back for them is not lost";
  struct Case {
    std::string stop, text;
    std::size_t tokens;
  };
  for (const Case& c : {Case{"<|a|>", "Hi", 2}, Case{"<|a|>\n", "Hi", 3}, Case{"i<|a|>", "H", 2},
                        Case{"Hi<|a|>\n<tool>x", "", 5}, Case{"|a", "Hi", 2},
                        Case{"<|b|><|c|>", "Hi\n<tool>x<|", 7}, Case{"<|<|b|>", "Hi\n<tool>x", 6},
                        Case{"<tool>", "Hi\n", 4}, Case{"<tool", "Hi\n", 4},
                        // Also what is found only where nobody sees the token between.
                        Case{"Hi\n", "", 3}, Case{"<|y", "Hi\n<tool>x", 8}}) {
    const Generated result = say({c.stop});
    EXPECT_EQ(result.text, c.text) << c.stop;
    EXPECT_EQ(result.reason, FinishReason::stop) << c.stop;
    EXPECT_EQ(result.tokens.size(), c.tokens) << c.stop;
  }
}

TEST_F(Stops, AreTheSameWhereControlTokensAreShown) {
  EXPECT_EQ(say({}, true).text, "Hi<|a|>\n<tool>x<|<|b|><|c|>y");
  EXPECT_EQ(say({"<|a|>"}, true).text, "Hi");
  EXPECT_EQ(say({"<|a|>\n<t"}, true).text, "Hi");
  EXPECT_EQ(say({"<|b|><|c|>"}, true).text, "Hi<|a|>\n<tool>x<|");
  EXPECT_EQ(say({"Hi\n"}, true).text, "Hi<|a|>\n<tool>x<|<|b|><|c|>y");
}

}  // namespace
}  // namespace plimsoll
