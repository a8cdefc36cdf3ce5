#include "base/cache_folder.h"

#include <cstdlib>

namespace plimsoll {

std::string cache_folder() {
  // Relative paths are invalid there (XDG Base Directory Specification).
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache && cache[0] == '/')
    return std::string(cache) + "/plimsoll";
  if (const char* home = std::getenv("HOME"); home && home[0] == '/')
    return std::string(home) + "/.cache/plimsoll";
  return {};
}

}  // namespace plimsoll
