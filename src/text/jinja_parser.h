// Makes the tree of a template out of its text.
#pragma once

#include <string_view>

#include "text/jinja_syntax.h"

namespace plimsoll::jinja {

/// Throws Failure::syntax with the line, also for statements that chat templates may not use (include, extends, import,
/// block, autoescape), and Failure::limit for a tree that is too deep.
Syntax parse(std::string_view source);

}  // namespace plimsoll::jinja
