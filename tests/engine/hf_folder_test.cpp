// A Hugging Face folder and the GGUF file that it was written from are the same model: keys,
// tensors and logits.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <functional>
#include <set>

#include "base/error.h"
#include "support/fixture.h"
#include "support/hf_folder_writer.h"

namespace plimsoll {
namespace {

struct FolderCase {
  std::string name;
  std::function<void(test::SyntheticModel&)> change;
  test::HfFolderOptions options = {};
};

std::vector<std::uint8_t> bytes_of(const ModelFile& file, const TensorInfo& info) {
  std::vector<std::uint8_t> bytes(info.bytes);
  file.read(info.offset, info.bytes, bytes.data());
  return bytes;
}

class HfFolder : public ::testing::TestWithParam<FolderCase> {
 protected:
  void SetUp() override {
    test::SyntheticModel model;
    model.layers = 7;  // Gemma 3 has one layer without a window in six
    model.feed_forward = 320;
    model.width = 128;
    model.heads = 4;
    model.kv_heads = 2;
    model.window = 40;
    GetParam().change(model);
    if (model.family.starts_with("gemma")) model.tied = true;  // Gemma has no output matrix
    family_ = model.family;
    test::write_synthetic_model(gguf_, model, 2);
    test::write_hf_folder(gguf_, hf_, GetParam().options);
  }

