// Whole vocabularies of well-known models against the token ids that other engines give for the
// same texts.
#include <gtest/gtest.h>
#include <malloc.h>
#include <utf8proc.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
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
  std::string decoded = decode(tokens);
  if (is_spm) {
    EXPECT_EQ(decoded[0], ' ');
    decoded.erase(0, 1);
  }
  EXPECT_EQ(decoded, text);
}

TEST_P(VocabularyFile, DecodesRandomText) {
  std::mt19937 random(5);
  for (int round = 0; round < 200; ++round) {
    std::string text;
    for (std::size_t i = random() % 50; i > 0; --i) {
      // Code points of all lengths, without surrogates, the space mark, and what Falcon has no
      // bytes for.
      const std::uint32_t limits[] = {0x80, 0x800, 0x10000, 0x30000};
      const std::uint32_t code_point = random() % limits[random() % 4];
      const bool is_left_out = (code_point >= 0xD800 && code_point < 0xE000) ||
                               code_point == 0x2581 ||
                               (code_point < 0x20 && code_point != 0 && code_point != '\n');
      utf8proc_uint8_t bytes[4];
      if (is_left_out) continue;
      const auto length = utf8proc_encode_char(static_cast<utf8proc_int32_t>(code_point), bytes);
      text.append(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(length));
    }
    const std::string decoded = decode(tokenizer_->encode(text));
    EXPECT_TRUE(decoded == text || decoded == " " + text) << testing::PrintToString(text);
  }
}

TEST_P(VocabularyFile, SaysWhatItHoldsInMemory) {
  const ModelFile file = ModelFile::open(path_);
  const struct mallinfo2 before = mallinfo2();
  const std::unique_ptr<Tokenizer> tokenizer = Tokenizer::from_metadata(file.metadata());
  const struct mallinfo2 after = mallinfo2();
  const double held =
      static_cast<double>((after.uordblks + after.hblkhd) - (before.uordblks + before.hblkhd));
  if (held <= 0) GTEST_SKIP() << "this allocator does not count";
  EXPECT_NEAR(static_cast<double>(tokenizer->memory_bytes()) / held, 1.0, 0.05);
}

/// What llama.cpp gives for the same texts.
struct PeerCase {
  const char* model;
  const char* text;
  bool parse_special;
  std::vector<TokenId> ids;
};

