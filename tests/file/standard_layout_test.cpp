// Files in the layout of other converters come out as llama.cpp's converter would have written
// them. Facts: ollama/ollama, convert/ (what is written) and llama/compat/ (what it mends).
#include <gtest/gtest.h>

#include <fmt/format.h>

#include <functional>
#include <string>
#include <vector>

#include "base/error.h"
#include "file/gguf_writer.h"
#include "file/model_file.h"
#include "support/gguf_bytes.h"
#include "support/temporary_folder.h"

namespace plimsoll {
namespace {

class Layout : public ::testing::Test {
 protected:
  /// A file of a family with these keys, an embedding of `rows` rows and these further tensors.
  ModelFile open(const std::string& family, const std::function<void(GgufWriter&)>& keys,
                 std::int64_t rows = 8, const std::vector<std::string>& more = {}) const {
    const std::string path = folder_.file("model.gguf");
    GgufWriter writer(OutputPath::own(path));
    writer.add_string("general.architecture", family);
    keys(writer);
    const std::int64_t shape[] = {4, rows}, vector[] = {4};
    for (const std::string& tensor : more) writer.add_tensor(tensor, format(FormatId::F32), vector);
    writer.add_tensor("token_embd.weight", format(FormatId::F32), shape);
    writer.write(std::vector<std::uint8_t>(16 * (static_cast<std::size_t>(rows) + more.size())));
    writer.finish();
    return ModelFile::open(path);
  }
  static void add_tokens(GgufWriter& writer, std::size_t count,
                         const std::vector<std::pair<std::size_t, std::string>>& named = {}) {
    std::vector<std::string> tokens;
    for (std::size_t i = 0; i < count; ++i) tokens.push_back(fmt::format("t{}", i));
    for (const auto& [id, text] : named) tokens[id] = text;
    writer.add_string("tokenizer.ggml.model", "gpt2");
    writer.add_strings("tokenizer.ggml.tokens", tokens);
  }
  static double number(const ModelFile& file, const std::string& key) {
    return file.metadata().number(key).value_or(-1);
  }

