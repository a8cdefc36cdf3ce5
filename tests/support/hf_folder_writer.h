// Writes the Hugging Face folder that a converter would make a given GGUF file of. Shares no code
// with the reader of such folders.
#pragma once

#include <string>

#include "format/format.h"

namespace plimsoll::test {

struct HfFolderOptions {
  int shards = 1;                    ///< more than one: with an index
  FormatId vectors = FormatId::F32;  ///< of norms and biases: F32, F16 or BF16
  bool sentence_piece = false;       ///< tokenizer.model instead of tokenizer.json
  bool merges_as_pairs = false;      ///< ["a", "b"] instead of "a b"
};

/// `gguf` is of a known family, its matrices are F32, F16 or BF16. Frequency factors of llama
/// models cannot be told from a file and must not be there. The folder is made where it is missing.
/// Holds no more than one tensor of q or k in memory.
void write_hf_folder(const std::string& gguf, const std::string& folder,
                     const HfFolderOptions& options = {});

/// A folder with the tokenizer of a GGUF file and nothing else but what opening it needs.
void write_hf_vocabulary(const std::string& gguf, const std::string& folder,
                         const HfFolderOptions& options = {});

}  // namespace plimsoll::test
