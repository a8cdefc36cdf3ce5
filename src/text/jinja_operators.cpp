// Python's arithmetic and slices.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "text/jinja_interpreter.h"
#include "text/jinja_unicode.h"

namespace plimsoll::jinja {
namespace {

std::string_view symbol_of(Operation operation) {
  switch (operation) {
    case Operation::add: return "+";
    case Operation::subtract: return "-";
    case Operation::multiply: return "*";
    case Operation::divide: return "/";
    case Operation::floor_divide: return "//";
    case Operation::modulo: return "%";
    case Operation::power: return "** or pow()";
  }
  return "?";
}

[[noreturn]] void fail_operands(Operation operation, const Value& a, const Value& b) {
  fail_type(fmt::format("unsupported operand type(s) for {}: '{}' and '{}'", symbol_of(operation),
                        type_name(a), type_name(b)));
}

void check_defined(const Value& a, const Value& b) {
  for (const Value* value : {&a, &b})
    if (value->is(Type::undefined)) {
      const Undefined& undefined = value->as<Undefined>();
      throw JinjaError(undefined.is_unsafe ? Failure::security : Failure::undefined, undefined.message);
    }
}

std::int64_t floor_divide(std::int64_t a, std::int64_t b) {
  return a / b - (a % b != 0 && (a % b < 0) != (b < 0));
}

double floor_modulo(double a, double b) {
  double result = std::fmod(a, b);
  if (result != 0) {
    if ((b < 0) != (result < 0)) result += b;
  } else {
    result = std::copysign(0.0, b);
  }
  return result;
}

Value repeated(Interpreter& interpreter, const Value& what, std::int64_t times) {
  const auto count = static_cast<std::size_t>(std::max<std::int64_t>(0, times));
  Meter& meter = interpreter.meter();
  if (what.is(Type::string)) {
    const String& text = what.string();
    TextBuilder builder(meter);
    if (!text.text.empty())
      for (std::size_t i = 0; i < count; ++i) builder.append(text);
    return builder.take(text.markup);
  }
  const Values& items = what.list().items;
  Values result;
  if (!items.empty() && count > meter.limits().values / sizeof(Value) / items.size())
    meter.charge(meter.limits().values);
  const Bytes size = items.size() * count * sizeof(Value);
  meter.charge(size);
  meter.work(size);
  result.reserve(items.size() * count);
  for (std::size_t i = 0; i < count && !items.empty(); ++i)
    result.insert(result.end(), items.begin(), items.end());
  meter.release(size);
  return make_list(meter, std::move(result), what.type(), what.is_input());
}

Value power(const Value& a, const Value& b, bool input) {
  if (!a.is_whole() || !b.is_whole() || b.as_integer() < 0) {
    if (a.as_real() == 0 && b.as_real() < 0) fail_type("0.0 cannot be raised to a negative power");
    const double result = std::pow(a.as_real(), b.as_real());
    if (std::isnan(result) && !std::isnan(a.as_real()) && !std::isnan(b.as_real()))
      fail_type("complex numbers are not known");
    if (std::isinf(result) && std::isfinite(a.as_real()) && std::isfinite(b.as_real()))
      fail_type("(34, 'Numerical result out of range')");
    return Value::real(result, input);
  }
  std::int64_t result = 1, base = a.as_integer(), exponent = b.as_integer();
  while (exponent > 0) {
    if (exponent & 1 && __builtin_mul_overflow(result, base, &result))
      fail_type("integers are limited to 64 bits");
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base))
      fail_type("integers are limited to 64 bits");
  }
  return Value::integer(result, input);
}

