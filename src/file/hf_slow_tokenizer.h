// Tokenizers of Hugging Face folders that have no tokenizer.json: vocab.json with merges.txt, or
// vocab.txt, as the library's classes in Python save them.
#pragma once

#include <filesystem>
#include <optional>

#include "file/json_reader.h"
#include "file/tokenizer_json.h"

namespace plimsoll {

/// What tokenizer.json would hold, by the class that tokenizer_config.json (`settings`) names, or
/// config.json (`config`) by its model_type. Empty where the folder has none of those files. Throws
/// Error(unsupported_model) naming a class that is not known, and as read_tokenizer_json does.
std::optional<TokenizerJson> read_slow_tokenizer(const std::filesystem::path& folder,
                                                 const JsonKeys& settings, const JsonKeys& config);

}  // namespace plimsoll
