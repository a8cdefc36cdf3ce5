// A model that says what a test wants: after each token of a list the next one, whatever came
// before.
#pragma once

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "file/gguf_writer.h"

namespace plimsoll::test {

enum class ChainKind : std::int32_t { normal = 1, control = 3, user_defined = 4, byte = 6 };

struct ChainToken {
  std::string text;
  ChainKind kind = ChainKind::normal;
};

/// The id of the first of the list: <unk>, <s> and </s> come before.
constexpr std::int32_t first_chain_token = 3;
/// As many states as the model is wide.
constexpr std::size_t most_chain_tokens = 28;

/// Tokens of different texts; after the last comes </s>, the end. Sentence-piece vocabulary.
inline void write_chain_model(const std::string& path, const std::vector<ChainToken>& tokens) {
  constexpr std::size_t width = 32, feed_forward = 32;
  const std::size_t vocabulary = tokens.size() + first_chain_token;
  std::vector<std::string> texts = {"<unk>", "<s>", "</s>"};
  std::vector<std::int32_t> kinds = {2, 3, 3};
  for (const ChainToken& token : tokens) {
    texts.push_back(token.text);
    kinds.push_back(static_cast<std::int32_t>(token.kind));
  }
  GgufWriter writer(OutputPath::own(path));
  writer.add_string("general.architecture", "llama");
  writer.add_string("general.name", "chain");
  const auto count = [&writer](const char* key, std::size_t value) {
    writer.add_integer(std::string("llama.") + key, static_cast<std::int64_t>(value));
  };
  count("context_length", 256);
  count("embedding_length", width);
  count("block_count", 1);
  count("feed_forward_length", feed_forward);
  count("attention.head_count", 2);
  count("attention.head_count_kv", 1);
  writer.add_number("llama.attention.layer_norm_rms_epsilon", 1e-5);
  writer.add_string("tokenizer.ggml.model", "llama");
  writer.add_strings("tokenizer.ggml.tokens", texts);
  writer.add_numbers("tokenizer.ggml.scores", std::vector<float>(vocabulary, -1));
  writer.add_integers("tokenizer.ggml.token_type", kinds);
  writer.add_integer("tokenizer.ggml.bos_token_id", 1);
  writer.add_integer("tokenizer.ggml.eos_token_id", 2);
  writer.add_integer("tokenizer.ggml.unknown_token_id", 0);

  struct Matrix {
    std::string name;
    std::vector<std::int64_t> shape;
    std::vector<float> values;
  };
  std::vector<Matrix> matrices;
  const auto add = [&](std::string name, std::size_t rows, std::size_t columns,
                       float value) -> std::vector<float>& {
    std::vector<std::int64_t> shape = {static_cast<std::int64_t>(columns)};
    if (rows > 1) shape.push_back(static_cast<std::int64_t>(rows));
    matrices.push_back({std::move(name), shape, std::vector<float>(rows * columns, value)});
    return matrices.back().values;
  };
  matrices.reserve(16);
  std::vector<float>& embedding = add("token_embd.weight", vocabulary, width, 0);
  std::vector<float>& output = add("output.weight", vocabulary, width, 0);
  for (std::size_t id = 0; id < vocabulary; ++id) {
    const bool is_last = id + 1 == vocabulary;
    embedding[id * width + id] = 1;
    output[(is_last ? 2 : std::max<std::size_t>(id + 1, first_chain_token)) * width + id] = 8;
  }
  add("output_norm.weight", 1, width, 1);
  add("blk.0.attn_norm.weight", 1, width, 1);
  add("blk.0.ffn_norm.weight", 1, width, 1);
  add("blk.0.attn_q.weight", width, width, 0);
  add("blk.0.attn_k.weight", width / 2, width, 0);
  add("blk.0.attn_v.weight", width / 2, width, 0);
  add("blk.0.attn_output.weight", width, width, 0);
  add("blk.0.ffn_gate.weight", feed_forward, width, 0);
  add("blk.0.ffn_up.weight", feed_forward, width, 0);
  add("blk.0.ffn_down.weight", width, feed_forward, 0);
  for (const Matrix& matrix : matrices)
    writer.add_tensor(matrix.name, format(FormatId::F32), matrix.shape);
  for (const Matrix& matrix : matrices)
    writer.write({reinterpret_cast<const std::uint8_t*>(matrix.values.data()),
                  matrix.values.size() * sizeof(float)});
  writer.finish();
}

}  // namespace plimsoll::test
