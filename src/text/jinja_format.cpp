// "..." % values and "...".format(...), as Python has them.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "text/jinja_interpreter.h"
#include "text/jinja_unicode.h"

namespace plimsoll::jinja {
namespace {

constexpr std::int64_t widest = 1 << 20;

/// How one value is written.
struct Spec {
  std::string fill = " ";
  char align = '\0';  ///< '<', '>', '^', '=' or none given
  char sign = '-';
  bool alternate = false;
  char grouping = '\0';
  std::int64_t width = 0, precision = -1;
  char type = '\0';
};

std::string grouped(std::string digits, char separator, std::size_t every) {
  if (separator == '\0') return digits;
  const std::size_t point = std::min(digits.find_first_not_of("0123456789abcdefABCDEF"), digits.size());
  for (std::size_t at = point; at > every; at -= every) digits.insert(at - every, 1, separator);
  return digits;
}

std::string whole_digits(std::uint64_t value, char type) {
  switch (type) {
    case 'x': return fmt::format("{:x}", value);
    case 'X': return fmt::format("{:X}", value);
    case 'o': return fmt::format("{:o}", value);
    case 'b': return fmt::format("{:b}", value);
    default: return fmt::format("{}", value);
  }
}

std::string real_digits(double value, const Spec& spec, char type) {
  const int precision = spec.precision < 0 ? 6 : static_cast<int>(spec.precision);
  if (!std::isfinite(value)) {
    const bool raised = type == 'F' || type == 'E' || type == 'G';
    return std::isnan(value) ? (raised ? "NAN" : "nan") : (raised ? "INF" : "inf");
  }
  switch (type) {
    case 'e': return fmt::format("{:.{}e}", value, precision);
    case 'E': return fmt::format("{:.{}E}", value, precision);
    case 'g': return spec.alternate ? fmt::format("{:#.{}g}", value, std::max(precision, 1)) : fmt::format("{:.{}g}", value, std::max(precision, 1));
    case 'G': return spec.alternate ? fmt::format("{:#.{}G}", value, std::max(precision, 1)) : fmt::format("{:.{}G}", value, std::max(precision, 1));
    default: return fmt::format("{:.{}f}", value, precision);
  }
}

/// Sign and digits apart, so that zeros may stand between them.
struct Number {
  std::string sign, digits;
};

std::string sign_of(bool negative, char rule) {
  if (negative) return "-";
  return rule == '+' ? "+" : rule == ' ' ? " " : "";
}

Number write_number(const Value& value, const Spec& spec, char type) {
  Number number;
  const bool as_real = std::string_view("eEfFgG%").find(type) != std::string_view::npos;
  if (as_real) {
    double real = value.as_real();
    number.sign = sign_of(std::signbit(real) && !std::isnan(real), spec.sign);
    real = std::abs(real);
    if (type == '%')
      number.digits = real_digits(real * 100, spec, 'f') + "%";
    else
      number.digits = real_digits(real, spec, type);
  } else {
    const std::int64_t whole_value = value.is(Type::real) ? static_cast<std::int64_t>(value.as_real()) : value.as_integer();
    number.sign = sign_of(whole_value < 0, spec.sign);
    const auto bits = static_cast<std::uint64_t>(whole_value);
    number.digits = whole_digits(whole_value < 0 ? 0 - bits : bits, type);
    if (spec.alternate && (type == 'x' || type == 'X' || type == 'o' || type == 'b'))
      number.sign += fmt::format("0{}", type);
  }
  number.digits = grouped(number.digits, spec.grouping, type == 'x' || type == 'X' || type == 'o' || type == 'b' ? 4 : 3);
  return number;
}

void pad(TextBuilder& builder, const std::string& fill, std::int64_t times) {
  for (; times > 0; --times) builder.append(fill, false);
}

void append_padded(TextBuilder& builder, const Value& text, const Spec& spec, char usual_align) {
  const char align = spec.align ? spec.align : usual_align;
  const std::int64_t missing = std::max<std::int64_t>(0, spec.width - text.string().length());
  const std::int64_t before = align == '>' || align == '=' ? missing : align == '^' ? missing / 2 : 0;
  pad(builder, spec.fill, before);
  builder.append(text.string());
  pad(builder, spec.fill, missing - before);
}

void append_number(Interpreter& interpreter, TextBuilder& builder, const Number& number, const Spec& spec, bool input) {
  if (spec.align != '=')
    return append_padded(builder, interpreter.string(number.sign + number.digits, input), spec, '>');
  builder.append(number.sign, input);
  pad(builder, spec.fill, spec.width - static_cast<std::int64_t>(number.sign.size() + number.digits.size()));
  builder.append(number.digits, input);
}

// --- "%" ---

class PercentFormat {
 public:
  PercentFormat(Interpreter& interpreter, const Value& format, const Value& values, const Arguments* named)
      : interpreter_(interpreter), builder_(interpreter.meter()), format_(format.string()), named_(named) {
    if (values.is(Type::tuple))
      values_ = values.list().items;
    else if (!named)
      values_ = {values};
    if (values.is(Type::dict)) dict_ = &values;
    is_single_ = !values.is(Type::tuple);
  }

