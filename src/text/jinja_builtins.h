// Filters, tests, functions and methods that templates may use, by name.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja_syntax.h"
#include "text/jinja_value.h"

namespace plimsoll::jinja {

/// What a filter, a test, a function or a method is called with.
struct Arguments {
  Values positional;
  std::vector<std::pair<std::string, Value>> named;

  bool empty() const { return positional.empty() && named.empty(); }
  /// The argument at this place or of this name; null where neither is given.
  const Value* find(std::size_t place, std::string_view name) const;
  /// Throws Failure::type, naming `function`, for more positional arguments than `names` has, and names beside them.
  void check(std::string_view function, std::initializer_list<std::string_view> names) const;
};

/// Null where no such filter is known.
FilterFunction find_filter(std::string_view name);
/// Null where no such test is known.
TestFunction find_test(std::string_view name);

using BuiltinFunction = Value (*)(Interpreter&, const Arguments&);
/// Of a global: range, namespace, raise_exception, ... Null where there is none.
BuiltinFunction find_function(std::string_view name);
struct Function : Object {
  Function(Meter* of, std::string_view name_of, BuiltinFunction callee)
      : Object(of, sizeof(Function)), name(name_of), call(callee) {}
  std::string name;
  BuiltinFunction call;
};

/// Whether values of this type have a method of this name that templates may call.
bool has_method(const Value& value, std::string_view name);
/// Whether it is one that changes the value, or is internal: what the sandbox keeps templates from.
bool is_unsafe_attribute(const Value& value, std::string_view name);
Value call_method(Interpreter& interpreter, const Value& self, std::string_view name, const Arguments& arguments);

// --- What they share ---

/// Python's str() and repr(). Strings inside keep their marks.
Value to_string(Interpreter& interpreter, const Value& value);
void append_string(TextBuilder& builder, const Value& value, int depth = 0);
void append_repr(TextBuilder& builder, const Value& value, int depth = 0);
std::string real_text(double value);

/// Every item of anything that can be iterated; throws Failure::type otherwise.
Values items_of(Interpreter& interpreter, const Value& value);
/// Python's len().
std::int64_t length_of(Interpreter& interpreter, const Value& value);
/// `item in container`.
bool contains(Interpreter& interpreter, const Value& container, const Value& item);
/// By "a.b.0", as attribute= of filters has it; `otherwise`, unless null, takes the place of what is undefined.
Value attribute_path(Interpreter& interpreter, const Value& value, const Value& path,
                     const Value* otherwise = nullptr);
/// A whole number where one is needed.
std::int64_t whole(const Value& value, std::string_view what);

/// json.dumps as chat templates have it: arguments ensure_ascii, indent, separators, sort_keys.
Value to_json(Interpreter& interpreter, const Value& value, const Arguments& arguments);
/// "..." % values.
Value format_percent(Interpreter& interpreter, const Value& format, const Value& values,
                     const Arguments* named = nullptr);
/// "...".format(...).
Value format_braces(Interpreter& interpreter, const Value& format, const Arguments& arguments);

[[noreturn]] void fail_type(const std::string& message);

}  // namespace plimsoll::jinja
