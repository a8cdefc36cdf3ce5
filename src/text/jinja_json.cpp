// tojson as chat templates have it: Python's json.dumps.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "text/jinja_interpreter.h"
#include "text/jinja_unicode.h"

namespace plimsoll::jinja {
namespace {

class JsonWriter {
 public:
  JsonWriter(Interpreter& interpreter, bool input) : interpreter_(interpreter), builder_(interpreter.meter()), input_(input) {}

  bool ensures_ascii = false, sorts_keys = false, has_indent = false;
  std::string indent, item_separator = ", ", key_separator = ": ";

  void write(const Value& value, int depth) {
    if (depth > static_cast<int>(deepest_nesting))
      throw JinjaError(Failure::limit, fmt::format("writes values more than {} deep", deepest_nesting));
    interpreter_.meter().step();
    switch (value.type()) {
      case Type::none: return put("null");
      case Type::boolean: return put(value.as_boolean() ? "true" : "false");
      case Type::integer: return put(fmt::format("{}", value.as_integer()));
      case Type::real: return put(real(value.as_real()));
      case Type::string: return write_string(value.string().text);
      case Type::list:
      case Type::tuple: return write_list(value.list().items, depth);
      case Type::dict: return write_dict(value.dict(), depth);
      default: fail_type(fmt::format("Object of type {} is not JSON serializable", type_name(value)));
    }
  }
  Value take() { return builder_.take(); }

 private:
  void put(std::string_view text) { builder_.append(text, input_); }

  static std::string real(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
    return real_text(value);
  }

  void put_line(int depth) {
    put("\n");
    for (int i = 0; i < depth; ++i) put(indent);
  }

  void write_string(std::string_view text) {
    put("\"");
    std::size_t plain = 0;  // where what needs no escape begins
    for (std::size_t at = 0; at < text.size();) {
      const CodePoint next = code_point_at(text, at);
      std::string escaped;
      switch (next.value) {
        case '"': escaped = "\\\""; break;
        case '\\': escaped = "\\\\"; break;
        case '\n': escaped = "\\n"; break;
        case '\r': escaped = "\\r"; break;
        case '\t': escaped = "\\t"; break;
        case '\f': escaped = "\\f"; break;
        case '\b': escaped = "\\b"; break;
        default:
          if (next.value < 0x20)
            escaped = fmt::format("\\u{:04x}", next.value);
          else if (ensures_ascii && next.value > 0x7E && next.value < 0x10000)
            escaped = next.value == 0x7F ? "\x7F" : fmt::format("\\u{:04x}", next.value);
          else if (ensures_ascii && next.value >= 0x10000)
            escaped = fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + ((next.value - 0x10000) >> 10),
                                  0xDC00 + ((next.value - 0x10000) & 0x3FF));
      }
      if (!escaped.empty()) {
        put(text.substr(plain, at - plain));
        put(escaped);
        plain = at + next.bytes;
      }
      at += next.bytes;
    }
    put(text.substr(plain));
    put("\"");
  }

  void write_list(const Values& items, int depth) {
    if (items.empty()) return put("[]");
    put("[");
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (i > 0) put(item_separator);
      if (has_indent) put_line(depth + 1);
      write(items[i], depth + 1);
    }
    if (has_indent) put_line(depth);
    put("]");
  }

  void write_key(const Value& key) {
    switch (key.type()) {
      case Type::string: return write_string(key.string().text);
      case Type::none: return put("\"null\"");
      case Type::boolean: return put(key.as_boolean() ? "\"true\"" : "\"false\"");
      case Type::integer: return put(fmt::format("\"{}\"", key.as_integer()));
      case Type::real: return put(fmt::format("\"{}\"", real(key.as_real())));
      default:
        fail_type(fmt::format("keys must be str, int, float, bool or None, not {}", type_name(key)));
    }
  }

  void write_dict(const Dict& dict, int depth) {
    if (dict.entries.empty()) return put("{}");
    std::vector<const Dict::Entry*> entries;
    interpreter_.meter().work(dict.entries.size() * sizeof(Dict::Entry));
    for (const Dict::Entry& entry : dict.entries) entries.push_back(&entry);
    if (sorts_keys) {
      for (const Dict::Entry* entry : entries)  // a sort that throws half way is none
        compare(interpreter_.meter(), entry->first, entries[0]->first, "<");
      std::ranges::stable_sort(entries, [&](const Dict::Entry* a, const Dict::Entry* b) {
        return compare(interpreter_.meter(), a->first, b->first, "<") < 0;
      });
    }
    put("{");
    bool first = true;
    for (const Dict::Entry* entry : entries) {
      if (!std::exchange(first, false)) put(item_separator);
      if (has_indent) put_line(depth + 1);
      write_key(entry->first);
      put(key_separator);
      write(entry->second, depth + 1);
    }
    if (has_indent) put_line(depth);
    put("}");
  }

  Interpreter& interpreter_;
  TextBuilder builder_;
  bool input_;  ///< anything in the value is: then all of the text is
};

}  // namespace

Value to_json(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  arguments.check("tojson", {"ensure_ascii", "indent", "separators", "sort_keys"});
  const auto given = [&](std::size_t place, std::string_view name) {
    const Value* found = arguments.find(place, name);
    return found && !found->is(Type::none) ? found : nullptr;
  };
  JsonWriter writer(interpreter, has_input(value));
  if (const Value* ascii = given(0, "ensure_ascii")) writer.ensures_ascii = is_true(*ascii);
  if (const Value* indent = given(1, "indent")) {
    writer.has_indent = true;
    writer.item_separator = ",";
    if (indent->is(Type::string))
      writer.indent = indent->string().text;
    else
      writer.indent = std::string(static_cast<std::size_t>(std::clamp<std::int64_t>(whole(*indent, "indent"), 0, 1 << 16)), ' ');
  }
  if (const Value* separators = given(2, "separators")) {
    const Values parts = items_of(interpreter, *separators);
    if (parts.size() != 2 || !parts[0].is(Type::string) || !parts[1].is(Type::string))
      fail_type("separators are two strings");
    writer.item_separator = parts[0].string().text;
    writer.key_separator = parts[1].string().text;
  }
  if (const Value* sort = given(3, "sort_keys")) writer.sorts_keys = is_true(*sort);
  writer.write(value, 0);
  return writer.take();
}

}  // namespace plimsoll::jinja
