// tokenizer.json of many parts against the ids that the makers' library gives, and the folders that
// have other files than that.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/error.h"
#include "file/model_file.h"
#include "support/temporary_folder.h"
#include "text/tokenizer.h"
#include "tokenizer_folder.h"

namespace plimsoll {
namespace {

using Ids = std::vector<TokenId>;
using Json = nlohmann::json;

const std::string golden = PLIMSOLL_MODELS "/../tests/text/golden/tokenizers.json";
const std::string cases = PLIMSOLL_SHARED "/cases/";

class HfTokenizer : public ::testing::Test {
 protected:
  /// The tokenizer of a folder with this tokenizer.json.
  std::unique_ptr<Tokenizer> open(const Json& tokenizer, std::int64_t rows = 64) {
    write_text(folder_.file("tokenizer.json"), tokenizer.dump());
    return open_files(rows);
  }
  std::unique_ptr<Tokenizer> open_files(std::int64_t rows = 64) {
    write_model(folder_.path().string(), rows);
    return Tokenizer::from_metadata(ModelFile::open(folder_.path().string()).metadata());
  }
  Error refusal(const Json& tokenizer) {
    try {
      open(tokenizer);
    } catch (const Error& error) {
      return error;
    }
    ADD_FAILURE() << "opened: " << tokenizer.dump();
    return Error(ErrorCode::internal, "");
  }
  void write(const char* name, const std::string& text) { write_text(folder_.file(name), text); }

