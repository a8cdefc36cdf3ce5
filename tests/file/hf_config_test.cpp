// What the keys of config.json and generation_config.json mean: each is followed or refused by
// name. Meanings and numbers are those of transformers 5.24.0; tests/hf compares whole models.
#include <cmath>

#include "hf_folder_fixture.h"

namespace plimsoll {
namespace {

class Config : public Folder {
 protected:
  Config() {
    config_["num_hidden_layers"] = 4;
    config_["num_key_value_heads"] = 1;
  }

  void make(const std::string& type, const std::string& name) {
    config_["model_type"] = type;
    config_["architectures"] = {name};
  }

  /// By layer, as GGUF has it: the window, and a list of flags where there is one.
  struct Windows {
    std::int64_t size;
    std::vector<int> flags;
    bool operator==(const Windows&) const = default;
  };
  Windows windows(const std::string& family) const {
    const ModelFile file = open();
    Windows found = {file.metadata().integer(family + ".attention.sliding_window").value_or(0), {}};
    if (const auto* flags = file.metadata().find(family + ".attention.sliding_window_pattern"))
      for (std::uint64_t i = 0; i < flags->size(); ++i) found.flags.push_back(flags->as_bool(i));
    return found;
  }
  std::optional<double> number(const std::string& key) const {
    const ModelFile file = open();
    return file.metadata().number(key);
  }
  void refused(const char* key, const Json& value, const std::string& part) {
    const Json before = config_;
    config_[key] = value;
    expect_refused(ErrorCode::unsupported_model, part);
    config_ = before;
  }
};

TEST_F(Config, MistralHasAWindowInEveryLayer) {
  make("mistral", "MistralForCausalLM");
  EXPECT_EQ(windows("llama"), (Windows{4096, {}}));
  config_["sliding_window"] = 8;
  EXPECT_EQ(windows("llama"), (Windows{8, {}}));
  config_["sliding_window"] = nullptr;
  EXPECT_EQ(windows("llama"), (Windows{0, {}}));
  config_["sliding_window"] = 0;
  expect_refused(ErrorCode::invalid_model, "\"sliding_window\": wanted a count from 1 up");
  make("llama", "LlamaForCausalLM");
  refused("sliding_window", 8, "key \"sliding_window\" is 8");
  config_["sliding_window"] = 64;  // all there is
  EXPECT_EQ(windows("llama"), (Windows{0, {}}));
}

TEST_F(Config, QwenHasWindowsInUpperLayersWhereItSaysSo) {
  make("qwen2", "Qwen2ForCausalLM");
  config_["sliding_window"] = 8;
  config_["max_window_layers"] = 1;
  EXPECT_EQ(windows("qwen2"), (Windows{0, {}}));
  config_["use_sliding_window"] = true;
  EXPECT_EQ(windows("qwen2"), (Windows{8, {0, 1, 1, 1}}));
  config_["max_window_layers"] = 0;
  EXPECT_EQ(windows("qwen2"), (Windows{8, {}}));
  config_["max_window_layers"] = nullptr;  // 28
  EXPECT_EQ(windows("qwen2"), (Windows{0, {}}));
  const char *windowed = "sliding_attention", *full = "full_attention";
  config_["layer_types"] = {windowed, full, full, windowed};
  EXPECT_EQ(windows("qwen2"), (Windows{8, {1, 0, 0, 1}}));
  config_["use_sliding_window"] = false;
  expect_refused(ErrorCode::invalid_model, "sliding_window");
  config_["layer_types"] = {full, full};
  expect_refused(ErrorCode::invalid_model, "\"layer_types\": wanted 4 names");
  refused("layer_types", {full, full, full, "linear_attention"}, "key \"layer_types\" is");
}

TEST_F(Config, GemmaHasItsOwnPatternOfWindowsUnlessItSaysAnother) {
  make("gemma2", "Gemma2ForCausalLM");
  config_["sliding_window"] = 8;
  EXPECT_EQ(windows("gemma2"), (Windows{8, {}}));
  config_["layer_types"] = {"full_attention", "full_attention", "full_attention",
                            "full_attention"};
  EXPECT_EQ(windows("gemma2"), (Windows{8, {0, 0, 0, 0}}));
  config_["layer_types"] = nullptr;
  make("gemma3_text", "Gemma3ForCausalLM");
  EXPECT_EQ(windows("gemma3"), (Windows{8, {}}));
  config_["sliding_window_pattern"] = 2;
  EXPECT_EQ(windows("gemma3"), (Windows{8, {1, 0, 1, 0}}));
  config_["sliding_window_pattern"] = 1;
  EXPECT_EQ(windows("gemma3"), (Windows{0, {}}));
}

TEST_F(Config, GemmaScalesQueriesByItsScalar) {
  make("gemma2", "Gemma2ForCausalLM");
  config_["head_dim"] = 16;
  config_["query_pre_attn_scalar"] = 16;
  EXPECT_EQ(number("gemma2.attention.scale"), std::nullopt);  // as without the key
  config_["query_pre_attn_scalar"] = 4;
  EXPECT_EQ(number("gemma2.attention.scale"), 0.5);
  config_["query_pre_attn_scalar"] = nullptr;
  expect_refused(ErrorCode::invalid_model, "query_pre_attn_scalar");
  config_.erase("query_pre_attn_scalar");
  EXPECT_EQ(number("gemma2.attention.scale"), 1.0 / 16);  // its class has 256
  EXPECT_EQ(number("gemma2.attn_logit_softcapping"), std::nullopt);
  config_["attn_logit_softcapping"] = nullptr;
  EXPECT_EQ(number("gemma2.attn_logit_softcapping"), 0);
}

TEST_F(Config, WhatIsNotFollowedIsRefusedByName) {
  refused("is_causal", false, "config.json: key \"is_causal\" is false, which is not supported");
  refused("per_layer_config", {{"1", {{"rms_norm_eps", 0.5}}}}, "key \"per_layer_config\" is {");
  refused("hidden_act", "gelu", "key \"hidden_act\" is \"gelu\"");
  refused("partial_rotary_factor", 0.5, "key \"partial_rotary_factor\" is 0.5");
  refused("text_config", {{"hidden_size", 4}}, "key \"text_config\"");
  refused("compression_config", {{"quant_method", "x"}}, "quantised in a format of their own");
  refused("model_type", "qwen2", "key \"model_type\" is \"qwen2\" and key \"architectures\" names");
  config_["is_causal"] = true;
  config_["per_layer_config"] = Json::object();
  config_["hidden_act"] = "swish";
  config_["partial_rotary_factor"] = 1.0;
  config_["a_tool_of_the_makers"] = {1, 2};
  EXPECT_NO_THROW(open());
  make("gemma3_text", "Gemma3ForCausalLM");
  refused("attn_logit_softcapping", 50.0, "key \"attn_logit_softcapping\" is 50.0");
  refused("use_bidirectional_attention", true, "key \"use_bidirectional_attention\" is true");
  refused("hidden_activation", "gelu", "key \"hidden_activation\" is \"gelu\"");
  config_["vocab_size"] = 4;
  expect_refused(ErrorCode::invalid_model, "\"vocab_size\" is 4, and the embedding has 3 rows");
}

TEST_F(Config, SettingsOfRopeAreThoseThatTheLibraryLooksAt) {
  // An old name stands before the new one, and its own base before the one outside.
  config_["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 77.0}};
  EXPECT_EQ(number("llama.rope.freq_base"), 77);
  config_["rope_scaling"] = {{"type", "linear"}, {"factor", 4.0}};
  EXPECT_EQ(number("llama.rope.freq_base"), 10000);
  EXPECT_EQ(number("llama.rope.scaling.factor"), 4);
  config_.erase("rope_parameters");

  config_["rope_scaling"] = {{"rope_type", "dynamic"}, {"factor", 4.0}};
  EXPECT_EQ(number("llama.rope.scaling.dynamic_factor"), 4);

  Json yarn = {{"rope_type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 32}};
  const double own = 1 + 0.1 * std::log(4.0);
  const auto factor = [&](const char* key, double value) {
    yarn[key] = value;
    config_["rope_scaling"] = yarn;
    return number("llama.rope.scaling.attn_factor").value_or(1) * own;
  };
  EXPECT_NEAR(factor("beta_fast", 16), own, 1e-6);
  EXPECT_EQ(number("llama.rope.scaling.yarn_beta_fast"), 16);
  EXPECT_NEAR(factor("mscale", 0.7), own, 1e-6);
  EXPECT_NEAR(factor("mscale_all_dim", 1.9), 0.8683268486, 1e-6);
  EXPECT_NEAR(factor("attention_factor", 1.7), 1.7, 1e-6);
  EXPECT_NEAR(factor("factor", 0.5), 1.7 * own, 1e-6);  // no factor of the paper's below 1
  yarn["truncate"] = false;
  config_["rope_scaling"] = yarn;
  EXPECT_EQ(open().metadata().boolean("llama.rope.scaling.yarn_truncate"), false);
  // Outside it stands before all else.
  config_["original_max_position_embeddings"] = 16;
  EXPECT_EQ(number("llama.rope.scaling.original_context_length"), 16);
  yarn.erase("factor");
  config_["rope_scaling"] = yarn;
  expect_refused(ErrorCode::invalid_model, "key \"factor\": wanted a number above 0, or null");
  config_["rope_scaling"]["factor"] = nullptr;
  EXPECT_EQ(number("llama.rope.scaling.factor"), 4);  // 64 positions over 16
}

TEST_F(Config, LongRopeTakesItsFactorBeforeTheRatio) {
  make("phi3", "Phi3ForCausalLM");
  config_["head_dim"] = 4;
  config_["original_max_position_embeddings"] = 16;
  config_["rope_scaling"] = {
      {"type", "su"}, {"long_factor", {1.0, 2.0}}, {"short_factor", {1.0, 1.0}}};
  const auto attention = [&](double factor) {
    return std::sqrt(1 + std::log(factor) / std::log(16.0));
  };
  EXPECT_NEAR(*number("phi3.rope.scaling.attn_factor"), attention(4), 1e-6);
  config_["rope_scaling"]["factor"] = 6.0;
  EXPECT_NEAR(*number("phi3.rope.scaling.attn_factor"), attention(6), 1e-6);
  config_["rope_scaling"]["attention_factor"] = 1.25;
  EXPECT_EQ(number("phi3.rope.scaling.attn_factor"), 1.25);
  refused("rope_scaling", {{"rope_type", "linear"}, {"factor", 2.0}}, "is \"linear\"");
}

TEST_F(Config, Gemma3TurnsEachKindOfLayerByItsOwnSettings) {
  make("gemma3_text", "Gemma3ForCausalLM");
  config_.erase("rope_theta");
  EXPECT_EQ(number("gemma3.rope.freq_base"), 1e6);
  config_["rope_theta"] = 300.0;
  config_["rope_local_base_freq"] = 30.0;
  EXPECT_EQ(number("gemma3.rope.freq_base"), 300);
  EXPECT_EQ(number("gemma3.rope.freq_base_swa"), 30);
  config_["rope_parameters"] = {{"full_attention", {{"rope_theta", 200.0}}},
                                {"sliding_attention", {{"rope_theta", 20.0}}}};
  EXPECT_EQ(number("gemma3.rope.freq_base"), 200);
  EXPECT_EQ(number("gemma3.rope.freq_base_swa"), 20);
  config_["rope_parameters"]["sliding_attention"]["rope_type"] = "linear";
  expect_refused(ErrorCode::unsupported_model, "key \"rope_type\" is \"linear\"");
  refused("rope_parameters", {{"rope_theta", 20.0}}, "key \"rope_theta\" is 20.0");
}

TEST_F(Config, BiasesAreThereExactlyWhereItSaysSo) {
  for (const char* name : {"q_proj", "k_proj", "v_proj", "o_proj"})
    add(std::string("model.layers.0.self_attn.") + name + ".weight", {4, 4});
  EXPECT_NO_THROW(open());
  config_["attention_bias"] = true;
  expect_refused(ErrorCode::invalid_model, "should have a bias, and it has none");
  for (const char* name : {"q_proj", "k_proj", "v_proj", "o_proj"})
    add(std::string("model.layers.0.self_attn.") + name + ".bias", {4});
  EXPECT_NO_THROW(open());
  config_["attention_bias"] = false;
  expect_refused(ErrorCode::unsupported_model, "should have no bias, and it has one");
}

TEST_F(Config, TheOutputMatrixIsWhatTheFilesSay) {
  add("model.layers.0.input_layernorm.weight", {4});
  expect_refused(ErrorCode::invalid_model, "there is no tensor lm_head.weight");
  config_["tie_word_embeddings"] = true;
  EXPECT_EQ(open().find_tensor("output.weight"), nullptr);
  add("lm_head.weight", {3, 4});  // a copy
  EXPECT_EQ(open().find_tensor("output.weight"), nullptr);
  config_["tie_word_embeddings"] = false;
  EXPECT_NE(open().find_tensor("output.weight"), nullptr);
  config_["tie_word_embeddings"] = true;
  data_[data_.size() - 2] = '\x42';
  EXPECT_NE(open().find_tensor("output.weight"), nullptr);
}

TEST_F(Config, EveryEndIsKept) {
  const auto ends = [&] {
    const ModelFile file = open();
    std::vector<std::int64_t> found;
    if (const auto* ids = file.metadata().find("tokenizer.ggml.eos_token_ids"))
      for (std::uint64_t i = 0; i < ids->size(); ++i) found.push_back(ids->as_integer(i));
    return found;
  };
  using Ids = std::vector<std::int64_t>;
  EXPECT_EQ(ends(), Ids{});
  config_["eos_token_id"] = {1, 0, 99};
  EXPECT_EQ(ends(), (Ids{1, 0}));
  write("tokenizer_config.json", R"({"eos_token": "ab"})");
  EXPECT_EQ(ends(), (Ids{1, 0, 2}));
  write("generation_config.json", R"({"eos_token_id": 0})");  // stands before config.json
  EXPECT_EQ(ends(), (Ids{0, 2}));
  write("generation_config.json", R"({"eos_token_id": [0, "x"]})");
  expect_refused(ErrorCode::invalid_model, "generation_config.json: key \"eos_token_id\"");
}

TEST_F(Config, SamplingIsAsTheMakersMeanIt) {
  const auto sampling = [&](const std::string& json) {
    write("generation_config.json", json);
    const ModelFile file = open();
    Json found = Json::object();
    for (const Metadata::Entry& entry : file.metadata().entries())
      if (entry.key.starts_with("general.sampling."))
        found[std::string(entry.key.substr(17))] = std::round(entry.value.as_float() * 1e4) / 1e4;
    return found.dump();
  };
  EXPECT_EQ(sampling("{}"), "{}");
  EXPECT_EQ(sampling(R"({"do_sample": false, "temperature": 0.7})"), R"({"temp":0.0})");
  EXPECT_EQ(sampling(R"({"do_sample": true, "temperature": 0.6, "top_p": 0.9})"),
            R"({"temp":0.6,"top_k":50.0,"top_p":0.9,"min_p":0.0})");
  EXPECT_EQ(sampling(R"({"top_k": 20, "repetition_penalty": 1.05, "max_length": 4096})"),
            R"({"top_k":20.0,"penalty_repeat":1.05,"penalty_last_n":-1.0})");
  EXPECT_EQ(sampling(R"({"top_k": 1000000000000})"), R"({"top_k":2147483647.0})");
  for (const auto& [json, part] :
       {std::pair(R"({"num_beams": 4})", "generation_config.json: key \"num_beams\" is 4"),
        std::pair(R"({"guidance_scale": 1.5})", "key \"guidance_scale\" is 1.5"),
        std::pair(R"({"suppress_tokens": [1]})", "key \"suppress_tokens\" is [1]"),
        std::pair(R"({"no_repeat_ngram_size": 3})", "key \"no_repeat_ngram_size\" is 3")}) {
    write("generation_config.json", json);
    expect_refused(ErrorCode::unsupported_model, part);
  }
  write("generation_config.json", R"({"top_p": 2.0})");
  expect_refused(ErrorCode::invalid_model, "key \"top_p\": wanted a number from 0 to 1");
}

}  // namespace
}  // namespace plimsoll
