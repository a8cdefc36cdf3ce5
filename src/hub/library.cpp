#include "hub/library.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include "base/error.h"

namespace plimsoll {

Library::Library(std::initializer_list<const char*> names, const char* package) : package_(package) {
  for (const char* name : names) {
    handle_ = ::dlopen(name, RTLD_NOW | RTLD_LOCAL);
    file_ = name;
    if (handle_ != nullptr) return;
  }
  throw Error(ErrorCode::not_available,
              fmt::format("downloading needs the library {}, which is not installed", *names.begin()),
              fmt::format("on Debian: apt-get install {}", package));
}

void* Library::symbol(const char* name) const {
  if (void* found = ::dlsym(handle_, name)) return found;
  throw Error(ErrorCode::not_available, fmt::format("{} has no {}: it is too old", file_, name),
              fmt::format("on Debian: apt-get install {}", package_));
}

}  // namespace plimsoll
