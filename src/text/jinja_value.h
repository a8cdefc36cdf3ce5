// Values of chat templates: Python's, as far as templates see them, with strings that know which of their bytes came
// from outside, and everything that they hold on account.
#pragma once

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"

namespace plimsoll::jinja {

enum class Failure {
  syntax,     ///< the template is none
  undefined,  ///< something was made of a value that there is not
  type,       ///< an operation that its operands do not have: Python's TypeError, ValueError and their like
  raised,     ///< the template's own raise_exception
  security,   ///< an attribute that templates may not have
  limit,      ///< see Limits
};

/// What ends a rendering, or a compilation.
class JinjaError : public std::runtime_error {
 public:
  JinjaError(Failure kind, const std::string& message, int line = 0)
      : std::runtime_error(message), kind_(kind), line_(line) {}
  Failure kind() const { return kind_; }
  int line() const { return line_; }  ///< of the template, from 1; 0 where none is known
  void set_line(int line) { line_ = line; }

 private:
  Failure kind_;
  int line_;
};

/// What one rendering may take.
struct Limits {
  std::uint64_t steps = 10'000'000;  ///< nodes evaluated
  std::uint64_t work = 1 * GiB;      ///< bytes looked at by operations on texts and lists
  Bytes output = 16 * MiB;           ///< of text, in any one string
  Bytes values = 64 * MiB;           ///< live at once
  int depth = 1500;                  ///< nodes inside of nodes, macros' calls included
};
/// Containers inside of containers.
constexpr std::uint32_t deepest_nesting = 200;

/// Counts what a rendering takes and ends it where that is too much.
class Meter {
 public:
  explicit Meter(const Limits& limits = {}) : limits_(limits) {}
  Meter(const Meter&) = delete;
  Meter& operator=(const Meter&) = delete;

  void step() {
    if (++steps_ > limits_.steps) refuse_steps();
  }
  void work(std::uint64_t bytes) {
    work_ += bytes;
    if (work_ > limits_.work) refuse_work();
  }
  void charge(Bytes bytes) {
    if (bytes > limits_.values || live_ + bytes > limits_.values) refuse_memory();
    live_ += bytes;
    if (live_ > peak_) peak_ = live_;
  }
  void release(Bytes bytes) { live_ -= bytes; }

  const Limits& limits() const { return limits_; }
  std::uint64_t steps() const { return steps_; }
  Bytes live() const { return live_; }
  Bytes peak() const { return peak_; }
  [[noreturn]] void refuse_output() const;

 private:
  [[noreturn]] void refuse_steps() const;
  [[noreturn]] void refuse_work() const;
  [[noreturn]] void refuse_memory() const;

  Limits limits_;
  std::uint64_t steps_ = 0, work_ = 0;
  Bytes live_ = 0, peak_ = 0;
};

/// Base of everything that is shared by reference. Not for several threads at once, except for constants of a template,
/// which are never counted.
struct Object {
  static constexpr std::uint32_t immortal = 0xFFFFFFFF;

  /// `meter` is null for constants of a template.
  Object(Meter* meter, Bytes bytes, std::uint32_t depth = 0);
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;
  virtual ~Object();

  /// Puts more on the account of this object.
  void grow(Bytes bytes);