Value whole_arithmetic(Operation operation, std::int64_t a, std::int64_t b, bool input) {
  std::int64_t result = 0;
  bool overflows = false;
  switch (operation) {
    case Operation::add: overflows = __builtin_add_overflow(a, b, &result); break;
    case Operation::subtract: overflows = __builtin_sub_overflow(a, b, &result); break;
    case Operation::multiply: overflows = __builtin_mul_overflow(a, b, &result); break;
    case Operation::divide:
      if (b == 0) fail_type("division by zero");
      return Value::real(static_cast<double>(a) / static_cast<double>(b), input);
    default:
      if (b == 0) fail_type("integer division or modulo by zero");
      if (b == -1) {  // where the quotient of the least integer does not fit
        overflows = operation == Operation::floor_divide && __builtin_sub_overflow(0, a, &result);
        break;
      }
      result = operation == Operation::floor_divide ? floor_divide(a, b) : a - b * floor_divide(a, b);
  }
  if (overflows) fail_type("integers are limited to 64 bits");
  return Value::integer(result, input);
}

Value real_arithmetic(Operation operation, double a, double b, bool input) {
  switch (operation) {
    case Operation::add: return Value::real(a + b, input);
    case Operation::subtract: return Value::real(a - b, input);
    case Operation::multiply: return Value::real(a * b, input);
    default: break;
  }
  if (b == 0) fail_type(operation == Operation::divide ? "float division by zero" : "float floor division by zero");
  if (operation == Operation::divide) return Value::real(a / b, input);
  const double rest = floor_modulo(a, b);
  if (operation == Operation::modulo) return Value::real(rest, input);
  const double quotient = (a - rest) / b;
  const double floored = std::floor(quotient);
  return Value::real(quotient - floored > 0.5 ? floored + 1 : floored, input);
}

/// What safe strings do to others that are added to them.
void append_escaped(TextBuilder& builder, const String& string) {
  if (string.markup) return builder.append(string);
  for (std::size_t i = 0; i < string.text.size(); ++i) {
    const char c = string.text[i];
    const std::string_view escaped = c == '&'    ? "&amp;"
                                     : c == '<'  ? "&lt;"
                                     : c == '>'  ? "&gt;"
                                     : c == '"'  ? "&#34;"
                                     : c == '\'' ? "&#39;"
                                                 : "";
    if (escaped.empty())
      builder.append(string, i, i + 1);
    else
      builder.append(escaped, string.is_input_at(i));
  }
}

}  // namespace

Value add(Interpreter& interpreter, const Value& a, const Value& b) {
  check_defined(a, b);
  if (a.is(Type::string) && b.is(Type::string)) {
    const bool markup = a.string().markup || b.string().markup;
    TextBuilder builder(interpreter.meter());
    for (const Value* part : {&a, &b})
      if (markup)
        append_escaped(builder, part->string());
      else
        builder.append(part->string());
    return builder.take(markup);
  }
  if (a.type() == b.type() && (a.is(Type::list) || a.is(Type::tuple))) {
    Values items = a.list().items;
    interpreter.meter().work(items.size() * sizeof(Value));
    items.insert(items.end(), b.list().items.begin(), b.list().items.end());
    return make_list(interpreter.meter(), std::move(items), a.type(), a.is_input() || b.is_input());
  }
  if (!a.is_number() || !b.is_number()) {
    if (a.is(Type::string))
      fail_type(fmt::format("can only concatenate str (not \"{}\") to str", type_name(b)));
    if (a.is(Type::list) || a.is(Type::tuple))
      fail_type(fmt::format("can only concatenate {} (not \"{}\") to {}", type_name(a), type_name(b),
                            type_name(a)));
  }
  return arithmetic(interpreter, Operation::add, a, b);
}

Value arithmetic(Interpreter& interpreter, Operation operation, const Value& a, const Value& b) {
  if (operation == Operation::modulo && a.is(Type::string)) return format_percent(interpreter, a, b);
  check_defined(a, b);
  const bool input = a.is_input() || b.is_input();
  if (operation == Operation::multiply) {
    const auto is_repeatable = [](const Value& value) {
      return value.is(Type::string) || value.is(Type::list) || value.is(Type::tuple);
    };
    if (is_repeatable(a) && b.is_whole()) return repeated(interpreter, a, b.as_integer());
    if (is_repeatable(b) && a.is_whole()) return repeated(interpreter, b, a.as_integer());
    if (is_repeatable(a) || is_repeatable(b))
      fail_type(fmt::format("can't multiply sequence by non-int of type '{}'",
                            type_name(is_repeatable(a) ? b : a)));
  }
  if (!a.is_number() || !b.is_number()) fail_operands(operation, a, b);
  if (operation == Operation::power) return power(a, b, input);
  if (a.is_whole() && b.is_whole()) return whole_arithmetic(operation, a.as_integer(), b.as_integer(), input);
  return real_arithmetic(operation, a.as_real(), b.as_real(), input);
}

