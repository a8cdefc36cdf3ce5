// The small model that comes with the program.
#pragma once

#include <string>

namespace plimsoll {

/// Where it is: in the installation that this program's file is part of, in its source tree, or
/// where the build was. Throws Error(file_not_found) that names these places.
std::string bundled_model_path();

/// Says on standard error, if that is a terminal, what the bundled model is and how to get a real
/// one.
void notice_bundled_model();

}  // namespace plimsoll