  test::TemporaryFolder folder_;
};

TEST_F(Layout, Gemma3KeysOfRope) {
  // Of the library's file for 1B, of a newer converter's, and both names: the standard one counts.
  const ModelFile old = open("gemma3", [](GgufWriter& w) {
    w.add_number("gemma3.attention.layer_norm_rms_epsilon", 2e-6);
    w.add_number("gemma3.rope.global.freq_base", 2e6);
    w.add_number("gemma3.rope.local.freq_base", 3e4);
    w.add_integer("gemma3.context_length", 32768);
  });
  EXPECT_FLOAT_EQ(number(old, "gemma3.rope.freq_base"), 2e6);
  EXPECT_FLOAT_EQ(number(old, "gemma3.rope.freq_base_swa"), 3e4);
  EXPECT_FLOAT_EQ(number(old, "gemma3.attention.layer_norm_rms_epsilon"), 2e-6);
  EXPECT_FALSE(old.metadata().contains("gemma3.rope.global.freq_base"));
  EXPECT_FALSE(old.metadata().contains("gemma3.rope.local.freq_base"));
  EXPECT_FALSE(old.metadata().contains("gemma3.rope.scaling.type"));
  EXPECT_NE(old.container().find("Ollama"), std::string::npos);

  const ModelFile newer = open("gemma3", [](GgufWriter& w) {
    w.add_number("gemma3.attention.layer_norm_rms_epsilon", 1e-6);
    w.add_number("gemma3.rope.freq_base", 5e5);
    w.add_number("gemma3.rope.global.freq_base", 2e6);
    w.add_number("gemma3.rope.local.freq_base", 1e4);
    w.add_integer("gemma3.context_length", 131072);
    w.add_string("gemma3.rope.scaling.type", "yarn");
    w.add_number("gemma3.rope.scaling.factor", 16);
    w.add_number("gemma3.rope.scaling.beta_fast", 64);
    w.add_number("gemma3.rope.scaling.beta_slow", 2);
    w.add_number("gemma3.rope.scaling.extrapolation_factor", 1);
  });
  EXPECT_FLOAT_EQ(number(newer, "gemma3.rope.freq_base"), 5e5);
  EXPECT_EQ(newer.metadata().string("gemma3.rope.scaling.type"), "yarn");
  EXPECT_FLOAT_EQ(number(newer, "gemma3.rope.scaling.factor"), 16);
  EXPECT_FLOAT_EQ(number(newer, "gemma3.rope.scaling.yarn_beta_fast"), 64);
  EXPECT_FLOAT_EQ(number(newer, "gemma3.rope.scaling.yarn_beta_slow"), 2);
  EXPECT_FLOAT_EQ(number(newer, "gemma3.rope.scaling.yarn_ext_factor"), 1);
}

TEST_F(Layout, Gemma3WithImages) {
  const auto keys = [](GgufWriter& w) {
    w.add_integer("gemma3.context_length", 131072);
    w.add_integer("gemma3.mm.tokens_per_image", 256);
    w.add_integer("gemma3.vision.block_count", 27);
    add_tokens(w, 10);
    w.add_numbers("tokenizer.ggml.scores", std::vector<float>(10, 1));
    w.add_integers("tokenizer.ggml.token_type", std::vector<std::int32_t>(10, 1));
  };
  const ModelFile file = open("gemma3", keys, 8, {"mm.mm_soft_emb_norm.weight", "v.blk.0.x.weight"});
  ASSERT_EQ(file.tensors().size(), 1u);
  EXPECT_EQ(file.find_tensor("token_embd.weight"), &file.tensors()[0]);
  EXPECT_EQ(file.find_tensor("v.blk.0.x.weight"), nullptr);
  EXPECT_FLOAT_EQ(number(file, "gemma3.attention.layer_norm_rms_epsilon"), 1e-6);
  EXPECT_FLOAT_EQ(number(file, "gemma3.rope.freq_base"), 1e6);
  EXPECT_FLOAT_EQ(number(file, "gemma3.rope.freq_base_swa"), 1e4);
  EXPECT_EQ(file.metadata().string("gemma3.rope.scaling.type"), "linear");
  EXPECT_FLOAT_EQ(number(file, "gemma3.rope.scaling.factor"), 8);
  for (const char* key :
       {"tokenizer.ggml.tokens", "tokenizer.ggml.scores", "tokenizer.ggml.token_type"})
    EXPECT_EQ(file.metadata().find(key)->size(), 8u) << key;
  EXPECT_EQ(file.metadata().find("tokenizer.ggml.tokens")->as_string(7), "t7");
  EXPECT_FALSE(file.metadata().contains("gemma3.vision.block_count"));
  EXPECT_FALSE(file.metadata().contains("gemma3.mm.tokens_per_image"));
  EXPECT_NE(file.container().find("2 image tensors left out"), std::string::npos);

  // What fit writes of it is a standard file.
  const std::string copy = folder_.file("copy.gguf");
  {
    GgufWriter writer(OutputPath::own(copy));
    for (const Metadata::Entry& entry : file.metadata().entries())
      writer.add_value(entry.key, entry.value);
    writer.finish();
  }
  const ModelFile written = ModelFile::open(copy);
  EXPECT_EQ(written.container(), "GGUF version 3");
  ASSERT_EQ(written.metadata().entries().size(), file.metadata().entries().size());
  EXPECT_EQ(written.metadata().find("tokenizer.ggml.tokens")->as_string(7), "t7");
}

TEST_F(Layout, NoGemma3HasTheBaseThatStandsForNoneElsewhere) {
  const ModelFile file = open("gemma3", [](GgufWriter& w) {
    w.add_number("gemma3.attention.layer_norm_rms_epsilon", 1e-6);
  });
  EXPECT_FLOAT_EQ(number(file, "gemma3.rope.freq_base"), 1e6);
  EXPECT_FLOAT_EQ(number(file, "gemma3.rope.freq_base_swa"), 1e4);
}

TEST_F(Layout, StandardFilesStayAsTheyAre) {
  for (const bool long_context : {false, true}) {
    const ModelFile file = open(
        "gemma3",
        [&](GgufWriter& w) {
          w.add_integer("gemma3.context_length", long_context ? 131072 : 32768);
          w.add_number("gemma3.attention.layer_norm_rms_epsilon", 1e-6);
          w.add_number("gemma3.rope.freq_base", 1e6);
          add_tokens(w, 10);
        },
        8);
    EXPECT_EQ(file.container(), "GGUF version 3");
    EXPECT_EQ(file.metadata().entries().size(), 6u);
    EXPECT_EQ(file.metadata().find("tokenizer.ggml.tokens")->size(), 10u);
  }
  // Image tensors are known in Gemma 3 only.
  EXPECT_EQ(open("llama", [](GgufWriter&) {}, 8, {"v.blk.0.x.weight"}).tensors().size(), 2u);
}

TEST_F(Layout, PreTokenizersOfKnownVocabularies) {
  struct Case {
    std::string family, pre, wanted;
    std::vector<std::pair<std::size_t, std::string>> tokens;
  };
  const std::vector<std::pair<std::size_t, std::string>> llama3 = {{128006, "<|start_header_id|>"},
                                                                   {128009, "<|eot_id|>"}};
  const std::vector<std::pair<std::size_t, std::string>> qwen = {{151643, "<|endoftext|>"},
                                                                 {151644, "<|im_start|>"}};
  for (const Case& c : {Case{"llama", "", "llama-bpe", llama3},
                        Case{"llama", "default", "llama-bpe", llama3},
                        Case{"llama", "smaug-bpe", "smaug-bpe", llama3},
                        Case{"llama", "", "", {}},
                        Case{"llama", "", "", {{128009, "<|eot_id|>"}}},
                        Case{"qwen2", "", "qwen2", qwen},
                        Case{"qwen3", "default", "qwen2", qwen},
                        Case{"qwen2", "deepseek-r1-qwen", "deepseek-r1-qwen", qwen},
                        Case{"qwen2", "default", "default", {}}}) {
    const ModelFile file = open(c.family, [&c](GgufWriter& w) {
      add_tokens(w, 151645, c.tokens);
      if (!c.pre.empty()) w.add_string("tokenizer.ggml.pre", c.pre);
    });
    EXPECT_EQ(file.metadata().string("tokenizer.ggml.pre").value_or(""), c.wanted)
        << c.family << " " << c.pre;
  }
}

TEST_F(Layout, HeadsOfTheirOwnWidthAreRotatedWhole) {
  const auto file = [this](int rotated, bool sign) {
    return open("llama", [=](GgufWriter& w) {
      w.add_integer("llama.embedding_length", 5120);
      w.add_integer("llama.attention.head_count", 32);
      w.add_integer("llama.attention.key_length", 128);
      if (sign) w.add_integer("llama.attention.head_dim", 128);
      w.add_integer("llama.rope.dimension_count", rotated);
    });
  };
  EXPECT_EQ(number(file(160, true), "llama.rope.dimension_count"), 128);
  EXPECT_EQ(number(file(160, false), "llama.rope.dimension_count"), 160);
  EXPECT_EQ(number(file(64, true), "llama.rope.dimension_count"), 64);
}

TEST_F(Layout, Phi3WithoutFrequencyFactors) {
  const std::string path = folder_.file("model.gguf");
  test::GgufBytes bytes(3, 2);
  bytes.key("general.architecture", 8).string("phi3");
  bytes.u32("phi3.rope.scaling.original_context_length", 0);
  bytes.tensor("rope_factors_long.weight", {0}, 0, 0)
      .tensor("rope_factors_short.weight", {0}, 0, 0)
      .tensor("token_embd.weight", {8}, 0, 0);
  test::write_file(path, bytes.pad().data(32).bytes());
  const ModelFile file = ModelFile::open(path);
  ASSERT_EQ(file.tensors().size(), 1u);
  EXPECT_FALSE(file.metadata().contains("phi3.rope.scaling.original_context_length"));
}

TEST_F(Layout, KeysOfWrongTypesDoNoHarm) {
  for (const char* family : {"gemma3", "llama", "qwen2", "phi3"})
    for (const char* suffix :
         {"context_length", "attention.head_count", "attention.key_length", "attention.head_dim",
          "embedding_length", "rope.global.freq_base", "mm.tokens_per_image",
          "rope.scaling.original_context_length"})
      for (const int kind : {0, 1, 2, 3}) {
        const ModelFile file = open(family, [&](GgufWriter& w) {
          const std::string key = fmt::format("{}.{}", family, suffix);
          if (kind == 0) w.add_string(key, "many");
          if (kind == 1) w.add_integers(key, std::vector<std::int32_t>{});
          if (kind == 2) w.add_integer(key, -7, MetadataType::i64);
          if (kind == 3) w.add_number(key, 1e300, MetadataType::f64);
          w.add_integer("tokenizer.ggml.tokens", 7);
          w.add_bool("tokenizer.ggml.pre", true);
        });
        EXPECT_EQ(file.tensors().size(), 1u);
      }
}

}  // namespace
}  // namespace plimsoll
