#include "engine/reasoning.h"

#include <gtest/gtest.h>

namespace plimsoll {
namespace {

struct Case {
  const char* text;
  bool opened;
  const char *reasoning, *answer;
};

const Case cases[] = {
    {"Hello", false, "", "Hello"},
    {"", false, "", ""},
    {" \n", false, "", " \n"},
    {"  Hello", false, "", "  Hello"},
    {"<think>\nhm, so\n</think>\n\nHello", false, "hm, so", "Hello"},
    {"\n<think>a  b\n\nc</think>Hello <think>", false, "a  b\n\nc", "Hello <think>"},
    {"<think></think>Hi", false, "", "Hi"},
    {"<think>\n\n</think>\n\nHi", false, "", "Hi"},
    {"<think>still at it", false, "still at it", ""},
    {"<think>a < b </thin", false, "a < b </thin", ""},
    {"<thin", false, "", "<thin"},
    {"<thing>", false, "", "<thing>"},
    {"The tag is <think>x</think>", false, "", "The tag is <think>x</think>"},
    {"so then\n</think>\n\nHi", true, "so then", "Hi"},
    {"\nso</think>Hi</think>", true, "so", "Hi</think>"},
    {"<think>\nso</think>Hi", true, "so", "Hi"},
    {"<thin</think>Hi", true, "<thin", "Hi"},
    {"</think>Hi", true, "", "Hi"},
    {"", true, "", ""},
};

TEST(Reasoning, IsToldApartHoweverItComes) {
  for (const Case& c : cases) {
    const ReasoningMarks marks{"<think>", "</think>", c.opened};
    const std::string text = c.text;
    for (std::size_t piece = 1; piece <= text.size() + 1; ++piece) {
      ReasoningSplitter splitter(marks);
      std::string reasoning, answer;
      const auto take = [&](const std::vector<ReasoningSplitter::Piece>& pieces) {
        for (const auto& part : pieces) {
          EXPECT_FALSE(part.text.empty());
          EXPECT_TRUE(!part.is_reasoning || answer.empty()) << text;
          (part.is_reasoning ? reasoning : answer) += part.text;
        }
      };
      for (std::size_t at = 0; at < text.size(); at += piece)
        take(splitter.push(text.substr(at, piece)));
      take(splitter.flush());
      EXPECT_EQ(reasoning, c.reasoning) << text << " by " << piece;
      EXPECT_EQ(answer, c.answer) << text << " by " << piece;
    }
  }
}

TEST(Reasoning, WithoutMarksAllIsAnswer) {
  const SplitAnswer answer = split_reasoning({}, "<think>x</think> y");
  EXPECT_EQ(answer.reasoning, "");
  EXPECT_EQ(answer.text, "<think>x</think> y");
}

TEST(Reasoning, Trimmed) {
  EXPECT_EQ(trimmed(" \n a b\t"), "a b");
  EXPECT_EQ(trimmed(" \n"), "");
  EXPECT_EQ(trimmed(""), "");
}

}  // namespace
}  // namespace plimsoll
