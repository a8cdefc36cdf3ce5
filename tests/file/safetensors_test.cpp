// Folders made by hand, true and false: what is read of them, and what they are refused for.
#include <cmath>
#include <cstring>
#include <filesystem>
#include <functional>
#include <numbers>

#include "hf_folder_fixture.h"

namespace plimsoll {
namespace {

TEST_F(Folder, IsOpenedByEachOfItsNames) {
  write_all();
  Json index;
  index["weight_map"]["model.embed_tokens.weight"] = "model.safetensors";
  for (const char* name : {"", "/", "/model.safetensors", "/model.safetensors.index.json"}) {
    if (std::string(name).ends_with("json")) write("model.safetensors.index.json", index.dump());
    const ModelFile file = ModelFile::open(folder_.path().string() + name);
    EXPECT_EQ(file.metadata().string("general.name"), folder_.path().filename().string()) << name;
    EXPECT_EQ(read(file, "token_embd.weight").size(), 12u);
    EXPECT_EQ(file.container(), "safetensors in 1 file");
    EXPECT_EQ(file.size(), std::filesystem::file_size(folder_.file("model.safetensors")));
  }
}

TEST_F(Folder, IsOpenedThroughLinks) {
  write_all();
  const test::TemporaryFolder cache;
  std::filesystem::create_directories(cache.path() / "models--some--Tiny/snapshots/0123");
  const auto snapshot = cache.path() / "models--some--Tiny/snapshots/0123";
  for (const char* name : {"config.json", "tokenizer.json", "model.safetensors"})
    std::filesystem::create_symlink(folder_.file(name), snapshot / name);
  const ModelFile file = ModelFile::open(snapshot.string());
  EXPECT_EQ(file.metadata().string("general.name"), "Tiny");
}

TEST_F(Folder, InterleavesTheHalvesOfLlamasHeads) {
  config_["num_attention_heads"] = 2;
  config_["head_dim"] = 4;
  config_["num_key_value_heads"] = 1;
  config_["attention_bias"] = true;
  add("model.layers.1.self_attn.q_proj.weight", {8, 4});
  add("model.layers.1.self_attn.q_proj.bias", {8});
  add("model.layers.1.self_attn.v_proj.weight", {4, 4});
  add("model.layers.1.self_attn.v_proj.bias", {4});
  const ModelFile file = open();
  // Rows 0 to 3 are a head: 0 1 are its first half, 2 3 its second.
  const int order[] = {0, 2, 1, 3, 4, 6, 5, 7};
  const std::vector<float> q = read(file, "blk.1.attn_q.weight");
  for (std::size_t i = 0; i < q.size(); ++i)
    EXPECT_EQ(q[i], static_cast<float>(order[i / 4] * 4) + static_cast<float>(i % 4)) << i;
  const std::vector<float> bias = read(file, "blk.1.attn_q.bias");
  for (std::size_t i = 0; i < bias.size(); ++i) EXPECT_EQ(bias[i], static_cast<float>(order[i]));
  EXPECT_EQ(read(file, "blk.1.attn_v.weight")[5], 5);
}

TEST_F(Folder, AddsOneToGemmasNorms) {
  config_["architectures"] = {"Gemma2ForCausalLM"};
  config_["num_key_value_heads"] = 1;
  config_["sliding_window"] = 16;
  config_["hidden_activation"] = "gelu_pytorch_tanh";
  for (const char* norm : {"input_layernorm", "post_attention_layernorm",
                           "pre_feedforward_layernorm", "post_feedforward_layernorm"})
    add(std::string("model.layers.0.") + norm + ".weight", {4});
  add("lm_head.weight", {3, 4});  // a copy of the embedding, to which Gemma ties it
  const ModelFile file = open();
  for (const char* norm : {"attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"})
    EXPECT_EQ(read(file, std::string("blk.0.") + norm + ".weight"),
              (std::vector<float>{1, 2, 3, 4}));
  EXPECT_EQ(file.find_tensor("output.weight"), nullptr);
}

TEST_F(Folder, MultimodalModelsGiveTheirTextPart) {
  config_["architectures"] = {"Gemma3ForConditionalGeneration"};
  config_["text_config"] = {{"hidden_size", 4},
                            {"intermediate_size", 8},
                            {"num_hidden_layers", 2},
                            {"sliding_window", 16},
                            {"rope_scaling", {{"rope_type", "linear"}, {"factor", 8.0}}}};
  header_ = Json::object();
  data_.clear();
  add("language_model.model.embed_tokens.weight", {3, 4});
  add("vision_tower.vision_model.embeddings.patch_embedding.weight", {2, 2});
  add("multi_modal_projector.mm_soft_emb_norm.weight", {4});
  const ModelFile file = open();
  EXPECT_EQ(file.tensors().size(), 1u);
  // What such files leave out is as in the family's first model.
  EXPECT_EQ(file.metadata().integer("gemma3.attention.head_count"), 8);
  EXPECT_EQ(file.metadata().integer("gemma3.attention.key_length"), 256);
  EXPECT_EQ(file.metadata().number("gemma3.rope.freq_base"), 1e6);
  EXPECT_EQ(file.metadata().number("gemma3.rope.scaling.factor"), 8);
}

TEST_F(Folder, Llama3FactorsAreThoseOfItsPublishedCode) {
  config_["num_attention_heads"] = 1;
  config_["head_dim"] = 64;
  for (const bool is_new : {false, true}) {
    const Json rope = {{"rope_type", "llama3"},
                       {"factor", 32.0},
                       {"low_freq_factor", 1.0},
                       {"high_freq_factor", 4.0},
                       {"original_max_position_embeddings", 8192},
                       {"rope_theta", 500000.0}};
    config_[is_new ? "rope_parameters" : "rope_scaling"] = rope;
    config_["rope_theta"] = is_new ? Json() : Json(500000.0);
    const ModelFile file = open();
    EXPECT_EQ(file.metadata().number("llama.rope.freq_base"), 500000);
    const std::vector<float> factors = read(file, "rope_freqs.weight");
    ASSERT_EQ(factors.size(), 32u);
    for (int i = 0; i < 32; ++i) {
      // By frequencies, as the model's own code has it.
      const double frequency = std::pow(500000.0, -2.0 * i / 64);
      const double wavelength = 2 * std::numbers::pi / frequency;
      double slowed = frequency;
      if (wavelength > 8192.0 / 1) {
        slowed = frequency / 32;
      } else if (wavelength >= 8192.0 / 4) {
        const double smooth = (8192 / wavelength - 1) / (4 - 1);
        slowed = (1 - smooth) * frequency / 32 + smooth * frequency;
      }
      EXPECT_NEAR(factors[static_cast<std::size_t>(i)], frequency / slowed,
                  1e-5 * frequency / slowed)
          << i;
    }
    config_.erase("rope_scaling");
  }
}

TEST_F(Folder, SpecialTokensAndTemplates) {
  config_["vocab_size"] = 6;
  header_ = Json::object();
  data_.clear();
  add("model.embed_tokens.weight", {6, 4});
  config_["eos_token_id"] = {2, 1};
  tokenizer_["added_tokens"] = {{{"id", 3}, {"content", "<s>"}, {"special", true}},
                                {{"id", 4}, {"content", "▁▁x"}, {"special", false}},
                                {{"id", 5}, {"content", "<image>"}, {"special", true}},
                                {{"id", 6}, {"content", "<video>"}, {"special", true}}};
  tokenizer_["post_processor"] = {{"type", "Sequence"},
                                  {"processors",
                                   {{{"type", "ByteLevel"}},
                                    {{"type", "TemplateProcessing"},
                                     {"single",
                                      {{{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}},
                                       {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}}}}}};
  write("tokenizer_config.json",
        R"({"bos_token": {"content": "<s>"}, "chat_template":
            [{"name": "default", "template": "one"}, {"name": "tools", "template": "two"}]})");
  const ModelFile file = open();
  const Metadata& metadata = file.metadata();
  EXPECT_EQ(metadata.integer("tokenizer.ggml.bos_token_id"), 3);
  EXPECT_EQ(metadata.integer("tokenizer.ggml.eos_token_id"), 2);
  EXPECT_EQ(metadata.boolean("tokenizer.ggml.add_bos_token"), true);
  EXPECT_EQ(metadata.string("tokenizer.chat_template"), "one");
  EXPECT_EQ(metadata.string("tokenizer.chat_template.tools"), "two");
  const MetadataValue& tokens = *metadata.find("tokenizer.ggml.tokens");
  ASSERT_EQ(tokens.size(), 6u);  // what the embedding has no row for is left out
  EXPECT_EQ(tokens.as_string(4), "▁▁x");
  EXPECT_EQ(tokens.as_string(5), "<image>");
  const std::int64_t kinds[] = {1, 1, 1, 3, 4, 3};
  for (std::uint64_t i = 0; i < 6; ++i)
    EXPECT_EQ(metadata.find("tokenizer.ggml.token_type")->as_integer(i), kinds[i]);

  // Newer places come before older ones, whole.
  const auto template_of = [&](const char* key) {
    const ModelFile again = ModelFile::open(folder_.path().string());
    return std::string(again.metadata().string(key).value_or("none"));
  };
  write("chat_template.json", R"({"chat_template": "four"})");
  EXPECT_EQ(template_of("tokenizer.chat_template"), "four");
  EXPECT_EQ(template_of("tokenizer.chat_template.tools"), "none");
  write("chat_template.json", R"({"chat_template": {"default": "five", "rag": "six"}})");
  EXPECT_EQ(template_of("tokenizer.chat_template"), "five");
  EXPECT_EQ(template_of("tokenizer.chat_template.rag"), "six");
  write("chat_template.jinja", "seven\n");
  std::filesystem::create_directory(folder_.path() / "additional_chat_templates");
  write("additional_chat_templates/tool_use.jinja", "eight");
  write("additional_chat_templates/README", "nine");
  EXPECT_EQ(template_of("tokenizer.chat_template"), "seven\n");
  EXPECT_EQ(template_of("tokenizer.chat_template.tool_use"), "eight");
  EXPECT_EQ(template_of("tokenizer.chat_template.rag"), "none");
}

TEST_F(Folder, UnigramsAreReadAndNamed) {
  tokenizer_["pre_tokenizer"] = {{"type", "Metaspace"}, {"replacement", "▁"}};
  tokenizer_["model"] = {{"type", "Unigram"},
                         {"unk_id", 0},
                         {"vocab", Json::parse(R"([["<unk>", 0], ["▁a", -1.5], ["b", -2]])")}};
  const ModelFile file = open();
  EXPECT_EQ(file.metadata().string("tokenizer.ggml.model"), "t5");
  EXPECT_EQ(file.metadata().find("tokenizer.ggml.scores")->as_float(1), -1.5);
  EXPECT_EQ(file.metadata().find("tokenizer.ggml.token_type")->as_integer(0), 2);
}

TEST_F(Folder, TokenizersThatTheFormatHasNoNameForAreReadAsAWhole) {
  const Json good = tokenizer_;
  const auto model_of = [&](const std::function<void(Json&)>& change) {
    tokenizer_ = good;
    change(tokenizer_);
    const ModelFile file = open();
    EXPECT_TRUE(file.metadata().contains("tokenizer.plimsoll.pipeline"));
    return std::string(file.metadata().string("tokenizer.ggml.model").value_or("none"));
  };
  EXPECT_EQ(model_of([](Json&) {}), "gpt2");
  EXPECT_EQ(model_of([](Json& t) { t["normalizer"] = {{"type", "NFC"}}; }), "gpt2");
  EXPECT_EQ(model_of([](Json& t) { t["normalizer"] = {{"type", "Lowercase"}}; }), "huggingface");
  EXPECT_EQ(model_of([](Json& t) { t["pre_tokenizer"] = {{"type", "Whitespace"}}; }),
            "huggingface");
  EXPECT_EQ(model_of([](Json& t) { t["pre_tokenizer"] = nullptr; }), "huggingface");
  EXPECT_EQ(model_of([](Json& t) { t["model"]["ignore_merges"] = true; }), "huggingface");
  EXPECT_EQ(model_of([](Json& t) {
              t["model"] = {{"type", "WordLevel"}, {"vocab", {{"a", 0}}}, {"unk_token", "a"}};
            }),
            "huggingface");
}

TEST_F(Folder, WithoutItsPartsIsRefused) {
  write_all();
  std::filesystem::remove(folder_.file("config.json"));
  expect_error(ErrorCode::file_unreadable, "without config.json");
  write_all();
  std::filesystem::remove(folder_.file("model.safetensors"));
  expect_error(ErrorCode::file_unreadable, "without model.safetensors");
  expect_error(ErrorCode::file_not_found, "model.safetensors", folder_.file("model.safetensors"));
  Json index;
  index["weight_map"]["model.embed_tokens.weight"] = "model-00001-of-00002.safetensors";
  write("model.safetensors.index.json", index.dump());
  expect_error(ErrorCode::file_not_found, "model-00001-of-00002.safetensors: no such file");
  index["weight_map"]["model.norm.weight"] = "model-00001-of-00002.safetensors";
  write("model.safetensors.index.json", index.dump());
  write("model-00001-of-00002.safetensors", safetensors(header_.dump(), data_));
  expect_error(ErrorCode::invalid_model, "wanted tensor \"model.norm.weight\" in model-00001");
  index["weight_map"]["model.norm.weight"] = "../outside.safetensors";
  write("model.safetensors.index.json", index.dump());
  expect_error(ErrorCode::invalid_model, "names of files beside it");
}

TEST_F(Folder, WithBrokenHeadersIsRefused) {
  struct Case {
    std::string bytes, message;
  };
  const auto with = [&](const std::function<void(Json&)>& change, const std::string& message) {
    Json header = header_;
    change(header["model.embed_tokens.weight"]);
    return Case{safetensors(header.dump(), data_), message};
  };
  const auto length = [](std::uint64_t value) {
    return std::string(reinterpret_cast<const char*>(&value), sizeof value);
  };
  const std::vector<Case> cases = {
      {"", "found 0 bytes"},
      {"short", "found 5 bytes"},
      {length(1000) + "{}", "found the length 1000"},
      {length(~std::uint64_t{0}) + "{}", "found the length 18446744073709551615"},
      {safetensors("{\"a\": nul}", ""), "wanted JSON, found"},
      {safetensors("{\"a\": ", ""), "wanted JSON, found"},
      {safetensors("[]", ""), "wanted an object as its header"},
      {safetensors(std::string(1000, '['), ""), "nested"},
      {safetensors("{\"a\": 1}", ""), "wanted an object"},
      with([](Json& t) { t.erase("dtype"); }, "as \"dtype\""),
      with(
          [](Json& t) {
            t["shape"] = {3, -4};
          },
          "as \"shape\""),
      with(
          [](Json& t) {
            t["shape"] = {3, 5};
          },
          "wanted 60 bytes by its shape and type F32, found 48"),
      with(
          [](Json& t) {
            t["shape"] = {std::int64_t{1} << 62, 4};
          },
          "more than 2^61"),
      with([](Json& t) { t["data_offsets"] = {0}; }, "as \"data_offsets\""),
      with(
          [](Json& t) {
            t["data_offsets"] = {0, 49};
          },
          "found 0 to 49"),
      with(
          [](Json& t) {
            t["data_offsets"] = {48, 0};
          },
          "found 48 to 0"),
      with(
          [](Json& t) {
            t["data_offsets"] = {4, 48};
            t["shape"] = {11};
          },
          "to start at byte 0"),
      {safetensors(header_.dump(), data_ + "more"), "bytes by its header, found"},
      {safetensors(header_.dump(), data_.substr(4)), "found 0 to 48"},
  };
  write_all();
  for (const Case& c : cases) {
    write("model.safetensors", c.bytes);
    expect_error(ErrorCode::file_corrupt, c.message);
  }
  Json overlapping = header_;
  overlapping["model.norm.weight"] = {{"dtype", "F32"}, {"shape", {4}}, {"data_offsets", {16, 32}}};
  write("model.safetensors", safetensors(overlapping.dump(), data_));
  expect_error(ErrorCode::file_corrupt, "wanted to start at byte 48 of the data, found 16");
}

TEST_F(Folder, WithOtherTensorsIsRefused) {
  const auto other = [&](const char* type, const Json& shape, const char* tensor) {
    Json header = header_;
    header[tensor] = {{"dtype", type}, {"shape", shape}, {"data_offsets", {48, 64}}};
    write_all();
    write("model.safetensors", safetensors(header.dump(), data_ + std::string(16, '\0')));
  };
  other("I64", {2}, "model.norm.weight");
  expect_error(ErrorCode::unsupported_format, "tensor \"model.norm.weight\" is of type \"I64\"");
  other("F8_E4M3", {4, 4}, "model.layers.0.mlp.up_proj.weight");
  expect_error(ErrorCode::unsupported_format, "is of type \"F8_E4M3\"");
  other("F4", {4, 8}, "model.layers.0.mlp.up_proj.weight");
  expect_error(ErrorCode::unsupported_format, "is of type \"F4\"");
  other("F32", {1, 2, 2}, "model.norm.weight");
  expect_error(ErrorCode::invalid_model, "found 3 dimensions");
  other("F32", {4}, "model.layers.0.mlp.experts.0.weight");
  expect_error(ErrorCode::unsupported_model, "is no part of a llama model");
  other("F32", {4}, "model.layers.2.input_layernorm.weight");
  expect_error(ErrorCode::unsupported_model, "of 2 layers");
  other("F32", {1, 4}, "model.layers.1.self_attn.q_proj.weight");
  expect_error(ErrorCode::invalid_model, "even number of rows");
  other("F32", {4}, "model.layers.0.self_attn.rotary_emb.inv_freq");
  EXPECT_EQ(ModelFile::open(folder_.path().string()).tensors().size(), 1u);
  other("F32", {4}, "language_model.model.norm.weight");
  EXPECT_NE(ModelFile::open(folder_.path().string()).find_tensor("output_norm.weight"), nullptr);
}

TEST_F(Folder, WithOtherConfigurationsIsRefused) {
  const Json good = config_;
  const auto refused = [&](ErrorCode code, const std::string& part, const char* key,
                           const Json& value) {
    config_ = good;
    if (value.is_null())
      config_.erase(key);
    else
      config_[key] = value;
    expect_refused(code, part);
  };
  const ErrorCode invalid = ErrorCode::invalid_model, unsupported = ErrorCode::unsupported_model;
  refused(invalid, "key \"hidden_size\": wanted a count from 1 up, found none", "hidden_size", {});
  refused(invalid, "key \"num_hidden_layers\": wanted a whole number, found \"x\"",
          "num_hidden_layers", "x");
  refused(invalid, "found -3", "intermediate_size", -3);
  refused(invalid, "rms_norm_eps", "rms_norm_eps", {});
  refused(invalid, "num_key_value_heads", "num_key_value_heads", 3);
  refused(invalid, "head_dim", "head_dim", 3);
  refused(unsupported, "\"MambaForCausalLM\" is not known", "architectures", {"MambaForCausalLM"});
  refused(unsupported, "\"\" is not known", "architectures", {});
  refused(unsupported, "key \"type\" is \"proportional\"", "rope_scaling",
          {{"type", "proportional"}, {"factor", 2.0}});
  refused(invalid, "key \"factor\"", "rope_scaling", {{"type", "linear"}});
  refused(unsupported, "\"gelu\"", "hidden_act", "gelu");
  refused(unsupported, "quantised in a format of their own (\"gptq\")", "quantization_config",
          {{"quant_method", "gptq"}});
  config_ = good;
  config_["architectures"] = {"Phi3ForCausalLM"};
  config_["rope_scaling"] = {{"type", "longrope"}, {"long_factor", {1, 2}}, {"short_factor", {1}}};
  expect_refused(invalid, "key \"short_factor\": wanted 2 numbers, found [1]");
  config_["rope_scaling"]["short_factor"] = {1, "x"};
  expect_refused(invalid, "an array of numbers");
  write("config.json", "{\"a\": [1, 2");
  expect_error(ErrorCode::file_corrupt, "config.json: wanted JSON");
  write("config.json", "3");
  expect_error(ErrorCode::file_corrupt, "wanted a JSON object");
}

TEST_F(Folder, WithOtherTokenizersIsRefused) {
  const Json good = tokenizer_;
  const auto refused = [&](ErrorCode code, const std::string& part,
                           const std::function<void(Json&)>& change) {
    tokenizer_ = good;
    change(tokenizer_);
    expect_refused(code, part);
  };
  const ErrorCode corrupt = ErrorCode::file_corrupt, unsupported = ErrorCode::unsupported_model;
  refused(unsupported, "\"Words\"", [](Json& t) { t["model"]["type"] = "Words"; });
  refused(unsupported, "dropout", [](Json& t) { t["model"]["dropout"] = 0.1; });
  refused(unsupported, "post-processor \"Frame\"",
          [](Json& t) { t["post_processor"] = {{"type", "Frame"}}; });
  refused(corrupt, "token 1 of the vocabulary", [](Json& t) {
    t["model"]["vocab"] = {{"a", "x"}};
  });
  refused(corrupt, "of the vocabulary", [](Json& t) { t["model"]["vocab"] = {{"a", -1}}; });
  refused(corrupt, "wanted merge 0", [](Json& t) { t["model"]["merges"] = {{"a", "b", "c"}}; });
  refused(corrupt, "wanted merge 1", [](Json& t) { t["model"]["merges"] = {"a b", 3}; });
  refused(ErrorCode::invalid_model, "key \"id\"", [](Json& t) {
    t["added_tokens"] = {{{"content", "x"}}};
  });
  write("tokenizer.json", "{\"model\": {\"vocab\": {\"a\": 0");
  expect_error(corrupt, "tokenizer.json: wanted JSON, found");
  // A tokenizer of pieces that is none.
  std::filesystem::remove(folder_.file("tokenizer.json"));
  for (const char* bytes : {"", "\x0a\x7fxx", "\x0b", "\x0a\x02\x18\x09", "text without meaning"}) {
    write("tokenizer.model", bytes);
    expect_error(corrupt, "wanted a SentencePiece model");
  }
  // None at all: what the model is can still be seen.
  std::filesystem::remove(folder_.file("tokenizer.model"));
  EXPECT_FALSE(
      ModelFile::open(folder_.path().string()).metadata().contains("tokenizer.ggml.model"));
}

TEST_F(Folder, CutAnywhereIsRefusedOrTheSame) {
  write_all();
  for (const char* name : {"config.json", "tokenizer.json", "model.safetensors"}) {
    const std::vector<std::uint8_t> whole = test::read_file(folder_.file(name));
    for (std::size_t size = 0; size < whole.size(); ++size) {
      test::write_file(folder_.file(name), std::span(whole).first(size));
      try {
        ModelFile::open(folder_.path().string());
        ADD_FAILURE() << name << " cut to " << size;
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::file_corrupt) << error.message();
      }
    }
    test::write_file(folder_.file(name), whole);
  }
}

}  // namespace
}  // namespace plimsoll
