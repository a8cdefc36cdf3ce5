#include "hub/parse_json.h"

namespace plimsoll {

nlohmann::json parse_json(std::string_view text) {
  return nlohmann::json::parse(text, nullptr, false);
}

}  // namespace plimsoll
