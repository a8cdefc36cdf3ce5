// The methods of str, dict and list that templates may call.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "text/jinja_interpreter.h"
#include "text/jinja_unicode.h"

namespace plimsoll::jinja {
namespace {

/// A string's method at work.
struct TextCall {
  Interpreter& interpreter;
  const Value& self;
  const String& text;
  const Arguments& arguments;

  Meter& meter() const { return interpreter.meter(); }
  const Value* find(std::size_t place, std::string_view name = {}) const {
    const Value* found = arguments.find(place, name);
    return found && found->is(Type::none) ? nullptr : found;
  }
  const String& string(std::size_t place, std::string_view what, std::string_view name = {}) const {
    const Value* found = arguments.find(place, name);
    if (!found) fail_type(fmt::format("{}() misses an argument", what));
    if (!found->is(Type::string))
      fail_type(fmt::format("{}() argument must be str, not {}", what, type_name(*found)));
    return found->string();
  }
  std::int64_t number(std::size_t place, std::string_view name, std::int64_t otherwise) const {
    const Value* found = arguments.find(place, name);
    return found ? whole(*found, name) : otherwise;
  }
  Value part(std::size_t begin, std::size_t end) const { return substring(meter(), self, begin, end); }
};

using TextMethod = Value (*)(const TextCall&);

Value in_case(const TextCall& call, Case to) {
  TextBuilder builder(call.meter());
  const std::string& text = call.text.text;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint next = code_point_at(text, at);
    std::string changed;
    if (to == Case::lower && next.value == 0x3A3 && is_final_sigma(text, at))
      changed = "\u03C2";
    else
      append_in_case(changed, next.value, to);
    builder.append(changed, call.text.is_input_at(at));
    at += next.bytes;
  }
  return builder.take(call.text.markup);
}
Value upper(const TextCall& call) { return in_case(call, Case::upper); }
Value lower(const TextCall& call) { return in_case(call, Case::lower); }
Value case_fold(const TextCall& call) { return in_case(call, Case::folded); }

Value capitalize(const TextCall& call) {
  TextBuilder builder(call.meter());
  const std::string& text = call.text.text;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint next = code_point_at(text, at);
    std::string changed;
    if (at > 0 && next.value == 0x3A3 && is_final_sigma(text, at))
      changed = "\u03C2";
    else
      append_in_case(changed, next.value, at == 0 ? Case::title : Case::lower);
    builder.append(changed, call.text.is_input_at(at));
    at += next.bytes;
  }
  return builder.take(call.text.markup);
}

Value title(const TextCall& call) {
  TextBuilder builder(call.meter());
  const std::string& text = call.text.text;
  bool inside = false;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint next = code_point_at(text, at);
    std::string changed;
    if (inside && next.value == 0x3A3 && is_final_sigma(text, at))
      changed = "\u03C2";
    else
      append_in_case(changed, next.value, inside ? Case::lower : Case::title);
    builder.append(changed, call.text.is_input_at(at));
    inside = is_upper(next.value) || is_lower(next.value) || is_title(next.value);
    at += next.bytes;
  }
  return builder.take(call.text.markup);
}

Value swap_case(const TextCall& call) {
  TextBuilder builder(call.meter());
  const std::string& text = call.text.text;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint next = code_point_at(text, at);
    std::string changed;
    if (is_upper(next.value))
      append_in_case(changed, next.value, Case::lower);
    else if (is_lower(next.value))
      append_in_case(changed, next.value, Case::upper);
    else
      append_code_point(changed, next.value);
    builder.append(changed, call.text.is_input_at(at));
    at += next.bytes;
  }
  return builder.take(call.text.markup);
}

// --- White space and ends ---