  test::TemporaryFolder folder_;
};

/// A word-level tokenizer, whose pieces show as they are.
Json words(const std::vector<std::string>& texts) {
  Json vocabulary;
  for (const std::string& text : texts) vocabulary[text] = vocabulary.size();
  return {{"model", {{"type", "WordLevel"}, {"vocab", vocabulary}, {"unk_token", texts[0]}}}};
}

TEST_F(HfTokenizer, GivesTheMakersIds) {
  std::ifstream in(golden);
  ASSERT_TRUE(in) << golden;
  const Json all = Json::parse(in);
  const auto texts = all["texts"].get<std::vector<std::string>>();
  ASSERT_GT(texts.size(), 50u);
  for (const Json& one : all["cases"]) {
    SCOPED_TRACE(one["name"].get<std::string>());
    const auto tokenizer = open(one["tokenizer"], one["size"]);
    for (std::size_t i = 0; i < texts.size(); ++i) {
      const Ids parsed = one["parsed"][i].get<Ids>();
      EXPECT_EQ(tokenizer->encode(texts[i], true), parsed) << texts[i];
      const Json& plain = one["plain"][i];
      if (!plain.is_null()) {
        EXPECT_EQ(tokenizer->encode(texts[i]), plain.is_array() ? plain.get<Ids>() : parsed)
            << texts[i];
      }
      const Json& decoded = one["decoded"][i];
      if (!decoded.is_null()) {
        EXPECT_EQ(tokenizer->decode(parsed), decoded.get<std::string>()) << texts[i];
      }
    }
  }
}

TEST_F(HfTokenizer, NeverMakesControlTokensOutOfText) {
  Json tokenizer = words({"?", "[CLS]", "a"});
  tokenizer["pre_tokenizer"] = {{"type", "WhitespaceSplit"}};
  tokenizer["added_tokens"] = {{{"id", 1}, {"content", "[CLS]"}, {"special", true}}};
  const auto opened = open(tokenizer);
  EXPECT_EQ(opened->encode("a [CLS] a", true), (Ids{2, 1, 2}));
  EXPECT_EQ(opened->encode("a [CLS] a"), (Ids{2, 0, 2}));
}

TEST_F(HfTokenizer, FindsMarksInPartsWhateverIsNormalized) {
  Json tokenizer = words({"?", "ab", "a", "b"});
  tokenizer["normalizer"] = {{"type", "Lowercase"}};
  tokenizer["added_tokens"] = {{{"id", 4}, {"content", "<M>"}, {"special", true}, {"normalized", true}},
                               {{"id", 5}, {"content", "<n>"}, {"special", false}, {"normalized", true}}};
  const auto opened = open(tokenizer);
  EXPECT_EQ(opened->encode("A<m>B<N>", true), (Ids{2, 4, 3, 5}));
  const std::vector<TextPart> parts = {{"<M>", false}, {"A<M>B", true}, {"<M>", false}};
  EXPECT_EQ(opened->encode(parts), (Ids{4, 0, 4}));
}

TEST_F(HfTokenizer, MergesAcrossCharactersThatBecomeNothing) {
  // Neither a token for "x" nor one for what is unknown: what stands around it is neighbours, at
  // the beginnings of words too.
  Json tokenizer;
  tokenizer["model"] = {{"type", "BPE"},
                        {"vocab", {{"▁", 0}, {"a", 1}, {"b", 2}, {"▁▁", 3}, {"b▁", 4}, {"▁▁a", 5}}},
                        {"merges", {"▁ ▁", "▁▁ a"}}};
  const auto opened = open(tokenizer);
  EXPECT_EQ(opened->encode("▁x▁a"), (Ids{5}));
  EXPECT_EQ(opened->encode("b▁x▁"), (Ids{2, 3}));
  EXPECT_EQ(opened->encode("axb▁"), (Ids{1, 2, 0}));
  EXPECT_EQ(opened->encode("▁▁xa"), (Ids{5}));
}

TEST_F(HfTokenizer, FindsAnUnknownTokenThatIsNotDeclared) {
  // Only the model finds it then, where control tokens are parsed; spelled out beside a character
  // without a token, it is unknown with it.
  Json vocabulary = Json::array();
  for (const auto& [text, score] :
       {std::pair("<unk>", 0.0), {"▁", -2.0}, {"a", -3.0}, {"▁a", -4.0}})
    vocabulary.push_back({text, score});
  Json tokenizer;
  tokenizer["model"] = {{"type", "Unigram"}, {"unk_id", 0}, {"vocab", vocabulary}};
  const auto unigram = open(tokenizer);
  EXPECT_EQ(unigram->encode("a<unk>a", true), (Ids{2, 0, 2}));
  EXPECT_EQ(unigram->encode("▁<unk>", true), (Ids{1, 0}));
  EXPECT_EQ(unigram->encode("x<unk>a", true), (Ids{0, 2}));
  EXPECT_EQ(unigram->encode("a<unk>a"), (Ids{2, 0, 2}));  // unknown for being unknown
  for (int byte = 0; byte < 256; ++byte)
    vocabulary.push_back({fmt::format("<0x{:02X}>", byte), -9.0});
  tokenizer["model"]["vocab"] = vocabulary;
  tokenizer["model"]["byte_fallback"] = true;
  const auto bytes = open(tokenizer, 512);
  EXPECT_EQ(bytes->encode("a<unk>a", true), (Ids{2, 0, 2}));
  EXPECT_EQ(bytes->encode("a<unk>a"), (Ids{2, 64, 121, 114, 111, 66, 2}));
  EXPECT_EQ(bytes->encode("é<unk>a", true), (Ids{199, 173, 64, 121, 114, 111, 66, 2}));
  EXPECT_EQ(bytes->decode(Ids{2, 0, 2}), "a <unk> a");

  Json two = words({"<unk>", "a"});
  two["pre_tokenizer"] = {{"type", "WhitespaceSplit"}};
  EXPECT_EQ(open(two)->encode("a <unk> b", true), (Ids{1, 0, 0}));
  EXPECT_EQ(open(two)->decode(Ids{1, 0}), "a <unk>");
}

TEST_F(HfTokenizer, GivesAddedTokensTheIdsOfTheLibrary) {
  // Those in the file don't count: the model's own, or the next ones that are free.
  Json tokenizer = words({"?", "a"});
  tokenizer["pre_tokenizer"] = {{"type", "WhitespaceSplit"}};
  tokenizer["added_tokens"] = {{{"id", 9}, {"content", "<x>"}}, {{"id", 7}, {"content", "a"}}};
  EXPECT_EQ(open(tokenizer)->encode("<x> a"), (Ids{2, 1}));
}

TEST_F(HfTokenizer, TakesFlagsFromTheConfigurationToo) {
  Json tokenizer = words({"?", "a"});
  tokenizer["added_tokens"] = {{{"id", 2}, {"content", "<x>"}, {"normalized", false}}};
  EXPECT_EQ(open(tokenizer)->encode("<x> a"), (Ids{2, 0}));
  write("tokenizer_config.json",
        R"({"added_tokens_decoder": {"2": {"content": "<x>", "rstrip": true, "normalized": false}}})");
  EXPECT_EQ(open(tokenizer)->encode("<x> a"), (Ids{2, 1}));
}

TEST_F(HfTokenizer, SaysWhatStandsAroundAText) {
  Json tokenizer = words({"?", "[CLS]", "[SEP]", "a"});
  EXPECT_TRUE(open(tokenizer)->frame().before.empty());
  tokenizer["post_processor"] = {{"type", "BertProcessing"}, {"cls", {"[CLS]", 1}}, {"sep", {"[SEP]", 2}}};
  EXPECT_EQ(open(tokenizer)->frame().before, (Ids{1}));
  EXPECT_EQ(open(tokenizer)->frame().after, (Ids{2}));
  tokenizer["post_processor"] = Json::parse(R"({"type": "TemplateProcessing", "single": [
    {"SpecialToken": {"id": "x"}}, {"Sequence": {"id": "A"}}, {"SpecialToken": {"id": "y"}}],
    "special_tokens": {"x": {"ids": [3, 1]}, "y": {"ids": [2]}}})");
  EXPECT_EQ(open(tokenizer)->frame().before, (Ids{3, 1}));
  EXPECT_EQ(open(tokenizer)->frame().after, (Ids{2}));
}