TEST(Tokenizer, AgreesWithPeer) {
  const char* const mixed = "Grüße aus Köln – 漢字 🦙!";
  const char* const spaces = "b\u00A0c\u3000d\u0085e\u180Ef";
  const char* const marks = "<s>Hi</s> <|endoftext|>\n <|user|>\n\n Hi <|end|>\t\nx";
  const PeerCase cases[] = {
      {"vocab/llama-spm",
       mixed,
       false,
       {1632, 29993, 5831, 1770, 20763, 785, 29871, 31652, 30578, 29871, 243, 162, 169, 156,
        29991}},
      {"vocab/llama-spm",
       spaces,
       false,
       {289, 30081, 29883, 30358, 29881, 197, 136, 29872, 228, 163, 145, 29888}},
      {"vocab/llama-spm", marks, false, {529,   29879, 29958, 18567, 829,   29879, 29958, 529,
                                         29989, 355,   974,   726,   29989, 29958, 13,    529,
                                         29989, 1792,  29989, 29958, 13,    13,    6324,  529,
                                         29989, 355,   29989, 29958, 12,    13,    29916}},
      {"vocab/llama-spm", marks, true, {1,     6324,  2,     29871, 529, 29989, 355,
                                        974,   726,   29989, 29958, 13,  529,   29989,
                                        1792,  29989, 29958, 13,    13,  6324,  529,
                                        29989, 355,   29989, 29958, 12,  13,    29916}},
      {"vocab/phi-3",
       mixed,
       false,
       {1632, 29993, 5831, 1770, 20763, 785, 29871, 31652, 30578, 29871, 243, 162, 169, 156,
        29991}},
      {"vocab/phi-3",
       spaces,
       false,
       {289, 30081, 29883, 30358, 29881, 197, 136, 29872, 228, 163, 145, 29888}},
      {"vocab/phi-3", marks, false, {529,   29879, 29958, 18567, 829,   29879, 29958, 529,
                                     29989, 355,   974,   726,   29989, 29958, 13,    529,
                                     29989, 1792,  29989, 29958, 13,    13,    6324,  529,
                                     29989, 355,   29989, 29958, 12,    13,    29916}},
      {"vocab/phi-3",
       marks,
       true,
       {1, 6324, 2, 32000, 29871, 13, 29871, 32010, 6324, 29871, 32007, 921}},
      {"vocab/gpt-2",
       mixed,
       false,
       {8642, 9116, 39683, 68, 257, 385, 509, 9101, 18755, 784, 10545, 120, 95, 27764, 245, 12520,
        99, 247, 0}},
      {"vocab/gpt-2",
       spaces,
       false,
       {65, 1849, 66, 5099, 222, 67, 126, 227, 68, 157, 254, 236, 69}},
      {"vocab/gpt-2", marks, false, {27,   82,    29,   17250, 3556, 82,   29, 1279, 91,  437,
                                     1659, 5239,  91,   29,    198,  1279, 91, 7220, 91,  29,
                                     628,  15902, 1279, 91,    437,  91,   29, 197,  198, 87}},
      {"vocab/gpt-2", marks, true, {27,  82,   29, 17250, 3556, 82,  29,  220,   50256,
                                    198, 1279, 91, 7220,  91,   29,  628, 15902, 1279,
                                    91,  437,  91, 29,    197,  198, 87}},
      {"vocab/falcon",
       mixed,
       false,
       {7066, 137, 132, 12228, 4596, 64750, 204, 600, 204, 172, 132, 107, 18830, 3346, 111, 231,
        12}},
      {"vocab/falcon",
       spaces,
       false,
       {77, 4381, 78, 1008, 206, 79, 136, 211, 80, 167, 238, 220, 81}},
      {"vocab/falcon", marks, false, {39,    94,   41,   5516,  1686, 94,    41,  204,  39,    103,
                                      415,   1487, 2164, 54146, 1212, 39,    103, 5584, 54146, 1001,
                                      16588, 204,  39,   103,   415,  54146, 192, 193,  99}},
      {"vocab/falcon", marks, true, {39,  94,   41,  5516, 1686,  94,    41,   204,
                                     11,  1212, 39,  103,  5584,  54146, 1001, 16588,
                                     204, 39,   103, 415,  54146, 192,   193,  99}},
      {"vocab/starcoder",
       mixed,
       false,
       {4863, 2022, 15808, 106, 11374, 1242, 2827, 2517, 8889, 4832, 158, 133, 5211, 5954, 137, 271,
        38}},
      {"vocab/starcoder",
       spaces,
       false,
       {103, 2606, 104, 5059, 105, 162, 251, 106, 193, 278, 260, 107}},
      {"vocab/starcoder", marks, false, {65,    120,   67,    12589, 396,   120, 67,    39647,
                                         15546, 31124, 28339, 222,   39647, 514, 28339, 499,
                                         6795,  39647, 435,   28339, 221,   222, 125}},
      {"vocab/starcoder", marks, true, {65,   120,   67,  12589, 396, 120,   67,
                                        244,  0,     222, 39647, 514, 28339, 499,
                                        6795, 39647, 435, 28339, 221, 222,   125}},
      {"vocab/deepseek-coder",
       mixed,
       false,
       {8508, 32009, 31739, 68, 30430, 716, 32011, 6622, 207, 887, 207, 3022, 95, 4403, 12394, 99,
        234, 0}},
      {"vocab/deepseek-coder",
       spaces,
       false,
       {65, 1200, 66, 343, 209, 67, 124, 214, 68, 155, 241, 223, 69}},
      {"vocab/deepseek-coder", marks, false, {27, 82,   29,  11041, 27,  14,  82,    7159,
                                              91, 408,  990, 818,   91,  29,  185,   1013,
                                              91, 3619, 91,  29,    185, 185, 11648, 1013,
                                              91, 408,  91,  29,    184, 185, 87}},
      {"vocab/deepseek-coder", marks, true, {27, 82,   29,  11041, 27,  14,  82,    7159,
                                             91, 408,  990, 818,   91,  29,  185,   1013,
                                             91, 3619, 91,  29,    185, 185, 11648, 1013,
                                             91, 408,  91,  29,    184, 185, 87}},
      {"models/plimsoll-docs-4m-f16", mixed, false, {617, 4016, 198,  191, 198,  162,  4009, 260,
                                                     296, 1048, 198,  185, 4017, 4014, 4008, 229,
                                                     131, 150,  4008, 233, 191,  165,  232,  176,
                                                     154, 4008, 243,  162, 169,  156,  36}},
      {"models/plimsoll-docs-4m-f16",
       spaces,
       false,
       {276, 197, 163, 4019, 230, 131, 131, 4020, 197, 136, 4009, 228, 163, 145, 4024}},
      {"models/plimsoll-docs-4m-f16", marks, false, {754,  4015, 4077, 4070, 4012, 4084, 4062,
                                                     4015, 4077, 754,  127,  432,  4013, 856,
                                                     677,  127,  4077, 13,   754,  127,  2894,
                                                     127,  4077, 13,   13,   585,  4012, 754,
                                                     127,  432,  127,  4077, 12,   13,   4035}},
      {"models/plimsoll-docs-4m-f16", marks, true, {1,    585, 4012, 2,    4008, 754, 127,  432,
                                                    4013, 856, 677,  127,  4077, 13,  754,  127,
                                                    2894, 127, 4077, 13,   13,   585, 4012, 754,
                                                    127,  432, 127,  4077, 12,   13,  4035}},
      {"models/stories260k-f32", mixed, false, {410, 463, 420, 198, 191, 198, 162, 411,
                                                261, 425, 419, 410, 462, 198, 185, 421,
                                                416, 410, 476, 410, 233, 191, 165, 232,
                                                176, 154, 410, 243, 162, 169, 156, 443}},
      {"models/stories260k-f32",
       spaces,
       false,
       {268, 498, 429, 230, 131, 131, 418, 197, 136, 411, 228, 163, 145, 431}},
      {"models/stories260k-f32", marks, false, {410, 504, 419, 505, 440, 417, 504, 492, 419,
                                                505, 410, 504, 506, 367, 414, 431, 413, 411,
                                                444, 413, 506, 505, 13,  410, 504, 506, 425,
                                                419, 285, 506, 505, 13,  13,  320, 417, 410,
                                                504, 506, 367, 506, 505, 12,  13,  444}},
      {"models/stories260k-f32", marks, true, {1,   320, 417, 2,   410, 410, 504, 506, 367, 414,
                                               431, 413, 411, 444, 413, 506, 505, 13,  410, 504,
                                               506, 425, 419, 285, 506, 505, 13,  13,  320, 417,
                                               410, 504, 506, 367, 506, 505, 12,  13,  444}},
  };
  for (const PeerCase& c : cases) {
    const std::string path = shared + "/" + c.model + ".gguf";
    if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not here";
    const auto tokenizer = Tokenizer::from_metadata(ModelFile::open(path).metadata());
    EXPECT_EQ(tokenizer->encode(c.text, c.parse_special), c.ids) << c.model << ": " << c.text;
  }
}

INSTANTIATE_TEST_SUITE_P(All, VocabularyFile,
                         testing::Values("llama-spm", "phi-3", "gpt-2", "falcon", "starcoder",
                                         "deepseek-coder"),
                         [](const auto& test) {
                           std::string name = test.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace plimsoll
