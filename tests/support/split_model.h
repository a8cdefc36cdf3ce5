// Splits a GGUF model over several files as llama.cpp's gguf-split does.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <vector>

#include "file/gguf_writer.h"
#include "file/model_file.h"

namespace plimsoll::test {

inline std::string part_name(const std::string& prefix, std::size_t number, std::size_t count) {
  return fmt::format("{}-{:05}-of-{:05}.gguf", prefix, number, count);
}

struct SplitOptions {
  std::size_t tensors_per_part = 1;
  bool no_tensor_first = false;  ///< metadata alone in the first part
};

/// Returns the paths of the parts, PREFIX-00001-of-0000N.gguf and so on.
inline std::vector<std::string> split_model(const std::string& source, const std::string& prefix,
                                            const SplitOptions& options) {
  const ModelFile file = ModelFile::open(source);
  const std::span<const TensorInfo> all = file.tensors();
  std::vector<std::span<const TensorInfo>> parts;
  if (options.no_tensor_first) parts.emplace_back();
  for (std::size_t at = 0; at < all.size(); at += options.tensors_per_part)
    parts.push_back(all.subspan(at, std::min(options.tensors_per_part, all.size() - at)));
  std::vector<std::string> paths;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    paths.push_back(part_name(prefix, i + 1, parts.size()));
    GgufWriter writer(OutputPath::own(paths.back()));
    if (i == 0)
      for (const Metadata::Entry& entry : file.metadata().entries())
        writer.add_value(entry.key, entry.value);
    writer.add_integer("split.no", static_cast<std::int64_t>(i), MetadataType::u16);
    writer.add_integer("split.count", static_cast<std::int64_t>(parts.size()), MetadataType::u16);
    writer.add_integer("split.tensors.count", static_cast<std::int64_t>(all.size()),
                       MetadataType::i32);
    for (const TensorInfo& tensor : parts[i])
      writer.add_tensor(tensor.name, *tensor.format,
                        {tensor.shape.data(), static_cast<std::size_t>(tensor.rank)});
    std::vector<std::uint8_t> data;
    for (const TensorInfo& tensor : parts[i]) {
      data.resize(tensor.bytes);
      file.read(tensor.offset, tensor.bytes, data.data());
      writer.write(data);
    }
    writer.finish();
  }
  return paths;
}

}  // namespace plimsoll::test
