#include "text/jinja_value.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "text/utf8.h"

namespace plimsoll::jinja {

void Meter::refuse_steps() const {
  throw JinjaError(Failure::limit,
                   fmt::format("takes more than {} steps", limits_.steps));
}
void Meter::refuse_work() const {
  throw JinjaError(Failure::limit,
                   fmt::format("looks at more than {} of text", format_bytes(limits_.work)));
}
void Meter::refuse_memory() const {
  throw JinjaError(Failure::limit,
                   fmt::format("holds more than {} at once", format_bytes(limits_.values)));
}
void Meter::refuse_output() const {
  throw JinjaError(Failure::limit,
                   fmt::format("makes a text of more than {}", format_bytes(limits_.output)));
}

Object::Object(Meter* of, Bytes bytes, std::uint32_t nesting)
    : meter(of), charged(bytes), depth(nesting) {
  if (!meter) {
    refs = immortal;
    return;
  }
  if (depth > deepest_nesting)
    throw JinjaError(Failure::limit, fmt::format("nests values more than {} deep", deepest_nesting));
  meter->charge(bytes);
}

Object::~Object() {
  if (meter) meter->release(charged);
}

void Object::grow(Bytes bytes) {
  if (!meter) return;
  meter->charge(bytes);
  charged += bytes;
}

// --- Value ---

Value Value::boolean(bool value, bool input) {
  Value result(Type::boolean);
  result.data_.boolean = value;
  result.input_ = input;
  return result;
}
Value Value::integer(std::int64_t value, bool input) {
  Value result(Type::integer);
  result.data_.integer = value;
  result.input_ = input;
  return result;
}
Value Value::real(double value, bool input) {
  Value result(Type::real);
  result.data_.real = value;
  result.input_ = input;
  return result;
}
Value Value::of(Type type, Object* object, bool input) {
  Value result(type);
  result.data_.object = object;
  result.input_ = input;
  result.retain();
  return result;
}

double Value::as_real() const {
  return is(Type::real) ? data_.real : static_cast<double>(as_integer());
}
String& Value::string() const { return as<String>(); }
List& Value::list() const { return as<List>(); }
Dict& Value::dict() const { return as<Dict>(); }

namespace {

std::uint32_t depth_of(const Value& value) {
  switch (value.type()) {
    case Type::none:
    case Type::boolean:
    case Type::integer:
    case Type::real:
      return 0;
    default:
      return value.object() ? value.object()->depth : 0;
  }
}

void check_depth(std::uint32_t depth) {
  if (depth > deepest_nesting)
    throw JinjaError(Failure::limit, fmt::format("nests values more than {} deep", deepest_nesting));
}

Bytes bytes_of(const Values& values) { return values.size() * sizeof(Value); }

}  // namespace

std::uint32_t depth_around(const Values& values) {
  std::uint32_t depth = 0;
  for (const Value& value : values) depth = std::max(depth, depth_of(value));
  check_depth(depth + 1);
  return depth + 1;
}

// --- Strings ---

String::String(Meter* of, std::string content, std::vector<Run> marks, bool from_input,
               bool is_markup)
    : Object(of, sizeof(String) + content.size() + marks.size() * sizeof(Run)),
      text(std::move(content)),
      runs(std::move(marks)),
      input(from_input),
      markup(is_markup) {}

bool String::has_input() const {
  if (runs.empty()) return input;
  return std::ranges::any_of(runs, &Run::input);
}

bool String::is_input_at(std::size_t byte) const {
  if (runs.empty()) return input;
  return std::ranges::upper_bound(runs, byte, {}, &Run::end)->input;
}

std::int64_t String::length() const {
  if (characters >= 0) return characters;
  std::int64_t count = 0;
  std::size_t at = 0;
  while (at < text.size()) {
    if (static_cast<std::uint8_t>(text[at]) < 0x80) {
      ++at;
    } else {
      const Utf8Step step = next_utf8(std::string_view(text).substr(at));
      at += step.kind == Utf8Step::Kind::character ? step.length : 1;
    }
    ++count;
  }
  if (meter) meter->work(text.size());
  // Constants are shared by threads: theirs is counted when they are made.
  characters = count;
  return count;
}

std::size_t String::offset_of(std::int64_t index) const {
  if (is_ascii()) return static_cast<std::size_t>(index);
  std::size_t at = 0;
  for (; index > 0; --index) {
    const Utf8Step step = next_utf8(std::string_view(text).substr(at));
    at += step.kind == Utf8Step::Kind::character ? step.length : 1;
  }
  if (meter) meter->work(at);
  return at;
}

void TextBuilder::make_room(std::size_t more) {
  const std::size_t wanted = text_.size() + more;
  if (wanted > meter_->limits().output) meter_->refuse_output();
  meter_->work(more);
  if (wanted <= text_.capacity()) return;
  const std::size_t capacity = std::max(wanted, 2 * text_.capacity());
  meter_->charge(capacity - text_.capacity());
  charged_ += capacity - text_.capacity();
  text_.reserve(capacity);
}

void TextBuilder::append(std::string_view text, bool input) {
  if (text.empty()) return;
  make_room(text.size());
  text_ += text;
  const auto end = static_cast<std::uint32_t>(text_.size());
  if (!runs_.empty() && runs_.back().input == input)
    runs_.back().end = end;
  else
    runs_.push_back({end, input});
}

void TextBuilder::append(const String& string, std::size_t begin, std::size_t end) {
  if (string.runs.empty())
    return append(std::string_view(string.text).substr(begin, end - begin), string.input);
  auto run = std::ranges::upper_bound(string.runs, begin, {}, &String::Run::end);
  while (begin < end) {
    const std::size_t part = std::min<std::size_t>(end, run->end);
    append(std::string_view(string.text).substr(begin, part - begin), run->input);
    begin = part;
    ++run;
  }
}

Value TextBuilder::take(bool markup) {
  const bool input = runs_.size() == 1 && runs_.front().input;
  if (runs_.size() <= 1) runs_.clear();
  meter_->release(charged_);
  charged_ = 0;
  text_.shrink_to_fit();
  auto* string = new String(meter_, std::exchange(text_, {}), std::exchange(runs_, {}), input, markup);
  return Value::of(Type::string, string);
}

std::pair<std::string, std::vector<String::Run>> TextBuilder::take_runs() {
  return {std::exchange(text_, {}), std::exchange(runs_, {})};
}

Value make_string(Meter& meter, std::string text, bool input) {
  if (text.size() > meter.limits().output) meter.refuse_output();
  meter.work(text.size());
  return Value::of(Type::string, new String(&meter, std::move(text), {}, input, false));
}

Value substring(Meter& meter, const Value& string, std::size_t begin, std::size_t end) {
  const String& from = string.string();
  if (begin == 0 && end == from.text.size() && !from.markup) return string;
  if (from.runs.empty()) return make_string(meter, from.text.substr(begin, end - begin), from.input);
  TextBuilder builder(meter);
  builder.append(from, begin, end);
  return builder.take();
}

// --- Containers ---

Undefined::Undefined(Meter* of, std::string text, bool by_sandbox)
    : Object(of, sizeof(Undefined) + text.size()), message(std::move(text)), is_unsafe(by_sandbox) {}

Value make_undefined(Meter& meter, std::string message) {
  return Value::of(Type::undefined, new Undefined(&meter, std::move(message)));
}

List::List(Meter* of, Values values)
    : Object(of, sizeof(List) + bytes_of(values), depth_around(values)), items(std::move(values)) {}

Value make_list(Meter& meter, Values items, Type type, bool input) {
  meter.work(bytes_of(items));
  return Value::of(type, new List(&meter, std::move(items)), input);
}

View::View(Meter* of, Value value)
    : Object(of, sizeof(View), depth_of(value) + 1), dict(std::move(value)) {}

Generator::Generator(Meter* of, Values values)
    : Object(of, sizeof(Generator) + bytes_of(values), depth_around(values)),
      items(std::move(values)) {}

Value make_generator(Meter& meter, Values items) {
  meter.work(bytes_of(items));
  return Value::of(Type::generator, new Generator(&meter, std::move(items)));
}

Method::Method(Meter* of, Value value, std::string_view called)
    : Object(of, sizeof(Method), depth_of(value) + 1), self(std::move(value)), name(called) {}

Cycler::Cycler(Meter* of, Values values)
    : Object(of, sizeof(Cycler) + bytes_of(values), depth_around(values)),
      items(std::move(values)) {}

Joiner::Joiner(Meter* of, Value text)
    : Object(of, sizeof(Joiner), depth_of(text) + 1), separator(std::move(text)) {}

Value make_dict(Meter& meter, bool input) {
  return Value::of(Type::dict, new Dict(&meter), input);
}

namespace {
constexpr std::size_t most_unindexed = 12;
}

template <class Equal>
std::int64_t Dict::look_up(std::uint64_t hash, Equal equal_to) const {
  if (index_.empty()) {
    for (std::size_t i = 0; i < entries.size(); ++i)
      if (equal_to(entries[i].first)) return static_cast<std::int64_t>(i);
    return -1;
  }
  const std::size_t mask = index_.size() - 1;
  for (std::size_t slot = hash & mask; index_[slot] != 0; slot = (slot + 1) & mask)
    if (equal_to(entries[index_[slot] - 1].first)) return index_[slot] - 1;
  return -1;
}

const Value* Dict::find(std::string_view key) const {
  const std::int64_t found =
      look_up(index_.empty() ? 0 : hash_of(key), [&](const Value& other) {
        return other.is(Type::string) && other.string().text == key;
      });
  return found < 0 ? nullptr : &entries[static_cast<std::size_t>(found)].second;
}

const Value* Dict::find(const Value& key) const {
  if (key.is(Type::string)) return find(std::string_view(key.string().text));
  const std::uint64_t hash = hash_of(key);
  const std::int64_t found =
      look_up(hash, [&](const Value& other) { return equal(*meter, other, key); });
  return found < 0 ? nullptr : &entries[static_cast<std::size_t>(found)].second;
}

void Dict::add_to_index(std::size_t entry) {
  const std::size_t mask = index_.size() - 1;
  std::size_t slot = hash_of(entries[entry].first) & mask;
  while (index_[slot] != 0) slot = (slot + 1) & mask;
  index_[slot] = static_cast<std::uint32_t>(entry + 1);
}

void Dict::set(const Value& key, Value value) {
  const std::uint32_t nesting = std::max(depth_of(key), depth_of(value)) + 1;
  check_depth(nesting);
  depth = std::max(depth, nesting);
  if (const Value* found = find(key)) {
    const_cast<Value&>(*found) = std::move(value);
    return;
  }
  grow(2 * sizeof(Entry));
  entries.emplace_back(key, std::move(value));
  if (entries.size() <= most_unindexed) return;
  if (2 * entries.size() > index_.size()) {
    const std::size_t slots = std::max<std::size_t>(64, 2 * index_.size());
    grow((slots - index_.size()) * sizeof(std::uint32_t));
    index_.assign(slots, 0);
    for (std::size_t i = 0; i < entries.size(); ++i) add_to_index(i);
  } else {
    add_to_index(entries.size() - 1);
  }
}

const Value* Namespace::find(std::string_view name) const {
  for (const auto& [key, value] : attributes)
    if (key == name) return &value;
  return nullptr;
}

void Namespace::set(std::string_view name, Value value) {
  const std::uint32_t nesting = depth_of(value) + 1;
  check_depth(nesting);
  depth = std::max(depth, nesting);
  if (const Value* found = find(name)) {
    const_cast<Value&>(*found) = std::move(value);
    return;
  }
  // So many attributes are a table, and looked up one by one.
  if (meter) meter->work(attributes.size() * sizeof(attributes[0]));
  grow(2 * sizeof(attributes[0]) + name.size());
  attributes.emplace_back(name, std::move(value));
}

// --- What all values have ---

std::string_view type_name(const Value& value) {
  switch (value.type()) {
    case Type::undefined: return "Undefined";
    case Type::none: return "NoneType";
    case Type::boolean: return "bool";
    case Type::integer: return "int";
    case Type::real: return "float";
    case Type::string: return value.string().markup ? "Markup" : "str";
    case Type::list: return "list";
    case Type::tuple: return "tuple";
    case Type::range: return "range";
    case Type::dict: return "dict";
    case Type::keys: return "dict_keys";
    case Type::values: return "dict_values";
    case Type::items: return "dict_items";
    case Type::generator: return "generator";
    case Type::space: return "TemplateNamespace";
    case Type::function: return "function";
    case Type::method: return "builtin_function_or_method";
    case Type::macro: return "Macro";
    case Type::loop: return "LoopContext";
    case Type::cycler: return "Cycler";
    case Type::joiner: return "Joiner";
  }
  return "object";
}

std::string described(const Value& value) {
  if (value.is(Type::none)) return "None";
  switch (value.type()) {
    case Type::undefined:
    case Type::macro:
    case Type::loop: return fmt::format("jinja2.runtime.{} object", type_name(value));
    case Type::cycler:
    case Type::joiner: return fmt::format("jinja2.utils.{} object", type_name(value));
    default: return fmt::format("{} object", type_name(value));
  }
}

bool is_true(const Value& value) {
  switch (value.type()) {
    case Type::undefined:
    case Type::none: return false;
    case Type::boolean: return value.as_boolean();
    case Type::integer: return value.as_integer() != 0;
    case Type::real: return value.as_real() != 0;
    case Type::string: return !value.string().text.empty();
    case Type::list:
    case Type::tuple:
    case Type::range: return !value.list().items.empty();
    case Type::dict: return !value.dict().entries.empty();
    case Type::keys:
    case Type::values:
    case Type::items: return !value.as<View>().dict.dict().entries.empty();
    default: return true;
  }
}

bool equal(Meter& meter, const Value& a, const Value& b) {
  meter.work(1);
  if (a.is_number() && b.is_number()) {
    if (a.is_whole() && b.is_whole()) return a.as_integer() == b.as_integer();
    return a.as_real() == b.as_real();
  }
  if (a.is_view() && a.type() == b.type() && !a.is(Type::values)) {
    const Dict &left = a.as<View>().dict.dict(), &right = b.as<View>().dict.dict();
    if (left.entries.size() != right.entries.size()) return false;
    return std::ranges::all_of(left.entries, [&](const Dict::Entry& entry) {
      const Value* other = right.find(entry.first);
      return other && (a.is(Type::keys) || equal(meter, entry.second, *other));
    });
  }
  if (a.type() != b.type()) return false;
  switch (a.type()) {
    case Type::undefined:
    case Type::none: return true;
    case Type::string: {
      const std::string &left = a.string().text, &right = b.string().text;
      if (left.size() != right.size()) return false;
      meter.work(left.size());
      return left == right;
    }
    case Type::list:
    case Type::tuple:
    case Type::range: {
      const Values &left = a.list().items, &right = b.list().items;
      if (left.size() != right.size()) return false;
      for (std::size_t i = 0; i < left.size(); ++i)
        if (!equal(meter, left[i], right[i])) return false;
      return true;
    }
    case Type::dict: {
      const Dict &left = a.dict(), &right = b.dict();
      if (left.entries.size() != right.entries.size()) return false;
      return std::ranges::all_of(left.entries, [&](const Dict::Entry& entry) {
        const Value* other = right.find(entry.first);
        return other && equal(meter, entry.second, *other);
      });
    }
    default: return a.object() == b.object();
  }
}

std::uint64_t hash_of(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<std::uint8_t>(c)) * 0x100000001b3;
  return hash ^ hash >> 29;
}

