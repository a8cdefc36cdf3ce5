// Safetensors files: a JSON header with names, types, shapes and places, then the tensors' bytes.
// Format: https://github.com/huggingface/safetensors#format
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "file/input_file.h"

namespace plimsoll {

struct SafetensorsEntry {
  std::string name;
  std::string type;                 ///< "F32", "BF16", "I64", ...
  std::vector<std::int64_t> shape;  ///< the last one is the contiguous one
  std::uint64_t offset;             ///< from the start of the file
  Bytes bytes;
};

struct SafetensorsFile {
  std::unique_ptr<InputFile> file;
  std::vector<SafetensorsEntry> entries;  ///< in the order of their bytes
};

/// No header is longer, by the format's own rule.
constexpr Bytes longest_safetensors_header = 100'000'000;

/// Reads and checks a header. Throws Error: file_not_found, file_unreadable, file_corrupt (a header
/// that is longer than the file or the limit, no JSON or lacks a part; bytes that are out of range,
/// overlap, leave holes or are not as many as type and shape say).
SafetensorsFile open_safetensors(const std::string& path);

/// The files of a model: `path` alone, or all that an index (a .json file with a "weight_map")
/// names, beside it. Throws also Error(invalid_model) for a tensor that the index promises and no
/// file has, and Error(file_not_found) naming a missing file and the index.
std::vector<SafetensorsFile> open_safetensors_index(const std::string& path);

}  // namespace plimsoll
