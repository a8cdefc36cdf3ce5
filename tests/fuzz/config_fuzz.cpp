// Any bytes as config.json and, behind the first zero byte, as generation_config.json of a Hugging Face folder: what is
// accepted gives a description whose every number is usable.
#include <unistd.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "base/error.h"
#include "engine/sampling_defaults.h"
#include "file/model_file.h"
#include "model/architecture.h"
#include "model/rope.h"
#include "model/tensors.h"

using namespace plimsoll;

namespace {

void write(const std::filesystem::path& path, std::string_view text) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
}

/// A folder with an embedding of three tokens of width 4, and one layer's norm.
const std::filesystem::path& folder() {
  static const std::filesystem::path path = [] {
    const std::filesystem::path made =
        std::filesystem::temp_directory_path() / ("plimsoll-fuzz-config-" + std::to_string(getpid()));
    std::filesystem::create_directories(made);
    write(made / "tokenizer.json",
          R"({"added_tokens": [], "normalizer": null,
              "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
              "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}})");
    const std::string header =
        R"({"model.embed_tokens.weight": {"dtype": "F32", "shape": [3, 4], "data_offsets": [0, 48]}})";
    const std::uint64_t length = header.size();
    write(made / "model.safetensors",
          std::string(reinterpret_cast<const char*>(&length), sizeof length) + header +
              std::string(48, '\0'));
    std::atexit([] { std::filesystem::remove_all(folder()); });
    return made;
  }();
  return path;
}

void demand(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t end = std::min(input.find('\0'), size);
  write(folder() / "config.json", input.substr(0, end));
  if (end < size)
    write(folder() / "generation_config.json", input.substr(end + 1));
  else
    std::filesystem::remove(folder() / "generation_config.json");
  try {
    const ModelFile file = ModelFile::open(folder().string());
    check(sampling_defaults(file.metadata()));
    const Description d = describe(file);
    demand(d.layers > 0 && d.per_layer.size() == static_cast<std::size_t>(d.layers));
    demand(d.heads > 0 && d.kv_heads > 0 && d.heads % d.kv_heads == 0);
    demand(std::isfinite(d.attention_scale) && std::isfinite(d.embedding_scale));
    for (const LayerDescription& layer : d.per_layer)
      demand(layer.window >= 0 && static_cast<std::size_t>(layer.rope) < d.ropes.size());
    for (const RopeDescription& rope : d.ropes) {
      const RopeFrequencies found = rope_frequencies(rope, d.rope_dim, nullptr, d.trained_context);
      demand(found.radians_per_position.size() == static_cast<std::size_t>(d.rope_dim / 2));
    }
    tensor_slots(d);
  } catch (const Error& error) {
    demand(error.code() != ErrorCode::internal && !error.message().empty());
  }
  return 0;
}
