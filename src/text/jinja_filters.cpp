// Filters of texts and numbers, and the table of all filters.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "text/jinja_filters.h"
#include "text/jinja_interpreter.h"
#include "text/jinja_unicode.h"

namespace plimsoll::jinja {
namespace {

/// The value as text, by the method of str that has the filter's name.
template <const char* const& method>
Value by_method(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  return call_method(interpreter, to_string(interpreter, subject), method, arguments);
}
constexpr const char* upper_name = "upper";
constexpr const char* lower_name = "lower";
constexpr const char* capitalize_name = "capitalize";

bool flag(const Arguments& arguments, std::size_t place, std::string_view name) {
  const Value* found = arguments.find(place, name);
  return found && is_true(*found);
}

Value filter_string(Interpreter& interpreter, const Value& subject, const Arguments&) {
  return subject.is(Type::string) ? subject : to_string(interpreter, subject);
}

Value filter_trim(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  arguments.check("trim", {"chars"});
  Arguments given;
  if (const Value* characters = arguments.find(0, "chars")) given.positional.push_back(*characters);
  return call_method(interpreter, filter_string(interpreter, subject, {}), "strip", given);
}

Value filter_title(Interpreter& interpreter, const Value& subject, const Arguments&) {
  const Value text = to_string(interpreter, subject);
  const String& string = text.string();
  TextBuilder builder(interpreter.meter());
  bool begins = true;
  for (std::size_t at = 0; at < string.text.size();) {
    const CodePoint next = code_point_at(string.text, at);
    const bool separates = next.value == '-' || next.value == '(' || next.value == '{' ||
                           next.value == '[' || next.value == '<' || is_space(next.value);
    std::string changed;
    append_in_case(changed, next.value, begins ? Case::upper : Case::lower);
    builder.append(separates ? string.text.substr(at, next.bytes) : changed, string.is_input_at(at));
    begins = separates;
    at += next.bytes;
  }
  return builder.take();
}

Value filter_replace(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  arguments.check("replace", {"old", "new", "count"});
  const Value *from = arguments.find(0, "old"), *to = arguments.find(1, "new"),
              *count = arguments.find(2, "count");
  if (!from || !to) fail_type("replace takes what is replaced and by what");
  Arguments given;
  given.positional = {to_string(interpreter, *from), to_string(interpreter, *to)};
  if (count && !count->is(Type::none)) given.positional.push_back(*count);
  return call_method(interpreter, to_string(interpreter, subject), "replace", given);
}

Value filter_default(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  arguments.check("default", {"default_value", "boolean"});
  if (!subject.is(Type::undefined) && (!flag(arguments, 1, "boolean") || is_true(subject))) return subject;
  const Value* other = arguments.find(0, "default_value");
  return other ? *other : interpreter.string("");
}

Value filter_indent(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  arguments.check("indent", {"width", "first", "blank"});
  if (!subject.is(Type::string)) {
    if (subject.is(Type::undefined))
      throw JinjaError(Failure::undefined, subject.as<Undefined>().message);
    fail_type(fmt::format("unsupported operand type(s) for +=: '{}' and 'str'", type_name(subject)));
  }
  Meter& meter = interpreter.meter();
  const Value* width = arguments.find(0, "width");
  Value indentation;
  if (width && width->is(Type::string)) {
    indentation = *width;
  } else {
    const std::int64_t spaces = width ? whole(*width, "the width") : 4;
    if (spaces > static_cast<std::int64_t>(meter.limits().output)) meter.refuse_output();
    indentation = interpreter.string(std::string(static_cast<std::size_t>(std::max<std::int64_t>(0, spaces)), ' '));
  }
  const bool first = flag(arguments, 1, "first"), blank = flag(arguments, 2, "blank");
  // A line end is added before lines are counted, so that a last empty line is one.
  TextBuilder whole_text(meter);
  whole_text.append(subject.string());
  whole_text.append("\n", false);
  const Values lines = items_of(interpreter, call_method(interpreter, whole_text.take(), "splitlines", {}));
  TextBuilder builder(meter);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const String& line = lines[i].string();
    if (i > 0) builder.append("\n", false);
    if (i == 0 ? first : blank || !line.text.empty()) builder.append(indentation.string());
    builder.append(line);
  }
  return builder.take(subject.string().markup);
}

Value filter_center(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  arguments.check("center", {"width"});
  Arguments given;
  const Value* width = arguments.find(0, "width");
  given.positional.push_back(width ? *width : Value::integer(80));
  return call_method(interpreter, to_string(interpreter, subject), "center", given);
}

Value filter_truncate(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  arguments.check("truncate", {"length", "killwords", "end", "leeway"});
  const auto number = [&](std::size_t place, std::string_view name, std::int64_t otherwise) {
    const Value* found = arguments.find(place, name);
    return found && !found->is(Type::none) ? whole(*found, name) : otherwise;
  };
  const std::int64_t length = number(0, "length", 255), leeway = number(3, "leeway", 5);
  const Value* end = arguments.find(2, "end");
  const Value tail = end ? to_string(interpreter, *end) : interpreter.string("...");
  const Value text = to_string(interpreter, subject);
  const std::int64_t kept = length - tail.string().length();
  if (kept < 0 || leeway < 0) fail_type("truncate's length and leeway are too small");
  if (text.string().length() - leeway <= length) return text;
  Value cut = slice(interpreter, text, Value::none(), Value::integer(kept), Value::none());
  if (!flag(arguments, 1, "killwords")) {
    const std::size_t space = cut.string().text.rfind(' ');
    if (space != std::string::npos) cut = substring(interpreter.meter(), cut, 0, space);
  }
  TextBuilder builder(interpreter.meter());
  builder.append(cut.string());
  builder.append(tail.string());
  return builder.take();
}

Value filter_escape(Interpreter& interpreter, const Value& subject, const Arguments&) {
  if (subject.is(Type::string) && subject.string().markup) return subject;
  TextBuilder empty(interpreter.meter());
  return add(interpreter, empty.take(true), to_string(interpreter, subject));
}
Value filter_force_escape(Interpreter& interpreter, const Value& subject, const Arguments&) {
  TextBuilder empty(interpreter.meter());
  return add(interpreter, empty.take(true), to_string(interpreter, subject));
}
Value filter_safe(Interpreter& interpreter, const Value& subject, const Arguments&) {
  TextBuilder builder(interpreter.meter());
  append_string(builder, subject);
  return builder.take(true);
}

Value filter_url_encode(Interpreter& interpreter, const Value& subject, const Arguments&) {
  TextBuilder builder(interpreter.meter());
  const auto append = [&](const Value& part, std::string_view unescaped) {
    const Value text = to_string(interpreter, part);
    const String& string = text.string();
    for (std::size_t i = 0; i < string.text.size(); ++i) {
      const char c = string.text[i];
      const bool plain = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') ||
                         std::string_view("_.-~").find(c) != std::string_view::npos ||
                         unescaped.find(c) != std::string_view::npos;
      if (plain)
        builder.append(string, i, i + 1);
      else if (c == ' ' && unescaped.empty())
        builder.append("+", string.is_input_at(i));
      else
        builder.append(fmt::format("%{:02X}", static_cast<std::uint8_t>(c)), string.is_input_at(i));
    }
  };
  if (subject.is(Type::string) || !(subject.is(Type::dict) || subject.is_sequence())) {
    append(subject, "/");
    return builder.take();
  }
  bool first = true;
  const auto append_pair = [&](const Value& key, const Value& value) {
    if (!std::exchange(first, false)) builder.append("&", false);
    append(key, "");
    builder.append("=", false);
    append(value, "");
  };
  if (subject.is(Type::dict)) {
    for (const auto& [key, value] : subject.dict().entries) append_pair(key, value);
  } else {
    for (const Value& pair : items_of(interpreter, subject)) {
      const Values parts = items_of(interpreter, pair);
      if (parts.size() != 2) fail_type("urlencode takes pairs");
      append_pair(parts[0], parts[1]);
    }
  }
  return builder.take();
}

Value filter_word_count(Interpreter& interpreter, const Value& subject, const Arguments&) {
  const Value text = to_string(interpreter, subject);
  std::int64_t words = 0;
  bool inside = false;
  for (std::size_t at = 0; at < text.string().text.size();) {
    const CodePoint next = code_point_at(text.string().text, at);
    const bool is_word = is_word_character(next.value);
    words += is_word && !inside;
    inside = is_word;
    at += next.bytes;
  }
  return Value::integer(words);
}

Value filter_format(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  if (!arguments.positional.empty() && !arguments.named.empty())
    fail_type("can't handle positional and keyword arguments at the same time");
  const Value format = to_string(interpreter, subject);
  if (!arguments.named.empty()) return format_percent(interpreter, format, Value::none(), &arguments);
  return format_percent(interpreter, format,
                        make_list(interpreter.meter(), arguments.positional, Type::tuple));
}

// --- Numbers ---

/// Python's int(text, base) without its sign's spaces; empty where it is none.
std::optional<std::int64_t> parse_whole(std::string_view text, std::int64_t base) {
  text = trimmed_right(trimmed_left(text));
  bool negative = false;
  if (text.starts_with('-') || text.starts_with('+')) {
    negative = text.front() == '-';
    text.remove_prefix(1);
  }
  const auto has_prefix = [&](char letter) {
    return text.size() > 2 && text[0] == '0' && (text[1] | 0x20) == letter;
  };
  for (const auto& [letter, value] : {std::pair{'x', 16}, {'o', 8}, {'b', 2}})
    if (has_prefix(letter) && (base == value || base == 0)) {
      base = value;
      text.remove_prefix(2);
      if (text.starts_with('_')) text.remove_prefix(1);
      break;
    }
  if (base == 0) base = 10;
  if (base < 2 || base > 36 || text.empty() || text.front() == '_' || text.back() == '_') return std::nullopt;
  std::string digits;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_')
      digits += text[i];
    else if (text[i - 1] == '_')
      return std::nullopt;
  }
  if (negative) digits.insert(0, 1, '-');
  std::int64_t result = 0;
  const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), result, static_cast<int>(base));
  if (read.ec == std::errc::result_out_of_range) fail_type("integers are limited to 64 bits");
  if (read.ec != std::errc() || read.ptr != digits.data() + digits.size()) return std::nullopt;
  return result;
}

