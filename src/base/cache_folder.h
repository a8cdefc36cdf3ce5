// Where what may be lost is kept.
#pragma once

#include <string>

namespace plimsoll {

/// ${XDG_CACHE_HOME:-~/.cache}/plimsoll; empty where there is none.
std::string cache_folder();

}  // namespace plimsoll