TEST_F(HfTokenizer, RefusesByName) {
  const auto refused = [&](const char* part, const Json& value, const std::string& name) {
    Json tokenizer = words({"?", "a"});
    tokenizer[part] = value;
    const Error error = refusal(tokenizer);
    EXPECT_EQ(error.code(), ErrorCode::unsupported_model) << error.message();
    EXPECT_NE(error.message().find(name), std::string::npos) << error.message();
  };
  refused("normalizer", {{"type", "Stemmer"}}, "normalizer \"Stemmer\"");
  refused("pre_tokenizer", {{"type", "Chopper"}}, "pre-tokenizer \"Chopper\"");
  refused("decoder", {{"type", "Gluer"}}, "decoder \"Gluer\"");
  refused("post_processor", {{"type", "Framer"}}, "post-processor \"Framer\"");
  const auto split = [](const char* pattern) -> Json {
    return {{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}};
  };
  for (const char* pattern : {"(", "a)", "[", "*", "\\p{Nope}", "(?~a)", "a{3,2}", "\\y", "(?<n", "\\"})
    refused("pre_tokenizer", split(pattern), "regular expression");
}

TEST_F(HfTokenizer, EndsExpressionsThatRunAway) {
  Json tokenizer = words({"?", "a"});
  tokenizer["pre_tokenizer"] = {
      {"type", "Split"}, {"pattern", {{"Regex", "(a|a)*$"}}}, {"behavior", "Isolated"}};
  const auto opened = open(tokenizer);
  try {
    opened->encode(std::string(5000, 'a') + "b");
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_text) << error.message();
  }
}

