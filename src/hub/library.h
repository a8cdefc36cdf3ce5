// A shared library that is loaded when it is first needed, and stays.
#pragma once

#include <initializer_list>
#include <string>

namespace plimsoll {

class Library {
 public:
  /// The first of `names` that loads. Throws Error(not_available) when none does; `package` is Debian's that has it.
  Library(std::initializer_list<const char*> names, const char* package);

  /// Sets `function` to the symbol of that name. Throws as the constructor does.
  template <typename Function>
  void find(const char* name, Function& function) const {
    function = reinterpret_cast<Function>(symbol(name));
  }

 private:
  void* symbol(const char* name) const;
  void* handle_ = nullptr;
  std::string file_, package_;
};

}  // namespace plimsoll
