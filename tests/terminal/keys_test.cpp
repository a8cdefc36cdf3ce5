#include "terminal/keys.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace plimsoll {
namespace {

using Kind = Key::Kind;

/// "a", "<up>", "{pasted}", "^5" for control characters: one text for a list of keys.
std::string shown(const std::deque<Key>& keys) {
  std::string out;
  for (const Key& key : keys) {
    const auto code = static_cast<unsigned>(key.code);
    switch (key.kind) {
      case Kind::character:
        out += code < 0x20 || code == 0x7F ? fmt::format("^{}", code)
               : code < 0x80               ? fmt::format("{:c}", code)
                                           : fmt::format("<{}>", code);
        break;
      case Kind::broken:
        out += fmt::format("<?{}>", code);
        break;
      case Kind::meta:
        out += fmt::format("<alt {:c}>", code);
        break;
      case Kind::enter:
        out += "<enter>";
        break;
      case Kind::line_break:
        out += "<break>";
        break;
      case Kind::paste:
        out += fmt::format("{{{}}}", key.text);
        break;
      default:
        out += fmt::format("<{}>", static_cast<int>(key.kind));
    }
  }
  return out;
}

std::string keys_of(std::initializer_list<std::string> bursts) {
  KeyDecoder decoder;
  std::string out;
  for (const std::string& burst : bursts) out += shown(decoder.push(burst));
  return out;
}

std::string code(Kind kind) { return fmt::format("<{}>", static_cast<int>(kind)); }

TEST(Keys, CharactersAndEnter) {
  EXPECT_EQ(keys_of({"ab\n"}), "ab<enter>");
  EXPECT_EQ(keys_of({"ab\r"}), "ab<enter>");
  EXPECT_EQ(keys_of({"ab\r\n"}), "ab<enter>");
  EXPECT_EQ(keys_of({"a", "\n", "b"}), "a<enter>b");
  EXPECT_EQ(keys_of({"\x01\x7F\x04"}), "^1^127^4");
  EXPECT_EQ(keys_of({""}), "");
}

TEST(Keys, Utf8AcrossBursts) {
  EXPECT_EQ(keys_of({"\u00E9\u4E2D\U0001F642"}), "<233><20013><128578>");
  EXPECT_EQ(keys_of({"\xE4", "\xB8", "\xAD"}), "<20013>");
  EXPECT_EQ(keys_of({"e\u0301"}), "e<769>");
  EXPECT_EQ(keys_of({"caf\xE9 x"}), "caf<?233> x");
  EXPECT_EQ(keys_of({"\xFF"}), "<?255>");
  EXPECT_EQ(keys_of({"a\xC2\x9B"
                     "31mb"}),
            "a31mb")
      << "C1 control characters are no text";
}

TEST(Keys, SequencesNeverArriveAsText) {
  for (const auto& [text, kind] :
       std::initializer_list<std::pair<const char*, Kind>>{{"\x1b[A", Kind::up},
                                                           {"\x1bOA", Kind::up},
                                                           {"\x1b[B", Kind::down},
                                                           {"\x1b[C", Kind::right},
                                                           {"\x1b[D", Kind::left},
                                                           {"\x1b[H", Kind::home},
                                                           {"\x1b[F", Kind::end},
                                                           {"\x1b[1~", Kind::home},
                                                           {"\x1b[4~", Kind::end},
                                                           {"\x1b[3~", Kind::erase},
                                                           {"\x1b[1;5C", Kind::word_right},
                                                           {"\x1b[1;5D", Kind::word_left}}) {
    const std::string sequence = text;
    EXPECT_EQ(keys_of({"a" + sequence + "b"}), "a" + code(kind) + "b") << sequence.substr(1);
    for (std::size_t cut = 1; cut < sequence.size(); ++cut)
      EXPECT_EQ(keys_of({sequence.substr(0, cut), sequence.substr(cut)}), code(kind));
  }
  for (const char* unknown : {"\x1b[15~", "\x1b[2~", "\x1b[5~", "\x1b[1;2P", "\x1bOP", "\x1b[[A",
                              "\x1b[?1;2c", "\x1b[200;1R", "\x1b[I", "\x1b\x1b"})
    EXPECT_EQ(keys_of({std::string("a") + unknown + "b"}), "ab") << unknown + 1;
  EXPECT_EQ(keys_of({"\x1b"
                     "b"}),
            "<alt b>");
  EXPECT_EQ(keys_of({"a\x1b\rb\n"}), "a<break>b<enter>");
}

TEST(Keys, MarkedPastes) {
  EXPECT_EQ(keys_of({"a\x1b[200~one\rtwo\r\nthree\n\x1b[201~\n"}), "a{one\ntwo\nthree\n}<enter>");
  EXPECT_EQ(keys_of({"\x1b[200~\x1b[A\x03 x\x1b[201~b"}), "{\x1b[A\x03 x}b");
  EXPECT_EQ(keys_of({"\x1b[200~\x1b[201~"}), "{}");
  const std::string whole = "\x1b[200~some text\nof lines\x1b[201~\n";
  for (std::size_t cut = 1; cut + 1 < whole.size(); ++cut)
    EXPECT_EQ(keys_of({whole.substr(0, cut), whole.substr(cut)}), "{some text\nof lines}<enter>")
        << cut;
}

TEST(Keys, PastesOfTerminalsThatMarkNone) {
  EXPECT_EQ(keys_of({"first\nsecond\nthird\n"}), "first<break>second<break>third<enter>");
  EXPECT_EQ(keys_of({"first\n", "second\n"}), "first<enter>second<enter>");
  EXPECT_EQ(keys_of({std::string(6000, 'x') + "\n"}), "{" + std::string(6000, 'x') + "}<enter>");
  EXPECT_EQ(keys_of({std::string(300, 'x') + "\r\ny"}), "{" + std::string(300, 'x') + "\ny}");
  // Commands are lines by themselves.
  EXPECT_EQ(keys_of({"/clear\n/help\nfirst\nsecond\n"}),
            "/clear<enter>/help<enter>first<break>second<enter>");
  EXPECT_EQ(keys_of({"/usr\r\nx"}), "/usr<enter>x");
  EXPECT_EQ(keys_of({"// a\nb\n"}), "// a<break>b<enter>");
  // With keys in it, it is typed by a program.
  EXPECT_EQ(keys_of({std::string(300, 'x') + "\x1b[D\n"}),
            std::string(300, 'x') + code(Kind::left) + "<enter>");
}

}  // namespace
}  // namespace plimsoll
