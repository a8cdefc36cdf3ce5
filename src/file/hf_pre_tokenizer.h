// Which of the known ways of cutting text a tokenizer.json asks for.
#pragma once

#include <optional>
#include <string_view>

#include "file/json_reader.h"

namespace plimsoll {

/// The name for tokenizer.ggml.pre of a byte-level tokenizer, told from the steps of its
/// "pre_tokenizer" and whether it takes pieces that are tokens as a whole without merging them.
/// Empty where no known kind has the same.
std::optional<std::string_view> pre_tokenizer_name(const JsonKeys& tokenizer, bool ignores_merges);

}  // namespace plimsoll