std::uint64_t hash_of(const Value& value) {
  switch (value.type()) {
    case Type::string: return hash_of(std::string_view(value.string().text));
    case Type::list:
    case Type::dict:
      throw JinjaError(Failure::type, fmt::format("unhashable type: '{}'", type_name(value)));
    case Type::tuple: {
      std::uint64_t hash = 7;
      for (const Value& item : value.list().items) hash = hash * 31 + hash_of(item);
      return hash;
    }
    case Type::boolean:
    case Type::integer:
    case Type::real: {
      const double number = value.as_real();
      return hash_of(std::string_view(reinterpret_cast<const char*>(&number), sizeof number));
    }
    case Type::none:
    case Type::undefined: return 1;
    default: return reinterpret_cast<std::uintptr_t>(value.object());
  }
}

int compare(Meter& meter, const Value& a, const Value& b, std::string_view symbol) {
  meter.work(1);
  if (a.is(Type::undefined) || b.is(Type::undefined))
    throw JinjaError(Failure::undefined,
                     (a.is(Type::undefined) ? a : b).as<Undefined>().message);
  if (a.is_number() && b.is_number()) {
    if (a.is_whole() && b.is_whole())
      return a.as_integer() < b.as_integer() ? -1 : a.as_integer() > b.as_integer();
    return a.as_real() < b.as_real() ? -1 : a.as_real() > b.as_real();
  }
  if (a.is(Type::string) && b.is(Type::string)) {
    meter.work(std::min(a.string().text.size(), b.string().text.size()));
    const int order = a.string().text.compare(b.string().text);
    return order;
  }
  if (a.type() == b.type() && (a.is(Type::list) || a.is(Type::tuple))) {
    const Values &left = a.list().items, &right = b.list().items;
    for (std::size_t i = 0; i < std::min(left.size(), right.size()); ++i)
      if (!equal(meter, left[i], right[i])) return compare(meter, left[i], right[i], symbol);
    return left.size() < right.size() ? -1 : left.size() > right.size();
  }
  throw JinjaError(Failure::type,
                   fmt::format("'{}' not supported between instances of '{}' and '{}'", symbol,
                               type_name(a), type_name(b)));
}

bool has_input(const Value& value) {
  if (value.is_input()) return true;
  switch (value.type()) {
    case Type::string: return value.string().has_input();
    case Type::list:
    case Type::tuple:
    case Type::range: return std::ranges::any_of(value.list().items, has_input);
    case Type::dict:
      return std::ranges::any_of(value.dict().entries, [](const Dict::Entry& entry) {
        return has_input(entry.first) || has_input(entry.second);
      });
    case Type::keys:
    case Type::values:
    case Type::items: return has_input(value.as<View>().dict);
    case Type::generator: return std::ranges::any_of(value.as<Generator>().items, has_input);
    default: return false;
  }
}

}  // namespace plimsoll::jinja
