// What opening a folder needs besides its tokenizer.
#pragma once

#include <cstdint>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

namespace plimsoll {

inline void write_text(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

/// What opening a folder needs besides its tokenizer, for so many tokens.
inline void write_model(const std::string& folder, std::int64_t rows) {
  constexpr std::int64_t width = 32;
  const nlohmann::json config = {{"architectures", {"LlamaForCausalLM"}},
                                 {"model_type", "llama"},
                                 {"hidden_size", width},
                                 {"intermediate_size", width},
                                 {"num_hidden_layers", 1},
                                 {"num_attention_heads", 1},
                                 {"num_key_value_heads", 1},
                                 {"max_position_embeddings", 64},
                                 {"rms_norm_eps", 1e-5},
                                 {"vocab_size", rows},
                                 {"tie_word_embeddings", true},
                                 {"hidden_act", "silu"}};
  write_text(folder + "/config.json", config.dump());
  const nlohmann::json header = {
      {"model.embed_tokens.weight",
       {{"dtype", "F16"}, {"shape", {rows, width}}, {"data_offsets", {0, rows * width * 2}}}}};
  const std::string text = header.dump();
  std::string bytes(8, '\0');
  const std::uint64_t length = text.size();
  std::memcpy(bytes.data(), &length, sizeof length);
  write_text(folder + "/model.safetensors",
             bytes + text + std::string(static_cast<std::size_t>(rows * width * 2), '\0'));
}

}  // namespace plimsoll