  Value run() {
    const std::string& text = format_.text;
    std::size_t at = 0;
    while (true) {
      const std::size_t mark = text.find('%', at);
      const std::size_t end = std::min(mark, text.size());
      builder_.append(format_, at, end);
      if (mark == std::string::npos) break;
      at = mark + 1;
      convert(at);
    }
    const bool is_mapping = is_single_ && (dict_ || (!values_.empty() && values_[0].is(Type::list)));
    if (next_ < values_.size() && !is_mapping && !used_names_)
      fail_type("not all arguments converted during string formatting");
    return builder_.take();
  }

 private:
  const Value& next() {
    if (next_ >= values_.size()) fail_type("not enough arguments for format string");
    return values_[next_++];
  }

  Value by_name(std::string_view name) {
    used_names_ = true;
    if (named_) {
      if (const Value* found = named_->find(~std::size_t{0}, name)) return *found;
    } else if (dict_) {
      if (const Value* found = dict_->dict().find(name)) return *found;
    } else {
      fail_type("format requires a mapping");
    }
    fail_type(fmt::format("'{}'", name));
  }

  void convert(std::size_t& at) {
    const std::string& text = format_.text;
    Spec spec;
    bool left = false, zero = false;
    std::optional<Value> value;
    if (at < text.size() && text[at] == '(') {
      const std::size_t end = text.find(')', at);
      if (end == std::string::npos) fail_type("incomplete format key");
      value = by_name(std::string_view(text).substr(at + 1, end - at - 1));
      at = end + 1;
    }
    for (; at < text.size(); ++at) {
      if (text[at] == '-') left = true;
      else if (text[at] == '0') zero = true;
      else if (text[at] == '+') spec.sign = '+';
      else if (text[at] == ' ') spec.sign = spec.sign == '+' ? '+' : ' ';
      else if (text[at] == '#') spec.alternate = true;
      else break;
    }
    const auto number = [&]() -> std::int64_t {
      if (at < text.size() && text[at] == '*') {
        ++at;
        return whole(next(), "*");
      }
      std::int64_t result = 0;
      for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at)
        result = std::min<std::int64_t>(result * 10 + (text[at] - '0'), widest + 1);
      return result;
    };
    spec.width = number();
    if (spec.width < 0) {
      left = true;
      spec.width = spec.width < -widest ? widest + 1 : -spec.width;
    }
    if (at < text.size() && text[at] == '.') {
      ++at;
      spec.precision = std::max<std::int64_t>(0, number());
    }
    if (spec.width > widest || spec.precision > 1000) fail_type("too wide a format");
    while (at < text.size() && (text[at] == 'l' || text[at] == 'h' || text[at] == 'L')) ++at;
    if (at == text.size()) fail_type("incomplete format");
    const char type = text[at++];
    if (type == '%') {
      builder_.append("%", false);
      return;
    }
    if (std::string_view("sradiuxXoeEfFgGc").find(type) == std::string_view::npos)
      fail_type(fmt::format("unsupported format character '{}' (0x{:x}) at index {}", type, type, at - 1));
    if (!value) value = next();
    if (left) spec.align = '<';
    if (type == 's' || type == 'r' || type == 'a' || type == 'c') return append_text(*value, spec, type);
    if (!value->is_number())
      fail_type(fmt::format("%{} format: a real number is required, not {}", type, type_name(*value)));
    if (zero && !left) {
      spec.fill = "0";
      spec.align = '=';
    }
    const bool is_whole = std::string_view("diuxXo").find(type) != std::string_view::npos;
    if (is_whole && value->is(Type::real) && (!std::isfinite(value->as_real()) || std::abs(value->as_real()) > 9e18))
      fail_type("the number does not fit 64 bits");
    Number written = write_number(*value, spec, type);
    if (is_whole && spec.precision > static_cast<std::int64_t>(written.digits.size()))
      written.digits.insert(0, static_cast<std::size_t>(spec.precision) - written.digits.size(), '0');
    append_number(interpreter_, builder_, written, spec, has_input(*value));
  }

