// Help texts, from the declarations.
#pragma once

#include <string>

#include "options/command.h"

namespace plimsoll {

/// For "plimsoll" alone: what it is, and where to begin.
std::string overview_text();
/// All commands, a line each.
std::string commands_text(const CommandTable& table);
/// Of "plimsoll COMMAND --help", as wide as the terminal on standard output.
std::string help_text(const CommandDeclaration& command);

/// "plimsoll run [MODEL] [OPTIONS]".
std::string synopsis(const CommandDeclaration& command);

}  // namespace plimsoll
