// Which of a repository's files are taken.
#include "hub/choice.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace plimsoll::test {
namespace {

Repository repository(std::vector<std::pair<std::string, Bytes>> files) {
  Repository out;
  for (auto& [path, bytes] : files) {
    RemoteFile file;
    file.path = path;
    file.bytes = bytes;
    out.files.push_back(file);
  }
  return out;
}

ModelName repo(std::string file = "", std::string quant = "") {
  ModelName name;
  name.repo = "a/b";
  name.file = std::move(file);
  name.quant = std::move(quant);
  return name;
}

const Repository many = repository({{"m-Q2_K.gguf", 300 * MiB},
                                    {"m-Q4_K_M.gguf", 500 * MiB},
                                    {"m-Q8_0.gguf", 900 * MiB},
                                    {"m-F16.gguf", 1700 * MiB},
                                    {"mmproj-m-F16.gguf", 100 * MiB},
                                    {"m.imatrix.gguf", 5 * MiB},
                                    {"README.md", 1000}});

TEST(Choice, UsualBalanceWithoutAWish) {
  const Choice choice = choose_files(many, repo(), {64 * GiB, false});
  EXPECT_EQ(choice.entry, "m-Q4_K_M.gguf");
  EXPECT_NE(choice.why.find("Q4_K_M of 4"), std::string::npos) << choice.why;
  EXPECT_EQ(choose_files(many, repo(), {400 * MiB, false}).entry, "m-Q2_K.gguf");
  EXPECT_EQ(choose_files(many, repo(), {1 * MiB, false}).entry, "m-Q2_K.gguf") << "the smallest";
}

TEST(Choice, LargestThatFitsAWishButNoneBeyond8Bits) {
  EXPECT_EQ(choose_files(many, repo(), {2 * GiB, true}).entry, "m-Q8_0.gguf");
  EXPECT_EQ(choose_files(many, repo(), {700 * MiB, true}).entry, "m-Q4_K_M.gguf");
  const Repository half = repository({{"x-f16.gguf", 100 * MiB}, {"x-bf16.gguf", 100 * MiB}});
  EXPECT_EQ(choose_files(half, repo(), {2 * GiB, true}).bytes(), 100 * MiB);
}

TEST(Choice, NamedFilesAndQuants) {
  EXPECT_EQ(choose_files(many, repo("M-q8_0.GGUF"), {}).entry, "m-Q8_0.gguf");
  EXPECT_EQ(choose_files(many, repo("", "q2_k"), {}).entry, "m-Q2_K.gguf");
  EXPECT_EQ(choose_files(many, repo("", "F16"), {}).entry, "m-F16.gguf") << "not the mmproj";
  for (const ModelName& missing : {repo("m-Q4_K_S.gguf"), repo("", "Q4_K_S")}) {
    try {
      choose_files(many, missing, {});
      ADD_FAILURE();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::not_available);
      EXPECT_NE(error.hint().find("Q4_K_M"), std::string::npos) << error.hint();
    }
  }
}

TEST(Choice, AllPartsOfASet) {
  const Repository split = repository({{"q/m-Q4_K_M-00002-of-00003.gguf", 10},
                                       {"q/m-Q4_K_M-00001-of-00003.gguf", 10},
                                       {"q/m-Q4_K_M-00003-of-00003.gguf", 10},
                                       {"m-Q8_0-00001-of-00002.gguf", 10}});
  const Choice choice = choose_files(split, repo(), {1 * GiB, false});
  EXPECT_EQ(choice.entry, "q/m-Q4_K_M-00001-of-00003.gguf");
  ASSERT_EQ(choice.files.size(), 3u);
  EXPECT_EQ(choice.files[2].path, "q/m-Q4_K_M-00003-of-00003.gguf");
  EXPECT_EQ(choose_files(split, repo("q/m-Q4_K_M-00002-of-00003.gguf"), {}).files.size(), 3u);
  EXPECT_THROW(choose_files(split, repo("m-Q8_0-00001-of-00002.gguf"), {}), Error) << "a part is missing";
}

TEST(Choice, Folders) {
  const Repository one = repository({{"config.json", 10}, {"model.safetensors", 100}, {"tokenizer.json", 20},
                                     {"pytorch_model.bin", 100}, {"sub/model.safetensors", 1},
                                     {"chat_template.jinja", 5}, {"README.md", 2}});
  const Choice choice = choose_files(one, repo(), {});
  EXPECT_TRUE(choice.is_folder());
  EXPECT_EQ(choice.bytes(), 135u);
  EXPECT_EQ(choice.files.back().path, "model.safetensors") << "what is small comes first";

  const Repository shards = repository({{"config.json", 10},
                                        {"model-00001-of-00002.safetensors", 100},
                                        {"model-00002-of-00002.safetensors", 100},
                                        {"model.safetensors.index.json", 7},
                                        {"consolidated.safetensors", 200}});
  EXPECT_EQ(choose_files(shards, repo(), {}).bytes(), 217u);
  EXPECT_EQ(choose_files(shards, repo("model-00001-of-00002.safetensors"), {}).bytes(), 217u);
  const Repository both = repository({{"config.json", 10}, {"model.safetensors", 100}, {"m-Q8_0.gguf", 50}});
  EXPECT_EQ(choose_files(both, repo(), {}).entry, "m-Q8_0.gguf");
  EXPECT_TRUE(choose_files(both, repo("", "safetensors"), {}).is_folder());
  EXPECT_THROW(choose_files(repository({{"README.md", 1}}), repo(), {}), Error);
  EXPECT_THROW(choose_files(repository({}), repo(), {}), Error);
}

TEST(Choice, QuantsOfFileNames) {
  const std::pair<const char*, const char*> cases[] = {
      {"smollm2-135m-instruct-q8_0.gguf", "Q8_0"}, {"tinyllama-1.1b-chat-v1.0.Q4_K_M.gguf", "Q4_K_M"},
      {"Phi-3-mini-4k-instruct-q4.gguf", "Q4"},    {"Qwen3-4B-UD-Q4_K_XL.gguf", "Q4_K_XL"},
      {"d/m-IQ2_XXS-00001-of-00002.gguf", "IQ2_XXS"}, {"m-bf16.gguf", "BF16"},
      {"gpt-oss-20b-mxfp4.gguf", "MXFP4"},         {"Qwen2.5-7B.gguf", ""},
      {"m.gguf", ""},                              {"TQ1_0.gguf", "TQ1_0"},
      {"", ""}};
  for (const auto& [path, quant] : cases) EXPECT_EQ(quant_of(path), quant) << path;
}

}  // namespace
}  // namespace plimsoll::test