  void append_text(const Value& value, const Spec& spec, char type) {
    TextBuilder part(interpreter_.meter());
    if (type == 's') {
      append_string(part, value);
    } else if (type == 'c' && value.is_whole()) {
      std::string character;
      if (value.as_integer() < 0 || value.as_integer() > 0x10FFFF) fail_type("%c arg not in range(0x110000)");
      append_code_point(character, static_cast<std::uint32_t>(value.as_integer()));
      part.append(character, has_input(value));
    } else if (type == 'c') {
      if (!value.is(Type::string) || value.string().length() != 1) fail_type("%c requires int or char");
      append_string(part, value);
    } else {
      append_repr(part, value);
    }
    Value text = part.take();
    if (spec.precision >= 0 && type != 'c')
      text = slice(interpreter_, text, Value::none(), Value::integer(spec.precision), Value::none());
    append_padded(builder_, text, spec, '>');
  }

  Interpreter& interpreter_;
  TextBuilder builder_;
  const String& format_;
  const Arguments* named_;
  const Value* dict_ = nullptr;
  bool is_single_ = false, used_names_ = false;
  Values values_;
  std::size_t next_ = 0;
};

// --- format() ---

Spec parse_spec(std::string_view text) {
  Spec spec;
  const auto is_align = [](char c) { return c == '<' || c == '>' || c == '^' || c == '='; };
  if (!text.empty()) {
    const std::size_t first = code_point_at(text, 0).bytes;
    if (first < text.size() && is_align(text[first])) {
      spec.fill = std::string(text.substr(0, first));
      spec.align = text[first];
      text.remove_prefix(first + 1);
    } else if (is_align(text[0])) {
      spec.align = text[0];
      text.remove_prefix(1);
    }
  }
  const auto take = [&](std::string_view any) {
    if (text.empty() || any.find(text.front()) == std::string_view::npos) return '\0';
    const char c = text.front();
    text.remove_prefix(1);
    return c;
  };
  const auto number = [&] {
    std::int64_t result = 0;
    while (!text.empty() && text.front() >= '0' && text.front() <= '9') {
      result = std::min<std::int64_t>(result * 10 + (text.front() - '0'), widest + 1);
      text.remove_prefix(1);
    }
    return result;
  };
  if (const char sign = take("+- ")) spec.sign = sign;
  if (take("#")) spec.alternate = true;
  if (!text.empty() && text.front() == '0') {
    take("0");
    if (!spec.align) {
      spec.fill = "0";
      spec.align = '=';
    }
  }
  spec.width = number();
  spec.grouping = take(",_");
  if (take(".")) {
    if (text.empty() || text.front() < '0' || text.front() > '9') fail_type("Format specifier missing precision");
    spec.precision = number();
  }
  spec.type = take("bcdeEfFgGnosxX%");
  if (!text.empty()) fail_type("Invalid format specifier");
  if (spec.width > widest || spec.precision > 1000) fail_type("Too many decimal digits in format string");
  return spec;
}

class BraceFormat {
 public:
  BraceFormat(Interpreter& interpreter, const Arguments& arguments)
      : interpreter_(interpreter), arguments_(arguments) {}

