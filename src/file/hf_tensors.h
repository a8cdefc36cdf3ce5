// From the tensors of a Hugging Face folder to those of the GGUF file that would be converted from
// it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "file/converted_tensors.h"
#include "file/hf_config.h"
#include "file/model_file.h"
#include "file/safetensors.h"

namespace plimsoll {

struct HfTensors {
  std::unique_ptr<ConvertedTensors> bytes;
  std::vector<TensorInfo> tensors;  ///< without names
  std::vector<std::string> names;   ///< of tensors
};

/// Throws Error: unsupported_model (a tensor that is no part of the family), unsupported_format (a
/// type that is not F32, F16 or BF16), invalid_model (a shape that is no matrix or vector, or no
/// whole number of heads).
HfTensors convert_hf_tensors(std::vector<SafetensorsFile> files, const HfModel& model,
                             const std::string& path);

}  // namespace plimsoll