Value stripped(const TextCall& call, std::string_view what, bool left, bool right) {
  std::string_view text = call.text.text;
  call.meter().work(text.size());
  if (const Value* characters = call.find(0, "chars")) {
    if (!characters->is(Type::string)) fail_type(fmt::format("{} arg must be None or str", what));
    const std::string& set = characters->string().text;
    // A set: as many comparisons as it has characters.
    const auto has = [&](std::string_view character) {
      call.meter().work(set.size());
      for (std::size_t at = set.find(character); at != std::string::npos; at = set.find(character, at + 1))
        if (code_point_at(set, at).bytes == character.size()) return true;
      return false;
    };
    while (left && !text.empty()) {
      const std::size_t size = code_point_at(text, 0).bytes;
      if (!has(text.substr(0, size))) break;
      text.remove_prefix(size);
    }
    while (right && !text.empty()) {
      const std::size_t size = code_point_before(text, text.size()).bytes;
      if (!has(text.substr(text.size() - size))) break;
      text.remove_suffix(size);
    }
  } else {
    if (left) text = trimmed_left(text);
    if (right) text = trimmed_right(text);
  }
  const auto begin = static_cast<std::size_t>(text.data() - call.text.text.data());
  return call.part(begin, begin + text.size());
}
Value strip(const TextCall& call) { return stripped(call, "strip", true, true); }
Value left_strip(const TextCall& call) { return stripped(call, "lstrip", true, false); }
Value right_strip(const TextCall& call) { return stripped(call, "rstrip", false, true); }

/// Byte range of the arguments start and end, or nothing where start lies behind the text.
std::optional<std::pair<std::size_t, std::size_t>> bounds(const TextCall& call) {
  const std::int64_t size = call.text.length();
  const auto place = [&](const Value* value, std::int64_t otherwise) {
    std::int64_t at = value ? whole(*value, "a place") : otherwise;
    if (at < 0) at = std::max<std::int64_t>(0, at < -size ? 0 : at + size);
    return at;
  };
  const std::int64_t begin = place(call.find(1), 0), end = std::min(size, place(call.find(2), size));
  if (begin > size || begin > end) return std::nullopt;
  return std::pair{call.text.offset_of(begin), call.text.offset_of(end)};
}

Value has_end(const TextCall& call, std::string_view what, bool at_end) {
  const Value* wanted = call.arguments.find(0, "");
  if (!wanted) fail_type(fmt::format("{}() takes at least 1 argument", what));
  const auto range = bounds(call);
  const auto fits = [&](const Value& value) {
    if (!value.is(Type::string))
      fail_type(fmt::format("{} first arg must be str or a tuple of str, not {}", what, type_name(value)));
    if (!range) return false;
    const auto text = std::string_view(call.text.text).substr(range->first, range->second - range->first);
    return at_end ? text.ends_with(value.string().text) : text.starts_with(value.string().text);
  };
  if (!wanted->is(Type::tuple)) return Value::boolean(fits(*wanted));
  return Value::boolean(std::ranges::any_of(wanted->list().items, fits));
}
Value starts_with(const TextCall& call) { return has_end(call, "startswith", false); }
Value ends_with(const TextCall& call) { return has_end(call, "endswith", true); }

Value remove_prefix(const TextCall& call) {
  const std::string& prefix = call.string(0, "removeprefix").text;
  const bool has = call.text.text.starts_with(prefix);
  return call.part(has ? prefix.size() : 0, call.text.text.size());
}
Value remove_suffix(const TextCall& call) {
  const std::string& suffix = call.string(0, "removesuffix").text;
  const bool has = call.text.text.ends_with(suffix);
  return call.part(0, call.text.text.size() - (has ? suffix.size() : 0));
}

// --- Parts ---

