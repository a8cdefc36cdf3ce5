// Jinja's tests: "value is NAME".
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "text/jinja_interpreter.h"
#include "text/jinja_unicode.h"

namespace plimsoll::jinja {
namespace {

const Value& argument(const Arguments& arguments) {
  if (arguments.positional.size() != 1) fail_type("the test takes one argument");
  return arguments.positional[0];
}

bool test_boolean(Interpreter&, const Value& value, const Arguments&) { return value.is(Type::boolean); }
bool test_callable(Interpreter&, const Value& value, const Arguments&) {
  switch (value.type()) {
    case Type::undefined:
    case Type::function:
    case Type::method:
    case Type::macro:
    case Type::loop:
    case Type::joiner: return true;
    default: return false;
  }
}
bool test_defined(Interpreter&, const Value& value, const Arguments&) { return !value.is(Type::undefined); }
bool test_undefined(Interpreter&, const Value& value, const Arguments&) { return value.is(Type::undefined); }
bool test_none(Interpreter&, const Value& value, const Arguments&) { return value.is(Type::none); }
bool test_true(Interpreter&, const Value& value, const Arguments&) {
  return value.is(Type::boolean) && value.as_boolean();
}
bool test_false(Interpreter&, const Value& value, const Arguments&) {
  return value.is(Type::boolean) && !value.as_boolean();
}
bool test_integer(Interpreter&, const Value& value, const Arguments&) { return value.is(Type::integer); }
bool test_float(Interpreter&, const Value& value, const Arguments&) { return value.is(Type::real); }
bool test_number(Interpreter&, const Value& value, const Arguments&) { return value.is_number(); }
bool test_string(Interpreter&, const Value& value, const Arguments&) { return value.is(Type::string); }
bool test_mapping(Interpreter&, const Value& value, const Arguments&) { return value.is(Type::dict); }
bool test_sequence(Interpreter&, const Value& value, const Arguments&) {
  return value.is(Type::string) || value.is(Type::dict) || value.is_sequence() || value.is(Type::undefined);
}
bool test_iterable(Interpreter&, const Value& value, const Arguments&) {
  return value.is(Type::string) || value.is(Type::dict) || value.is_sequence() || value.is_view() ||
         value.is(Type::undefined) || value.is(Type::generator) || value.is(Type::loop);
}
bool test_escaped(Interpreter&, const Value& value, const Arguments&) {
  return value.is(Type::string) && value.string().markup;
}

std::int64_t modulo(Interpreter& interpreter, const Value& value, std::int64_t by) {
  const Value rest = arithmetic(interpreter, Operation::modulo, value, Value::integer(by));
  if (rest.is(Type::real))
    return rest.as_real() == static_cast<double>(static_cast<std::int64_t>(rest.as_real()))
               ? static_cast<std::int64_t>(rest.as_real())
               : -1;
  return rest.is_whole() ? rest.as_integer() : -1;
}
bool test_odd(Interpreter& i, const Value& value, const Arguments&) { return modulo(i, value, 2) == 1; }
bool test_even(Interpreter& i, const Value& value, const Arguments&) { return modulo(i, value, 2) == 0; }
bool test_divisible(Interpreter& i, const Value& value, const Arguments& arguments) {
  return equal(i.meter(), arithmetic(i, Operation::modulo, value, argument(arguments)), Value::integer(0));
}

bool test_equal(Interpreter& i, const Value& value, const Arguments& arguments) {
  return equal(i.meter(), value, argument(arguments));
}
bool test_unequal(Interpreter& i, const Value& value, const Arguments& arguments) {
  return !equal(i.meter(), value, argument(arguments));
}
bool test_less(Interpreter& i, const Value& value, const Arguments& arguments) {
  return compare(i.meter(), value, argument(arguments), "<") < 0;
}
bool test_less_equal(Interpreter& i, const Value& value, const Arguments& arguments) {
  return compare(i.meter(), value, argument(arguments), "<=") <= 0;
}
bool test_greater(Interpreter& i, const Value& value, const Arguments& arguments) {
  return compare(i.meter(), value, argument(arguments), ">") > 0;
}
bool test_greater_equal(Interpreter& i, const Value& value, const Arguments& arguments) {
  return compare(i.meter(), value, argument(arguments), ">=") >= 0;
}
bool test_in(Interpreter& i, const Value& value, const Arguments& arguments) {
  return contains(i, argument(arguments), value);
}
bool test_same(Interpreter& i, const Value& value, const Arguments& arguments) {
  const Value& other = argument(arguments);
  if (value.type() != other.type()) return false;
  // Small values are the same wherever they are equal.
  if (value.is_number() || value.is(Type::none) || value.is(Type::string)) return equal(i.meter(), value, other);
  return value.object() == other.object();
}

bool test_lower(Interpreter& interpreter, const Value& value, const Arguments&) {
  return is_true(call_method(interpreter, to_string(interpreter, value), "islower", {}));
}
bool test_upper(Interpreter& interpreter, const Value& value, const Arguments&) {
  return is_true(call_method(interpreter, to_string(interpreter, value), "isupper", {}));
}
bool test_filter(Interpreter&, const Value& value, const Arguments&) {
  return value.is(Type::string) && find_filter(value.string().text);
}
bool test_test(Interpreter&, const Value& value, const Arguments&) {
  return value.is(Type::string) && find_test(value.string().text);
}

struct NamedTest {
  std::string_view name;
  TestFunction function;
};

/// By name.
constexpr auto tests = std::to_array<NamedTest>({
    {"!=", test_unequal},
    {"<", test_less},
    {"<=", test_less_equal},
    {"==", test_equal},
    {">", test_greater},
    {">=", test_greater_equal},
    {"boolean", test_boolean},
    {"callable", test_callable},
    {"defined", test_defined},
    {"divisibleby", test_divisible},
    {"eq", test_equal},
    {"equalto", test_equal},
    {"escaped", test_escaped},
    {"even", test_even},
    {"false", test_false},
    {"filter", test_filter},
    {"float", test_float},
    {"ge", test_greater_equal},
    {"greaterthan", test_greater},
    {"gt", test_greater},
    {"in", test_in},
    {"integer", test_integer},
    {"iterable", test_iterable},
    {"le", test_less_equal},
    {"lessthan", test_less},
    {"lower", test_lower},
    {"lt", test_less},
    {"mapping", test_mapping},
    {"ne", test_unequal},
    {"none", test_none},
    {"number", test_number},
    {"odd", test_odd},
    {"sameas", test_same},
    {"sequence", test_sequence},
    {"string", test_string},
    {"test", test_test},
    {"true", test_true},
    {"undefined", test_undefined},
    {"upper", test_upper},
});
static_assert(std::ranges::is_sorted(tests, {}, &NamedTest::name));

}  // namespace

TestFunction find_test(std::string_view name) {
  const auto found = std::ranges::lower_bound(tests, name, {}, &NamedTest::name);
  return found != tests.end() && found->name == name ? found->function : nullptr;
}

}  // namespace plimsoll::jinja