  Value run(const String& format, std::size_t begin, std::size_t end, int depth) {
    if (depth < 0) fail_type("Max string recursion exceeded");
    TextBuilder builder(interpreter_.meter());
    const std::string& text = format.text;
    for (std::size_t at = begin; at < end;) {
      const char c = text[at];
      if (c != '{' && c != '}') {
        const std::size_t next = std::min(text.find_first_of("{}", at), end);
        builder.append(format, at, next);
        at = next;
        continue;
      }
      if (at + 1 < end && text[at + 1] == c) {
        builder.append(format, at, at + 1);
        at += 2;
        continue;
      }
      if (c == '}') fail_type("Single '}' encountered in format string");
      std::size_t close = at + 1;
      for (int open = 1;; ++close) {
        if (close >= end) fail_type(close == at + 1 ? "Single '{' encountered in format string" : "expected '}' before end of string");
        if (text[close] == '{') ++open;
        if (text[close] == '}' && --open == 0) break;
      }
      append_field(builder, format, at + 1, close, depth);
      at = close + 1;
    }
    return builder.take();
  }

 private:
  void append_field(TextBuilder& builder, const String& format, std::size_t begin, std::size_t end, int depth) {
    const std::string_view field = std::string_view(format.text).substr(begin, end - begin);
    std::size_t name_end = 0;
    int brackets = 0;
    for (; name_end < field.size(); ++name_end) {
      if (field[name_end] == '[') ++brackets;
      if (field[name_end] == ']') --brackets;
      if (brackets == 0 && (field[name_end] == '!' || field[name_end] == ':')) break;
    }
    Value value = look_up(field.substr(0, name_end));
    std::size_t at = name_end;
    if (at < field.size() && field[at] == '!') {
      if (at + 1 >= field.size()) fail_type("end of string while looking for conversion specifier");
      const char conversion = field[at + 1];
      if (conversion == 'r' || conversion == 'a') {
        TextBuilder part(interpreter_.meter());
        append_repr(part, value);
        value = part.take();
      } else if (conversion == 's') {
        value = to_string(interpreter_, value);
      } else {
        fail_type(fmt::format("Unknown conversion specifier {}", conversion));
      }
      at += 2;
      if (at < field.size() && field[at] != ':') fail_type("expected ':' after conversion specifier");
    }
    Value spec_text = interpreter_.string("");
    if (at < field.size()) spec_text = run(format, begin + at + 1, end, depth - 1);
    append_value(builder, value, spec_text.string().text);
  }

  Value look_up(std::string_view name) {
    const std::size_t first_end = std::min(name.find_first_of(".["), name.size());
    const std::string_view first = name.substr(0, first_end);
    Value value;
    if (first.empty() || (first[0] >= '0' && first[0] <= '9')) {
      std::size_t place = 0;
      if (first.empty()) {
        if (numbered_) fail_type("cannot switch from manual field specification to automatic field numbering");
        counted_ = true;
        place = next_++;
      } else {
        if (counted_) fail_type("cannot switch from manual field specification to automatic field numbering");
        numbered_ = true;
        for (const char c : first) {
          if (c < '0' || c > '9') fail_type("invalid field name");
          place = std::min<std::size_t>(place * 10 + static_cast<std::size_t>(c - '0'), 1 << 20);
        }
      }
      if (place >= arguments_.positional.size())
        fail_type(fmt::format("Replacement index {} out of range for positional args tuple", place));
      value = arguments_.positional[place];
    } else {
      const Value* found = arguments_.find(~std::size_t{0}, first);
      if (!found) fail_type(fmt::format("'{}'", first));
      value = *found;
    }
    for (std::size_t at = first_end; at < name.size();) {
      interpreter_.meter().step();
      if (name[at] == '.') {
        const std::size_t end = std::min(name.find_first_of(".[", at + 1), name.size());
        value = interpreter_.attribute(value, name.substr(at + 1, end - at - 1));
        at = end;
        continue;
      }
      if (name[at] != '[') fail_type("Only '.' or '[' may follow ']' in format field specifier");
      const std::size_t end = name.find(']', at);
      if (end == std::string_view::npos || end == at + 1) fail_type("Empty attribute in format string");
      const std::string_view index = name.substr(at + 1, end - at - 1);
      const bool is_number = index.size() < 10 && index.find_first_not_of("0123456789") == std::string_view::npos;
      value = interpreter_.item(value, is_number ? Value::integer(std::stoll(std::string(index)))
                                                 : interpreter_.string(std::string(index)));
      if (value.is(Type::undefined)) fail_type(fmt::format("'{}'", index));
      at = end + 1;
    }
    return value;
  }

