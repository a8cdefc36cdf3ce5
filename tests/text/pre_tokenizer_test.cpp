#include "text/pre_tokenizer.h"

#include <gtest/gtest.h>

#include <sstream>

namespace plimsoll {
namespace {

std::vector<std::string> all_names() {
  std::vector<std::string> names;
  std::istringstream list(known_pre_tokenizer_names());
  for (std::string name; std::getline(list >> std::ws, name, ',');) names.push_back(name);
  return names;
}

/// The pieces with "|" between them.
std::string cut(std::string_view kind_name, std::string_view text) {
  const PreTokenizerKind* kind = find_pre_tokenizer_kind(kind_name);
  if (kind == nullptr) return "unknown kind";
  std::string result;
  for (const std::uint32_t length : PreTokenizer(*kind).split(text)) {
    if (!result.empty()) result += '|';
    result += text.substr(0, length);
    text.remove_prefix(length);
  }
  EXPECT_TRUE(text.empty());
  return result;
}

TEST(PreTokenizer, EveryKindCoversEveryText) {
  const std::string texts[] = {"",
                               " ",
                               "I'll go  there, 12345 times!\r\n\r\n\tÉCOLE École",
                               std::string("a\0b\x7F", 4),
                               "漢字かなカナ 한국어 हिन्दी ไทย عربى",
                               "🦙👩‍🚀 \u00A0\u0085\u180E\u3000x ½²Ⅷ٣",
                               "\u0301\u0308 IMGIMGABCZ <sentinel:12>"};
  const std::vector<std::string> names = all_names();
  EXPECT_GT(names.size(), 80u);
  for (const std::string& name : names) {
    const PreTokenizerKind* kind = find_pre_tokenizer_kind(name);
    ASSERT_NE(kind, nullptr) << name;
    const PreTokenizer pre_tokenizer(*kind);
    EXPECT_GT(pre_tokenizer.memory_bytes(), 100u);
    for (const std::string& text : texts) {
      std::size_t total = 0;
      const Pieces pieces = pre_tokenizer.cut(text);
      for (const std::uint32_t length : pieces.lengths) {
        EXPECT_GT(length, 0u) << name;
        total += length;
      }
      EXPECT_EQ(total, pieces.text().size()) << name;
      if (pre_tokenizer.is_in_bytes()) {
        EXPECT_EQ(pieces.text(), text) << name;
      }
    }
  }
  EXPECT_EQ(find_pre_tokenizer_kind("no-such-kind"), nullptr);
  EXPECT_EQ(find_pre_tokenizer_kind(""), nullptr);
}

TEST(PreTokenizer, CutsWordsAsEachKindDoes) {
  EXPECT_EQ(cut("gpt-2", "I'll go  there, 12345 times"), "I|'ll| go| | there|,| 12345| times");
  EXPECT_EQ(cut("gpt-2", "I'LL"), "I|'|LL");
  EXPECT_EQ(cut("llama-bpe", "I'LL go  there, 12345 times"),
            "I|'LL| go| | there|,| |123|45| times");
  EXPECT_EQ(cut("llama-bpe", "(x)\n\n  y"), "(x|)\n\n| | y");
  EXPECT_EQ(cut("qwen2", "v1234"), "v|1|2|3|4");
  EXPECT_EQ(cut("starcoder", " x12"), " x|1|2");
  EXPECT_EQ(cut("falcon", "a+b=1234"), "a|+|b|=|123|4");
  EXPECT_EQ(cut("deepseek-coder", " a b1\n"), " a| b|1|\n");
  EXPECT_EQ(cut("deepseek-v3", "x漢字かな1234"), "x|漢字かな|123|4");
  EXPECT_EQ(cut("bloom", "ab cd, ef."), "ab| cd|,| ef|.");
  EXPECT_EQ(cut("chameleon", "a12  b"), "a|1|2|  |b");
  EXPECT_EQ(cut("kimi-k2", "漢字abc don't"), "漢字|abc| don't");
  EXPECT_EQ(cut("exaone-moe", "ab cd e1"), "ab cd e|1");
  EXPECT_EQ(cut("default", "a==b 1234"), "a|==|b| |123|4");
}

TEST(PreTokenizer, SplitsMixedCaseWhereTheKindDoes) {
  EXPECT_EQ(cut("tekken", "helloWorld HTTPServer ÉCOLEs"), "hello|World| HTTPServer| ÉCOLEs");
  EXPECT_EQ(cut("gpt-4o", "it's ÀB's"), "it's| ÀB's");
  // Marks belong to their letters there, and end a word elsewhere.
  EXPECT_EQ(cut("gpt-4o", "हिन्दी"), "हिन्दी");
  EXPECT_EQ(cut("llama-bpe", "हिन्दी"), "ह|िन|्द|ी");
}

TEST(PreTokenizer, GroupsDigitsFromTheRight) {
  EXPECT_EQ(cut("superbpe", "1234567 12 123"), "1|234|567| |12| |123");
  EXPECT_EQ(cut("afmoe", "1234567"), "1|234|567");
  EXPECT_EQ(cut("afmoe", "٣٤٥٦"), "٣|٤٥٦");
  EXPECT_EQ(cut("tiny_aya", "1234567 x"), "1|234|567| x");
  EXPECT_EQ(cut("tiny_aya", "1234x"), "123|4|x");  // no end of a word behind the digits
}

TEST(PreTokenizer, KnowsUnicodeWhiteSpaceAndNothingElse) {
  // U+180E is a format character, not a space.
  EXPECT_EQ(cut("gpt-2", "a\u3000\u3000b"), "a|\u3000|\u3000|b");
  EXPECT_EQ(cut("gpt-2", "a\u180E\u180Eb"), "a|\u180E\u180E|b");
  EXPECT_EQ(cut("gpt-2", "a\u0085\u0085b"), "a|\u0085|\u0085|b");
}

TEST(PreTokenizer, TakesLongRunsOfAnything) {
  const std::string unit[] = {"a", "A", "1", " ", "\n", "!", "漢", "🦙", "aA", "a ", "\u0301"};
  for (const std::string& name : all_names()) {
    const PreTokenizer pre_tokenizer(*find_pre_tokenizer_kind(name));
    for (const std::string& part : unit) {
      std::string text;
      while (text.size() < 30'000) text += part;
      std::size_t total = 0;
      const Pieces pieces = pre_tokenizer.cut(text);
      for (const std::uint32_t length : pieces.lengths) total += length;
      EXPECT_EQ(total, pieces.text().size()) << name << " " << part;
    }
  }
}

}  // namespace
}  // namespace plimsoll