Value split_at_spaces(const TextCall& call, std::int64_t most, bool from_right) {
  const std::string_view text = call.text.text;
  Values parts;
  std::size_t begin = 0, end = text.size();
  while (true) {
    std::string_view rest = text.substr(begin, end - begin);
    rest = from_right ? trimmed_right(rest) : trimmed_left(rest);
    if (rest.empty()) break;
    if (from_right)
      end = begin + rest.size();
    else
      begin = end - rest.size();
    if (most >= 0 && static_cast<std::int64_t>(parts.size()) == most) {
      // What is left stays whole; only the side that is cut from loses white space.
      const auto at = static_cast<std::size_t>(rest.data() - text.data());
      if (from_right)
        parts.push_back(call.part(0, at + rest.size()));
      else
        parts.push_back(call.part(at, text.size()));
      break;
    }
    std::size_t size = 0;
    while (size < rest.size()) {
      const CodePoint next = from_right ? code_point_before(rest, rest.size() - size) : code_point_at(rest, size);
      if (is_space(next.value)) break;
      size += next.bytes;
    }
    if (from_right) {
      parts.push_back(call.part(end - size, end));
      end -= size;
    } else {
      parts.push_back(call.part(begin, begin + size));
      begin += size;
    }
  }
  if (from_right) std::ranges::reverse(parts);
  return make_list(call.meter(), std::move(parts), Type::list, call.text.has_input());
}

Value split_text(const TextCall& call, bool from_right) {
  call.arguments.check(from_right ? "rsplit" : "split", {"sep", "maxsplit"});
  call.meter().work(call.text.text.size());
  const std::int64_t most = call.number(1, "maxsplit", -1);
  const Value* separator = call.find(0, "sep");
  if (!separator) return split_at_spaces(call, most, from_right);
  if (!separator->is(Type::string))
    fail_type(fmt::format("must be str or None, not {}", type_name(*separator)));
  const std::string& between = separator->string().text;
  if (between.empty()) fail_type("empty separator");
  const std::string& text = call.text.text;
  Values parts;
  std::size_t begin = 0, end = text.size();
  while (most < 0 || static_cast<std::int64_t>(parts.size()) < most) {
    const std::size_t found = from_right ? (end < between.size() ? std::string::npos : text.rfind(between, end - between.size()))
                                         : text.find(between, begin);
    if (found == std::string::npos) break;
    if (from_right) {
      parts.push_back(call.part(found + between.size(), end));
      end = found;
    } else {
      parts.push_back(call.part(begin, found));
      begin = found + between.size();
    }
  }
  parts.push_back(call.part(begin, end));
  if (from_right) std::ranges::reverse(parts);
  return make_list(call.meter(), std::move(parts), Type::list, call.text.has_input());
}
Value split(const TextCall& call) { return split_text(call, false); }
Value right_split(const TextCall& call) { return split_text(call, true); }

Value partition_text(const TextCall& call, std::string_view what, bool from_right) {
  const String& between = call.string(0, what);
  if (between.text.empty()) fail_type("empty separator");
  const std::string& text = call.text.text;
  call.meter().work(text.size());
  const std::size_t found = from_right ? text.rfind(between.text) : text.find(between.text);
  Values parts;
  if (found == std::string::npos) {
    const Value empty = call.interpreter.string("");
    parts = from_right ? Values{empty, empty, call.self} : Values{call.self, empty, empty};
  } else {
    const std::size_t behind = found + between.text.size();
    parts = {call.part(0, found), call.part(found, behind), call.part(behind, text.size())};
  }
  return make_list(call.meter(), std::move(parts), Type::tuple);
}
Value partition(const TextCall& call) { return partition_text(call, "partition", false); }
Value right_partition(const TextCall& call) { return partition_text(call, "rpartition", true); }

Value split_lines(const TextCall& call) {
  call.arguments.check("splitlines", {"keepends"});
  const Value* keep = call.arguments.find(0, "keepends");
  const bool keeps = keep && is_true(*keep);
  const std::string& text = call.text.text;
  call.meter().work(text.size());
  Values lines;
  std::size_t begin = 0;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint next = code_point_at(text, at);
    std::size_t end = at + next.bytes;
    const bool breaks = (next.value >= 10 && next.value <= 13) || (next.value >= 0x1C && next.value <= 0x1E) ||
                        next.value == 0x85 || next.value == 0x2028 || next.value == 0x2029;
    if (breaks) {
      if (next.value == '\r' && end < text.size() && text[end] == '\n') ++end;
      lines.push_back(call.part(begin, keeps ? end : at));
      begin = end;
    }
    at = end;
  }
  if (begin < text.size()) lines.push_back(call.part(begin, text.size()));
  return make_list(call.meter(), std::move(lines), Type::list, call.text.has_input());
}

