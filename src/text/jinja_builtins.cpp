#include "text/jinja_builtins.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <ctime>

#include "text/jinja_interpreter.h"
#include "text/jinja_unicode.h"

namespace plimsoll::jinja {

void fail_type(const std::string& message) { throw JinjaError(Failure::type, message); }

const Value* Arguments::find(std::size_t place, std::string_view name) const {
  if (place < positional.size()) return &positional[place];
  for (const auto& [key, value] : named)
    if (key == name) return &value;
  return nullptr;
}

void Arguments::check(std::string_view function, std::initializer_list<std::string_view> names) const {
  if (positional.size() > names.size())
    fail_type(fmt::format("{}() takes at most {} arguments ({} given)", function, names.size(),
                          positional.size()));
  for (const auto& [key, value] : named) {
    const auto* found = std::ranges::find(names, key);
    if (found == names.end())
      fail_type(fmt::format("{}() got an unexpected keyword argument '{}'", function, key));
    if (static_cast<std::size_t>(found - names.begin()) < positional.size())
      fail_type(fmt::format("{}() got multiple values for argument '{}'", function, key));
  }
}

std::int64_t whole(const Value& value, std::string_view what) {
  if (!value.is_whole())
    fail_type(fmt::format("{} must be an integer, not '{}'", what, type_name(value)));
  return value.as_integer();
}

Values items_of(Interpreter& interpreter, const Value& value) {
  Meter& meter = interpreter.meter();
  Values items;
  switch (value.type()) {
    case Type::undefined: {
      const Undefined& undefined = value.as<Undefined>();
      if (undefined.is_unsafe) throw JinjaError(Failure::security, undefined.message);
      return items;
    }
    case Type::list:
    case Type::tuple:
    case Type::range: items = value.list().items; break;
    case Type::string: {
      const String& text = value.string();
      meter.work(text.text.size());
      for (std::size_t at = 0; at < text.text.size();) {
        const std::size_t size = code_point_at(text.text, at).bytes;
        items.push_back(text.text.size() == size ? value : substring(meter, value, at, at + size));
        at += size;
      }
      break;
    }
    case Type::dict:
      for (const auto& entry : value.dict().entries) items.push_back(entry.first);
      break;
    case Type::keys:
    case Type::values:
    case Type::items:
      for (const auto& [key, item] : value.as<View>().dict.dict().entries) {
        if (value.is(Type::keys))
          items.push_back(key);
        else if (value.is(Type::values))
          items.push_back(item);
        else
          items.push_back(make_list(meter, {key, item}, Type::tuple));
      }
      break;
    case Type::generator: {
      Generator& generator = value.as<Generator>();
      for (; generator.next < generator.items.size(); ++generator.next)
        items.push_back(generator.items[generator.next]);
      break;
    }
    default: fail_type(fmt::format("'{}' object is not iterable", type_name(value)));
  }
  meter.work(items.size() * sizeof(Value));
  return items;
}

std::int64_t length_of(Interpreter&, const Value& value) {
  switch (value.type()) {
    case Type::undefined: return 0;
    case Type::string: return value.string().length();
    case Type::list:
    case Type::tuple:
    case Type::range: return static_cast<std::int64_t>(value.list().items.size());
    case Type::dict: return static_cast<std::int64_t>(value.dict().entries.size());
    case Type::keys:
    case Type::values:
    case Type::items:
      return static_cast<std::int64_t>(value.as<View>().dict.dict().entries.size());
    case Type::loop: return value.as<LoopState>().length();
    default: fail_type(fmt::format("object of type '{}' has no len()", type_name(value)));
  }
}

bool contains(Interpreter& interpreter, const Value& container, const Value& item) {
  Meter& meter = interpreter.meter();
  switch (container.type()) {
    case Type::string:
      if (item.is(Type::undefined)) {
        fail_type("'in <string>' requires string as left operand, not Undefined");
      }
      if (!item.is(Type::string))
        fail_type(fmt::format("'in <string>' requires string as left operand, not {}", type_name(item)));
      meter.work(container.string().text.size());
      return container.string().text.find(item.string().text) != std::string::npos;
    case Type::dict: return container.dict().find(item) != nullptr;
    case Type::keys: return container.as<View>().dict.dict().find(item) != nullptr;
    case Type::none:
    case Type::boolean:
    case Type::integer:
    case Type::real:
    case Type::space:
    case Type::function:
    case Type::method:
    case Type::macro:
      fail_type(fmt::format("argument of type '{}' is not iterable", type_name(container)));
    case Type::list:
    case Type::tuple:
    case Type::range:
      return std::ranges::any_of(container.list().items,
                                 [&](const Value& other) { return equal(meter, other, item); });
    default: {
      const Values items = items_of(interpreter, container);
      return std::ranges::any_of(items, [&](const Value& other) { return equal(meter, other, item); });
    }
  }
}

Value attribute_path(Interpreter& interpreter, const Value& value, const Value& path, const Value* otherwise) {
  const auto step = [&](const Value& from, const Value& index) {
    Value found = interpreter.item(from, index);
    return otherwise && found.is(Type::undefined) ? *otherwise : found;
  };
  if (path.is_whole()) return step(value, path);
  if (!path.is(Type::string)) fail_type("an attribute's name must be text or a number");
  Value found = value;
  std::string_view rest = path.string().text;
  while (true) {
    const std::size_t dot = rest.find('.');
    const std::string part(rest.substr(0, dot));
    std::int64_t number = 0;
    const auto read = std::from_chars(part.data(), part.data() + part.size(), number);
    const bool is_number = !part.empty() && part[0] != '-' && read.ec == std::errc() &&
                           read.ptr == part.data() + part.size();
    found = step(found, is_number ? Value::integer(number) : interpreter.string(part));
    if (dot == std::string_view::npos) return found;
    rest.remove_prefix(dot + 1);
  }
}

namespace {

// --- Functions ---

constexpr std::int64_t longest_range = 100'000;  // Jinja's, in its sandbox

Value make_range(Interpreter& interpreter, const Arguments& arguments) {
  const Values& given = arguments.positional;
  if (given.empty() || given.size() > 3 || !arguments.named.empty())
    fail_type(fmt::format("range expected 1 to 3 arguments, got {}", given.size()));
  const auto number = [&](std::size_t i) {
    if (!given[i].is_whole())
      fail_type(fmt::format("'{}' object cannot be interpreted as an integer", type_name(given[i])));
    return given[i].as_integer();
  };
  const std::int64_t start = given.size() > 1 ? number(0) : 0;
  const std::int64_t stop = number(given.size() > 1 ? 1 : 0);
  const std::int64_t stride = given.size() > 2 ? number(2) : 1;
  if (stride == 0) fail_type("range() arg 3 must not be zero");
  const bool up = stride > 0;
  const std::uint64_t distance =
      (up ? start < stop : start > stop)
          ? (up ? static_cast<std::uint64_t>(stop) - static_cast<std::uint64_t>(start)
                : static_cast<std::uint64_t>(start) - static_cast<std::uint64_t>(stop))
          : 0;
  const std::uint64_t step = up ? static_cast<std::uint64_t>(stride) : -static_cast<std::uint64_t>(stride);
  const std::uint64_t count = distance / step + (distance % step != 0);
  if (count > longest_range)
    fail_type(fmt::format("Range too big. The sandbox blocks ranges larger than MAX_RANGE ({}).", longest_range));
  interpreter.meter().charge(count * sizeof(Value));
  Values items;
  items.reserve(count);
  std::uint64_t at = static_cast<std::uint64_t>(start);
  for (std::uint64_t i = 0; i < count; ++i, at += static_cast<std::uint64_t>(stride))
    items.push_back(Value::integer(static_cast<std::int64_t>(at)));
  interpreter.meter().release(count * sizeof(Value));
  const Value range = make_list(interpreter.meter(), std::move(items), Type::range);
  range.list().start = start;
  range.list().stop = stop;
  range.list().stride = stride;
  return range;
}

/// dict() and namespace(): what `add` gets is every key with its value.
template <class Add>
void read_pairs(Interpreter& interpreter, const Arguments& arguments, std::string_view name, Add add) {
  if (arguments.positional.size() > 1)
    fail_type(fmt::format("{} expected at most 1 argument, got {}", name, arguments.positional.size()));
  if (!arguments.positional.empty()) {
    const Value& source = arguments.positional[0];
    if (source.is(Type::dict)) {
      for (const auto& [key, value] : source.dict().entries) add(key, value);
    } else {
      for (const Value& pair : items_of(interpreter, source)) {
        const Values parts = items_of(interpreter, pair);
        if (parts.size() != 2) fail_type("dictionary update sequence element has the wrong length; 2 is required");
        add(parts[0], parts[1]);
      }
    }
  }
  for (const auto& [key, value] : arguments.named) add(interpreter.string(key), value);
}

Value make_dictionary(Interpreter& interpreter, const Arguments& arguments) {
  const bool input = !arguments.positional.empty() && arguments.positional[0].is_input();
  const Value dict = make_dict(interpreter.meter(), input);
  read_pairs(interpreter, arguments, "dict",
             [&](const Value& key, const Value& value) { dict.dict().set(key, value); });
  return dict;
}

Value make_namespace(Interpreter& interpreter, const Arguments& arguments) {
  const Value space = interpreter.new_namespace();
  read_pairs(interpreter, arguments, "dict", [&](const Value& key, const Value& value) {
    if (!key.is(Type::string)) fail_type("names of a namespace must be strings");
    if (key.string().text.starts_with('_'))
      throw JinjaError(Failure::security,
                       fmt::format("Chat templates cannot store underscore-prefixed attributes on a "
                                   "namespace, but got '{}'. Please rename the attribute.",
                                   key.string().text));
    space.as<Namespace>().set(key.string().text, value);
  });
  return space;
}

Value raise_exception(Interpreter& interpreter, const Arguments& arguments) {
  const Value* message = arguments.find(0, "message");
  if (!message || arguments.positional.size() + arguments.named.size() > 1)
    fail_type("raise_exception() takes one message");
  throw JinjaError(Failure::raised, to_string(interpreter, *message).string().text);
}

/// strftime in the C locale, whatever the process has.
Value strftime_now(Interpreter& interpreter, const Arguments& arguments) {
  const Value* format = arguments.find(0, "format");
  if (!format || !format->is(Type::string)) fail_type("strftime_now() takes a format");
  static constexpr const char* days[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                         "Thursday", "Friday", "Saturday"};
  static constexpr const char* months[] = {"January",   "February", "March",    "April",
                                           "May",       "June",     "July",     "August",
                                           "September", "October",  "November", "December"};
  const std::time_t now = interpreter.now();
  std::tm local{};
  if (!localtime_r(&now, &local)) fail_type("the time cannot be told");
  const int hour12 = local.tm_hour % 12 == 0 ? 12 : local.tm_hour % 12;
  std::string text;
  const std::string& pattern = format->string().text;
  const auto append = [&](std::string_view part) {
    if (text.size() + part.size() > interpreter.meter().limits().output) interpreter.meter().refuse_output();
    text += part;
  };
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] != '%' || i + 1 == pattern.size()) {
      append(pattern.substr(i, 1));
      continue;
    }
    bool pads = true;
    char code = pattern[++i];
    if (code == '-' && i + 1 < pattern.size()) {
      pads = false;
      code = pattern[++i];
    }
    const auto number = [&](int value, int digits) {
      append(pads ? fmt::format("{:0{}}", value, digits) : fmt::format("{}", value));
    };
    switch (code) {
      case 'a': append(std::string_view(days[local.tm_wday]).substr(0, 3)); break;
      case 'A': append(days[local.tm_wday]); break;
      case 'b':
      case 'h': append(std::string_view(months[local.tm_mon]).substr(0, 3)); break;
      case 'B': append(months[local.tm_mon]); break;
      case 'd': number(local.tm_mday, 2); break;
      case 'e': append(fmt::format("{:{}}", local.tm_mday, pads ? 2 : 0)); break;
      case 'm': number(local.tm_mon + 1, 2); break;
      case 'y': number(local.tm_year % 100, 2); break;
      case 'Y': append(fmt::format("{}", local.tm_year + 1900)); break;
      case 'H': number(local.tm_hour, 2); break;
      case 'I': number(hour12, 2); break;
      case 'M': number(local.tm_min, 2); break;
      case 'S': number(local.tm_sec, 2); break;
      case 'f': append("000000"); break;
      case 'j': number(local.tm_yday + 1, 3); break;
      case 'p': append(local.tm_hour < 12 ? "AM" : "PM"); break;
      case 'w': append(fmt::format("{}", local.tm_wday)); break;
      case 'u': append(fmt::format("{}", local.tm_wday == 0 ? 7 : local.tm_wday)); break;
      case 'F':
        append(fmt::format("{}-{:02}-{:02}", local.tm_year + 1900, local.tm_mon + 1, local.tm_mday));
        break;
      case 'T':
      case 'X': append(fmt::format("{:02}:{:02}:{:02}", local.tm_hour, local.tm_min, local.tm_sec)); break;
      case 'R': append(fmt::format("{:02}:{:02}", local.tm_hour, local.tm_min)); break;
      case 'D':
      case 'x':
        append(fmt::format("{:02}/{:02}/{:02}", local.tm_mon + 1, local.tm_mday, local.tm_year % 100));
        break;
      case 'c':
        append(fmt::format("{:.3} {:.3} {:2} {:02}:{:02}:{:02} {}", days[local.tm_wday], months[local.tm_mon],
                           local.tm_mday, local.tm_hour, local.tm_min, local.tm_sec, local.tm_year + 1900));
        break;
      case 's': append(fmt::format("{}", interpreter.now())); break;
      case 'n': append("\n"); break;
      case 't': append("\t"); break;
      case 'z':
      case 'Z': break;  // a time without a zone has none
      case '%': append("%"); break;
      default: append(fmt::format("%{}", code));
    }
  }
  return interpreter.string(std::move(text), format->string().has_input());
}

Value make_joiner(Interpreter& interpreter, const Arguments& arguments) {
  arguments.check("joiner", {"sep"});
  const Value* separator = arguments.find(0, "sep");
  return Value::of(Type::joiner, new Joiner(&interpreter.meter(),
                                            separator ? *separator : interpreter.string(", ")));
}

Value make_cycler(Interpreter& interpreter, const Arguments& arguments) {
  if (arguments.positional.empty()) fail_type("at least one item has to be provided");
  return Value::of(Type::cycler, new Cycler(&interpreter.meter(), arguments.positional));
}

}  // namespace

BuiltinFunction find_function(std::string_view name) {
  static constexpr std::pair<std::string_view, BuiltinFunction> functions[] = {
      {"cycler", make_cycler},       {"dict", make_dictionary},
      {"joiner", make_joiner},       {"namespace", make_namespace},
      {"range", make_range},         {"raise_exception", raise_exception},
      {"strftime_now", strftime_now}};
  for (const auto& [key, function] : functions)
    if (key == name) return function;
  return nullptr;
}

}  // namespace plimsoll::jinja
