// Whole vocabularies of well-known models against the token ids that other engines give for the same texts.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "file/model_file.h"
#include "text/tokenizer.h"

namespace plimsoll {
namespace {

const std::string shared = PLIMSOLL_SHARED;

std::string read_all(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::vector<std::string> texts_of(const std::string& path) {
  const std::string separator = "\n__ggml_vocab_test__\n";
  const std::string all = read_all(path);
  std::vector<std::string> texts;
  for (std::size_t begin = 0;;) {
    const std::size_t end = all.find(separator, begin);
    texts.push_back(all.substr(begin, end - begin));
    if (end == std::string::npos) return texts;
    begin = end + separator.size();
  }
}

std::vector<std::vector<TokenId>> ids_of(const std::string& path) {
  std::istringstream in(read_all(path));
  std::vector<std::vector<TokenId>> ids;
  for (std::string line; std::getline(in, line);) {
    std::istringstream numbers(line);
    ids.emplace_back(std::istream_iterator<TokenId>(numbers), std::istream_iterator<TokenId>());
  }
  return ids;
}

class VocabularyFile : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    path_ = shared + "/vocab/" + GetParam() + ".gguf";
    if (!std::filesystem::exists(path_)) GTEST_SKIP() << path_ << " is not here";
    const ModelFile file = ModelFile::open(path_);
    tokenizer_ = Tokenizer::from_metadata(file.metadata());  // must not need the file any more
  }

  std::string decode(const std::vector<TokenId>& tokens) const {
    Detokenizer detokenizer(*tokenizer_);
    std::string text;
    for (const TokenId token : tokens) text += detokenizer.push(token);
    return text + detokenizer.flush();
  }

  std::string path_;
  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_P(VocabularyFile, TokenizesAsPublished) {
  const std::vector<std::string> texts = texts_of(path_ + ".inp");
  const std::vector<std::vector<TokenId>> wanted = ids_of(path_ + ".out");
  ASSERT_GT(texts.size(), 40u);
  // The last text is followed by the separator or by nothing; ids tell how many there are.
  ASSERT_GE(texts.size(), wanted.size());
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    EXPECT_EQ(tokenizer_->encode(texts[i]), wanted[i]) << i << ": \"" << texts[i] << '"';
  }
}

TEST_P(VocabularyFile, DecodesWhatItEncodes) {
  const std::string text = read_all(shared + "/text/valid.txt");
  if (text.empty()) GTEST_SKIP() << "no " << shared << "/text/valid.txt";
  const std::vector<TokenId> tokens = tokenizer_->encode(text);
  const std::string_view name = GetParam();
  // Sentencepiece puts a space before the text.
  const bool is_spm = name == "llama-spm" || name == "phi-3";
  EXPECT_EQ(decode(tokens), (is_spm ? " " : "") + text);
}

INSTANTIATE_TEST_SUITE_P(All, VocabularyFile,
                         testing::Values("llama-spm", "phi-3", "gpt-2", "falcon", "starcoder", "deepseek-coder"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace plimsoll
