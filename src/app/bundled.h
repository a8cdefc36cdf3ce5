// The small model that comes with the program.
#pragma once

#include <string>

namespace plimsoll {

/// Where it is: in the installation that this program's file is part of, in its source tree, or
/// where the build was. Throws Error(file_not_found) that names these places.
std::string bundled_model_path();

/// Whether this program runs from its source tree.
bool is_in_source_tree();

}  // namespace plimsoll
