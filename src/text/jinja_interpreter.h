// Renders a compiled template: walks its tree with Python's meaning of expressions and Jinja's of names.
#pragma once

#include <ctime>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja_builtins.h"
#include "text/jinja_syntax.h"
#include "text/jinja_value.h"

namespace plimsoll::jinja {

/// Names set in one place of a template, around them those of the place outside.
struct Scope : Object {
  Scope(Meter* of, Scope* around) : Object(of, sizeof(Scope)), outer(around) {}
  Value* find(Symbol symbol) {
    for (auto& [name, value] : names)
      if (name == symbol) return &value;
    return nullptr;
  }
  void set(Symbol symbol, Value value);

  Ref<Scope> outer;
  std::vector<std::pair<Symbol, Value>> names;
  bool is_captured = false;  ///< by a macro
};

struct Macro : Object {
  Macro(Meter* of, const Node* node, Scope* around)
      : Object(of, sizeof(Macro)), definition(node), scope(around) {}
  const Node* definition;
  Ref<Scope> scope;  ///< of its definition
};

/// The variable `loop`.
struct LoopState : Object {
  explicit LoopState(Meter* of) : Object(of, sizeof(LoopState)) {}

  /// The next item that the loop's condition lets through, or null at the end.
  const Value* peek();
  bool advance();  ///< false at the end
  std::int64_t length();

  Interpreter* interpreter = nullptr;  ///< null once the loop is over
  const Node* node = nullptr;
  Scope* scope = nullptr;  ///< around the loop
  Values source;           ///< of what is iterated
  std::size_t read = 0;
  bool has_next = false, has_before = false;
  Value before, current, next;
  std::int64_t index = -1, known_length = -1, level = 0;
  Values last_changed;
  bool was_changed = false;
};

class Interpreter {
 public:
  /// `now`: seconds since 1970, for strftime_now.
  Interpreter(const Syntax& syntax, Meter& meter, std::int64_t now);
  Interpreter(const Interpreter&) = delete;
  ~Interpreter();

  void set_global(std::string_view name, Value value);
  /// Throws JinjaError with the line.
  void render(TextBuilder& out);

  Meter& meter() { return meter_; }
  const Symbols& symbols() const { return syntax_.symbols; }
  std::int64_t now() const { return now_; }

  // For filters and functions.
  Value attribute(const Value& object, std::string_view name);  ///< object.name
  Value item(const Value& object, const Value& index);          ///< object[index]
  Value call(const Value& callee, Arguments& arguments);
  Value string(std::string text, bool input = false) { return make_string(meter_, std::move(text), input); }
  Value new_namespace();

 private:
  friend struct LoopState;
  enum class Flow { on, break_loop, continue_loop };
  class Level;

  Value evaluate(const Node& node, Scope& scope);
  Value evaluate_name(const Node& node, Scope& scope);
  Value evaluate_list(const Node& node, Scope& scope);
  Value evaluate_dict(const Node& node, Scope& scope);
  Value evaluate_slice(const Node& node, Scope& scope);
  Value evaluate_call(const Node& node, Scope& scope);
  Value evaluate_filter(const Node& node, Scope& scope, const Value* subject);
  Value evaluate_test(const Node& node, Scope& scope);
  Value evaluate_sign(const Node& node, Scope& scope);
  Value evaluate_binary(const Node& node, Scope& scope);
  Value evaluate_concatenation(const Node& node, Scope& scope);
  Value evaluate_comparison(const Node& node, Scope& scope);
  Value evaluate_logic(const Node& node, Scope& scope);
  Value evaluate_conditional(const Node& node, Scope& scope);
  void read_arguments(const Node& node, Scope& scope, Arguments& arguments);

  Flow execute(const Node& node, Scope& scope, TextBuilder& out);
  Flow execute_all(const std::vector<NodePointer>& body, Scope& scope, TextBuilder& out);
  void execute_output(const Node& node, Scope& scope, TextBuilder& out);
  void execute_loop(const Node& node, Scope& scope, TextBuilder& out);
  void run_loop(const Node& node, Scope& scope, const Value& iterable, std::int64_t level, TextBuilder& out);
  void execute_block_assignment(const Node& node, Scope& scope);
  Flow execute_scope(const Node& node, Scope& scope, TextBuilder& out);
  void execute_call_block(const Node& node, Scope& scope, TextBuilder& out);
  Flow execute_filter_block(const Node& node, Scope& scope, TextBuilder& out);
  Value make_macro(const Node& node, Scope& scope);
  Value call_macro(const Macro& macro, Arguments& arguments);
  Value call_loop(LoopState& loop, Arguments& arguments);
  void assign(const Node& target, Scope& scope, Value value);
  Value* look_up(Symbol symbol, Scope& scope);
  Value loop_attribute(LoopState& loop, std::string_view name, const Value& object);
  Value undefined(std::string message) { return make_undefined(meter_, std::move(message)); }
  [[noreturn]] void fail_undefined(const Value& value);

  const Syntax& syntax_;
  Meter& meter_;
  std::int64_t now_;
  int line_ = 0;
  int depth_ = 0;
  std::vector<std::pair<std::string, Value>> given_;
  std::vector<Value> globals_;          ///< by symbol, once looked up
  std::vector<bool> is_looked_up_;
  std::vector<Value> namespaces_;       ///< kept, since they may hold each other
  std::vector<Ref<Scope>> captured_;    ///< kept, since they hold macros that hold them
};

/// a + b and so on, for filters too.
Value add(Interpreter& interpreter, const Value& a, const Value& b);
Value arithmetic(Interpreter& interpreter, Operation operation, const Value& a, const Value& b);
Value slice(Interpreter& interpreter, const Value& object, const Value& begin, const Value& end,
            const Value& step);

}  // namespace plimsoll::jinja
