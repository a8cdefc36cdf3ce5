#include "support/hf_folder_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <vector>

#include "file/model_file.h"

namespace plimsoll::test {
namespace {

using Json = nlohmann::ordered_json;

void write_text(const std::filesystem::path& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << text;
  if (!out.flush()) throw std::runtime_error("cannot write " + path.string());
}

/// The keys of one family, read back.
class Keys {
 public:
  explicit Keys(const Metadata& metadata)
      : metadata_(metadata), family(metadata.string("general.architecture").value()) {}

  std::int64_t integer(const std::string& suffix, std::int64_t otherwise = 0) const {
    return metadata_.integer(family + "." + suffix).value_or(otherwise);
  }
  double number(const std::string& suffix, double otherwise = 0) const {
    return metadata_.number(family + "." + suffix).value_or(otherwise);
  }
  bool contains(const std::string& suffix) const {
    return metadata_.contains(family + "." + suffix);
  }
  bool is_gemma() const { return family == "gemma2" || family == "gemma3"; }

 private:
  const Metadata& metadata_;

 public:
  const std::string family;
};

std::vector<float> vector_of(const ModelFile& file, const std::string& name) {
  const TensorInfo* info = file.find_tensor(name);
  std::vector<std::uint8_t> raw(info->bytes);
  file.read(info->offset, info->bytes, raw.data());
  std::vector<float> values(static_cast<std::size_t>(info->columns()));
  info->format->decode(raw.data(), values.data(), info->columns());
  return values;
}

// --- config.json ---

Json config_of(const ModelFile& file, const Keys& keys) {
  static const std::map<std::string, const char*> classes = {
      {"llama", "LlamaForCausalLM"},   {"qwen2", "Qwen2ForCausalLM"},
      {"qwen3", "Qwen3ForCausalLM"},   {"gemma2", "Gemma2ForCausalLM"},
      {"gemma3", "Gemma3ForCausalLM"}, {"phi3", "Phi3ForCausalLM"}};
  Json config;
  config["architectures"] = {classes.at(keys.family)};
  config["model_type"] = keys.family;
  config["hidden_size"] = keys.integer("embedding_length");
  config["intermediate_size"] = keys.integer("feed_forward_length");
  config["num_hidden_layers"] = keys.integer("block_count");
  config["num_attention_heads"] = keys.integer("attention.head_count");
  config["num_key_value_heads"] = keys.integer("attention.head_count_kv");
  if (keys.contains("attention.key_length"))
    config["head_dim"] = keys.integer("attention.key_length");
  config["max_position_embeddings"] = keys.integer("context_length");
  config["rms_norm_eps"] = keys.number("attention.layer_norm_rms_epsilon");
  config["rope_theta"] = keys.number("rope.freq_base", 10000);
  config["vocab_size"] = file.find_tensor("token_embd.weight")->rows();
  config["tie_word_embeddings"] = file.find_tensor("output.weight") == nullptr;
  if (keys.is_gemma()) {
    config["hidden_activation"] = "gelu_pytorch_tanh";
    config["sliding_window"] = keys.integer("attention.sliding_window", 4096);
    config["query_pre_attn_scalar"] = keys.integer("attention.key_length");
    if (keys.family == "gemma2") {
      config["attn_logit_softcapping"] = keys.number("attn_logit_softcapping");
      config["final_logit_softcapping"] = keys.number("final_logit_softcapping");
    }
  } else {
    config["hidden_act"] = "silu";
    if (keys.contains("attention.sliding_window")) {
      // Of llama models, Mistral's have windows; Qwen's in their upper layers only.
      if (keys.family == "llama") {
        config["architectures"] = {"MistralForCausalLM"};
        config["model_type"] = "mistral";
      }
      config["sliding_window"] = keys.integer("attention.sliding_window");
      config["use_sliding_window"] = true;
      config["max_window_layers"] = 0;
    }
  }
  const auto has_bias = [&](const char* name) { return file.find_tensor(name) != nullptr; };
  if (has_bias("blk.0.attn_output.bias")) config["attention_bias"] = true;
  if (has_bias("blk.0.ffn_down.bias")) config["mlp_bias"] = true;
  const auto scaling = file.metadata().string(keys.family + ".rope.scaling.type");
  if (keys.family == "phi3") {
    config["original_max_position_embeddings"] =
        keys.integer("rope.scaling.original_context_length");
    if (file.find_tensor("rope_factors_long.weight"))
      config["rope_scaling"] = {{"type", "longrope"},
                                {"long_factor", vector_of(file, "rope_factors_long.weight")},
                                {"short_factor", vector_of(file, "rope_factors_short.weight")}};
  } else if (scaling) {
    config["rope_scaling"] = {{"rope_type", std::string(*scaling)},
                              {"factor", keys.number("rope.scaling.factor")}};
    if (*scaling == "yarn")
      config["rope_scaling"]["original_max_position_embeddings"] =
          keys.integer("rope.scaling.original_context_length");
  }
  return config;
}

// --- Tensors ---

/// "blk.3.attn_q.weight" as "model.layers.3.self_attn.q_proj.weight".
std::string hf_name(const std::string& name, const Keys& keys) {
  if (name == "token_embd.weight") return "model.embed_tokens.weight";
  if (name == "output_norm.weight") return "model.norm.weight";
  if (name == "output.weight") return "lm_head.weight";
  const std::size_t layer_end = name.find('.', 4), kind = name.rfind('.');
  const std::string stem = name.substr(layer_end + 1, kind - layer_end - 1);
  std::map<std::string, std::string> stems = {
      {"attn_norm", "input_layernorm"},
      {"attn_q", "self_attn.q_proj"},
      {"attn_k", "self_attn.k_proj"},
      {"attn_v", "self_attn.v_proj"},
      {"attn_qkv", "self_attn.qkv_proj"},
      {"attn_output", "self_attn.o_proj"},
      {"attn_q_norm", "self_attn.q_norm"},
      {"attn_k_norm", "self_attn.k_norm"},
      {"post_attention_norm", "post_attention_layernorm"},
      {"ffn_norm", keys.is_gemma() ? "pre_feedforward_layernorm" : "post_attention_layernorm"},
      {"post_ffw_norm", "post_feedforward_layernorm"},
      {"ffn_gate", "mlp.gate_proj"},
      {"ffn_up", keys.family == "phi3" ? "mlp.gate_up_proj" : "mlp.up_proj"},
      {"ffn_down", "mlp.down_proj"}};
  return "model.layers." + name.substr(4, layer_end - 4) + "." + stems.at(stem) + name.substr(kind);
}

/// Rows of one head where the GGUF file has them for RoPE over adjacent pairs.
std::int64_t head_rows(const TensorInfo& info, const Keys& keys) {
  if (keys.family != "llama") return 0;
  const std::int64_t rows = info.rank == 1 ? info.columns() : info.rows();
  if (info.name.find("attn_q.") != info.name.npos)
    return rows / keys.integer("attention.head_count");
  if (info.name.find("attn_k.") != info.name.npos)
    return rows / keys.integer("attention.head_count_kv");
  return 0;
}

/// The even items of every head, then the odd ones.
std::vector<std::uint8_t> halves(const std::vector<std::uint8_t>& pairs, std::int64_t head,
                                 std::size_t item_bytes) {
  std::vector<std::uint8_t> out;
  const auto items = static_cast<std::int64_t>(pairs.size() / item_bytes);
  for (std::int64_t first = 0; first < items; first += head)
    for (std::int64_t parity = 0; parity < 2; ++parity)
      for (std::int64_t i = first + parity; i < first + head; i += 2) {
        const auto* item = pairs.data() + static_cast<std::size_t>(i) * item_bytes;
        out.insert(out.end(), item, item + item_bytes);
      }
  return out;
}

struct Plan {
  const TensorInfo* info;
  std::string name;
  const Format* format;
  Bytes bytes;
};

void write_tensor(const ModelFile& file, const Keys& keys, const Plan& plan, std::ofstream& out) {
  const TensorInfo& info = *plan.info;
  const std::int64_t head = head_rows(info, keys);
  if (info.rank == 1) {
    std::vector<float> values = vector_of(file, std::string(info.name));
    if (keys.is_gemma() && plan.name.ends_with("norm.weight"))
      for (float& value : values) value -= 1;
    std::vector<std::uint8_t> raw(plan.bytes);
    plan.format->encode(values.data(), raw.data(), info.columns());
    if (head) raw = halves(raw, head, static_cast<std::size_t>(plan.format->block_bytes));
    out.write(reinterpret_cast<const char*>(raw.data()), static_cast<std::streamsize>(raw.size()));
    return;
  }
  const Bytes piece = head ? info.bytes : 4 * MiB;
  for (Bytes at = 0; at < info.bytes; at += piece) {
    std::vector<std::uint8_t> raw(std::min(piece, info.bytes - at));
    file.read(info.offset + at, raw.size(), raw.data());
    if (head) raw = halves(raw, head, row_bytes(*info.format, info.columns()));
    out.write(reinterpret_cast<const char*>(raw.data()), static_cast<std::streamsize>(raw.size()));
  }
}

void write_tensors(const ModelFile& file, const Keys& keys, const std::filesystem::path& folder,
                   const HfFolderOptions& options) {
  std::vector<Plan> plans;
  for (const TensorInfo& info : file.tensors()) {
    if (info.name.starts_with("rope_factors")) continue;  // in config.json
    const Format& f = info.rank == 1 ? format(options.vectors) : *info.format;
    plans.push_back({&info, hf_name(std::string(info.name), keys), &f,
                     static_cast<Bytes>(info.rows()) * row_bytes(f, info.columns())});
  }
  Json index;
  const std::size_t each = (plans.size() + static_cast<std::size_t>(options.shards) - 1) /
                           static_cast<std::size_t>(options.shards);
  for (int shard = 0; shard < options.shards; ++shard) {
    const std::string name = options.shards == 1 ? "model.safetensors"
                                                 : fmt::format("model-{:05}-of-{:05}.safetensors",
                                                               shard + 1, options.shards);
    const std::size_t begin = static_cast<std::size_t>(shard) * each;
    const std::size_t end = std::min(begin + each, plans.size());
    Json header;
    header["__metadata__"] = {{"format", "pt"}};
    Bytes at = 0;
    for (std::size_t i = begin; i < end; ++i) {
      const TensorInfo& info = *plans[i].info;
      const Json shape = info.rank == 1 ? Json{info.columns()} : Json{info.rows(), info.columns()};
      header[plans[i].name] = {{"dtype", plans[i].format->name},
                               {"shape", shape},
                               {"data_offsets", {at, at + plans[i].bytes}}};
      at += plans[i].bytes;
      index["weight_map"][plans[i].name] = name;
    }
    std::string text = header.dump();
    text.resize((text.size() + 7) / 8 * 8, ' ');
    const std::uint64_t length = text.size();
    std::ofstream out(folder / name, std::ios::binary | std::ios::trunc);
    out.write(reinterpret_cast<const char*>(&length), sizeof length);
    out << text;
    for (std::size_t i = begin; i < end; ++i) write_tensor(file, keys, plans[i], out);
    if (!out.flush()) throw std::runtime_error("cannot write " + name);
  }
  if (options.shards > 1) write_text(folder / "model.safetensors.index.json", index.dump());
}

// --- Tokenizer ---

struct Token {
  std::string text;
  double score;
  std::int64_t kind;
};

std::vector<Token> tokens_of(const Metadata& metadata) {
  const MetadataValue& texts = *metadata.find("tokenizer.ggml.tokens");
  const MetadataValue* scores = metadata.find("tokenizer.ggml.scores");
  const MetadataValue* kinds = metadata.find("tokenizer.ggml.token_type");
  std::vector<Token> tokens;
  for (std::uint64_t i = 0; i < texts.size(); ++i)
    tokens.push_back({std::string(texts.as_string(i)), scores ? scores->as_float(i) : 0,
                      kinds ? kinds->as_integer(i) : 1});
  return tokens;
}

Json split(const char* expression) {
  return {{"type", "Split"},
          {"pattern", {{"Regex", expression}}},
          {"behavior", "Isolated"},
          {"invert", false}};
}

/// As the models' own files have it.
Json pre_tokenizer_of(std::string_view pre) {
  const auto byte_level = [](bool use_regex) -> Json {
    return {{"type", "ByteLevel"},
            {"add_prefix_space", false},
            {"trim_offsets", true},
            {"use_regex", use_regex}};
  };
  const auto digits = [](bool individual) -> Json {
    return {{"type", "Digits"}, {"individual_digits", individual}};
  };
  const auto sequence = [](std::vector<Json> steps) -> Json {
    return {{"type", "Sequence"}, {"pretokenizers", steps}};
  };
  if (pre == "gpt-2") return byte_level(true);
  if (pre == "starcoder") return sequence({digits(true), byte_level(true)});
  if (pre == "falcon")
    return sequence({{{"type", "Punctuation"}, {"behavior", "Contiguous"}},
                     byte_level(true),
                     digits(false),
                     split("[0-9][0-9][0-9]")});
  if (pre == "deepseek-coder")
    return sequence({split("[\r\n]"), split("\\s?\\p{L}+"), split("\\s?\\p{P}+"),
                     split("[一-龥ࠀ-一가-퟿]+"), digits(true), byte_level(false)});
  throw std::runtime_error("no pre-tokenizer for " + std::string(pre));
}

/// Every way to put a token together from two others, best results first.
std::vector<std::pair<std::string, std::string>> merges_by_score(const std::vector<Token>& tokens) {
  std::map<std::string, std::size_t> ids;
  for (std::size_t i = 0; i < tokens.size(); ++i)
    if (tokens[i].kind == 1) ids.emplace(tokens[i].text, i);
  std::vector<std::size_t> order;
  for (const auto& [text, id] : ids) order.push_back(id);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return tokens[a].score != tokens[b].score ? tokens[a].score > tokens[b].score : a < b;
  });
  std::vector<std::pair<std::string, std::string>> merges;
  for (const std::size_t id : order) {
    const std::string& text = tokens[id].text;
    for (std::size_t at = 1; at < text.size(); ++at)
      if (ids.contains(text.substr(0, at)) && ids.contains(text.substr(at)))
        merges.emplace_back(text.substr(0, at), text.substr(at));
  }
  return merges;
}

