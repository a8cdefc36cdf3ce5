// The header of a model of 5 GB, whose tensors are never there.
#pragma once

#include <fmt/format.h>

#include <string>

#include "file/metadata_builder.h"
#include "file/model_file.h"

namespace plimsoll::test {

struct LargeModel {
  std::string header;
  std::uint64_t bytes = 0;  ///< of the whole file
};

/// A llama of `layers` layers, 4,096 wide, in F16 (0.4 GB a layer), with a vocabulary of 120,000 pieces, so that the header
/// has some megabytes. Written field by field, without the writer.
inline LargeModel large_model(const std::string& small_model, std::int64_t layers) {
  constexpr std::int64_t width = 4096, inner = 11008, heads = 32, vocabulary = 120'000;
  const ModelFile small = ModelFile::open(small_model);
  MetadataBuilder metadata;
  for (const char* key : {"general.architecture", "llama.attention.layer_norm_rms_epsilon", "llama.rope.freq_base",
                          "tokenizer.ggml.model", "tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id",
                          "tokenizer.ggml.unknown_token_id"})
    metadata.add_value(key, *small.metadata().find(key));
  metadata.add_string("general.name", "Large");
  metadata.add_integer("llama.context_length", 8192);
  metadata.add_integer("llama.embedding_length", width);
  metadata.add_integer("llama.block_count", layers);
  metadata.add_integer("llama.feed_forward_length", inner);
  metadata.add_integer("llama.attention.head_count", heads);
  metadata.add_integer("llama.rope.dimension_count", width / heads);
  std::vector<std::string> tokens;
  std::vector<float> scores;
  std::vector<std::int32_t> types;
  const MetadataValue& known = *small.metadata().find("tokenizer.ggml.tokens");
  const MetadataValue& known_types = *small.metadata().find("tokenizer.ggml.token_type");
  for (std::int64_t i = 0; i < vocabulary; ++i) {
    const bool is_known = i < static_cast<std::int64_t>(known.size());
    tokens.push_back(is_known ? std::string(known.as_string(static_cast<std::uint64_t>(i)))
                              : fmt::format("a rather long piece {:06}", i));
    types.push_back(is_known ? static_cast<std::int32_t>(known_types.as_integer(static_cast<std::uint64_t>(i))) : 1);
    scores.push_back(static_cast<float>(-i));
  }
  metadata.add_strings("tokenizer.ggml.tokens", tokens);
  metadata.add_numbers("tokenizer.ggml.scores", scores);
  metadata.add_integers("tokenizer.ggml.token_type", types);

  std::string table;
  std::uint64_t count = 0, offset = 0;
  const auto number = [](std::string& out, auto value) {
    out.append(reinterpret_cast<const char*>(&value), sizeof(value));
  };
  const auto tensor = [&](const std::string& name, std::int64_t columns, std::int64_t rows) {
    const bool is_vector = rows == 1;
    number(table, std::uint64_t{name.size()});
    table += name;
    number(table, std::uint32_t{is_vector ? 1u : 2u});
    number(table, static_cast<std::uint64_t>(columns));
    if (!is_vector) number(table, static_cast<std::uint64_t>(rows));
    number(table, std::uint32_t{is_vector ? 0u : 1u});  // F32, F16
    number(table, offset);
    offset += static_cast<std::uint64_t>(columns * rows * (is_vector ? 4 : 2));
    ++count;
  };
  tensor("token_embd.weight", width, vocabulary);
  tensor("output_norm.weight", width, 1);
  for (std::int64_t layer = 0; layer < layers; ++layer) {
    const std::string at = fmt::format("blk.{}.", layer);
    tensor(at + "attn_norm.weight", width, 1);
    for (const char* name : {"attn_q.weight", "attn_k.weight", "attn_v.weight", "attn_output.weight"})
      tensor(at + name, width, width);
    tensor(at + "ffn_norm.weight", width, 1);
    tensor(at + "ffn_gate.weight", width, inner);
    tensor(at + "ffn_up.weight", width, inner);
    tensor(at + "ffn_down.weight", inner, width);
  }
  LargeModel model;
  model.header = "GGUF";
  number(model.header, std::uint32_t{3});
  number(model.header, count);
  number(model.header, std::uint64_t{metadata.keys()});
  model.header += metadata.take() + table;
  model.bytes = (model.header.size() + 31) / 32 * 32 + offset;
  return model;
}

}  // namespace plimsoll::test
