// Bytes that a JSON file holds as text.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace plimsoll {

/// Empty where the text is no base64.
std::optional<std::string> decode_base64(std::string_view text);

}  // namespace plimsoll
