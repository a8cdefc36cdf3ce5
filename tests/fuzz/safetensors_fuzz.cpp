// Any bytes as the header of a folder's model.safetensors, with and without its right length, before a fixed block of data: each
// either opens, or is refused with a typed error. What opens is described, and read through.
#include <stdlib.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/error.h"
#include "file/model_file.h"
#include "model/architecture.h"
#include "model/tensors.h"

using namespace plimsoll;

namespace {

constexpr std::size_t data_bytes = 280;  // of the model that config.json describes

void write(const std::string& path, std::string_view text) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
}

std::string make_folder() {
  char name[] = "/tmp/plimsoll-fuzz-XXXXXX";
  if (!mkdtemp(name)) std::abort();
  const std::string folder = name;
  write(folder + "/config.json",
        R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4,
            "intermediate_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1,
            "num_key_value_heads": 1, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
            "vocab_size": 3, "tie_word_embeddings": true, "hidden_act": "silu"})");
  write(folder + "/tokenizer.json",
        R"({"added_tokens": [], "normalizer": null,
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
            "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}})");
  return folder;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const struct Folder {
    std::string path = make_folder();
    ~Folder() { std::filesystem::remove_all(path); }
  } folder;
  if (size < 1) return 0;
  std::string bytes;
  if (data[0] != 0) {
    const std::uint64_t length = size - 1;
    bytes.assign(reinterpret_cast<const char*>(&length), sizeof length);
  }
  bytes.append(reinterpret_cast<const char*>(data + 1), size - 1);
  bytes.append(data_bytes, '\0');
  write(folder.path + "/model.safetensors", bytes);
  try {
    const ModelFile file = ModelFile::open(folder.path);
    std::vector<char> read;
    for (const TensorInfo& tensor : file.tensors()) {
      if (tensor.bytes > 2 * data_bytes || tensor.rows() * tensor.columns() <= 0) std::abort();
      read.resize(static_cast<std::size_t>(tensor.bytes));
      file.read(tensor.offset, tensor.bytes, read.data());
    }
    find_tensors(file, describe(file));
  } catch (const Error& error) {
    if (error.code() == ErrorCode::internal) std::abort();
  }
  return 0;
}
