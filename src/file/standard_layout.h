// GGUF files that other converters than llama.cpp's have written, brought into the layout that
// everything above knows: the keys and tensors that llama.cpp's converter gives the same model.
#pragma once

#include <memory>
#include <string>

#include "file/header_bytes.h"
#include "file/metadata.h"
#include "file/tensor_table.h"

namespace plimsoll {

struct StandardLayout {
  std::unique_ptr<HeaderBytes> added;  ///< what views in the metadata point into; null for none
  std::string note;                    ///< what was done, for the user; empty for nothing to say
};

/// What is done (facts: ollama/ollama, convert/ and llama/compat/, as of 2026):
/// - gemma3, with a sign of Ollama's converter: its names of RoPE keys, what it leaves out
///   (norm epsilon, RoPE bases, and from 131,072 positions on the linear scaling by 8), tokens beyond
///   the embedding's rows, and the image part's keys and tensors, which go.
/// - llama: the pre-tokenizer of Llama 3 vocabularies where it is missing or "default", and as many
///   rotated dimensions as the heads have where the converter has divided the width instead.
/// - qwen2 and qwen3: the pre-tokenizer of their vocabulary likewise.
/// - phi3: an original context of 0, which stands for none.
/// Nothing is changed in a file that is in the standard layout.
StandardLayout standardise(Metadata& metadata, TensorTable& table, const std::string& path);

}  // namespace plimsoll
