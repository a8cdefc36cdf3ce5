#include <gtest/gtest.h>

#include <functional>

#include "base/error.h"
#include "file/gguf_writer.h"
#include "model/architecture.h"
#include "model/tensors.h"
#include "support/synthetic_model.h"
#include "support/temporary_folder.h"

namespace plimsoll {
namespace {

/// A llama file of metadata and an embedding matrix; `change` may add to or leave out keys.
struct Keys {
  std::string architecture = "llama";
  std::int64_t layers = 1, width = 32, heads = 4, kv_heads = 2, feed_forward = 64;
  double epsilon = 1e-5, rope_factor = 1;
  std::string rope_type, leave_out;
  std::int64_t experts = 0;
  std::function<void(GgufWriter&, const std::string& prefix)> more = {};
};

std::string write_keys(const test::TemporaryFolder& folder, const Keys& keys) {
  const std::string path = folder.file("model.gguf");
  GgufWriter writer(OutputPath::own(path));
  const std::string p = keys.architecture + ".";
  const auto integer = [&](const std::string& suffix, std::int64_t value) {
    if (suffix != keys.leave_out) writer.add_integer(p + suffix, value, MetadataType::i64);
  };
  if (keys.leave_out != "general.architecture")
    writer.add_string("general.architecture", keys.architecture);
  integer("block_count", keys.layers);
  integer("embedding_length", keys.width);
  integer("attention.head_count", keys.heads);
  integer("attention.head_count_kv", keys.kv_heads);
  integer("feed_forward_length", keys.feed_forward);
  integer("context_length", 128);
  if (keys.experts) integer("expert_count", keys.experts);
  if (keys.leave_out != "attention.layer_norm_rms_epsilon")
    writer.add_number(p + "attention.layer_norm_rms_epsilon", keys.epsilon);
  if (!keys.rope_type.empty()) {
    writer.add_string(p + "rope.scaling.type", keys.rope_type);
    writer.add_number(p + "rope.scaling.factor", keys.rope_factor);
  }
  if (keys.more) keys.more(writer, p);
  const std::int64_t shape[2] = {32, 8};
  writer.add_tensor("token_embd.weight", format(FormatId::F32), shape);
  writer.write(std::vector<std::uint8_t>(32 * 8 * 4));
  writer.finish();
  return path;
}

/// The error that describing a file gives, as "code: message | hint".
std::string error_of(const Keys& keys) {
  const test::TemporaryFolder folder;
  try {
    const ModelFile file = ModelFile::open(write_keys(folder, keys));
    const Description description = describe(file);
    find_tensors(file, description);
  } catch (const Error& error) {
    return std::string(name(error.code())) + ": " + error.message() + " | " + error.hint();
  }
  return "none";
}

TEST(Description, NamesAnUnknownArchitectureAndTheKnownOnes) {
  Keys keys;
  keys.architecture = "mamba";
  const std::string found = error_of(keys);
  EXPECT_EQ(found.find("unsupported_model: architecture 'mamba' is not known | known: llama, "), 0u)
      << found;
  for (const Family& family : families())
    EXPECT_NE(found.find(family.name), std::string::npos) << found;
}

TEST(Description, NamesEachMissingKey) {
  for (const std::string key :
       {"block_count", "embedding_length", "attention.head_count", "feed_forward_length",
        "context_length", "attention.layer_norm_rms_epsilon"}) {
    Keys keys;
    keys.leave_out = key;
    EXPECT_EQ(error_of(keys).find("invalid_model: key llama." + key + " is missing"), 0u)
        << error_of(keys);
  }
  Keys keys;
  keys.leave_out = "general.architecture";
  EXPECT_EQ(error_of(keys).find("invalid_model: key general.architecture is missing"), 0u);
}

TEST(Description, RefusesHyperparametersThatContradictEachOther) {
  const auto expect = [](const char* text, auto change) {
    Keys keys;
    change(keys);
    EXPECT_NE(error_of(keys).find(text), std::string::npos) << error_of(keys);
  };
  expect("4 heads cannot share 3 KV heads", [](Keys& k) { k.kv_heads = 3; });
  expect("width 32 is not a multiple of 5 heads", [](Keys& k) { k.heads = 5; });
  expect("block_count must be 1 to 4096, found 0", [](Keys& k) { k.layers = 0; });
  expect("block_count must be 1 to 4096, found -1", [](Keys& k) { k.layers = -1; });
  expect("block_count must be 1 to 4096, found 1152921504606846976",
         [](Keys& k) { k.layers = std::int64_t{1} << 60; });
  expect("not between 0 and 1", [](Keys& k) { k.epsilon = -1; });
  expect("unsupported_model: mixture-of-experts models (8 experts)",
         [](Keys& k) { k.experts = 8; });
  expect("unsupported_model: RoPE scaling type 'magic' is not known",
         [](Keys& k) { k.rope_type = "magic"; });
  expect("rope.scaling.factor must be above 0, found -2", [](Keys& k) {
    k.rope_type = "linear";
    k.rope_factor = -2;
  });
  expect("token_embd.weight should be 8 x 64 by the hyper-parameters, found 8 x 32",
         [](Keys& k) { k.width = 64; });
  expect("invalid_model: tensor blk.0.attn_norm.weight is missing", [](Keys&) {});
}

Description describe_keys(const Keys& keys) {
  const test::TemporaryFolder folder;
  return describe(ModelFile::open(write_keys(folder, keys)));
}

/// Of each layer.
std::vector<std::int64_t> windows_of(const Description& d) {
  std::vector<std::int64_t> windows;
  for (const LayerDescription& layer : d.per_layer) windows.push_back(layer.window);
  return windows;
}

TEST(Description, WindowsAreInTheLayersThatTheFileNames) {
  using Windows = std::vector<std::int64_t>;
  Keys keys;
  keys.layers = 7;
  const auto window = [](GgufWriter& writer, const std::string& p) {
    writer.add_integer(p + "attention.sliding_window", 9);
  };
  // Every family's own pattern: all layers, every other one, five of six.
  for (const std::string family : {"llama", "qwen2", "qwen3", "phi3"}) {
    keys.architecture = family;
    keys.more = {};
    EXPECT_EQ(windows_of(describe_keys(keys)), Windows(7, 0)) << family;
    keys.more = window;
    EXPECT_EQ(windows_of(describe_keys(keys)), Windows(7, 9)) << family;
  }
  keys.architecture = "gemma2";
  EXPECT_EQ(windows_of(describe_keys(keys)), (Windows{9, 0, 9, 0, 9, 0, 9}));
  keys.more = {};
  EXPECT_EQ(windows_of(describe_keys(keys)), (Windows{4096, 0, 4096, 0, 4096, 0, 4096}));
  keys.architecture = "gemma3";
  EXPECT_EQ(windows_of(describe_keys(keys)), Windows(7, 0));
  keys.more = window;
  EXPECT_EQ(windows_of(describe_keys(keys)), (Windows{9, 9, 9, 9, 9, 0, 9}));

  // Everywhere a list of layers or a period stands before it.
  for (const std::string family : {"llama", "qwen2", "gemma2", "gemma3", "phi3"}) {
    keys.architecture = family;
    keys.more = [&](GgufWriter& writer, const std::string& p) {
      window(writer, p);
      writer.add_integers(p + "attention.sliding_window_pattern",
                          std::vector<std::int32_t>{0, 0, 1, 1, 0, 1, 0});
    };
    const Description d = describe_keys(keys);
    EXPECT_EQ(windows_of(d), (Windows{0, 0, 9, 9, 0, 9, 0})) << family;
    EXPECT_EQ(d.per_layer[2].rope, family == "gemma3" ? 1 : 0);
    keys.more = [&](GgufWriter& writer, const std::string& p) {
      window(writer, p);
      writer.add_integer(p + "attention.sliding_window_pattern", 3);
    };
    EXPECT_EQ(windows_of(describe_keys(keys)), (Windows{9, 9, 0, 9, 9, 0, 9})) << family;
  }
  keys.more = [&](GgufWriter& writer, const std::string& p) {
    window(writer, p);
    writer.add_integers(p + "attention.sliding_window_pattern", std::vector<std::int32_t>{1, 1});
  };
  EXPECT_NE(error_of(keys).find("has 2 values for 7 layers"), std::string::npos) << error_of(keys);
}

TEST(Description, WindowedLayersMayTurnWithABaseOfTheirOwn) {
  Keys keys;
  keys.architecture = "gemma2";
  keys.layers = 2;
  keys.more = [](GgufWriter& writer, const std::string& p) {
    writer.add_number(p + "rope.freq_base_swa", 500);
  };
  const Description d = describe_keys(keys);
  ASSERT_EQ(d.ropes.size(), 2u);
  EXPECT_EQ(d.ropes[1].base, 500);
  EXPECT_EQ(d.per_layer[0].rope, 1);
  EXPECT_EQ(d.per_layer[1].rope, 0);
}

TEST(Description, ScalesAndCapsOfScoresAreFollowedInEveryFamily) {
  for (const Family& family : families()) {
    Keys keys;
    keys.architecture = family.name;
    keys.more = [](GgufWriter& writer, const std::string& p) {
      writer.add_number(p + "attention.scale", 0.5);
      writer.add_number(p + "attn_logit_softcapping", 7);
      writer.add_number(p + "final_logit_softcapping", 6);
    };
    const Description d = describe_keys(keys);
    EXPECT_EQ(d.attention_scale, 0.5f) << family.name;
    EXPECT_EQ(d.attention_soft_cap, 7) << family.name;
    EXPECT_EQ(d.final_soft_cap, 6) << family.name;
  }
  Keys keys;
  keys.architecture = "gemma2";
  keys.more = [](GgufWriter& writer, const std::string& p) {
    writer.add_number(p + "attn_logit_softcapping", 0);
  };
  EXPECT_EQ(describe_keys(keys).attention_soft_cap, 0);
  EXPECT_EQ(describe_keys(keys).final_soft_cap, 30);
}

TEST(Description, KeysThatAreNotFollowedAreRefusedByNameUnlessTheySayNothing) {
  struct Case {
    const char* key;
    double refused, neutral;
  };
  constexpr Case cases[] = {{"attention.clamp_kqv", 8, 0},
                            {"attention.max_alibi_bias", 8, 0},
                            {"attention.temperature_scale", 0.1, 0},
                            {"attention.key_length_swa", 16, 8},
                            {"embedding_length_out", 64, 32},
                            {"embedding_scale", 12, 1},
                            {"logit_scale", 0.25, 0},
                            {"nextn_predict_layers", 1, 0},
                            {"pooling_type", 4, 3},
                            {"residual_scale", 0.22, 1},
                            {"rope.dimension_count_swa", 4, 8},
                            {"rope.scaling.alpha", 1000, 1},
                            {"rope.scaling.yarn_attn_factor", 2, 1},
                            {"rope.scaling.yarn_log_multiplier", 0.1, 0}};
  for (const Case& one : cases) {
    Keys keys;
    double value = one.refused;
    keys.more = [&](GgufWriter& writer, const std::string& p) {
      writer.add_number(p + one.key, value);
    };
    const std::string found = error_of(keys);
    EXPECT_EQ(found.find("unsupported_model: key llama." + std::string(one.key) + " is "), 0u)
        << found;
    value = one.neutral;
    EXPECT_NO_THROW(describe_keys(keys)) << one.key;
  }
  for (const bool causal : {true, false}) {
    Keys keys;
    keys.more = [&](GgufWriter& writer, const std::string& p) {
      writer.add_bool(p + "attention.causal", causal);
    };
    if (causal)
      EXPECT_NO_THROW(describe_keys(keys));
    else
      EXPECT_EQ(error_of(keys).find("unsupported_model: key llama.attention.causal is 0"), 0u)
          << error_of(keys);
  }
  Keys keys;
  keys.more = [](GgufWriter& writer, const std::string& p) {
    writer.add_string(p + "hidden_activation", "relu");
  };
  EXPECT_NE(error_of(keys).find("llama.hidden_activation is relu"), std::string::npos);
}

TEST(Description, RefusesTensorsThatNothingWouldRead) {
  const test::TemporaryFolder folder;
  test::SyntheticModel model = test::synthetic_shape("tiny");
  model.family = "qwen3";
  model.layers = 1;
  test::write_synthetic_model(folder.file("model.gguf"), model, 1);
  const ModelFile file = ModelFile::open(folder.file("model.gguf"));
  Description description = describe(file);
  description.query_key_norm = false;  // now the norms of q and k have no place
  try {
    find_tensors(file, description);
    FAIL() << "attn_q_norm was left out in silence";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::unsupported_model);
    EXPECT_NE(error.message().find("_norm.weight is no part of a qwen3 model"), std::string::npos)
        << error.message();
  }
}

TEST(Description, EveryFamilyIsReadBackFromItsOwnFile) {
  for (const Family& family : families()) {
    const test::TemporaryFolder folder;
    test::SyntheticModel model = test::synthetic_shape("tiny");
    model.family = family.name;
    model.layers = 2;
    const std::string path = folder.file("model.gguf");
    test::write_synthetic_model(path, model, 1);
    const ModelFile file = ModelFile::open(path);
    const Description description = describe(file);
    EXPECT_EQ(description.family, family.name);
    EXPECT_EQ(description.layers, 2);
    EXPECT_EQ(description.vocabulary, model.vocabulary);
    // Every tensor of the file has a slot, and none is asked for that is not there.
    EXPECT_EQ(find_tensors(file, description).size(), file.tensors().size()) << family.name;
  }
}

}  // namespace
}  // namespace plimsoll