void write_tokenizer_json(const Metadata& metadata, const std::filesystem::path& path,
                          bool as_pairs) {
  const bool byte_level = metadata.string("tokenizer.ggml.model") == "gpt2";
  const std::vector<Token> tokens = tokens_of(metadata);
  // Members sort by name here: merges come before the vocabulary.
  using SortedJson = nlohmann::json;
  SortedJson json, added = SortedJson::array(), vocabulary, merges = SortedJson::array();
  std::string unknown;
  std::size_t last_normal = 0;
  for (std::size_t id = 0; id < tokens.size(); ++id)
    if (tokens[id].kind == 1) last_normal = id;
  for (std::size_t id = 0; id < tokens.size(); ++id) {
    const Token& token = tokens[id];
    if (token.kind == 5) continue;  // padding, which no tokenizer has
    if (token.kind == 2) unknown = token.text;
    if (token.kind >= 2 && token.kind <= 4)
      added.push_back({{"id", id},
                       {"content", token.text},
                       {"normalized", false},
                       {"special", token.kind != 4}});
    // Later additions stand apart from the vocabulary.
    if (id <= last_normal || !byte_level) vocabulary[token.text] = id;
  }
  std::vector<std::pair<std::string, std::string>> pairs;
  if (byte_level) {
    const MetadataValue& list = *metadata.find("tokenizer.ggml.merges");
    for (std::uint64_t i = 0; i < list.size(); ++i) {
      const std::string_view merge = list.as_string(i);
      const std::size_t space = merge.find(' ', 1);
      pairs.emplace_back(merge.substr(0, space), merge.substr(space + 1));
    }
  } else {
    pairs = merges_by_score(tokens);
  }
  for (const auto& [left, right] : pairs) {
    if (as_pairs)
      merges.push_back({left, right});
    else
      merges.push_back(left + " " + right);
  }
  json["version"] = "1.0";
  json["added_tokens"] = std::move(added);
  json["normalizer"] = nullptr;
  if (byte_level) {
    json["pre_tokenizer"] = pre_tokenizer_of(metadata.string("tokenizer.ggml.pre").value());
  } else {
    json["normalizer"] = {
        {"type", "Sequence"},
        {"normalizers",
         {{{"type", "Prepend"}, {"prepend", "▁"}},
          {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "▁"}}}}};
    json["pre_tokenizer"] = nullptr;
  }
  json["model"] = {{"type", "BPE"},
                   {"unk_token", unknown.empty() ? SortedJson() : SortedJson(unknown)},
                   {"byte_fallback", !byte_level},
                   {"ignore_merges", false},
                   {"vocab", std::move(vocabulary)},
                   {"merges", std::move(merges)}};
  write_text(path, json.dump(2));
}