std::optional<double> parse_real(std::string_view text) {
  std::string digits(trimmed_right(trimmed_left(text)));
  for (std::size_t i = 0; i < digits.size(); ++i)
    if (digits[i] == '_' && (i == 0 || i + 1 == digits.size() || !std::isdigit(static_cast<unsigned char>(digits[i - 1])) ||
                             !std::isdigit(static_cast<unsigned char>(digits[i + 1]))))
      return std::nullopt;
  std::erase(digits, '_');
  std::string lowered = digits;
  for (char& c : lowered) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  const std::string_view unsigned_text = std::string_view(lowered).substr(lowered.starts_with('-') || lowered.starts_with('+'));
  const bool named = unsigned_text == "inf" || unsigned_text == "infinity" || unsigned_text == "nan";
  if (!named && (digits.empty() || digits.find_first_not_of("0123456789+-.eE") != std::string::npos))
    return std::nullopt;
  char* end = nullptr;
  const double result = std::strtod(digits.c_str(), &end);
  if (end != digits.c_str() + digits.size()) return std::nullopt;
  return result;
}

std::optional<std::int64_t> truncated(double value) {
  if (!std::isfinite(value)) return std::nullopt;
  if (std::abs(value) >= 9.2e18) fail_type("integers are limited to 64 bits");
  return static_cast<std::int64_t>(value);
}

