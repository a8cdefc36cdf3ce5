#include "text/utf8.h"

#include <gtest/gtest.h>
#include <utf8proc.h>

namespace plimsoll {
namespace {

/// An independent decoder: the length of the character at the beginning, or 0.
std::size_t length_by_utf8proc(const std::string& text) {
  utf8proc_int32_t character = 0;
  const auto length = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                       static_cast<utf8proc_ssize_t>(text.size()), &character);
  return length > 0 ? static_cast<std::size_t>(length) : 0;
}

TEST(Utf8, AgreesWithAnotherDecoder) {
  // Bytes at the borders of every range of the standard's table.
  const std::string borders = std::string("\0", 1) +
                              "\x41\x7F\x80\x8F\x90\x9F\xA0\xBF\xC0\xC1\xC2\xDF\xE0\xE1\xEC\xED\xEE"
                              "\xEF\xF0\xF1\xF3\xF4\xF5\xFF";
  for (const char a : borders) {
    for (const char b : borders) {
      for (const char c : borders) {
        for (const char d : borders) {
          const std::string text = {a, b, c, d};
          const Utf8Step step = next_utf8(text);
          const std::size_t wanted = length_by_utf8proc(text);
          ASSERT_EQ(step.kind == Utf8Step::Kind::character, wanted > 0)
              << testing::PrintToString(text);
          if (wanted > 0) {
            ASSERT_EQ(step.length, wanted);
          }
        }
      }
    }
  }
}

TEST(Utf8, TellsIncompleteFromInvalid) {
  const std::string llama = "\xF0\x9F\xA6\x99";
  for (std::size_t length = 1; length < 4; ++length) {
    const Utf8Step step = next_utf8(llama.substr(0, length));
    EXPECT_EQ(step.kind, Utf8Step::Kind::incomplete);
    EXPECT_EQ(step.length, length);
    const Utf8Step broken = next_utf8(llama.substr(0, length) + "a");
    EXPECT_EQ(broken.kind, Utf8Step::Kind::invalid);
    EXPECT_EQ(broken.length, length);
  }
  EXPECT_EQ(next_utf8("\xED\xA0\x80").length, 1u);  // a surrogate's first byte cannot go on so
}

TEST(Utf8, FindsTheFirstInvalidByte) {
  for (std::size_t before = 0; before < 40; ++before) {
    const std::string text(before, 'x');
    EXPECT_EQ(find_invalid_utf8(text), std::nullopt);
    EXPECT_EQ(find_invalid_utf8(text + "é漢🦙"), std::nullopt);
    EXPECT_EQ(find_invalid_utf8(text + "\xC3"), before);
    EXPECT_EQ(find_invalid_utf8(text + "é\xFF tail of the text"), before + 2);
  }
}

TEST(Utf8, ReplacesEveryOccurrence) {
  EXPECT_EQ(replace_all("", "a", "b"), "");
  EXPECT_EQ(replace_all("aXaXX", "X", "--"), "a--a----");
  EXPECT_EQ(replace_all("aaaa", "aa", "a"), "aa");
}

}  // namespace
}  // namespace plimsoll