  void append_value(TextBuilder& builder, const Value& value, std::string_view spec_text) {
    if (value.is(Type::string)) {
      Spec spec = parse_spec(spec_text);
      if (spec.type != '\0' && spec.type != 's')
        fail_type(fmt::format("Unknown format code '{}' for object of type 'str'", spec.type));
      if (spec.align == '=') {
        if (spec.fill != "0") fail_type("'=' alignment not allowed in string format specifier");
        spec.align = '<';
      }
      const Value text = spec.precision < 0 ? value
                                            : slice(interpreter_, value, Value::none(),
                                                    Value::integer(spec.precision), Value::none());
      return append_padded(builder, text, spec, '<');
    }
    if (spec_text.empty()) return append_string(builder, value);
    if (!value.is_number())
      fail_type(fmt::format("unsupported format string passed to {}.__format__", type_name(value)));
    const Spec spec = parse_spec(spec_text);
    char type = spec.type;
    if (value.is_whole() && (type == '\0' || type == 'n')) type = 'd';
    if (value.is(Type::real) && type == 'n') type = 'g';
    if (type == 's' || (value.is(Type::real) && std::string_view("bcdoxX").find(type) != std::string_view::npos && type != '\0'))
      fail_type(fmt::format("Unknown format code '{}' for object of type '{}'", type, type_name(value)));
    const bool input = value.is_input();
    if (type == 'c') {
      if (value.as_integer() < 0 || value.as_integer() > 0x10FFFF) fail_type("%c arg not in range(0x110000)");
      std::string character;
      append_code_point(character, static_cast<std::uint32_t>(value.as_integer()));
      return append_padded(builder, interpreter_.string(character, input), spec, '<');
    }
    if (value.is(Type::real) && type == '\0') {
      // As it prints, or by so many digits.
      const double real = value.as_real();
      Number number{sign_of(std::signbit(real) && !std::isnan(real), spec.sign), real_text(std::abs(real))};
      if (spec.precision >= 0) {
        number.digits = real_digits(std::abs(real), spec, 'g');
        if (number.digits.find_first_of(".en") == std::string::npos) number.digits += ".0";
      }
      number.digits = grouped(number.digits, spec.grouping, 3);
      return append_number(interpreter_, builder, number, spec, input);
    }
    append_number(interpreter_, builder, write_number(value, spec, type), spec, input);
  }

  Interpreter& interpreter_;
  const Arguments& arguments_;
  std::size_t next_ = 0;
  bool counted_ = false, numbered_ = false;
};

}  // namespace

Value format_percent(Interpreter& interpreter, const Value& format, const Value& values, const Arguments* named) {
  return PercentFormat(interpreter, format, values, named).run();
}

Value format_braces(Interpreter& interpreter, const Value& format, const Arguments& arguments) {
  return BraceFormat(interpreter, arguments).run(format.string(), 0, format.string().text.size(), 1);
}

}  // namespace plimsoll::jinja