/// A protocol buffer: a message per piece.
void write_tokenizer_model(const Metadata& metadata, const std::filesystem::path& path) {
  const auto varint = [](std::string& out, std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
    out += static_cast<char>(value);
  };
  std::string model;
  for (const Token& token : tokens_of(metadata)) {
    std::string piece = "\x0a";
    varint(piece, token.text.size());
    piece += token.text;
    const auto score = static_cast<float>(token.score);
    piece += '\x15';
    piece.append(reinterpret_cast<const char*>(&score), sizeof score);
    piece += '\x18';
    varint(piece, static_cast<std::uint64_t>(token.kind));
    model += '\x0a';
    varint(model, piece.size());
    model += piece;
  }
  write_text(path, model);
}

void write_tokenizer(const Metadata& metadata, const std::filesystem::path& folder,
                     const HfFolderOptions& options) {
  if (options.sentence_piece)
    write_tokenizer_model(metadata, folder / "tokenizer.model");
  else
    write_tokenizer_json(metadata, folder / "tokenizer.json", options.merges_as_pairs);
  const std::vector<Token> tokens = tokens_of(metadata);
  Json settings = Json::object();
  for (const char* role : {"bos", "eos"}) {
    const auto id = metadata.integer(fmt::format("tokenizer.ggml.{}_token_id", role));
    if (id) settings[fmt::format("{}_token", role)] = tokens[static_cast<std::size_t>(*id)].text;
    const auto adds = metadata.boolean(fmt::format("tokenizer.ggml.add_{}_token", role));
    if (adds) settings[fmt::format("add_{}_token", role)] = *adds;
  }
  if (const auto text = metadata.string("tokenizer.chat_template"))
    settings["chat_template"] = std::string(*text);
  write_text(folder / "tokenizer_config.json", settings.dump());
}

}  // namespace