  test::TemporaryFolder folder_;
  std::string family_;
  std::string gguf_ = folder_.file("model.gguf");
  std::string hf_ = folder_.file("Some-Model");
};

TEST_P(HfFolder, HasTheSameKeys) {
  const ModelFile gguf = ModelFile::open(gguf_), hf = ModelFile::open(hf_);
  EXPECT_EQ(hf.metadata().string("general.name"), "Some-Model");
  // What says how models come about, what a folder cannot say, or what is the default.
  std::set<std::string> apart = {"general.name"};
  if (family_ != "llama" && family_ != "phi3") apart.insert(family_ + ".rope.dimension_count");
  if (!GetParam().options.sentence_piece) apart.insert("tokenizer.ggml.scores");
  if (GetParam().name == "llama_linear")
    apart.insert("llama.rope.scaling.original_context_length");  // unused there
  apart.insert("tokenizer.ggml.unknown_token_id");
  for (const Metadata::Entry& entry : gguf.metadata().entries()) {
    if (apart.contains(std::string(entry.key))) continue;
    const MetadataValue* found = hf.metadata().find(entry.key);
    ASSERT_NE(found, nullptr) << entry.key;
    ASSERT_EQ(found->is_array(), entry.value.is_array()) << entry.key;
    ASSERT_EQ(found->element_type(), entry.value.element_type()) << entry.key;
    ASSERT_EQ(found->size(), entry.value.size()) << entry.key;
    for (std::uint64_t i = 0; i < entry.value.size(); ++i) {
      if (entry.value.element_type() == MetadataType::string)
        ASSERT_EQ(found->as_string(i), entry.value.as_string(i)) << entry.key << ' ' << i;
      else if (entry.value.element_type() == MetadataType::boolean)
        ASSERT_EQ(found->as_bool(i), entry.value.as_bool(i)) << entry.key;
      else
        ASSERT_EQ(found->as_float(i), entry.value.as_float(i)) << entry.key << ' ' << i;
    }
  }
}

TEST_P(HfFolder, HasTheSameTensors) {
  const ModelFile gguf = ModelFile::open(gguf_), hf = ModelFile::open(hf_);
  ASSERT_EQ(hf.tensors().size(), gguf.tensors().size());
  const FormatId vectors = GetParam().options.vectors;
  for (const TensorInfo& wanted : gguf.tensors()) {
    const TensorInfo* found = hf.find_tensor(wanted.name);
    ASSERT_NE(found, nullptr) << wanted.name;
    EXPECT_EQ(found->format, wanted.format) << wanted.name;
    EXPECT_EQ(found->rank, wanted.rank) << wanted.name;
    EXPECT_EQ(found->shape, wanted.shape) << wanted.name;
    ASSERT_EQ(found->bytes, wanted.bytes) << wanted.name;
    std::vector<std::uint8_t> bytes = bytes_of(gguf, wanted);
    const bool is_stored_half =
        wanted.rank == 1 && !wanted.name.starts_with("rope_factors") && vectors != FormatId::F32;
    if (is_stored_half) {
      // What is left of a number that is stored, without its 1 in Gemma's norms, in 16 bits.
      const bool lacks_one = family_.starts_with("gemma") && wanted.name.ends_with("norm.weight");
      std::vector<float> values(static_cast<std::size_t>(wanted.columns()));
      std::memcpy(values.data(), bytes.data(), bytes.size());
      for (float& value : values) {
        float stored = lacks_one ? value - 1 : value;
        std::uint8_t block[2];
        format(vectors).encode(&stored, block, 1);
        format(vectors).decode(block, &stored, 1);
        value = lacks_one ? stored + 1 : stored;
      }
      std::memcpy(bytes.data(), values.data(), bytes.size());
    }
    EXPECT_EQ(bytes_of(hf, *found), bytes) << wanted.name;
  }
}

TEST_P(HfFolder, ReadsAnyRange) {
  const ModelFile gguf = ModelFile::open(gguf_), hf = ModelFile::open(hf_);
  for (const char* name : {"blk.1.attn_q.weight", "blk.1.attn_k.weight", "blk.2.ffn_down.weight",
                           "blk.1.attn_qkv.weight"}) {
    const TensorInfo* wanted = gguf.find_tensor(name);
    if (!wanted) continue;
    const std::vector<std::uint8_t> bytes = bytes_of(gguf, *wanted);
    std::uint64_t random = 7;
    for (int i = 0; i < 50; ++i) {
      random = random * 6364136223846793005u + 1442695040888963407u;
      const std::uint64_t begin = (random >> 20) % bytes.size();
      const Bytes count = std::min<Bytes>((random >> 40) % 9000 + 1, bytes.size() - begin);
      std::vector<std::uint8_t> part(count);
      hf.read(hf.find_tensor(name)->offset + begin, count, part.data());
      ASSERT_TRUE(std::equal(part.begin(), part.end(), bytes.begin() + begin)) << name << begin;
    }
  }
}

TEST_P(HfFolder, GivesTheSameLogits) {
  if (GetParam().options.vectors != FormatId::F32) GTEST_SKIP() << "other norms, other logits";
  test::Loaded gguf(gguf_), hf(hf_);
  std::vector<TokenId> tokens;
  for (TokenId i = 0; i < 60; ++i) tokens.push_back(i * 7 % 500);
  const auto wanted = gguf.session->append(tokens).logits,
             found = hf.session->append(tokens).logits;
  ASSERT_TRUE(std::equal(wanted.begin(), wanted.end(), found.begin(), found.end()));
  EXPECT_EQ(gguf.model.tokenizer->encode("a word w1 and w22"),
            hf.model.tokenizer->encode("a word w1 and w22"));
}

std::vector<FolderCase> cases() {
  std::vector<FolderCase> all;
  int i = 0;
  for (const char* family : {"llama", "qwen2", "qwen3", "gemma2", "gemma3", "phi3"}) {
    constexpr FormatId formats[] = {FormatId::F16, FormatId::BF16, FormatId::F32};
    const FormatId f = formats[i % 3], vectors = formats[(i + 1) % 3];
    const auto change = [family, f](test::SyntheticModel& model) {
      model.family = family;
      model.format = model.embedding_format = model.output_format = f;
    };
    const std::string name = family;
    all.push_back({name, change});
    all.push_back(
        {name + "_sharded",
         change,
         {.shards = 3, .vectors = vectors, .sentence_piece = i % 2 == 0, .merges_as_pairs = true}});
    ++i;
  }
  all.push_back({"llama_tied_biased", [](test::SyntheticModel& model) {
                   model.tied = true;
                   model.optional_biases = true;
                   model.head_dim = 48;
                   model.window = 0;
                 }});
  all.push_back({"llama_linear", [](test::SyntheticModel& model) {
                   model.rope_scaling = test::RopeScaling::linear;
                   model.rope_factor = 4;
                 }});
  all.push_back({"llama_many_rows", [](test::SyntheticModel& model) {
                   // Heads that do not fit the buffer.
                   model.layers = 1;
                   model.heads = model.kv_heads = 2;
                   model.head_dim = 256;
                   model.width = 1536;
                   model.format = FormatId::F32;
                 }});
  all.push_back({"qwen3_yarn", [](test::SyntheticModel& model) {
                   model.family = "qwen3";
                   model.rope_scaling = test::RopeScaling::yarn;
                   model.rope_factor = 4;
                   model.rope_original_context = 2048;
                 }});
  all.push_back({"phi3_long", [](test::SyntheticModel& model) {
                   model.family = "phi3";
                   model.rope_factors = true;
                   model.rope_original_context = 1024;
                   model.attention_factor = std::sqrt(1 + std::log(8.0) / std::log(1024.0));
                 }});
  return all;
}

INSTANTIATE_TEST_SUITE_P(All, HfFolder, ::testing::ValuesIn(cases()),
                         [](const auto& test) { return test.param.name; });

TEST(HfFolderPlan, CountsTheHeaderAndHoldsNothingTwice) {
  const test::TemporaryFolder folder;
  const std::string gguf = folder.file("model.gguf"), hf = folder.file("hf");
  test::SyntheticModel model;
  model.vocabulary = 20000;
  test::write_synthetic_model(gguf, model, 2);
  test::write_hf_folder(gguf, hf);
  const Bytes of_gguf = ModelFile::open(gguf).header_bytes();
  const Bytes of_hf = ModelFile::open(hf).header_bytes();
  EXPECT_LT(of_hf, of_gguf + 64 * KiB);
  EXPECT_GT(of_hf + 64 * KiB, of_gguf);
}

TEST(ChangingFile, IsRefusedAtTheEndOfLoading) {
  const test::TemporaryFolder folder;
  const std::string gguf = folder.file("model.gguf"), hf = folder.file("hf");
  test::write_synthetic_model(gguf, {}, 2);
  test::write_hf_folder(gguf, hf, {.shards = 2});
  for (const auto& [path, touched] :
       {std::pair(gguf, gguf), std::pair(hf, hf + "/model-00002-of-00002.safetensors")}) {
    const OpenModel model = OpenModel::open(path);
    const Plan plan = make_plan(model.facts, test::Loaded::request({}));
    std::filesystem::last_write_time(
        touched, std::filesystem::last_write_time(touched) + std::chrono::seconds(1));
    Context context(2, choose_isa());
    try {
      Engine engine(context, model, plan);
      ADD_FAILURE() << touched << " was changed and loaded";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::file_corrupt);
      EXPECT_NE(error.message().find(touched + ": was changed"), std::string::npos)
          << error.message();
    }
  }
}

}  // namespace
}  // namespace plimsoll