Value slice(Interpreter& interpreter, const Value& object, const Value& begin, const Value& end,
            const Value& step) {
  const bool is_text = object.is(Type::string);
  const std::int64_t size = is_text ? object.string().length()
                                    : static_cast<std::int64_t>(object.list().items.size());
  const auto bound = [](const Value& value, std::int64_t otherwise) {
    if (value.is(Type::none)) return otherwise;
    if (!value.is_whole())
      fail_type("slice indices must be integers or None or have an __index__ method");
    return value.as_integer();
  };
  const std::int64_t stride = bound(step, 1);
  if (stride == 0) fail_type("slice step cannot be zero");
  const std::int64_t least = stride > 0 ? 0 : -1, most = stride > 0 ? size : size - 1;
  const auto place = [&](const Value& value, std::int64_t otherwise) {
    std::int64_t at = bound(value, otherwise);
    if (!value.is(Type::none) && at < 0) at = at < -size ? least : at + size;
    return std::clamp(at, least, most);
  };
  const std::int64_t first = place(begin, stride > 0 ? 0 : size - 1);
  const std::int64_t last = place(end, stride > 0 ? size : -1);
  Meter& meter = interpreter.meter();
  if (is_text) {
    const String& text = object.string();
    if (stride == 1) {
      if (first >= last) return substring(meter, object, 0, 0);
      const std::size_t from = text.offset_of(first);
      return substring(meter, object, from, text.is_ascii() ? from + static_cast<std::size_t>(last - first) : text.offset_of(last));
    }
    // Character by character.
    std::vector<std::size_t> offsets;
    const Bytes held = static_cast<Bytes>(size + 1) * sizeof(std::size_t);
    meter.work(held);
    meter.charge(held);
    offsets.reserve(static_cast<std::size_t>(size) + 1);
    for (std::size_t at = 0; at < text.text.size(); at += code_point_at(text.text, at).bytes)
      offsets.push_back(at);
    meter.release(held);
    offsets.push_back(text.text.size());
    TextBuilder builder(meter);
    for (std::int64_t i = first; stride > 0 ? i < last : i > last;) {
      builder.append(text, offsets[static_cast<std::size_t>(i)],
                     offsets[static_cast<std::size_t>(i) + 1]);
      if (__builtin_add_overflow(i, stride, &i)) break;
    }
    return builder.take();
  }
  Values items;
  for (std::int64_t i = first; stride > 0 ? i < last : i > last;) {
    items.push_back(object.list().items[static_cast<std::size_t>(i)]);
    if (__builtin_add_overflow(i, stride, &i)) break;
  }
  meter.work(items.size() * sizeof(Value));
  // Part of a range is one as well: it prints as one.
  if (object.is(Type::range)) {
    const List& range = object.list();
    const Value part = make_list(meter, std::move(items), Type::range);
    // Only for printing, so that what does not fit may wrap.
    const auto bits = [](std::int64_t value) { return static_cast<std::uint64_t>(value); };
    const auto at = [&](std::int64_t i) {
      return static_cast<std::int64_t>(bits(range.start) + bits(i) * bits(range.stride));
    };
    part.list().start = at(first);
    part.list().stop = at(last);
    part.list().stride = static_cast<std::int64_t>(bits(range.stride) * bits(stride));
    return part;
  }
  return make_list(meter, std::move(items), object.type(), object.is_input());
}

}  // namespace plimsoll::jinja
