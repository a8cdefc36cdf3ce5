#include "hub/parse_json.h"

#include "base/small_file.h"

namespace plimsoll {

nlohmann::json parse_json(std::string_view text) {
  constexpr int most_levels = 64;
  if (is_nested_deeper(text, most_levels)) return nlohmann::json::value_t::discarded;
  return nlohmann::json::parse(text, nullptr, false);
}

}  // namespace plimsoll