  Meter* meter;
  Bytes charged;
  std::uint32_t refs = 0;
  std::uint32_t depth;  ///< containers inside of it, one inside of the other
};

/// Owns a share of an object.
template <class T>
class Ref {
 public:
  Ref() = default;
  explicit Ref(T* object) : object_(object) {
    if (object_) ++object_->refs;
  }
  Ref(const Ref& other) : Ref(other.object_) {}
  Ref(Ref&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  Ref& operator=(Ref other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~Ref() {
    if (object_ && --object_->refs == 0) delete object_;
  }
  T* get() const { return object_; }
  T* operator->() const { return object_; }
  T& operator*() const { return *object_; }
  explicit operator bool() const { return object_ != nullptr; }

 private:
  T* object_ = nullptr;
};

struct String;
struct Undefined;
struct List;
struct Dict;
struct Generator;
struct Namespace;

enum class Type : std::uint8_t {
  undefined,
  none,
  boolean,
  integer,
  real,
  string,
  list,
  tuple,
  range,
  dict,
  keys,
  values,
  items,
  generator,
  space,  ///< what namespace() makes
  function,
  method,
  macro,
  loop,
  cycler,
  joiner,
};

class Value {
 public:
  Value() : Value(Type::none) {}
  Value(const Value& other) noexcept : type_(other.type_), input_(other.input_), data_(other.data_) {
    if (holds_object()) retain();
  }
  Value(Value&& other) noexcept : type_(other.type_), input_(other.input_), data_(other.data_) {
    other.type_ = Type::none;
  }
  Value& operator=(Value other) noexcept {
    std::swap(type_, other.type_);
    std::swap(input_, other.input_);
    std::swap(data_, other.data_);
    return *this;
  }
  ~Value() {
    if (holds_object()) drop();
  }

  static Value none() { return Value(); }
  static Value boolean(bool value, bool input = false);
  static Value integer(std::int64_t value, bool input = false);
  static Value real(double value, bool input = false);
  /// Takes part in the ownership of `object`.
  static Value of(Type type, Object* object, bool input = false);

  Type type() const { return type_; }
  bool is(Type type) const { return type_ == type; }
  bool is_number() const { return is(Type::integer) || is(Type::real) || is(Type::boolean); }
  bool is_whole() const { return is(Type::integer) || is(Type::boolean); }
  bool is_sequence() const { return is(Type::list) || is(Type::tuple) || is(Type::range); }
  bool is_view() const { return is(Type::keys) || is(Type::values) || is(Type::items); }
  /// Numbers and containers: whether they are what came from outside. Strings know it by byte.
  bool is_input() const { return input_; }

  bool as_boolean() const { return data_.boolean; }
  std::int64_t as_integer() const { return is(Type::boolean) ? data_.boolean : data_.integer; }
  double as_real() const;  ///< of any number
  Object* object() const { return data_.object; }
  /// By type(): nothing checks it.
  template <class T>
  T& as() const {
    return *static_cast<T*>(data_.object);
  }
  String& string() const;
  List& list() const;
  Dict& dict() const;

 private:
  explicit Value(Type type) : type_(type) { data_.integer = 0; }
  bool holds_object() const { return type_ == Type::undefined || type_ >= Type::string; }
  void retain() const {
    if (data_.object && data_.object->refs != Object::immortal) ++data_.object->refs;
  }
  void drop() const {
    if (data_.object && data_.object->refs != Object::immortal && --data_.object->refs == 0)
      delete data_.object;
  }

  Type type_;
  bool input_ = false;
  union {
    bool boolean;
    std::int64_t integer;
    double real;
    Object* object;
  } data_;
};

using Values = std::vector<Value>;

/// UTF-8, immutable.
struct String : Object {
  /// Bytes up to `end` (from the end of the run before).
  struct Run {
    std::uint32_t end;
    bool input;
  };

  String(Meter* meter, std::string content, std::vector<Run> marks, bool input, bool markup);

  /// Whether any byte came from outside.
  bool has_input() const;
  bool is_input_at(std::size_t byte) const;
  std::int64_t length() const;  ///< code points; bytes that are no UTF-8 are one each
  bool is_ascii() const { return length() == static_cast<std::int64_t>(text.size()); }
  /// Where code point `index` (at most length()) begins.
  std::size_t offset_of(std::int64_t index) const;

  std::string text;
  std::vector<Run> runs;  ///< empty: `input` says it of all bytes
  bool input;
  bool markup;  ///< what `safe` makes: escapes what is added to it
  mutable std::int64_t characters = -1;
};

/// A value that there is not: what made it, for the message when it is used.
struct Undefined : Object {
  Undefined(Meter* meter, std::string text, bool by_sandbox = false);
  std::string message;  ///< "'x' is undefined"
  bool is_unsafe;
};

/// Lists, tuples and ranges.
struct List : Object {
  List(Meter* meter, Values values);
  Values items;
  std::int64_t start = 0, stop = 0, stride = 1;  ///< of a range
};

/// Keys in the order of their addition.
struct Dict : Object {
  using Entry = std::pair<Value, Value>;

  explicit Dict(Meter* of) : Object(of, sizeof(Dict)) {}
  /// Null where there is none. Throws for keys that cannot be.
  const Value* find(const Value& key) const;
  const Value* find(std::string_view key) const;
  void set(const Value& key, Value value);

  std::vector<Entry> entries;

 private:
  template <class Equal>
  std::int64_t look_up(std::uint64_t hash, Equal equal) const;
  void add_to_index(std::size_t entry);
  std::vector<std::uint32_t> index_;  ///< hash table of entries, one up; empty while there are few
};

/// What dict.keys(), .values() and .items() give.
struct View : Object {
  View(Meter* meter, Value of);
  Value dict;
};

/// Gives every item once.
struct Generator : Object {
  Generator(Meter* meter, Values values);
  Values items;
  std::size_t next = 0;
};

struct Namespace : Object {
  explicit Namespace(Meter* of) : Object(of, sizeof(Namespace) + 2 * sizeof(Value)) {}
  const Value* find(std::string_view name) const;
  void set(std::string_view name, Value value);
  std::vector<std::pair<std::string, Value>> attributes;
};

/// A method together with the value that it belongs to.
struct Method : Object {
  Method(Meter* meter, Value of, std::string_view called);
  Value self;
  std::string name;
};

struct Cycler : Object {
  Cycler(Meter* meter, Values values);
  Values items;
  std::size_t at = 0;
};

struct Joiner : Object {
  Joiner(Meter* meter, Value text);
  Value separator;
  bool used = false;
};

/// Puts a string together from pieces that keep their marks.
class TextBuilder {
 public:
  explicit TextBuilder(Meter& meter) : meter_(&meter) {}
  TextBuilder(const TextBuilder&) = delete;
  TextBuilder& operator=(const TextBuilder&) = delete;
  ~TextBuilder() { meter_->release(charged_); }

  void append(std::string_view text, bool input);
  void append(const String& string) { append(string, 0, string.text.size()); }
  void append(const String& string, std::size_t begin, std::size_t end);
  std::size_t size() const { return text_.size(); }
  const std::string& text() const { return text_; }
  /// Hands the string over and is empty again.
  Value take(bool markup = false);
  /// What came together, as text and runs that cover all of it.
  std::pair<std::string, std::vector<String::Run>> take_runs();

 private:
  void make_room(std::size_t more);
  Meter* meter_;
  std::string text_;
  std::vector<String::Run> runs_;
  Bytes charged_ = 0;
};

Value make_string(Meter& meter, std::string text, bool input = false);
/// Bytes [begin, end) of a string, with their marks.
Value substring(Meter& meter, const Value& string, std::size_t begin, std::size_t end);
Value make_undefined(Meter& meter, std::string message);
Value make_list(Meter& meter, Values items, Type type = Type::list, bool input = false);
Value make_dict(Meter& meter, bool input = false);
Value make_generator(Meter& meter, Values items);

/// Python's names of types ("str", "NoneType").
std::string_view type_name(const Value& value);
/// As in messages about missing attributes ("dict object", "None").
std::string described(const Value& value);

/// Containers one inside of the other, if these are in one; throws Failure::limit for too many.
std::uint32_t depth_around(const Values& values);
bool is_true(const Value& value);
bool equal(Meter& meter, const Value& a, const Value& b);
/// Throws Failure::type for keys that cannot be.
std::uint64_t hash_of(const Value& value);
std::uint64_t hash_of(std::string_view text);
/// Negative, zero or positive; `symbol` for the message of what has no order.
int compare(Meter& meter, const Value& a, const Value& b, std::string_view symbol);
/// Any value came from outside.
bool has_input(const Value& value);

}  // namespace plimsoll::jinja
