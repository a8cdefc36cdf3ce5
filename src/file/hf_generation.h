// generation_config.json of a Hugging Face folder: how its makers mean texts to be written.
#pragma once

#include <filesystem>

#include "file/metadata_builder.h"

namespace plimsoll {

/// Adds "general.sampling.*", the keys of llama.cpp's GGUF files, where the folder says how to
/// sample. What it says of ends is add_hf_tokenizer's. Limits of length, and what only concerns
/// speed, are left to the caller. Throws Error(unsupported_model) for a setting that would change
/// the text in a way that is not followed here (beams, banned or forced tokens and the like), and
/// as read_json_object does.
void add_hf_generation(const std::filesystem::path& folder, MetadataBuilder& metadata);

}  // namespace plimsoll
