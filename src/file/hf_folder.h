// A folder as Hugging Face's library saves a model: config.json, a tokenizer, safetensors files.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "file/converted_tensors.h"
#include "file/model_file.h"

namespace plimsoll {

/// What stands for a GGUF file.
struct HfFolder {
  std::string metadata;  ///< the entries of its header
  std::uint64_t keys;
  std::unique_ptr<ConvertedTensors> bytes;
  std::vector<TensorInfo> tensors;  ///< without names; offsets are into `bytes`
  std::vector<std::string> names;   ///< of tensors
};

/// True for a folder, a .safetensors file and an index (.safetensors.index.json).
bool names_hf_folder(const std::string& path);

/// Opens the folder, or the one that the file is in. Throws Error as open_safetensors_index,
/// add_hf_config, convert_hf_tensors and add_hf_tokenizer do, and file_unreadable for a folder
/// without a model.
/// Throws Error(budget_refused) before it reads descriptions (all but tensors) of more than `room` bytes.
HfFolder open_hf_folder(const std::string& path, Bytes room);

}  // namespace plimsoll
