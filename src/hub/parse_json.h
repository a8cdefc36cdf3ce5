// Parsing JSON in one place: each further kind of text that the library is given makes its parser anew.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

namespace plimsoll {

/// Discarded (is_discarded()) where the text is none, or has more than 64 levels.
nlohmann::json parse_json(std::string_view text);

}  // namespace plimsoll
