#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "text/vocabulary_builder.h"

namespace plimsoll {
namespace {

using Ids = std::vector<TokenId>;
using Builder = VocabularyBuilder;

constexpr const char* space = "\xE2\x96\x81";

/// <unk>, <s>, </s>, then (optionally) all bytes from id 3.
Builder spm_builder(bool with_bytes = true) {
  Builder builder;
  builder.model = "llama";
  builder.add("<unk>", Builder::unknown);
  builder.add("<s>", Builder::control);
  builder.add("</s>", Builder::control);
  for (int byte = 0; with_bytes && byte < 256; ++byte) {
    char text[8];
    std::snprintf(text, sizeof text, "<0x%02X>", static_cast<unsigned>(byte));
    builder.add(text, Builder::byte);
  }
  return builder;
}

/// Single printable ASCII characters and GPT-2's spelling of space and newline.
Builder bpe_builder() {
  Builder builder;
  builder.pre = "gpt-2";
  for (char c = '!'; c <= '~'; ++c) builder.add(std::string(1, c));
  builder.add("Ġ");
  builder.add("Ċ");
  return builder;
}

template <class Action>
Error error_of(const Action& action) {
  try {
    action();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "nothing was thrown";
  return Error(ErrorCode::internal, "");
}

std::string text_of(const Tokenizer& tokenizer, const Ids& ids, bool show_special = false) {
  Detokenizer detokenizer(tokenizer);
  std::string text;
  for (const TokenId id : ids) text += detokenizer.push(id, show_special);
  return text + detokenizer.flush();
}

std::vector<std::string> pieces_of(const Tokenizer& tokenizer, const Ids& ids) {
  std::vector<std::string> pieces;
  for (const TokenId id : ids) pieces.emplace_back(tokenizer.piece(id));
  return pieces;
}
using Pieces = std::vector<std::string>;

TEST(SpmTokenizer, MergesTheBestScoreFirstAndTheLeftmostOfEquals) {
  Builder builder = spm_builder();
  for (const char* text : {"a", "b", "c"}) builder.add(text);
  builder.add(space);
  builder.add("aa", Builder::normal, -1);
  builder.add("ab", Builder::normal, -2);
  builder.add("bc", Builder::normal, -1.5);
  builder.more = [](GgufWriter& writer) {
    writer.add_bool("tokenizer.ggml.add_space_prefix", false);
  };
  const auto tokenizer = builder.build();
  EXPECT_EQ(pieces_of(*tokenizer, tokenizer->encode("aaa")), (Pieces{"aa", "a"}));
  EXPECT_EQ(pieces_of(*tokenizer, tokenizer->encode("abc")), (Pieces{"a", "bc"}));
  EXPECT_EQ(pieces_of(*tokenizer, tokenizer->encode("aab")), (Pieces{"aa", "b"}));
  EXPECT_EQ(tokenizer->encode(""), Ids{});
}

TEST(SpmTokenizer, PutsASpaceAtTheStartAndBehindSpecialTokens) {
  Builder builder = spm_builder();
  for (const char* text : {"a", "b"}) builder.add(text);
  builder.add(space);
  builder.add(std::string(space) + "a", Builder::normal, -1);
  builder.add("<mark>", Builder::user_defined);
  EXPECT_EQ(pieces_of(*builder.build(), builder.build()->encode("ab a<mark>a<mark>")),
            (Pieces{std::string(space) + "a", "b", std::string(space) + "a", "<mark>",
                    std::string(space) + "a", "<mark>"}));
  builder.more = [](GgufWriter& writer) {
    writer.add_bool("tokenizer.ggml.add_space_prefix", false);
  };
  EXPECT_EQ(pieces_of(*builder.build(), builder.build()->encode("ab<mark>a")),
            (Pieces{"a", "b", "<mark>", "a"}));
}

TEST(SpmTokenizer, FindsTokensThatSpanWords) {
  // A space mark inside of a token: text must not be cut there.
  Builder builder = spm_builder();
  for (const char* text : {"a", "b", "c"}) builder.add(text);
  builder.add(space);
  builder.add(std::string("a") + space, Builder::normal, -1);
  builder.add(std::string("a") + space + "b", Builder::normal, -2);
  builder.more = [](GgufWriter& writer) {
    writer.add_bool("tokenizer.ggml.add_space_prefix", false);
  };
  const auto tokenizer = builder.build();
  EXPECT_EQ(pieces_of(*tokenizer, tokenizer->encode("ca bc b")),
            (Pieces{"c", std::string("a") + space + "b", "c", space, "b"}));
}

TEST(SpmTokenizer, SpellsUnknownCharactersInBytes) {
  Builder builder = spm_builder();
  builder.add(space);
  const auto tokenizer = builder.build();
  EXPECT_EQ(tokenizer->encode("é"), (Ids{259, 3 + 0xC3, 3 + 0xA9}));
  EXPECT_EQ(text_of(*tokenizer, tokenizer->encode(std::string("\0x\0", 3))),
            std::string(" \0x\0", 4));
}

TEST(SpmTokenizer, FallsBackToTheUnknownTokenOrSaysNo) {
  Builder builder = spm_builder(false);
  builder.add(space);
  builder.add("a");
  EXPECT_EQ(builder.build()->encode("aé"), (Ids{3, 4, 0}));
  // All bytes of the character or none.
  builder.add("<0xC3>", Builder::byte);
  EXPECT_EQ(builder.build()->encode("aé"), (Ids{3, 4, 0}));
  builder.more = [](GgufWriter& writer) {
    writer.add_integer("tokenizer.ggml.unknown_token_id", -1, MetadataType::i32);
  };
  const auto tokenizer = builder.build();
  const Error error = error_of([&] { tokenizer->encode("aé"); });
  EXPECT_EQ(error.code(), ErrorCode::invalid_text);
  EXPECT_NE(error.message().find("C3 A9"), std::string::npos) << error.message();
}

TEST(BpeTokenizer, MergesInOrderAndIgnoresRulesThatLeadNowhere) {
  Builder builder = bpe_builder();
  for (const char* text : {"ab", "bc", "Ġa", "abc"}) builder.add(text);
  builder.merges = {"x yz",  // not in the vocabulary
                    "nospace", "a  b", "b c", "a b", "b c", "ab c", "a bc", "Ġ a"};
  const auto tokenizer = builder.build();
  EXPECT_EQ(pieces_of(*tokenizer, tokenizer->encode("abc ab a")), (Pieces{"abc", "Ġ", "ab", "Ġa"}));
  EXPECT_EQ(text_of(*tokenizer, tokenizer->encode("abc ab\na")), "abc ab\na");
}

TEST(BpeTokenizer, TakesWholePiecesWhereTheKindSaysSo) {
  Builder builder = bpe_builder();
  builder.add("abc");
  builder.merges = {"a b"};
  builder.pre = "gpt-2";
  EXPECT_EQ(pieces_of(*builder.build(), builder.build()->encode("abc")), (Pieces{"a", "b", "c"}));
  builder.pre = "llama-bpe";
  EXPECT_EQ(pieces_of(*builder.build(), builder.build()->encode("abc")), (Pieces{"abc"}));
}

TEST(BpeTokenizer, ReadsRawVocabularies) {
  Builder builder;
  builder.model = "gemma4";
  for (const char* text : {"a", "b", "é", "\n", "\n\n"}) builder.add(text);
  builder.add(space);
  builder.add(std::string(space) + "a");
  builder.add("<0xC3>", Builder::byte);
  builder.add("<0xA8>", Builder::byte);
  builder.merges = {std::string(space) + " a"};
  const auto tokenizer = builder.build();
  EXPECT_EQ(tokenizer->encode("b a\n\né è"), (Ids{1, 6, 4, 2, 5, 7, 8}));
  EXPECT_EQ(text_of(*tokenizer, {1, 6, 4, 2, 5, 7, 8}), "b a\n\né è");
}

TEST(BpeTokenizer, LeavesOutBytesWithoutAToken) {
  // As the makers of such vocabularies do: Falcon's has no token for most control characters.
  Builder builder = bpe_builder();
  builder.merges = {"a b"};
  const auto tokenizer = builder.build();
  EXPECT_EQ(tokenizer->encode("a\tb"), tokenizer->encode("ab"));
}

TEST(Tokenizer, GivesDuplicatesTheirFirstId) {
  Builder builder = bpe_builder();
  builder.add("ab");
  builder.add("ab");
  builder.add("a");
  builder.add("<x>", Builder::user_defined);
  builder.add("<x>", Builder::user_defined);
  builder.add("");
  builder.merges = {"a b"};
  const auto tokenizer = builder.build();
  EXPECT_EQ(tokenizer->encode("ab<x>a"), (Ids{96, 99, 'a' - '!'}));
  EXPECT_EQ(tokenizer->find("ab"), 96);
  EXPECT_EQ(tokenizer->piece(97), "ab");
  EXPECT_EQ(tokenizer->bytes_of(97), "ab");
  EXPECT_EQ(tokenizer->find(""), std::nullopt);
  EXPECT_EQ(tokenizer->bytes_of(101), "");
}

TEST(Tokenizer, CutsOutSpecialTokens) {
  Builder builder = bpe_builder();
  builder.merges = {"a b"};
  builder.add("<|x|>", Builder::control);        // 96
  builder.add("<|x|>y", Builder::user_defined);  // 97
  builder.add("[a]", Builder::user_defined);     // 98
  builder.add("a]b]", Builder::user_defined);    // 99
  const auto tokenizer = builder.build();
  const TokenId a = 'a' - '!';
  EXPECT_EQ(tokenizer->encode("a<|x|>a", true), (Ids{a, 96, a}));
  EXPECT_EQ(tokenizer->encode("<|x|>").size(), 5u);
  EXPECT_EQ(tokenizer->encode("<|x|>y<|x|>", true), (Ids{97, 96}));
  EXPECT_EQ(tokenizer->encode("[a]"), (Ids{98}));
  // From left to right, the longest at each place.
  EXPECT_EQ(tokenizer->encode("[a]b]"), (Ids{98, 'b' - '!', ']' - '!'}));
  EXPECT_EQ(tokenizer->bytes_of(96), "");
  EXPECT_EQ(tokenizer->bytes_of(96, true), "<|x|>");
  EXPECT_TRUE(tokenizer->is_control(96));
  EXPECT_FALSE(tokenizer->is_control(97));
  EXPECT_FALSE(tokenizer->is_control(-1));
  EXPECT_EQ(tokenizer->bytes_of(1'000'000), "");
  EXPECT_EQ(tokenizer->piece(-1), "");
}

TEST(Tokenizer, FindsControlTokensOnlyWhereNothingIsInput) {
  Builder builder = bpe_builder();
  builder.merges = {"a b"};
  builder.add("<|x|>", Builder::control);             // 96
  builder.add("[a]", Builder::user_defined);          // 97
  builder.add("<|im_end|>", Builder::user_defined);   // 98: ends a generation
  const auto tokenizer = builder.build();
  const auto encode = [&](std::vector<TextPart> parts) { return tokenizer->encode(parts); };
  const TokenId a = 'a' - '!';
  const Ids spelled = tokenizer->encode("<|x|>");
  ASSERT_EQ(spelled.size(), 5u);
  EXPECT_EQ(encode({{"<|x|>a", false}}), (Ids{96, a}));
  EXPECT_EQ(encode({{"<|x|>", true}}), spelled);
  // A mark of the template in two pieces is one, a mark that is input in part is none.
  EXPECT_EQ(encode({{"<|x", false}, {"|>", false}}), (Ids{96}));
  EXPECT_EQ(encode({{"<|x", false}, {"|>", true}}), spelled);
  EXPECT_EQ(encode({{"<|x", true}, {"|>", false}}), spelled);
  EXPECT_EQ(encode({{"<|", false}, {"x", true}, {"|>", false}}), spelled);
  Ids both = spelled;
  both.insert(both.begin(), 96);
  both.push_back(96);
  EXPECT_EQ(encode({{"<|x|>", false}, {"<|x|>", true}, {"", true}, {"<|x|>", false}}), both);
  // Plain text is joined, and what is no control token is found everywhere.
  EXPECT_EQ(encode({{"a", false}, {"b", true}}), tokenizer->encode("ab"));
  EXPECT_EQ(encode({{"[", false}, {"a]", true}}), (Ids{97}));
  EXPECT_EQ(encode({{"<|im_end|>", true}}).size(), 10u);
  EXPECT_EQ(encode({{"<|im_end|>", false}}), (Ids{98}));
  EXPECT_EQ(encode({}), Ids{});
}

TEST(Tokenizer, DropsWhiteSpaceBehindPhi3Marks) {
  Builder builder = spm_builder();
  builder.add(space);
  builder.add("a");
  builder.add("<|user|>", Builder::control);
  builder.add("<|endoftext|>", Builder::control);
  builder.more = [](GgufWriter& writer) { writer.add_string("general.name", "Phi-3 mini"); };
  const auto tokenizer = builder.build();
  EXPECT_EQ(tokenizer->encode("<|user|> \n\ta", true), (Ids{261, 259, 260}));
  EXPECT_EQ(tokenizer->encode("<|endoftext|>\na", true), (Ids{262, 259, 3 + '\n', 260}));
}

TEST(Tokenizer, KnowsTheEndsOfAGeneration) {
  Builder builder = bpe_builder();
  builder.merges = {"a b"};
  builder.add("<|im_end|>", Builder::control);  // 96
  builder.add("<|eot_id|>", Builder::normal);   // 97: typed wrongly, yet nothing else
  builder.add("</s>", Builder::normal);         // 98: HTML as well
  builder.add("<|other|>", Builder::control);   // 99
  builder.add("<custom>", Builder::control);    // 100
  builder.add("<|end|>", Builder::control);     // 101
  builder.more = [](GgufWriter& writer) {
    writer.add_integer("tokenizer.ggml.eos_token_id", 100);
    writer.add_integer("tokenizer.ggml.eot_token_id", 5);
  };
  auto tokenizer = builder.build();
  for (const TokenId id : {96, 97, 100, 101, 5})
    EXPECT_TRUE(tokenizer->is_end_of_generation(id)) << id;
  for (const TokenId id : {98, 99, 0, -1, 1000})
    EXPECT_FALSE(tokenizer->is_end_of_generation(id)) << id;
  EXPECT_EQ(tokenizer->eos(), 100);
  EXPECT_EQ(tokenizer->bos(), std::nullopt);
  EXPECT_FALSE(tokenizer->adds_bos());
  // With channels, <|end|> only ends a message.
  builder.add("<|return|>", Builder::control);
  builder.add("<|call|>", Builder::control);
  tokenizer = builder.build();
  EXPECT_FALSE(tokenizer->is_end_of_generation(101));
  EXPECT_TRUE(tokenizer->is_end_of_generation(102));
}

// As Ollama's files have them, and folders whose generation_config.json lists several.
TEST(Tokenizer, EveryListedEndEndsAGeneration) {
  Builder builder = bpe_builder();
  builder.merges = {"a b"};
  std::vector<std::int32_t> ends = {3, 7, -1};
  builder.more = [&](GgufWriter& writer) {
    writer.add_integer("tokenizer.ggml.eos_token_id", 5);
    writer.add_integers("tokenizer.ggml.eos_token_ids", ends);
  };
  const auto tokenizer = builder.build();
  for (const TokenId id : {3, 5, 7}) EXPECT_TRUE(tokenizer->is_end_of_generation(id)) << id;
  for (const TokenId id : {0, 4, -1}) EXPECT_FALSE(tokenizer->is_end_of_generation(id)) << id;
  EXPECT_EQ(tokenizer->eos(), 5);
  ends = {1000};
  EXPECT_THROW(builder.build(), Error);
}

TEST(Tokenizer, KnowsWhetherBosComesFirst) {
  Builder builder = spm_builder();
  EXPECT_TRUE(builder.build()->adds_bos());
  EXPECT_EQ(builder.build()->bos(), 1);
  EXPECT_EQ(builder.build()->eos(), 2);
  builder.more = [](GgufWriter& writer) { writer.add_bool("tokenizer.ggml.add_bos_token", false); };
  EXPECT_FALSE(builder.build()->adds_bos());

  builder = bpe_builder();
  builder.merges = {"a b"};
  builder.pre = "llama-bpe";
  EXPECT_FALSE(builder.build()->adds_bos()) << "there is none to add";
  builder.more = [](GgufWriter& writer) { writer.add_integer("tokenizer.ggml.bos_token_id", 3); };
  EXPECT_TRUE(builder.build()->adds_bos());
  builder.pre = "gpt-2";
  EXPECT_FALSE(builder.build()->adds_bos());
}

TEST(Tokenizer, RefusesInvalidUtf8) {
  const auto tokenizer = spm_builder().build();
  for (const std::string bad : {"\xFF", "\xC3", "\xE2\x96", "\xED\xA0\x80", "\xC0\x80"}) {
    const Error error = error_of([&] { tokenizer->encode("abc é" + bad + "x"); });
    EXPECT_EQ(error.code(), ErrorCode::invalid_text);
    EXPECT_NE(error.message().find("offset 6"), std::string::npos) << error.message();
  }
}

TEST(Tokenizer, RefusesBrokenVocabularies) {
  const auto code_of = [](const Builder& builder) {
    return error_of([&] { builder.build(); }).code();
  };
  Builder builder = spm_builder();
  builder.scores.pop_back();
  EXPECT_EQ(code_of(builder), ErrorCode::invalid_model);
  builder = spm_builder();
  builder.kinds.push_back(1);
  EXPECT_EQ(code_of(builder), ErrorCode::invalid_model);
  builder = spm_builder();
  builder.tokens.clear();
  EXPECT_EQ(code_of(builder), ErrorCode::invalid_model);
  builder = spm_builder();
  builder.more = [](GgufWriter& writer) { writer.add_integer("tokenizer.ggml.eos_token_id", 259); };
  EXPECT_EQ(code_of(builder), ErrorCode::invalid_model);
  builder = bpe_builder();  // without merges
  EXPECT_EQ(code_of(builder), ErrorCode::invalid_model);
  builder.merges = {"a b"};
  builder.more = [](GgufWriter& writer) { writer.add_bool("tokenizer.ggml.add_bos_token", true); };
  EXPECT_EQ(code_of(builder), ErrorCode::invalid_model);
}

TEST(Tokenizer, NamesWhatItDoesNotKnow) {
  Builder builder = bpe_builder();
  builder.merges = {"a b"};
  builder.pre = "brand-new";
  Error error = error_of([&] { builder.build(); });
  EXPECT_EQ(error.code(), ErrorCode::unsupported_model);
  EXPECT_NE(error.message().find("brand-new"), std::string::npos);
  EXPECT_NE(error.message().find("deepseek-coder"), std::string::npos);
  builder.model = "rwkv";
  error = error_of([&] { builder.build(); });
  EXPECT_EQ(error.code(), ErrorCode::unsupported_model);
  EXPECT_NE(error.message().find("rwkv"), std::string::npos);
  // Old files don't name their kind.
  builder.model = "gpt2";
  builder.pre = std::nullopt;
  EXPECT_EQ(builder.build()->encode("ab").size(), 2u);
}

TEST(Tokenizer, TakesAMebibyteWithoutSpaces) {
  Builder builder = bpe_builder();
  std::string text = "ab";
  for (int i = 0; i < 12; ++i) {
    builder.add(text);
    builder.merges.push_back(text.substr(0, text.size() / 2) + " " + text.substr(text.size() / 2));
    text += text;
  }
  const auto bpe = builder.build();
  std::string input;
  while (input.size() < (1 << 20)) input += "ab";
  const Ids ids = bpe->encode(input);
  EXPECT_EQ(ids.size(), (1u << 20) / 4096);
  EXPECT_EQ(text_of(*bpe, ids), input);

  Builder spm = spm_builder();
  spm.add(space);
  spm.add("a");
  spm.add("b");
  text = "ab";
  for (int i = 0; i < 12; ++i) {
    spm.add(text, Builder::normal, static_cast<float>(-i));
    text += text;
  }
  const auto tokenizer = spm.build();
  EXPECT_EQ(text_of(*tokenizer, tokenizer->encode(input)), " " + input);
}

TEST(Detokenizer, NeverEmitsPartOfACharacter) {
  const auto tokenizer = spm_builder().build();
  const std::string text = "aé漢🦙b";
  Detokenizer detokenizer(*tokenizer);
  std::string whole;
  for (const char c : text) {
    const std::string part = detokenizer.push(3 + static_cast<std::uint8_t>(c));
    whole += part;
    EXPECT_EQ(text.substr(0, whole.size()), whole);
    // Complete up to here, or inside of the next character.
    EXPECT_TRUE(whole.size() == text.size() || (text[whole.size()] & 0xC0) != 0x80);
  }
  EXPECT_EQ(whole, text);
  EXPECT_EQ(detokenizer.flush(), "");
}

TEST(Detokenizer, ReplacesWhatIsNotUtf8) {
  const auto tokenizer = spm_builder().build();
  const auto decode = [&](const std::string& bytes) {
    Ids ids;
    for (const char c : bytes) ids.push_back(3 + static_cast<std::uint8_t>(c));
    return text_of(*tokenizer, ids);
  };
  EXPECT_EQ(decode("a\xFFz"), "a\uFFFDz");
  EXPECT_EQ(decode("\xE6\xBC"), "\uFFFD");
  EXPECT_EQ(decode("\xE6\xBCz"), "\uFFFDz");
  EXPECT_EQ(decode("\xF0\x9F\xE6\xBC\xA2"), "\uFFFD漢");
  EXPECT_EQ(decode("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(decode("\x80\x80"), "\uFFFD\uFFFD");
}

TEST(Detokenizer, GoesOnBehindAPrompt) {
  Builder builder = spm_builder();
  builder.add(std::string(space) + "the");
  const auto tokenizer = builder.build();
  Detokenizer detokenizer(*tokenizer);
  EXPECT_EQ(detokenizer.push(259), " the");
  EXPECT_EQ(detokenizer.push(2), "");
  EXPECT_EQ(detokenizer.push(2, true), "</s>");
}

}  // namespace
}  // namespace plimsoll
