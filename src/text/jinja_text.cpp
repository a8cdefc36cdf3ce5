// Python's str() and repr().
#include <fmt/format.h>

#include <charconv>
#include <cmath>

#include "text/jinja_builtins.h"
#include "text/jinja_interpreter.h"
#include "text/jinja_unicode.h"

namespace plimsoll::jinja {
namespace {

void append_string_repr(TextBuilder& builder, const String& string) {
  const std::string& text = string.text;
  const bool has_single = text.find('\'') != std::string::npos;
  const char quote = has_single && text.find('"') == std::string::npos ? '"' : '\'';
  const std::string_view quote_text(&quote, 1);
  const bool input = string.has_input();
  if (string.markup) builder.append("Markup(", input);
  builder.append(quote_text, input);
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint next = code_point_at(text, at);
    const bool is_input = string.is_input_at(at);
    std::string escaped;
    switch (next.value) {
      case '\n': escaped = "\\n"; break;
      case '\r': escaped = "\\r"; break;
      case '\t': escaped = "\\t"; break;
      case '\\': escaped = "\\\\"; break;
      default:
        if (next.value == static_cast<std::uint32_t>(quote))
          escaped = fmt::format("\\{}", quote);
        else if (!is_printable(next.value))
          escaped = next.value < 0x100     ? fmt::format("\\x{:02x}", next.value)
                    : next.value < 0x10000 ? fmt::format("\\u{:04x}", next.value)
                                           : fmt::format("\\U{:08x}", next.value);
    }
    if (escaped.empty())
      builder.append(string, at, at + next.bytes);
    else
      builder.append(escaped, is_input);
    at += next.bytes;
  }
  builder.append(quote_text, input);
  if (string.markup) builder.append(")", input);
}

void append_items(TextBuilder& builder, const Values& items, std::string_view begin,
                  std::string_view end, bool input, int depth) {
  builder.append(begin, input);
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (i > 0) builder.append(", ", input);
    append_repr(builder, items[i], depth + 1);
  }
  builder.append(end, input);
}

void append_dict(TextBuilder& builder, const Dict& dict, bool input, int depth) {
  builder.append("{", input);
  bool first = true;
  for (const auto& [key, value] : dict.entries) {
    if (!std::exchange(first, false)) builder.append(", ", input);
    append_repr(builder, key, depth + 1);
    builder.append(": ", input);
    append_repr(builder, value, depth + 1);
  }
  builder.append("}", input);
}

}  // namespace

std::string real_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[40];
  const auto written = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific);
  const std::string_view text(buffer, static_cast<std::size_t>(written.ptr - buffer));
  const std::size_t e = text.find('e');
  const int exponent = std::atoi(std::string(text.substr(e + 1)).c_str());
  std::string digits(text.substr(0, e));
  const bool negative = digits.front() == '-';
  if (negative) digits.erase(0, 1);
  if (digits.size() > 1) digits.erase(1, 1);  // the point
  std::string result;
  if (exponent < -4 || exponent >= 16) {
    result = digits.substr(0, 1);
    if (digits.size() > 1) result += "." + digits.substr(1);
    result += fmt::format("e{}{:02}", exponent < 0 ? '-' : '+', std::abs(exponent));
  } else if (exponent < 0) {
    result = "0." + std::string(static_cast<std::size_t>(-exponent - 1), '0') + digits;
  } else {
    const auto whole_digits = static_cast<std::size_t>(exponent) + 1;
    if (digits.size() <= whole_digits)
      result = digits + std::string(whole_digits - digits.size(), '0') + ".0";
    else
      result = digits.substr(0, whole_digits) + "." + digits.substr(whole_digits);
  }
  return negative ? fmt::format("-{}", result) : result;
}

void append_repr(TextBuilder& builder, const Value& value, int depth) {
  if (depth > static_cast<int>(deepest_nesting))
    throw JinjaError(Failure::limit, fmt::format("prints values more than {} deep", deepest_nesting));
  const bool input = value.is_input();
  switch (value.type()) {
    case Type::undefined: builder.append("Undefined", false); return;
    case Type::none: builder.append("None", input); return;
    case Type::boolean: builder.append(value.as_boolean() ? "True" : "False", input); return;
    case Type::integer: builder.append(fmt::format("{}", value.as_integer()), input); return;
    case Type::real: builder.append(real_text(value.as_real()), input); return;
    case Type::string: append_string_repr(builder, value.string()); return;
    case Type::list: append_items(builder, value.list().items, "[", "]", input, depth); return;
    case Type::tuple:
      append_items(builder, value.list().items, "(", value.list().items.size() == 1 ? ",)" : ")", input, depth);
      return;
    case Type::range: {
      const List& range = value.list();
      builder.append(range.stride == 1
                         ? fmt::format("range({}, {})", range.start, range.stop)
                         : fmt::format("range({}, {}, {})", range.start, range.stop, range.stride),
                     input);
      return;
    }
    case Type::dict: append_dict(builder, value.dict(), input, depth); return;
    case Type::keys:
    case Type::values:
    case Type::items: {
      const Value& dict = value.as<View>().dict;
      builder.append(fmt::format("{}([", type_name(value)), dict.is_input());
      bool first = true;
      for (const auto& [key, item] : dict.dict().entries) {
        if (!std::exchange(first, false)) builder.append(", ", dict.is_input());
        if (value.is(Type::items)) builder.append("(", dict.is_input());
        if (!value.is(Type::values)) append_repr(builder, key, depth + 1);
        if (value.is(Type::items)) builder.append(", ", dict.is_input());
        if (!value.is(Type::keys)) append_repr(builder, item, depth + 1);
        if (value.is(Type::items)) builder.append(")", dict.is_input());
      }
      builder.append("])", dict.is_input());
      return;
    }
    case Type::space: {
      builder.append("<Namespace {", false);
      bool first = true;
      for (const auto& [name, item] : value.as<Namespace>().attributes) {
        if (!std::exchange(first, false)) builder.append(", ", false);
        builder.append(fmt::format("'{}': ", name), true);
        append_repr(builder, item, depth + 1);
      }
      builder.append("}>", false);
      return;
    }
    case Type::macro: {
      const Node& node = *value.as<Macro>().definition;
      builder.append(node.kind == Kind::macro ? "<Macro>" : "<Macro anonymous>", false);
      return;
    }
    case Type::loop: {
      LoopState& loop = value.as<LoopState>();
      builder.append(fmt::format("<LoopContext {}/{}>", loop.index + 1, loop.length()), false);
      return;
    }
    default: builder.append(fmt::format("<{} object>", type_name(value)), false);
  }
}

void append_string(TextBuilder& builder, const Value& value, int depth) {
  if (value.is(Type::string))
    builder.append(value.string());
  else if (!value.is(Type::undefined))
    append_repr(builder, value, depth);
}

Value to_string(Interpreter& interpreter, const Value& value) {
  if (value.is(Type::string) && !value.string().markup) return value;
  TextBuilder builder(interpreter.meter());
  append_string(builder, value);
  return builder.take();
}

}  // namespace plimsoll::jinja