Value join(const TextCall& call) {
  if (call.arguments.positional.size() != 1) fail_type("join() takes exactly one argument");
  TextBuilder builder(call.meter());
  std::size_t place = 0;
  for (const Value& item : items_of(call.interpreter, call.arguments.positional[0])) {
    if (!item.is(Type::string))
      fail_type(fmt::format("sequence item {}: expected str instance, {} found", place, type_name(item)));
    if (place++ > 0) builder.append(call.text);
    builder.append(item.string());
  }
  return builder.take(call.text.markup);
}

// --- Looking for ---

std::int64_t characters_before(const TextCall& call, std::size_t byte) {
  if (call.text.is_ascii()) return static_cast<std::int64_t>(byte);
  std::int64_t count = 0;
  for (std::size_t at = 0; at < byte; at += code_point_at(call.text.text, at).bytes) ++count;
  call.meter().work(byte);
  return count;
}

Value find_text(const TextCall& call, std::string_view what, bool from_right, bool must) {
  const String& wanted = call.string(0, what);
  const auto range = bounds(call);
  std::size_t found = std::string::npos;
  if (range) {
    const auto text = std::string_view(call.text.text).substr(0, range->second);
    call.meter().work(text.size());
    if (from_right) {
      found = text.rfind(wanted.text);
      if (found != std::string::npos && found < range->first) found = std::string::npos;
    } else {
      found = text.find(wanted.text, range->first);
    }
  }
  if (found == std::string::npos) {
    if (must) fail_type("substring not found");
    return Value::integer(-1);
  }
  return Value::integer(characters_before(call, found));
}
Value find(const TextCall& call) { return find_text(call, "find", false, false); }
Value right_find(const TextCall& call) { return find_text(call, "rfind", true, false); }
Value index(const TextCall& call) { return find_text(call, "index", false, true); }
Value right_index(const TextCall& call) { return find_text(call, "rindex", true, true); }

Value count(const TextCall& call) {
  const String& wanted = call.string(0, "count");
  const auto range = bounds(call);
  if (!range) return Value::integer(0);
  const auto text = std::string_view(call.text.text).substr(range->first, range->second - range->first);
  call.meter().work(text.size());
  if (wanted.text.empty())
    return Value::integer(characters_before(call, range->second) - characters_before(call, range->first) + 1);
  std::int64_t found = 0;
  for (std::size_t at = text.find(wanted.text); at != std::string_view::npos;
       at = text.find(wanted.text, at + wanted.text.size()))
    ++found;
  return Value::integer(found);
}

Value replace(const TextCall& call) {
  call.arguments.check("replace", {"old", "new", "count"});
  const String& from = call.string(0, "replace", "old");
  const String& to = call.string(1, "replace", "new");
  std::int64_t left = call.number(2, "count", -1);
  const std::string& text = call.text.text;
  call.meter().work(text.size());
  // What is put into a text from outside is from outside, or that text could spell what it may not.
  const bool input = call.text.has_input();
  TextBuilder builder(call.meter());
  const auto put = [&] {
    if (input)
      builder.append(to.text, true);
    else
      builder.append(to);
  };
  std::size_t at = 0;
  if (from.text.empty()) {
    while (left != 0) {
      put();
      --left;
      if (at == text.size()) break;
      const std::size_t end = at + code_point_at(text, at).bytes;
      builder.append(call.text, at, end);
      at = end;
    }
  } else {
    for (std::size_t found = text.find(from.text); found != std::string::npos && left != 0;
         found = text.find(from.text, at)) {
      builder.append(call.text, at, found);
      put();
      at = found + from.text.size();
      --left;
    }
  }
  builder.append(call.text, at, text.size());
  return builder.take(call.text.markup);
}

// --- Width ---

