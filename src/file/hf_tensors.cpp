#include "file/hf_tensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "file/header_bytes.h"

namespace plimsoll {
namespace {

struct Renaming {
  std::string_view from, to;
};

/// Inside a layer, weight and bias alike.
constexpr Renaming layer_names[] = {
    {"input_layernorm", "attn_norm"},
    {"self_attn.q_proj", "attn_q"},
    {"self_attn.k_proj", "attn_k"},
    {"self_attn.v_proj", "attn_v"},
    {"self_attn.qkv_proj", "attn_qkv"},
    {"self_attn.o_proj", "attn_output"},
    {"self_attn.q_norm", "attn_q_norm"},
    {"self_attn.k_norm", "attn_k_norm"},
    {"pre_feedforward_layernorm", "ffn_norm"},
    {"post_feedforward_layernorm", "post_ffw_norm"},
    {"mlp.gate_proj", "ffn_gate"},
    {"mlp.up_proj", "ffn_up"},
    {"mlp.gate_up_proj", "ffn_up"},
    {"mlp.down_proj", "ffn_down"},
};

/// True where `text` begins with `prefix`, which is then cut off.
bool cut(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

/// Tensors that a converter leaves out: those of pictures, and tables that follow from the
/// hyper-parameters.
bool is_left_out(std::string_view name) {
  for (const std::string_view part : {"vision_tower.", "multi_modal_projector.",
                                      "model.vision_tower.", "model.multi_modal_projector."})
    if (name.starts_with(part)) return true;
  return name.ends_with(".rotary_emb.inv_freq");
}

std::optional<std::string> gguf_name(std::string_view name, const HfModel& model) {
  cut(name, "language_model.");
  if (name == "lm_head.weight") return "output.weight";
  if (!cut(name, "model.")) return std::nullopt;
  cut(name, "language_model.");
  if (name == "embed_tokens.weight") return "token_embd.weight";
  if (name == "norm.weight") return "output_norm.weight";
  if (!cut(name, "layers.")) return std::nullopt;
  std::int64_t layer = 0;
  const auto number = std::from_chars(name.data(), name.data() + name.size(), layer);
  name.remove_prefix(static_cast<std::size_t>(number.ptr - name.data()));
  if (number.ec != std::errc() || layer < 0 || layer >= model.layers || !cut(name, "."))
    return std::nullopt;
  const std::size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) return std::nullopt;
  const std::string_view stem = name.substr(0, dot), kind = name.substr(dot + 1);
  if (kind != "weight" && kind != "bias") return std::nullopt;
  if (stem == "post_attention_layernorm")
    return fmt::format("blk.{}.{}.{}", layer,
                       model.family->has_post_norms ? "post_attention_norm" : "ffn_norm", kind);
  for (const Renaming& renaming : layer_names)
    if (renaming.from == stem) return fmt::format("blk.{}.{}.{}", layer, renaming.to, kind);
  return std::nullopt;
}

const Format& stored_format(const SafetensorsEntry& entry, const std::string& path) {
  if (entry.type == "F32" || entry.type == "F16" || entry.type == "BF16")
    return *find_format(std::string_view(entry.type));
  throw Error(ErrorCode::unsupported_format,
              fmt::format("{}: tensor {} is of type {}", path, plimsoll::quoted(entry.name),
                          plimsoll::quoted(entry.type)),
              "take a version of the model in BF16, F16 or F32");
}

/// Rows of one head in q's and k's weights and biases, 0 in all others.
std::int64_t interleaved_rows(std::string_view name, std::int64_t rows, const HfModel& model) {
  if (!model.family->interleaves_heads) return 0;
  const bool is_q = name.find(".attn_q.") != name.npos, is_k = name.find(".attn_k.") != name.npos;
  if (!is_q && !is_k) return 0;
  const std::int64_t heads = is_q ? model.heads : model.kv_heads;
  if (rows % heads != 0 || rows / heads % 2 != 0)
    throw Error(ErrorCode::invalid_model,
                fmt::format("tensor {}: wanted {} heads of an even number of rows, found {} rows",
                            plimsoll::quoted(name), heads, rows),
                "config.json is of another model");
  return rows / heads;
}

struct Entry {
  const InputFile* file;
  const SafetensorsEntry* stored;
  std::string name;  ///< in GGUF
};

const Entry* find(const std::vector<Entry>& entries, std::string_view name) {
  const auto found = std::ranges::find(entries, name, &Entry::name);
  return found == entries.end() ? nullptr : &*found;
}

/// Reads both tensors, up to the first difference.
bool have_equal_bytes(const Entry& a, const Entry& b) {
  if (a.stored->type != b.stored->type || a.stored->shape != b.stored->shape) return false;
  constexpr Bytes piece = 1 * MiB;
  const Bytes bytes = a.stored->bytes;
  std::vector<std::uint8_t> of_a(std::min(piece, bytes)), of_b(of_a.size());
  for (Bytes done = 0; done < bytes; done += piece) {
    const Bytes count = std::min(piece, bytes - done);
    a.file->read(a.stored->offset + done, count, of_a.data());
    b.file->read(b.stored->offset + done, count, of_b.data());
    if (std::memcmp(of_a.data(), of_b.data(), count) != 0) return false;
  }
  return true;
}

/// Models that tie the output to the embedding may have it in their files all the same: then what
/// the files say counts. Leaves out a copy of the embedding.
void settle_output(std::vector<Entry>& entries, const HfModel& model, const std::string& path) {
  const Entry* output = find(entries, "output.weight");
  const Entry* embedding = find(entries, "token_embd.weight");
  if (output && embedding && model.ties_output && have_equal_bytes(*output, *embedding))
    entries.erase(entries.begin() + (output - entries.data()));
  // Without layers it is only a vocabulary.
  if (!output && !model.ties_output && find(entries, "blk.0.attn_norm.weight"))
    throw Error(ErrorCode::invalid_model,
                fmt::format("{}: \"tie_word_embeddings\" is not true, and there is no tensor "
                            "lm_head.weight",
                            path),
                "the model is incomplete, or config.json is of another one");
}

/// Biases must be there where the configuration says so, and only there: the library that the
/// configuration is written for would fill missing ones in, and leave others out.
void check_biases(const std::vector<Entry>& entries, const HfModel& model,
                  const std::string& path) {
  struct Part {
    std::string_view name;
    bool wanted;
  };
  const Part parts[] = {{"attn_q", model.query_key_value_biases},
                        {"attn_k", model.query_key_value_biases},
                        {"attn_v", model.query_key_value_biases},
                        {"attn_qkv", model.query_key_value_biases},
                        {"attn_output", model.attention_output_biases},
                        {"ffn_gate", model.feed_forward_biases},
                        {"ffn_up", model.feed_forward_biases},
                        {"ffn_down", model.feed_forward_biases}};
  std::set<std::string_view> names;
  for (const Entry& entry : entries) names.insert(entry.name);
  for (const std::string_view weight : names) {
    if (!weight.ends_with(".weight")) continue;
    const std::string bias = std::string(weight.substr(0, weight.size() - 6)) + "bias";
    const std::size_t dot = weight.find('.', 4);
    for (const Part& part : parts)
      if (weight.starts_with("blk.") && weight.substr(dot + 1) == std::string(part.name) + ".weight" &&
          names.contains(bias) != part.wanted)
        throw Error(
            part.wanted ? ErrorCode::invalid_model : ErrorCode::unsupported_model,
            fmt::format("{}: by config.json ({} \"attention_bias\" and \"mlp_bias\") {} should {} "
                        "bias, and it has {}",
                        path, model.family->model_types.front(), weight.substr(0, weight.size() - 7),
                        part.wanted ? "have a" : "have no", part.wanted ? "none" : "one"),
            "config.json is of another model, or the model of a variant that is not supported");
  }
}

}  // namespace

HfTensors convert_hf_tensors(std::vector<SafetensorsFile> files, const HfModel& model,
                             const std::string& path) {
  std::vector<std::unique_ptr<InputFile>> sources;
  for (SafetensorsFile& file : files) sources.push_back(std::move(file.file));
  HfTensors result;
  std::vector<Entry> entries;
  for (std::size_t i = 0; i < files.size(); ++i)
    for (const SafetensorsEntry& stored : files[i].entries) {
      if (is_left_out(stored.name)) continue;
      std::optional<std::string> name = gguf_name(stored.name, model);
      if (!name)
        throw Error(ErrorCode::unsupported_model,
                    fmt::format("{}: tensor {} is no part of a {} model of {} layers as it is "
                                "known here",
                                sources[i]->path(), plimsoll::quoted(stored.name),
                                model.family->name, model.layers),
                    "the model is of a variant that is not supported yet");
      if (stored.shape.empty() || stored.shape.size() > 2 || stored.bytes == 0)
        throw Error(ErrorCode::invalid_model,
                    fmt::format("{}: tensor {}: wanted a matrix or a vector, found {} dimensions "
                                "and {} bytes",
                                sources[i]->path(), plimsoll::quoted(stored.name),
                                stored.shape.size(), stored.bytes),
                    "the model is of a variant that is not supported yet");
      entries.push_back({sources[i].get(), &stored, std::move(*name)});
    }
  check_biases(entries, model, path);
  settle_output(entries, model, path);
  result.bytes = std::make_unique<ConvertedTensors>(path, std::move(sources));

  const auto place = [&result](std::string name, const ConvertedTensor& tensor) {
    TensorInfo info{};
    info.format = &tensor.format();
    info.rank = tensor.is_vector ? 1 : 2;
    info.shape = {tensor.columns, tensor.rows, 1, 1};
    info.bytes = tensor.bytes();
    info.offset = result.bytes->add(tensor);
    result.tensors.push_back(info);
    result.names.push_back(std::move(name));
  };
  for (auto& [file, entry, name] : entries) {
    ConvertedTensor tensor;
    tensor.file = file;
    tensor.from = entry->offset;
    tensor.stored = &stored_format(*entry, file->path());
    tensor.is_vector = entry->shape.size() == 1;
    tensor.columns = entry->shape.back();
    tensor.rows = tensor.is_vector ? 1 : entry->shape.front();
    tensor.head_rows = interleaved_rows(name, entry->shape.front(), model);
    if (model.family->norms_lack_one && name.ends_with("norm.weight")) tensor.added = 1;
    place(std::move(name), tensor);
  }
  for (const HfModel::Factors& factors : model.rope_factors) {
    ConvertedTensor tensor;
    tensor.is_vector = true;
    tensor.columns = static_cast<std::int64_t>(factors.values.size());
    tensor.values = factors.values;
    place(std::string(factors.tensor), tensor);
  }
  return result;
}

}  // namespace plimsoll
