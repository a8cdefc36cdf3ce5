// Published vocabularies as tokenizer.json and tokenizer.model: the same ids as from their GGUF
// files.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>
#include <string>

#include "file/model_file.h"
#include "support/hf_folder_writer.h"
#include "support/temporary_folder.h"
#include "text/tokenizer.h"

namespace plimsoll {
namespace {

const std::string shared = PLIMSOLL_SHARED;

std::string read_all(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

struct VocabularyCase {
  std::string name;
  test::HfFolderOptions options;
};

class HfVocabulary : public ::testing::TestWithParam<VocabularyCase> {
 protected:
  void SetUp() override {
    gguf_ = shared + "/vocab/" + GetParam().name + ".gguf";
    if (!std::filesystem::exists(gguf_)) GTEST_SKIP() << gguf_ << " is not here";
    hf_ = folder_.file(GetParam().name);
    test::write_hf_vocabulary(gguf_, hf_, GetParam().options);
  }

  test::TemporaryFolder folder_;
  std::string gguf_, hf_;
};

TEST_P(HfVocabulary, GivesTheSameIds) {
  const auto wanted = Tokenizer::from_metadata(ModelFile::open(gguf_).metadata());
  const auto found = Tokenizer::from_metadata(ModelFile::open(hf_).metadata());
  EXPECT_EQ(found->vocabulary_size(), wanted->vocabulary_size());
  EXPECT_EQ(found->adds_bos(), wanted->adds_bos());
  EXPECT_EQ(found->bos(), wanted->bos());
  // The vocabulary's own texts, prose, and text of any characters.
  std::string text =
      read_all(gguf_ + ".inp") + read_all(shared + "/text/valid.txt").substr(0, 50000);
  std::mt19937 random(3);
  for (int i = 0; i < 5000; ++i) {
    const auto c = static_cast<char32_t>(random() % (i % 3 ? 0x80 : 0x3000));
    if (c < 0x20) continue;  // Falcon has no tokens for these
    if (c < 0x80) {
      text += static_cast<char>(c);
    } else if (c < 0x800) {
      text += {static_cast<char>(0xC0 | c >> 6), static_cast<char>(0x80 | (c & 0x3F))};
    } else {
      text += {static_cast<char>(0xE0 | c >> 12), static_cast<char>(0x80 | (c >> 6 & 0x3F)),
               static_cast<char>(0x80 | (c & 0x3F))};
    }
  }
  for (const bool parse_special : {false, true})
    EXPECT_EQ(found->encode(text, parse_special), wanted->encode(text, parse_special));
}

TEST_P(HfVocabulary, HasTheSameTokens) {
  const ModelFile gguf = ModelFile::open(gguf_), hf = ModelFile::open(hf_);
  for (const char* key : {"tokenizer.ggml.model", "tokenizer.ggml.pre", "tokenizer.ggml.tokens",
                          "tokenizer.ggml.token_type", "tokenizer.ggml.merges"}) {
    const MetadataValue* wanted = gguf.metadata().find(key);
    const MetadataValue* found = hf.metadata().find(key);
    if (!wanted) continue;
    ASSERT_NE(found, nullptr) << key;
    ASSERT_EQ(found->size(), wanted->size()) << key;
    for (std::uint64_t i = 0; i < wanted->size(); ++i) {
      if (wanted->element_type() == MetadataType::string) {
        ASSERT_EQ(found->as_string(i), wanted->as_string(i)) << key << ' ' << i;
        continue;
      }
      // Marks that a file does not declare special, and padding, have been typed in several ways.
      const std::string_view text = gguf.metadata().find("tokenizer.ggml.tokens")->as_string(i);
      if (text.starts_with('<') || text.starts_with("[PAD")) continue;
      ASSERT_EQ(found->as_integer(i), wanted->as_integer(i)) << text;
    }
  }
}

std::vector<VocabularyCase> cases() {
  std::vector<VocabularyCase> all;
  for (const char* name : {"gpt-2", "falcon", "starcoder", "deepseek-coder"})
    for (const bool as_pairs : {false, true}) all.push_back({name, {.merges_as_pairs = as_pairs}});
  for (const char* name : {"llama-spm", "phi-3"})
    for (const bool sentence_piece : {false, true})
      all.push_back({name, {.sentence_piece = sentence_piece}});
  return all;
}

INSTANTIATE_TEST_SUITE_P(All, HfVocabulary, ::testing::ValuesIn(cases()), [](const auto& test) {
  std::string name = test.param.name + (test.param.options.sentence_piece    ? "_pieces"
                                        : test.param.options.merges_as_pairs ? "_pairs"
                                                                             : "");
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

}  // namespace
}  // namespace plimsoll