Value padded(const TextCall& call, std::string_view what, bool left, bool right) {
  const std::int64_t width = call.number(0, what, 0);
  const Value* fill = call.find(1);
  if (fill && (!fill->is(Type::string) || fill->string().length() != 1))
    fail_type("The fill character must be exactly one character long");
  const std::int64_t missing = width - call.text.length();
  if (missing <= 0) return call.part(0, call.text.text.size());
  // As Python: of an odd number, the left side gets more where the width is odd.
  const std::int64_t before = left && right ? missing / 2 + (missing & width & 1) : left ? missing : 0;
  TextBuilder builder(call.meter());
  const auto pad = [&](std::int64_t times) {
    for (; times > 0; --times) {
      if (fill)
        builder.append(fill->string());
      else
        builder.append(" ", false);
    }
  };
  pad(before);
  builder.append(call.text);
  pad(missing - before);
  return builder.take(call.text.markup);
}
Value center(const TextCall& call) { return padded(call, "center", true, true); }
Value left_justify(const TextCall& call) { return padded(call, "ljust", false, true); }
Value right_justify(const TextCall& call) { return padded(call, "rjust", true, false); }

Value zero_fill(const TextCall& call) {
  const std::int64_t missing = call.number(0, "zfill", 0) - call.text.length();
  if (missing <= 0) return call.part(0, call.text.text.size());
  const std::size_t sign = call.text.text.starts_with('-') || call.text.text.starts_with('+') ? 1 : 0;
  TextBuilder builder(call.meter());
  builder.append(call.text, 0, sign);
  for (std::int64_t i = 0; i < missing; ++i) builder.append("0", false);
  builder.append(call.text, sign, call.text.text.size());
  return builder.take();
}

Value expand_tabs(const TextCall& call) {
  const std::int64_t width = call.number(0, "tabsize", 8);
  TextBuilder builder(call.meter());
  std::int64_t column = 0;
  const std::string& text = call.text.text;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t size = code_point_at(text, at).bytes;
    if (text[at] == '\t') {
      if (width > 0)
        for (std::int64_t spaces = width - column % width; spaces > 0; --spaces, ++column)
          builder.append(" ", call.text.is_input_at(at));
    } else {
      builder.append(call.text, at, at + size);
      column = text[at] == '\n' || text[at] == '\r' ? 0 : column + 1;
    }
    at += size;
  }
  return builder.take();
}

// --- Kinds of characters ---

template <bool (*holds)(std::uint32_t)>
Value all_are(const TextCall& call) {
  const std::string& text = call.text.text;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint next = code_point_at(text, at);
    if (!holds(next.value)) return Value::boolean(false);
    at += next.bytes;
  }
  return Value::boolean(!text.empty());
}
bool is_letter_or_number(std::uint32_t code) { return is_letter(code) || is_numeric(code); }

Value is_ascii_text(const TextCall& call) { return Value::boolean(call.text.is_ascii()); }
Value is_printable_text(const TextCall& call) {
  return Value::boolean(call.text.text.empty() || is_true(all_are<is_printable>(call)));
}

Value is_identifier(const TextCall& call) {
  const std::string& text = call.text.text;
  if (text.empty() || is_numeric(code_point_at(text, 0).value)) return Value::boolean(false);
  return all_are<is_word_character>(call);
}

template <bool (*wanted)(std::uint32_t), bool (*refused)(std::uint32_t)>
Value is_in_case(const TextCall& call) {
  bool any = false;
  const std::string& text = call.text.text;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint next = code_point_at(text, at);
    if (refused(next.value) || is_title(next.value)) return Value::boolean(false);
    any = any || wanted(next.value);
    at += next.bytes;
  }
  return Value::boolean(any);
}

Value is_title_text(const TextCall& call) {
  bool any = false, inside = false;
  const std::string& text = call.text.text;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint next = code_point_at(text, at);
    const bool raised = is_upper(next.value) || is_title(next.value);
    if (raised ? inside : is_lower(next.value) && !inside) return Value::boolean(false);
    inside = raised || is_lower(next.value);
    any = any || inside;
    at += next.bytes;
  }
  return Value::boolean(any);
}