Value filter_int(Interpreter&, const Value& subject, const Arguments& arguments) {
  arguments.check("int", {"default", "base"});
  const bool input = has_input(subject);
  std::optional<std::int64_t> result;
  if (subject.is(Type::string)) {
    const Value* base = arguments.find(1, "base");
    const std::string& text = subject.string().text;
    result = parse_whole(text, base ? whole(*base, "the base") : 10);
    if (!result)
      if (const auto real = parse_real(text)) result = truncated(*real);
  } else if (subject.is_whole()) {
    result = subject.as_integer();
  } else if (subject.is(Type::real)) {
    if (std::isinf(subject.as_real())) fail_type("cannot convert float infinity to integer");
    result = truncated(subject.as_real());
  } else if (subject.is(Type::undefined)) {
    throw JinjaError(Failure::undefined, subject.as<Undefined>().message);
  }
  if (result) return Value::integer(*result, input);
  const Value* otherwise = arguments.find(0, "default");
  return otherwise ? *otherwise : Value::integer(0);
}

Value filter_float(Interpreter&, const Value& subject, const Arguments& arguments) {
  arguments.check("float", {"default"});
  std::optional<double> result;
  if (subject.is(Type::string)) result = parse_real(subject.string().text);
  if (subject.is_number()) result = subject.as_real();
  if (subject.is(Type::undefined)) throw JinjaError(Failure::undefined, subject.as<Undefined>().message);
  if (result) return Value::real(*result, has_input(subject));
  const Value* otherwise = arguments.find(0, "default");
  return otherwise ? *otherwise : Value::real(0);
}

