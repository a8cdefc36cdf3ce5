#include "file/hf_tensors.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>
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
bool is_left_out(std::string_view name, const HfModel& model) {
  for (const std::string_view part : {"vision_tower.", "multi_modal_projector.",
                                      "model.vision_tower.", "model.multi_modal_projector."})
    if (name.starts_with(part)) return true;
  return name.ends_with(".rotary_emb.inv_freq") ||
         (model.tied_output && name.ends_with("lm_head.weight"));
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

}  // namespace

HfTensors convert_hf_tensors(std::vector<SafetensorsFile> files, const HfModel& model,
                             const std::string& path) {
  std::vector<std::unique_ptr<InputFile>> sources;
  for (SafetensorsFile& file : files) sources.push_back(std::move(file.file));
  HfTensors result;
  std::vector<std::pair<const InputFile*, const SafetensorsEntry*>> entries;
  for (std::size_t i = 0; i < files.size(); ++i)
    for (const SafetensorsEntry& entry : files[i].entries)
      entries.emplace_back(sources[i].get(), &entry);
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
  for (const auto& [file, entry] : entries) {
    if (is_left_out(entry->name, model)) continue;
    std::optional<std::string> name = gguf_name(entry->name, model);
    if (!name)
      throw Error(ErrorCode::unsupported_model,
                  fmt::format("{}: tensor {} is no part of a {} model of {} layers as it is known "
                              "here",
                              file->path(), plimsoll::quoted(entry->name), model.family->name,
                              model.layers),
                  "the model is of a variant that is not supported yet");
    if (entry->shape.empty() || entry->shape.size() > 2 || entry->bytes == 0)
      throw Error(ErrorCode::invalid_model,
                  fmt::format("{}: tensor {}: wanted a matrix or a vector, found {} dimensions and "
                              "{} bytes",
                              file->path(), plimsoll::quoted(entry->name), entry->shape.size(),
                              entry->bytes),
                  "the model is of a variant that is not supported yet");
    ConvertedTensor tensor;
    tensor.file = file;
    tensor.from = entry->offset;
    tensor.stored = &stored_format(*entry, file->path());
    tensor.is_vector = entry->shape.size() == 1;
    tensor.columns = entry->shape.back();
    tensor.rows = tensor.is_vector ? 1 : entry->shape.front();
    tensor.head_rows = interleaved_rows(*name, entry->shape.front(), model);
    if (model.family->norms_lack_one && name->ends_with("norm.weight")) tensor.added = 1;
    place(std::move(*name), tensor);
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