Value format(const TextCall& call) { return format_braces(call.interpreter, call.self, call.arguments); }

struct NamedTextMethod {
  std::string_view name;
  TextMethod method;
  std::size_t most;  ///< positional arguments
};

/// By name.
constexpr auto text_methods = std::to_array<NamedTextMethod>({
    {"capitalize", capitalize, 0},
    {"casefold", case_fold, 0},
    {"center", center, 2},
    {"count", count, 3},
    {"endswith", ends_with, 3},
    {"expandtabs", expand_tabs, 1},
    {"find", find, 3},
    {"format", format, ~std::size_t{0}},
    {"index", index, 3},
    {"isalnum", all_are<is_letter_or_number>, 0},
    {"isalpha", all_are<is_letter>, 0},
    {"isascii", is_ascii_text, 0},
    {"isdecimal", all_are<is_decimal>, 0},
    {"isdigit", all_are<is_digit>, 0},
    {"isidentifier", is_identifier, 0},
    {"islower", is_in_case<is_lower, is_upper>, 0},
    {"isnumeric", all_are<is_numeric>, 0},
    {"isprintable", is_printable_text, 0},
    {"isspace", all_are<is_space>, 0},
    {"istitle", is_title_text, 0},
    {"isupper", is_in_case<is_upper, is_lower>, 0},
    {"join", join, 1},
    {"ljust", left_justify, 2},
    {"lower", lower, 0},
    {"lstrip", left_strip, 1},
    {"partition", partition, 1},
    {"removeprefix", remove_prefix, 1},
    {"removesuffix", remove_suffix, 1},
    {"replace", replace, 3},
    {"rfind", right_find, 3},
    {"rindex", right_index, 3},
    {"rjust", right_justify, 2},
    {"rpartition", right_partition, 1},
    {"rsplit", right_split, 2},
    {"rstrip", right_strip, 1},
    {"split", split, 2},
    {"splitlines", split_lines, 1},
    {"startswith", starts_with, 3},
    {"strip", strip, 1},
    {"swapcase", swap_case, 0},
    {"title", title, 0},
    {"upper", upper, 0},
    {"zfill", zero_fill, 1},
});
static_assert(std::ranges::is_sorted(text_methods, {}, &NamedTextMethod::name));

const NamedTextMethod* find_text_method(std::string_view name) {
  const auto* found = std::ranges::lower_bound(text_methods, name, {}, &NamedTextMethod::name);
  return found != text_methods.end() && found->name == name ? found : nullptr;
}

// --- Dicts and lists ---

Value call_dict_method(Interpreter& interpreter, const Value& self, std::string_view name, const Arguments& arguments) {
  Meter& meter = interpreter.meter();
  if (name == "get") {
    if (arguments.positional.empty() || arguments.positional.size() > 2 || !arguments.named.empty())
      fail_type("get expected 1 or 2 arguments");
    const Value* found = self.dict().find(arguments.positional[0]);
    if (found) return *found;
    return arguments.positional.size() > 1 ? arguments.positional[1] : Value::none();
  }
  if (!arguments.empty()) fail_type(fmt::format("dict.{}() takes no arguments", name));
  if (name == "copy") {
    const Value copy = make_dict(meter, self.is_input());
    for (const auto& [key, value] : self.dict().entries) copy.dict().set(key, value);
    return copy;
  }
  return Value::of(name == "keys" ? Type::keys : name == "values" ? Type::values : Type::items,
                   new View(&meter, self));
}

