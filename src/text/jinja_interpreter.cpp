#include "text/jinja_interpreter.h"

#include <fmt/format.h>

#include <algorithm>

namespace plimsoll::jinja {

/// One node inside of another, for as long as it lives.
class Interpreter::Level {
 public:
  explicit Level(Interpreter& interpreter) : interpreter_(interpreter) {
    interpreter_.meter_.step();
    if (++interpreter_.depth_ > interpreter_.meter_.limits().depth)
      throw JinjaError(Failure::limit,
                       fmt::format("is more than {} levels deep", interpreter_.meter_.limits().depth));
  }
  ~Level() { --interpreter_.depth_; }

 private:
  Interpreter& interpreter_;
};

void Scope::set(Symbol symbol, Value value) {
  if (Value* found = find(symbol)) {
    *found = std::move(value);
    return;
  }
  grow(2 * sizeof(names[0]));
  names.emplace_back(symbol, std::move(value));
}

Interpreter::Interpreter(const Syntax& syntax, Meter& meter, std::int64_t now)
    : syntax_(syntax),
      meter_(meter),
      now_(now),
      globals_(syntax.symbols.size()),
      is_looked_up_(syntax.symbols.size()) {}

Interpreter::~Interpreter() {
  // What may hold itself is taken apart. All of it is moved out first, so that no deletion goes deep.
  std::vector<Value> values;
  for (const Value& space : namespaces_)
    for (auto& [name, value] : space.as<Namespace>().attributes) values.push_back(std::move(value));
  for (const Ref<Scope>& scope : captured_)
    for (auto& [name, value] : scope->names) values.push_back(std::move(value));
}

void Interpreter::set_global(std::string_view name, Value value) {
  given_.emplace_back(name, std::move(value));
}

void Interpreter::render(TextBuilder& out) {
  try {
    const Ref<Scope> root(new Scope(&meter_, nullptr));
    execute_all(syntax_.body, *root, out);
  } catch (JinjaError& error) {
    if (error.line() == 0) error.set_line(line_);
    throw;
  }
}

Value Interpreter::new_namespace() {
  Value space = Value::of(Type::space, new Namespace(&meter_));
  namespaces_.push_back(space);
  return space;
}

void Interpreter::fail_undefined(const Value& value) {
  const Undefined& undefined = value.as<Undefined>();
  throw JinjaError(undefined.is_unsafe ? Failure::security : Failure::undefined, undefined.message);
}

// --- Names ---

Value* Interpreter::look_up(Symbol symbol, Scope& scope) {
  for (Scope* place = &scope; place; place = place->outer.get())
    if (Value* found = place->find(symbol)) return found;
  return nullptr;
}

Value Interpreter::evaluate_name(const Node& node, Scope& scope) {
  if (const Value* found = look_up(node.symbol, scope)) return *found;
  if (!is_looked_up_[node.symbol]) {
    is_looked_up_[node.symbol] = true;
    const std::string& name = symbols().name(node.symbol);
    const auto given = std::ranges::find(given_, name, &std::pair<std::string, Value>::first);
    if (given != given_.end())
      globals_[node.symbol] = given->second;
    else if (const BuiltinFunction function = find_function(name))
      globals_[node.symbol] = Value::of(Type::function, new Function(&meter_, name, function));
    else
      globals_[node.symbol] = undefined(fmt::format("'{}' is undefined", name));
  }
  return globals_[node.symbol];
}

void Interpreter::assign(const Node& target, Scope& scope, Value value) {
  if (target.kind == Kind::name) return scope.set(target.symbol, std::move(value));
  if (target.kind == Kind::tuple) {
    const Values items = items_of(*this, value);
    if (items.size() != target.children.size())
      fail_type(items.size() < target.children.size()
                    ? fmt::format("not enough values to unpack (expected {}, got {})",
                                  target.children.size(), items.size())
                    : fmt::format("too many values to unpack (expected {})", target.children.size()));
    for (std::size_t i = 0; i < items.size(); ++i) assign(*target.children[i], scope, items[i]);
    return;
  }
  line_ = target.line;
  const Value* space = look_up(target.symbol, scope);
  if (!space || !space->is(Type::space))
    throw JinjaError(Failure::syntax, "cannot assign attribute on non-namespace object");
  const std::string& name = symbols().name(target.attribute);
  if (name.starts_with('_'))
    throw JinjaError(Failure::security,
                     fmt::format("Chat templates cannot store underscore-prefixed attributes on a "
                                 "namespace, but got '{}'. Please rename the attribute.",
                                 name));
  space->as<Namespace>().set(name, std::move(value));
}

// --- Attributes and items ---

Value Interpreter::attribute(const Value& object, std::string_view name) {
  if (object.is(Type::undefined)) fail_undefined(object);
  if (is_unsafe_attribute(object, name))
    return Value::of(Type::undefined,
                     new Undefined(&meter_,
                                   fmt::format("access to attribute '{}' of '{}' object is unsafe.",
                                               name, type_name(object)),
                                   true));
  if (has_method(object, name)) return Value::of(Type::method, new Method(&meter_, object, name));
  if (object.is(Type::dict)) {
    if (const Value* found = object.dict().find(name)) return *found;
  } else if (object.is(Type::space)) {
    if (const Value* found = object.as<Namespace>().find(name)) return *found;
  } else if (object.is(Type::loop)) {
    return loop_attribute(object.as<LoopState>(), name, object);
  } else if (object.is(Type::macro)) {
    const Node& definition = *object.as<Macro>().definition;
    if (name == "name") return string(symbols().name(definition.symbol));
    if (name == "arguments") {
      Values names;
      for (const Symbol parameter : definition.signature->parameters)
        names.push_back(string(symbols().name(parameter)));
      return make_list(meter_, std::move(names), Type::tuple);
    }
    if (name == "caller") return Value::boolean(definition.signature->takes_caller);
    if (name == "catch_kwargs") return Value::boolean(definition.signature->takes_kwargs);
    if (name == "catch_varargs") return Value::boolean(definition.signature->takes_varargs);
  } else if (object.is(Type::cycler) && name == "current") {
    const Cycler& cycler = object.as<Cycler>();
    return cycler.items[cycler.at];
  }
  return undefined(fmt::format("'{}' has no attribute '{}'", described(object), name));
}

Value Interpreter::item(const Value& object, const Value& index) {
  if (object.is(Type::undefined)) fail_undefined(object);
  if (object.is(Type::dict)) {
    const bool can_be_key = !index.is(Type::list) && !index.is(Type::dict);
    if (const Value* found = can_be_key ? object.dict().find(index) : nullptr) return *found;
  } else if (index.is_whole() && (object.is_sequence() || object.is(Type::string))) {
    const bool is_text = object.is(Type::string);
    const std::int64_t size = is_text ? object.string().length()
                                      : static_cast<std::int64_t>(object.list().items.size());
    std::int64_t place = index.as_integer();
    if (place < 0) place += size;
    if (place >= 0 && place < size) {
      if (!is_text) return object.list().items[static_cast<std::size_t>(place)];
      const String& text = object.string();
      const std::size_t begin = text.offset_of(place);
      const std::size_t end = text.is_ascii() ? begin + 1 : text.offset_of(place + 1);
      return substring(meter_, object, begin, end);
    }
  }
  if (index.is(Type::string)) {
    const std::string& name = index.string().text;
    if (!object.is(Type::dict) || is_unsafe_attribute(object, name) || has_method(object, name))
      return attribute(object, name);
    return undefined(fmt::format("'{}' has no attribute '{}'", described(object), name));
  }
  TextBuilder message(meter_);
  message.append(fmt::format("{} has no element ", described(object)), false);
  append_repr(message, index);
  return undefined(message.text());
}

Value Interpreter::loop_attribute(LoopState& loop, std::string_view name, const Value& object) {
  const auto whole_number = [](std::int64_t value) { return Value::integer(value); };
  if (name == "index") return whole_number(loop.index + 1);
  if (name == "index0") return whole_number(loop.index);
  if (name == "first") return Value::boolean(loop.index == 0);
  if (name == "last") return Value::boolean(!loop.peek());
  if (name == "length") return whole_number(loop.length());
  if (name == "revindex") return whole_number(loop.length() - loop.index);
  if (name == "revindex0") return whole_number(loop.length() - loop.index - 1);
  if (name == "depth") return whole_number(loop.level + 1);
  if (name == "depth0") return whole_number(loop.level);
  if (name == "previtem")
    return loop.index == 0 ? undefined("there is no previous item") : loop.before;
  if (name == "nextitem") {
    const Value* next = loop.peek();
    return next ? *next : undefined("there is no next item");
  }
  return undefined(fmt::format("'{}' has no attribute '{}'", described(object), name));
}

// --- Expressions ---

Value Interpreter::evaluate(const Node& node, Scope& scope) {
  if (node.kind == Kind::constant) return node.constant;
  const Level level(*this);
  line_ = node.line;
  switch (node.kind) {
    case Kind::name: return evaluate_name(node, scope);
    case Kind::list:
    case Kind::tuple: return evaluate_list(node, scope);
    case Kind::dict: return evaluate_dict(node, scope);
    case Kind::attribute: {
      const Value object = evaluate(*node.children[0], scope);
      return attribute(object, symbols().name(node.symbol));
    }
    case Kind::item: {
      const Value object = evaluate(*node.children[0], scope);
      return item(object, evaluate(*node.children[1], scope));
    }
    case Kind::slice: return evaluate_slice(node, scope);
    case Kind::call: return evaluate_call(node, scope);
    case Kind::filter: return evaluate_filter(node, scope, nullptr);
    case Kind::test: return evaluate_test(node, scope);
    case Kind::negation: return Value::boolean(!is_true(evaluate(*node.children[0], scope)));
    case Kind::minus:
    case Kind::plus: return evaluate_sign(node, scope);
    case Kind::binary: return evaluate_binary(node, scope);
    case Kind::concatenation: return evaluate_concatenation(node, scope);
    case Kind::comparison: return evaluate_comparison(node, scope);
    case Kind::conjunction:
    case Kind::disjunction: return evaluate_logic(node, scope);
    case Kind::conditional: return evaluate_conditional(node, scope);
    default: throw JinjaError(Failure::syntax, "not an expression", node.line);
  }
}

Value Interpreter::evaluate_list(const Node& node, Scope& scope) {
  Values items;
  items.reserve(node.children.size());
  for (const NodePointer& child : node.children) items.push_back(evaluate(*child, scope));
  return make_list(meter_, std::move(items), node.kind == Kind::list ? Type::list : Type::tuple);
}

Value Interpreter::evaluate_dict(const Node& node, Scope& scope) {
  const Value dict = make_dict(meter_);
  for (std::size_t i = 0; i < node.children.size(); i += 2) {
    const Value key = evaluate(*node.children[i], scope);
    dict.dict().set(key, evaluate(*node.children[i + 1], scope));
  }
  return dict;
}

Value Interpreter::evaluate_slice(const Node& node, Scope& scope) {
  const auto part = [&](std::size_t place) {
    return node.children[place] ? evaluate(*node.children[place], scope) : Value::none();
  };
  const Value object = part(0), begin = part(1), end = part(2), step = part(3);
  if (object.is(Type::undefined)) fail_undefined(object);
  if (!object.is_sequence() && !object.is(Type::string))
    fail_type(fmt::format("'{}' object is not subscriptable", type_name(object)));
  return slice(*this, object, begin, end, step);
}

void Interpreter::read_arguments(const Node& node, Scope& scope, Arguments& arguments) {
  for (std::size_t i = 1; i < node.children.size(); ++i)
    arguments.positional.push_back(evaluate(*node.children[i], scope));
  if (!node.arguments) return;
  if (node.arguments->list)
    for (Value& value : items_of(*this, evaluate(*node.arguments->list, scope)))
      arguments.positional.push_back(std::move(value));
  for (const auto& [symbol, value] : node.arguments->named)
    arguments.named.emplace_back(symbols().name(symbol), evaluate(*value, scope));
  if (!node.arguments->dict) return;
  const Value dict = evaluate(*node.arguments->dict, scope);
  if (!dict.is(Type::dict)) fail_type("argument after ** must be a mapping");
  for (const auto& [key, value] : dict.dict().entries) {
    if (!key.is(Type::string)) fail_type("keywords must be strings");
    const std::string& name = key.string().text;
    if (std::ranges::find(arguments.named, name, &std::pair<std::string, Value>::first) !=
        arguments.named.end())
      fail_type(fmt::format("got multiple values for keyword argument '{}'", name));
    arguments.named.emplace_back(name, value);
  }
}

Value Interpreter::evaluate_call(const Node& node, Scope& scope) {
  const Node& target = *node.children[0];
  Arguments arguments;
  if (target.kind == Kind::attribute) {
    // The usual method, without an object for it.
    const Value self = evaluate(*target.children[0], scope);
    const std::string& name = symbols().name(target.symbol);
    if (!self.is(Type::undefined) && has_method(self, name) && !is_unsafe_attribute(self, name)) {
      read_arguments(node, scope, arguments);
      line_ = node.line;
      return call_method(*this, self, name, arguments);
    }
    const Value callee = attribute(self, name);
    read_arguments(node, scope, arguments);
    line_ = node.line;
    return call(callee, arguments);
  }
  const Value callee = evaluate(target, scope);
  read_arguments(node, scope, arguments);
  line_ = node.line;
  return call(callee, arguments);
}

Value Interpreter::call(const Value& callee, Arguments& arguments) {
  const Level level(*this);
  switch (callee.type()) {
    case Type::undefined: fail_undefined(callee);
    case Type::function: return callee.as<Function>().call(*this, arguments);
    case Type::method: {
      const Method& method = callee.as<Method>();
      return call_method(*this, method.self, method.name, arguments);
    }
    case Type::macro: return call_macro(callee.as<Macro>(), arguments);
    case Type::loop: return call_loop(callee.as<LoopState>(), arguments);
    case Type::joiner: {
      Joiner& joiner = callee.as<Joiner>();
      if (std::exchange(joiner.used, true)) return joiner.separator;
      return string("");
    }
    default: fail_type(fmt::format("'{}' object is not callable", type_name(callee)));
  }
}

Value Interpreter::evaluate_filter(const Node& node, Scope& scope, const Value* subject) {
  Value inner;
  if (!node.children[0]) {
    inner = subject ? *subject : Value::none();
  } else if (node.children[0]->kind == Kind::filter && subject) {
    inner = evaluate_filter(*node.children[0], scope, subject);
  } else {
    inner = evaluate(*node.children[0], scope);
  }
  Arguments arguments;
  read_arguments(node, scope, arguments);
  line_ = node.line;
  if (!node.filter)
    throw JinjaError(Failure::syntax, fmt::format("No filter named '{}' found.", symbols().name(node.symbol)));
  return node.filter(*this, inner, arguments);
}

Value Interpreter::evaluate_test(const Node& node, Scope& scope) {
  const Value subject = evaluate(*node.children[0], scope);
  Arguments arguments;
  read_arguments(node, scope, arguments);
  line_ = node.line;
  if (!node.test)
    throw JinjaError(Failure::syntax, fmt::format("No test named '{}' found.", symbols().name(node.symbol)));
  return Value::boolean(node.test(*this, subject, arguments));
}

Value Interpreter::evaluate_sign(const Node& node, Scope& scope) {
  const Value value = evaluate(*node.children[0], scope);
  if (value.is(Type::undefined)) fail_undefined(value);
  if (!value.is_number())
    fail_type(fmt::format("bad operand type for unary {}: '{}'", node.kind == Kind::minus ? '-' : '+',
                          type_name(value)));
  if (value.is(Type::real))
    return Value::real(node.kind == Kind::minus ? -value.as_real() : value.as_real(), value.is_input());
  std::int64_t result = value.as_integer();
  if (node.kind == Kind::minus && __builtin_sub_overflow(0, result, &result))
    fail_type("integers are limited to 64 bits");
  return Value::integer(result, value.is_input());
}

Value Interpreter::evaluate_binary(const Node& node, Scope& scope) {
  const Value left = evaluate(*node.children[0], scope);
  const Value right = evaluate(*node.children[1], scope);
  line_ = node.line;
  if (node.operation == Operation::add) return add(*this, left, right);
  return arithmetic(*this, node.operation, left, right);
}

Value Interpreter::evaluate_concatenation(const Node& node, Scope& scope) {
  TextBuilder builder(meter_);
  for (const NodePointer& child : node.children) append_string(builder, evaluate(*child, scope));
  return builder.take();
}

Value Interpreter::evaluate_comparison(const Node& node, Scope& scope) {
  Value left = evaluate(*node.children[0], scope);
  for (std::size_t i = 0; i < node.comparisons.size(); ++i) {
    Value right = evaluate(*node.children[i + 1], scope);
    line_ = node.line;
    bool holds = false;
    switch (node.comparisons[i]) {
      case Comparison::equal: holds = equal(meter_, left, right); break;
      case Comparison::unequal: holds = !equal(meter_, left, right); break;
      case Comparison::less: holds = compare(meter_, left, right, "<") < 0; break;
      case Comparison::less_equal: holds = compare(meter_, left, right, "<=") <= 0; break;
      case Comparison::greater: holds = compare(meter_, left, right, ">") > 0; break;
      case Comparison::greater_equal: holds = compare(meter_, left, right, ">=") >= 0; break;
      case Comparison::in: holds = contains(*this, right, left); break;
      case Comparison::not_in: holds = !contains(*this, right, left); break;
    }
    if (!holds) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

Value Interpreter::evaluate_logic(const Node& node, Scope& scope) {
  Value value;
  for (const NodePointer& child : node.children) {
    value = evaluate(*child, scope);
    if (is_true(value) != (node.kind == Kind::conjunction)) break;
  }
  return value;
}

Value Interpreter::evaluate_conditional(const Node& node, Scope& scope) {
  if (is_true(evaluate(*node.children[0], scope))) return evaluate(*node.children[1], scope);
  if (node.children[2]) return evaluate(*node.children[2], scope);
  return undefined("the inline if-expression evaluated to false and no else section was defined.");
}

// --- Statements ---

Interpreter::Flow Interpreter::execute_all(const std::vector<NodePointer>& body, Scope& scope,
                                           TextBuilder& out) {
  for (const NodePointer& statement : body)
    if (const Flow flow = execute(*statement, scope, out); flow != Flow::on) return flow;
  return Flow::on;
}

Interpreter::Flow Interpreter::execute(const Node& node, Scope& scope, TextBuilder& out) {
  const Level level(*this);
  line_ = node.line;
  switch (node.kind) {
    case Kind::output: execute_output(node, scope, out); return Flow::on;
    case Kind::branch:
      return execute_all(is_true(evaluate(*node.children[0], scope)) ? node.body : node.otherwise, scope, out);
    case Kind::loop: execute_loop(node, scope, out); return Flow::on;
    case Kind::assignment:
      assign(*node.children[0], scope, evaluate(*node.children[1], scope));
      return Flow::on;
    case Kind::block_assignment: execute_block_assignment(node, scope); return Flow::on;
    case Kind::scope: return execute_scope(node, scope, out);
    case Kind::macro: scope.set(node.symbol, make_macro(node, scope)); return Flow::on;
    case Kind::call_block: execute_call_block(node, scope, out); return Flow::on;
    case Kind::filter_block: return execute_filter_block(node, scope, out);
    case Kind::break_loop: return Flow::break_loop;
    case Kind::continue_loop: return Flow::continue_loop;
    default: throw JinjaError(Failure::syntax, "not a statement", node.line);
  }
}

void Interpreter::execute_output(const Node& node, Scope& scope, TextBuilder& out) {
  for (const NodePointer& child : node.children) {
    if (child->kind == Kind::constant && child->constant.is(Type::string))
      out.append(child->constant.string());
    else
      append_string(out, evaluate(*child, scope));
  }
}

const Value* LoopState::peek() {
  if (has_next) return &next;
  if (!interpreter) return nullptr;
  while (read < source.size()) {
    interpreter->meter_.step();
    Value item = source[read++];
    if (node && node->children[2]) {
      const Ref<Scope> inner(new Scope(meter, scope));
      interpreter->assign(*node->children[0], *inner, item);
      if (!is_true(interpreter->evaluate(*node->children[2], *inner))) continue;
    }
    next = std::move(item);
    has_next = true;
    return &next;
  }
  return nullptr;
}

bool LoopState::advance() {
  if (!peek()) return false;
  before = std::move(current);
  current = std::move(next);
  next = Value::none();
  has_next = false;
  ++index;
  return true;
}

std::int64_t LoopState::length() {
  if (known_length >= 0) return known_length;
  if (!node || !node->children[2]) {
    known_length = static_cast<std::int64_t>(source.size());
    return known_length;
  }
  // Those that the condition lets through are looked for now.
  Values rest;
  const std::int64_t gone = index + 1;
  while (peek()) {
    rest.push_back(std::move(next));
    has_next = false;
  }
  known_length = gone + static_cast<std::int64_t>(rest.size());
  source = std::move(rest);
  read = 0;
  node = nullptr;
  return known_length;
}

void Interpreter::execute_loop(const Node& node, Scope& scope, TextBuilder& out) {
  const Value iterable = evaluate(*node.children[1], scope);
  line_ = node.line;
  run_loop(node, scope, iterable, 0, out);
}

void Interpreter::run_loop(const Node& node, Scope& scope, const Value& iterable, std::int64_t level,
                           TextBuilder& out) {
  const Ref<LoopState> loop(new LoopState(&meter_));
  loop->source = items_of(*this, iterable);
  loop->grow(loop->source.size() * sizeof(Value));
  loop->depth = depth_around(loop->source);
  loop->interpreter = this;
  loop->node = &node;
  loop->scope = &scope;
  loop->level = level;
  // However the loop ends, nothing may go on with it afterwards.
  struct Closer {
    LoopState& state;
    ~Closer() {
      state.interpreter = nullptr;
      state.scope = nullptr;
      Values().swap(state.last_changed);  // it may hold the loop itself
    }
  } const closer{*loop};

  Ref<Scope> inner;
  bool any = false;
  while (loop->advance()) {
    meter_.step();
    any = true;
    if (!inner || inner->refs > 1)
      inner = Ref<Scope>(new Scope(&meter_, &scope));
    else
      inner->names.clear();
    inner->set(Symbols::loop, Value::of(Type::loop, loop.get()));
    assign(*node.children[0], *inner, loop->current);
    if (execute_all(node.body, *inner, out) == Flow::break_loop) break;
  }
  if (!any) {
    const Ref<Scope> other(new Scope(&meter_, &scope));
    execute_all(node.otherwise, *other, out);
  }
}

Value Interpreter::call_loop(LoopState& loop, Arguments& arguments) {
  if (arguments.positional.size() != 1) fail_type("loop() takes one iterable");
  if (!loop.interpreter || !loop.scope) fail_type("the loop is over");
  // A loop whose length was asked for knows its node no more; its own is kept by the scope's owner.
  if (!loop.node || !loop.node->is_recursive)
    fail_type("The loop must have the 'recursive' marker to be called recursively.");
  TextBuilder builder(meter_);
  const Value iterable = arguments.positional[0];
  run_loop(*loop.node, *loop.scope, iterable, loop.level + 1, builder);
  return builder.take();
}

void Interpreter::execute_block_assignment(const Node& node, Scope& scope) {
  TextBuilder builder(meter_);
  const Ref<Scope> inner(new Scope(&meter_, &scope));
  execute_all(node.body, *inner, builder);
  Value value = builder.take();
  if (node.children[1]) value = evaluate_filter(*node.children[1], *inner, &value);
  assign(*node.children[0], scope, std::move(value));
}

Interpreter::Flow Interpreter::execute_scope(const Node& node, Scope& scope, TextBuilder& out) {
  const Ref<Scope> inner(new Scope(&meter_, &scope));
  for (std::size_t i = 0; i < node.children.size(); i += 2)
    assign(*node.children[i], *inner, evaluate(*node.children[i + 1], scope));
  return execute_all(node.body, *inner, out);
}

Interpreter::Flow Interpreter::execute_filter_block(const Node& node, Scope& scope, TextBuilder& out) {
  TextBuilder builder(meter_);
  const Ref<Scope> inner(new Scope(&meter_, &scope));
  const Flow flow = execute_all(node.body, *inner, builder);
  const Value text = builder.take();
  append_string(out, evaluate_filter(*node.children[0], *inner, &text));
  return flow;
}

// --- Macros ---

Value Interpreter::make_macro(const Node& node, Scope& scope) {
  if (!scope.is_captured) {
    scope.is_captured = true;
    captured_.emplace_back(&scope);
  }
  return Value::of(Type::macro, new Macro(&meter_, &node, &scope));
}

void Interpreter::execute_call_block(const Node& node, Scope& scope, TextBuilder& out) {
  const Node& call_node = *node.children[0];
  const Value callee = evaluate(*call_node.children[0], scope);
  Arguments arguments;
  read_arguments(call_node, scope, arguments);
  arguments.named.emplace_back("caller", make_macro(node, scope));
  line_ = node.line;
  append_string(out, call(callee, arguments));
}

Value Interpreter::call_macro(const Macro& macro, Arguments& arguments) {
  const Node& node = *macro.definition;
  const Signature& signature = *node.signature;
  const std::string name = node.kind == Kind::macro ? fmt::format("'{}'", symbols().name(node.symbol)) : "None";
  const Ref<Scope> scope(new Scope(&meter_, macro.scope.get()));
  const std::size_t count = signature.parameters.size();
  const std::size_t given = std::min(count, arguments.positional.size());
  const auto take_named = [&](const std::string& wanted) -> std::optional<Value> {
    const auto found = std::ranges::find(arguments.named, wanted, &std::pair<std::string, Value>::first);
    if (found == arguments.named.end()) return std::nullopt;
    Value value = std::move(found->second);
    arguments.named.erase(found);
    return value;
  };

  std::vector<std::optional<Value>> values(count);
  for (std::size_t i = 0; i < given; ++i) values[i] = arguments.positional[i];
  for (std::size_t i = given; i < count; ++i) values[i] = take_named(symbols().name(signature.parameters[i]));
  if (signature.takes_caller && !signature.has_explicit_caller)
    scope->set(Symbols::caller, take_named("caller").value_or(undefined("No caller defined")));
  if (signature.takes_kwargs) {
    const Value dict = make_dict(meter_);
    for (const auto& [key, value] : arguments.named) dict.dict().set(string(key), value);
    scope->set(Symbols::kwargs, dict);
  } else if (!arguments.named.empty()) {
    if (std::ranges::find(arguments.named, "caller", &std::pair<std::string, Value>::first) !=
        arguments.named.end())
      fail_type(fmt::format("macro {} was invoked with two values for the special caller argument. "
                            "This is most likely a bug.",
                            name));
    fail_type(fmt::format("macro {} takes no keyword argument '{}'", name, arguments.named[0].first));
  }
  if (signature.takes_varargs) {
    Values rest(arguments.positional.begin() + static_cast<std::ptrdiff_t>(given), arguments.positional.end());
    scope->set(Symbols::varargs, make_list(meter_, std::move(rest), Type::tuple));
  } else if (arguments.positional.size() > count) {
    fail_type(fmt::format("macro {} takes not more than {} argument(s)", name, count));
  }

  // Defaults belong to the last parameters; a call block's own call stands before them.
  const std::size_t first_default = node.kind == Kind::call_block ? 1 : 0;
  const std::size_t defaults = node.children.size() - first_default;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t back = count - i;
    if (!values[i])
      values[i] = back <= defaults
                      ? evaluate(*node.children[node.children.size() - back], *scope)
                      : undefined(fmt::format("parameter '{}' was not provided",
                                              symbols().name(signature.parameters[i])));
    scope->set(signature.parameters[i], std::move(*values[i]));
  }
  TextBuilder builder(meter_);
  execute_all(node.body, *scope, builder);
  return builder.take();
}

}  // namespace plimsoll::jinja