Value filter_abs(Interpreter&, const Value& subject, const Arguments&) {
  if (!subject.is_number()) fail_type(fmt::format("bad operand type for abs(): '{}'", type_name(subject)));
  if (subject.is(Type::real)) return Value::real(std::abs(subject.as_real()), subject.is_input());
  std::int64_t result = subject.as_integer();
  if (result < 0 && __builtin_sub_overflow(0, result, &result)) fail_type("integers are limited to 64 bits");
  return Value::integer(result, subject.is_input());
}

Value filter_round(Interpreter&, const Value& subject, const Arguments& arguments) {
  arguments.check("round", {"precision", "method"});
  const Value *places = arguments.find(0, "precision"), *method = arguments.find(1, "method");
  const std::string way = method && method->is(Type::string) ? method->string().text : method ? "" : "common";
  if (way != "common" && way != "ceil" && way != "floor") fail_type("method must be common, ceil or floor");
  if (!subject.is_number()) fail_type(fmt::format("type {} doesn't define __round__ method", type_name(subject)));
  const std::int64_t digits = places ? whole(*places, "the precision") : 0;
  const bool input = subject.is_input();
  if (way == "common" && subject.is_whole() && digits >= 0) return Value::integer(subject.as_integer(), input);
  if (digits < -300 || digits > 300) return Value::real(digits < 0 ? 0 : subject.as_real(), input);
  const double value = subject.as_real(), scale = std::pow(10.0, static_cast<double>(digits));
  if (way != "common") {
    const double scaled = way == "ceil" ? std::ceil(value * scale) : std::floor(value * scale);
    if (!std::isfinite(scaled)) fail_type("cannot convert float to integer");
    return Value::real(scaled / scale, input);
  }
  if (!std::isfinite(value)) return Value::real(value, input);
  double rounded;
  if (digits >= 0) {
    // Exact decimals, halves to even.
    rounded = std::strtod(fmt::format("{:.{}f}", value, digits).c_str(), nullptr);
  } else {
    rounded = std::nearbyint(value * scale) / scale;
  }
  if (subject.is_whole()) return Value::integer(truncated(rounded).value_or(0), input);
  return Value::real(rounded, input);
}

struct NamedFilter {
  std::string_view name;
  FilterFunction function;
};

/// By name.
constexpr auto filters = std::to_array<NamedFilter>({
    {"abs", filter_abs},
    {"attr", filter_attr},
    {"batch", filter_batch},
    {"capitalize", by_method<capitalize_name>},
    {"center", filter_center},
    {"count", filter_length},
    {"d", filter_default},
    {"default", filter_default},
    {"dictsort", filter_dictsort},
    {"e", filter_escape},
    {"escape", filter_escape},
    {"first", filter_first},
    {"float", filter_float},
    {"forceescape", filter_force_escape},
    {"format", filter_format},
    {"groupby", filter_groupby},
    {"indent", filter_indent},
    {"int", filter_int},
    {"items", filter_items},
    {"join", filter_join},
    {"last", filter_last},
    {"length", filter_length},
    {"list", filter_list},
    {"lower", by_method<lower_name>},
    {"map", filter_map},
    {"max", filter_max},
    {"min", filter_min},
    {"reject", filter_reject},
    {"rejectattr", filter_rejectattr},
    {"replace", filter_replace},
    {"reverse", filter_reverse},
    {"round", filter_round},
    {"safe", filter_safe},
    {"select", filter_select},
    {"selectattr", filter_selectattr},
    {"slice", filter_slice},
    {"sort", filter_sort},
    {"string", filter_string},
    {"sum", filter_sum},
    {"title", filter_title},
    {"tojson", to_json},
    {"trim", filter_trim},
    {"truncate", filter_truncate},
    {"unique", filter_unique},
    {"upper", by_method<upper_name>},
    {"urlencode", filter_url_encode},
    {"wordcount", filter_word_count},
});
static_assert(std::ranges::is_sorted(filters, {}, &NamedFilter::name));

}  // namespace

FilterFunction find_filter(std::string_view name) {
  const auto found = std::ranges::lower_bound(filters, name, {}, &NamedFilter::name);
  return found != filters.end() && found->name == name ? found->function : nullptr;
}

}  // namespace plimsoll::jinja
