// Any bytes as a folder's tokenizer.json (up to the first zero), and any text through it (the rest).
#include <stdlib.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "file/model_file.h"
#include "text/tokenizer.h"

using namespace plimsoll;

namespace {

void write(const std::string& path, std::string_view text) {
  std::ofstream(path, std::ios::binary) << text;
}

/// A folder with what opening it needs, but for its tokenizer.
std::string make_folder() {
  char name[] = "/tmp/plimsoll-fuzz-XXXXXX";
  if (!mkdtemp(name)) std::abort();
  const std::string folder = name;
  write(folder + "/config.json",
        R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 32,
            "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 1,
            "num_key_value_heads": 1, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
            "vocab_size": 512, "tie_word_embeddings": true, "hidden_act": "silu"})");
  const std::string header =
      R"({"model.embed_tokens.weight": {"dtype": "F16", "shape": [512, 32], "data_offsets": [0, 32768]}})";
  std::string bytes(8, '\0');
  const std::uint64_t length = header.size();
  std::memcpy(bytes.data(), &length, sizeof length);
  write(folder + "/model.safetensors", bytes + header + std::string(32768, '\0'));
  return folder;
}

/// Bit by bit as from a stream, every step of which may be the last one of a part.
std::vector<TokenId> encode_in_parts(const Tokenizer& tokenizer, std::string_view text) {
  std::vector<TokenId> out;
  Tokenizer::Progress progress;
  for (std::size_t size = 1; size < text.size(); ++size) {
    if ((text[size] & 0xC0) == 0x80) continue;
    const std::size_t taken = tokenizer.encode_beginning(text.substr(0, size), progress, out);
    if (taken > size) std::abort();
    text.remove_prefix(taken);
    size -= taken;
  }
  tokenizer.encode_end(text, progress, out);
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const struct Folder {
    std::string path = make_folder();
    ~Folder() { std::filesystem::remove_all(path); }
  } folder;
  const std::string_view all(reinterpret_cast<const char*>(data), size);
  const std::size_t end = all.find('\0');
  write(folder.path + "/tokenizer.json", all.substr(0, end));
  const std::string_view text = end == all.npos ? "Some text, 123!" : all.substr(end + 1);
  try {
    const auto tokenizer = Tokenizer::from_metadata(ModelFile::open(folder.path).metadata());
    if (text.size() < 256) {
      const std::vector<TokenId> whole = tokenizer->encode(text);
      if (encode_in_parts(*tokenizer, text) != whole) std::abort();
    }
    for (const bool parse : {false, true}) {
      const std::vector<TokenId> tokens = tokenizer->encode(text, parse);
      for (const TokenId token : tokens) {
        if (token < 0 || token >= tokenizer->vocabulary_size()) std::abort();
        tokenizer->bytes_of(token);
      }
      tokenizer->decode(tokens, parse);
    }
    tokenizer->frame();
    if (tokenizer->memory_bytes() == 0) std::abort();
  } catch (const Error&) {
  }
  return 0;
}