TEST_F(HfTokenizer, RefusesPartsOfWrongTypes) {
  const auto refused = [&](const char* text) {
    Json tokenizer = words({"?", "a"});
    tokenizer.merge_patch(Json::parse(text));
    const ErrorCode code = refusal(tokenizer).code();
    EXPECT_TRUE(code == ErrorCode::invalid_model || code == ErrorCode::file_corrupt ||
                code == ErrorCode::unsupported_model)
        << text;
  };
  for (const char* text :
       {R"({"normalizer": 3})", R"({"normalizer": {"type": 3}})", R"({"normalizer": {"type": "Replace"}})",
        R"({"normalizer": {"type": "Sequence", "normalizers": [4]}})",
        R"({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "!"}})",
        R"({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}})",
        R"({"pre_tokenizer": {"type": "Metaspace", "replacement": "ab"}})",
        R"({"pre_tokenizer": {"type": "Punctuation", "behavior": "Somehow"}})",
        R"({"pre_tokenizer": {"type": "FixedLength", "length": 0}})",
        R"({"added_tokens": [{"id": "x", "content": "a"}]})", R"({"added_tokens": [3]})",
        R"({"added_tokens": [{"id": 1}]})", R"({"model": {"unk_token": "nowhere"}})", R"({"model": 3})",
        R"({"post_processor": {"type": "BertProcessing", "cls": 3}})"})
    refused(text);
}

TEST_F(HfTokenizer, ReadsVocabulariesOfWordsAndPieces) {
  write("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nhello\nworld\n##ly\n!\n");
  write("tokenizer_config.json", R"({"tokenizer_class": "BertTokenizer", "do_lower_case": true})");
  const auto tokenizer = open_files(9);
  EXPECT_EQ(tokenizer->encode("H\u00e9llo WORLDLY! x [MASK]", true), (Ids{5, 6, 7, 8, 1, 4}));
  EXPECT_EQ(tokenizer->frame().before, (Ids{2}));
  EXPECT_EQ(tokenizer->frame().after, (Ids{3}));
  EXPECT_EQ(tokenizer->decode(Ids{5, 6, 7, 8}), "hello worldly!");
  write("tokenizer_config.json", R"({"tokenizer_class": "FooTokenizer"})");
  EXPECT_THROW(open_files(9), Error);
}

TEST_F(HfTokenizer, ReadsVocabulariesWithMergesBeside) {
  write("vocab.json", R"({"h": 0, "i": 1, "hi": 2, "Ġ": 3, "Ġhi": 4, "<|endoftext|>": 5})");
  write("merges.txt", "#version: 0.2\nh i\nĠ hi\n");
  write("tokenizer_config.json",
        R"({"tokenizer_class": "GPT2Tokenizer", "eos_token": "<|endoftext|>"})");
  EXPECT_EQ(open_files(6)->encode("hi hi<|endoftext|>", true), (Ids{2, 4, 5}));
  write("tokenizer_config.json", R"({"tokenizer_class": "GPT2TokenizerFast",
      "add_prefix_space": true, "added_tokens_decoder": {"6": {"content": "<x>", "lstrip": true}}})");
  EXPECT_EQ(open_files(7)->encode("hi <x>hi"), (Ids{4, 6, 4}));
  write("tokenizer_config.json", R"({"tokenizer_class": "MvpTokenizer"})");
  try {
    open_files(6);
    ADD_FAILURE() << "opened";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::unsupported_model);
    EXPECT_NE(error.message().find("MvpTokenizer"), std::string::npos) << error.message();
  }
}

TEST(HfTokenizerCases, AreRight) {
  if (!std::filesystem::exists(cases)) GTEST_SKIP() << cases << " is not here";
  const auto ids = [](const std::string& folder, const std::string& text) {
    return Tokenizer::from_metadata(ModelFile::open(cases + folder).metadata())->encode(text);
  };
  EXPECT_EQ(ids("hf-added-token-strip/model", "[user] the"), (Ids{365, 361}));
  EXPECT_EQ(ids("hf-added-token-strip/model", "[user]\nthe"), (Ids{365, 361}));
  EXPECT_EQ(ids("hf-added-token-strip/model", "the [end] the"), (Ids{361, 366, 361}));
  EXPECT_EQ(ids("hf-normalizer/nfc", "cafe\u0301"), (Ids{258, 259}));
  EXPECT_EQ(ids("hf-normalizer/nfc", "caf\u00e9"), (Ids{258, 259}));
  EXPECT_EQ(ids("hf-normalizer/lowercase", "HI"), (Ids{104, 105}));
  EXPECT_EQ(ids("hf-slow-tokenizer/model", "hi"), (Ids{256}));
}

}  // namespace
}  // namespace plimsoll