Value call_list_method(Interpreter& interpreter, const Value& self, std::string_view name, const Arguments& arguments) {
  Meter& meter = interpreter.meter();
  const Values& items = self.list().items;
  if (name == "copy") return make_list(meter, items, Type::list, self.is_input());
  if (arguments.positional.empty() || !arguments.named.empty())
    fail_type(fmt::format("{}() takes a value", name));
  const Value& wanted = arguments.positional[0];
  const auto is_wanted = [&](const Value& item) { return equal(meter, item, wanted); };
  if (name == "count") return Value::integer(std::ranges::count_if(items, is_wanted));
  const auto size = static_cast<std::int64_t>(items.size());
  const auto place = [&](std::size_t i, std::int64_t otherwise) {
    if (i >= arguments.positional.size()) return otherwise;
    const std::int64_t at = whole(arguments.positional[i], "a place");
    return std::clamp<std::int64_t>(at < 0 ? (at < -size ? 0 : at + size) : at, 0, size);
  };
  for (std::int64_t i = place(1, 0); i < place(2, size); ++i)
    if (is_wanted(items[static_cast<std::size_t>(i)])) return Value::integer(i);
  fail_type("the value is not in the list");
}

template <std::size_t count>
bool is_one_of(std::string_view name, const std::array<std::string_view, count>& names) {
  return std::ranges::find(names, name) != names.end();
}

constexpr std::array<std::string_view, 5> dict_methods = {"get", "items", "keys", "values", "copy"};
constexpr std::array<std::string_view, 5> dict_changers = {"clear", "pop", "popitem", "setdefault", "update"};
constexpr std::array<std::string_view, 8> list_changers = {"append", "clear",   "extend", "insert",
                                                           "pop",    "remove", "reverse", "sort"};

}  // namespace

bool has_method(const Value& value, std::string_view name) {
  switch (value.type()) {
    case Type::string: return find_text_method(name) != nullptr;
    case Type::dict: return is_one_of(name, dict_methods);
    case Type::list: return name == "index" || name == "count" || name == "copy";
    case Type::tuple:
    case Type::range: return name == "index" || name == "count";
    case Type::loop: return name == "cycle" || name == "changed";
    case Type::cycler: return name == "next" || name == "reset";
    default: return false;
  }
}

bool is_unsafe_attribute(const Value& value, std::string_view name) {
  if (name.starts_with("__")) return !value.is(Type::space) && !value.is(Type::dict);
  if (value.is(Type::dict)) return is_one_of(name, dict_changers);
  if (value.is(Type::list)) return is_one_of(name, list_changers);
  return false;
}

Value call_method(Interpreter& interpreter, const Value& self, std::string_view name, const Arguments& arguments) {
  switch (self.type()) {
    case Type::string: {
      const NamedTextMethod& method = *find_text_method(name);
      if (arguments.positional.size() > method.most)
        fail_type(fmt::format("{}() takes at most {} arguments ({} given)", name, method.most,
                              arguments.positional.size()));
      return method.method({interpreter, self, self.string(), arguments});
    }
    case Type::dict: return call_dict_method(interpreter, self, name, arguments);
    case Type::list:
    case Type::tuple:
    case Type::range: return call_list_method(interpreter, self, name, arguments);
    case Type::loop: {
      LoopState& loop = self.as<LoopState>();
      if (name == "cycle") {
        if (arguments.positional.empty()) fail_type("no items for cycling given");
        const auto count = static_cast<std::int64_t>(arguments.positional.size());
        return arguments.positional[static_cast<std::size_t>(std::max<std::int64_t>(0, loop.index) % count)];
      }
      const Values& now = arguments.positional;
      const bool same = loop.was_changed && now.size() == loop.last_changed.size() &&
                        std::ranges::equal(now, loop.last_changed, [&](const Value& a, const Value& b) {
                          return equal(interpreter.meter(), a, b);
                        });
      if (!same && loop.interpreter) {
        loop.last_changed = now;
        loop.was_changed = true;
      }
      return Value::boolean(!same);
    }
    case Type::cycler: {
      Cycler& cycler = self.as<Cycler>();
      if (name == "reset") {
        cycler.at = 0;
        return Value::none();
      }
      const Value current = cycler.items[cycler.at];
      cycler.at = (cycler.at + 1) % cycler.items.size();
      return current;
    }
    default: fail_type(fmt::format("'{}' object has no method '{}'", type_name(self), name));
  }
}

}  // namespace plimsoll::jinja
