// A text to measure a model on where there is no time for it to write its own.
#pragma once

#include <string_view>

namespace plimsoll {

/// Prose of many kinds and a line of code, some 600 tokens. Its words matter little, its kinds
/// do.
extern const std::string_view sample_text;

}  // namespace plimsoll