void write_hf_folder(const std::string& gguf, const std::string& folder,
                     const HfFolderOptions& options) {
  const ModelFile file = ModelFile::open(gguf);
  const Keys keys(file.metadata());
  std::filesystem::create_directories(folder);
  write_text(std::filesystem::path(folder) / "config.json", config_of(file, keys).dump(2));
  write_tensors(file, keys, folder, options);
  write_tokenizer(file.metadata(), folder, options);
}

void write_hf_vocabulary(const std::string& gguf, const std::string& folder,
                         const HfFolderOptions& options) {
  const ModelFile file = ModelFile::open(gguf);
  std::filesystem::create_directories(folder);
  const std::size_t tokens = tokens_of(file.metadata()).size();
  const Json config = {{"architectures", {"LlamaForCausalLM"}},
                       {"hidden_size", 2},
                       {"intermediate_size", 2},
                       {"num_hidden_layers", 1},
                       {"num_attention_heads", 1},
                       {"max_position_embeddings", 64},
                       {"rms_norm_eps", 1e-5},
                       {"vocab_size", tokens}};
  write_text(std::filesystem::path(folder) / "config.json", config.dump());
  const Json header = {
      {"model.embed_tokens.weight",
       {{"dtype", "F16"}, {"shape", {tokens, 2}}, {"data_offsets", {0, tokens * 4}}}}};
  const std::string text = header.dump();
  const std::uint64_t length = text.size();
  std::string bytes(reinterpret_cast<const char*>(&length), sizeof length);
  write_text(std::filesystem::path(folder) / "model.safetensors",
             bytes + text + std::string(tokens * 4, '\0'));
  write_tokenizer(file.metadata(), folder, options);
}

}  // namespace plimsoll::test
