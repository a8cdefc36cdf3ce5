// The tokenizer of a Hugging Face folder as GGUF keys: tokenizer.json or tokenizer.model, with what
// tokenizer_config.json, generation_config.json and the files with chat templates say besides.
#pragma once

#include <filesystem>

#include "file/json_reader.h"
#include "file/metadata_builder.h"

namespace plimsoll {

/// Adds "tokenizer.*" for a vocabulary of `size` tokens: those beyond are left out, those that lack
/// are unused padding. Vocabularies that fall back to bytes become "llama" with scores (those of
/// tokenizer.model, otherwise by the order of merges), byte-level ones "gpt2" with merges and the
/// kind of pre-tokenizer, Unigram ones "t5". Adds nothing for a folder without tokenizer. `config`
/// is config.json. Throws Error: file_corrupt, file_unreadable, invalid_model, unsupported_model
/// (kinds of tokenizer that are not known).
void add_hf_tokenizer(const std::filesystem::path& folder, const Json& config, std::int64_t size,
                      MetadataBuilder& metadata);

}  // namespace plimsoll
