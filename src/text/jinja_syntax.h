// A compiled template: the tree that jinja_parser.h makes and jinja_interpreter.h walks.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "text/jinja_value.h"

namespace plimsoll::jinja {

class Interpreter;
struct Arguments;
using FilterFunction = Value (*)(Interpreter&, const Value& subject, const Arguments&);
using TestFunction = bool (*)(Interpreter&, const Value& subject, const Arguments&);

/// A name of the template, as an index.
using Symbol = std::uint32_t;

class Symbols {
 public:
  /// Those that every template has.
  static constexpr Symbol loop = 0, caller = 1, varargs = 2, kwargs = 3;

  Symbols();
  Symbol of(std::string_view name);
  const std::string& name(Symbol symbol) const { return names_[symbol]; }
  std::size_t size() const { return names_.size(); }

 private:
  std::vector<std::string> names_;
  std::unordered_map<std::string, Symbol> symbols_;
};

enum class Kind : std::uint8_t {
  // Expressions. Their operands are `children`.
  constant,    ///< `constant`
  name,        ///< `symbol`
  list,
  tuple,
  dict,        ///< keys and values in turn
  attribute,   ///< object . `symbol`
  item,        ///< object [ index ]
  slice,       ///< object [ begin : end : step ], each of the last three may be null
  call,        ///< callee and positional arguments; `arguments`
  filter,      ///< subject (null in a filter block) and positional arguments; `symbol`, `arguments`
  test,        ///< like filter
  negation,    ///< not
  minus,
  plus,
  binary,      ///< `operation`
  concatenation,
  comparison,  ///< operands; `comparisons` between them
  conjunction,
  disjunction,
  conditional, ///< condition, value, other value (may be null)

  // Statements. Their expressions are `children`, their statements `body` and `otherwise`.
  output,      ///< expressions; constants are the text between tags
  branch,      ///< condition; elif: a branch as the only statement of `otherwise`
  loop,        ///< target, iterable, condition (may be null); `is_recursive`
  assignment,  ///< target, value
  block_assignment,  ///< target, filter (may be null)
  scope,       ///< with: targets and values in turn
  macro,       ///< defaults of the last parameters; `signature`
  call_block,  ///< call, defaults; `signature`
  filter_block,      ///< filter
  break_loop,
  continue_loop,

  // Targets beside names and tuples.
  attribute_target,  ///< `symbol` . `attribute`
};

enum class Operation : std::uint8_t { add, subtract, multiply, divide, floor_divide, modulo, power };
enum class Comparison : std::uint8_t { equal, unequal, less, less_equal, greater, greater_equal, in, not_in };

struct Node;
using NodePointer = std::unique_ptr<Node>;

/// What a call has beside positional arguments.
struct CallArguments {
  std::vector<std::pair<Symbol, NodePointer>> named;
  NodePointer list, dict;  ///< of *list and **dict, or null
};

struct Signature {
  std::vector<Symbol> parameters;
  /// What the body mentions, and so is caught.
  bool takes_varargs = false, takes_kwargs = false, takes_caller = false;
  bool has_explicit_caller = false;  ///< a parameter is called so
};

struct Node {
  Node(Kind of, int at) : kind(of), line(at) {}
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;
  ~Node();  ///< with the constant, which nothing counts

  Kind kind;
  Operation operation = Operation::add;
  bool is_recursive = false;
  std::uint16_t depth = 1;  ///< nodes below, one below the other
  int line;
  Symbol symbol = 0, attribute = 0;
  Value constant;
  std::vector<NodePointer> children;
  std::vector<NodePointer> body, otherwise;
  std::vector<Comparison> comparisons;
  std::unique_ptr<CallArguments> arguments;
  std::unique_ptr<Signature> signature;
  FilterFunction filter = nullptr;  ///< null where the name is none that is known
  TestFunction test = nullptr;
};

/// Immutable; may be rendered by several threads at once.
struct Syntax {
  Symbols symbols;
  std::vector<NodePointer> body;
  Bytes bytes = 0;  ///< that it holds
};

}  // namespace plimsoll::jinja
