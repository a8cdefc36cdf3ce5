// The tokenizer of a Hugging Face folder as GGUF keys: tokenizer.json or tokenizer.model, with what
// tokenizer_config.json, generation_config.json and the files with chat templates say besides.
#pragma once

#include <filesystem>

#include "file/json_reader.h"
#include "file/metadata_builder.h"

namespace plimsoll {

/// Adds "tokenizer.*" for a vocabulary of `size` tokens: those beyond are left out, those that lack
/// are unused padding. tokenizer.json, or what stands for it (vocab.json with merges.txt, vocab.txt),
/// goes in as a whole under tokenizer.plimsoll.pipeline, and besides under the format's own names
/// where it has some: "gpt2" with merges and the kind of pre-tokenizer, "llama" with scores, "t5",
/// "bert"; otherwise as unnamed_tokenizer. tokenizer.model alone becomes "llama". Adds nothing for a
/// folder without tokenizer. `config` is config.json. Throws Error: file_corrupt, file_unreadable,
/// invalid_model, unsupported_model (parts of a tokenizer that are not known, by name).
void add_hf_tokenizer(const std::filesystem::path& folder, const Json& config, std::int64_t size,
                      MetadataBuilder& metadata);

}  // namespace plimsoll
