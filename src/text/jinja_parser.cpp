#include "text/jinja_parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <initializer_list>

#include "text/jinja_builtins.h"
#include "text/jinja_lexer.h"

namespace plimsoll::jinja {
namespace {

/// Expressions or statements inside of each other while parsing, and nodes in the tree (a long sum is deep, too).
constexpr int deepest_source = 150;
constexpr int deepest_tree = 500;
constexpr Bytes longest_source = 4 * MiB;

Value make_constant(std::string text) {
  auto* string = new String(nullptr, std::move(text), {}, false, false);
  string->length();  // counted now, since threads share it
  return Value::of(Type::string, string);
}

class Parser {
 public:
  explicit Parser(std::string_view source) : tokens_(tokenize(source)) {}

  Syntax run() {
    syntax_.body = statements({});
    syntax_.bytes = bytes_;
    return std::move(syntax_);
  }

 private:
  using Words = std::initializer_list<std::string_view>;

  // --- Tokens ---

  const Token& current() const { return tokens_[at_]; }
  const Token& look() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  const Token& next() {
    const Token& token = tokens_[at_];
    if (at_ + 1 < tokens_.size()) ++at_;
    return token;
  }
  bool skip_symbol(std::string_view text) {
    if (!current().is_symbol(text)) return false;
    next();
    return true;
  }
  bool skip_name(std::string_view text) {
    if (!current().is_name(text)) return false;
    next();
    return true;
  }

  [[noreturn]] void fail(const std::string& message, int line = 0) const {
    throw JinjaError(Failure::syntax, message, line ? line : current().line);
  }
  static std::string described(const Token& token) {
    switch (token.type) {
      case TokenType::data: return "template data";
      case TokenType::variable_begin: return "begin of print statement";
      case TokenType::variable_end: return "end of print statement";
      case TokenType::block_begin: return "begin of statement block";
      case TokenType::block_end: return "end of statement block";
      case TokenType::end: return "end of template";
      default: return token.text;
    }
  }
  void expect_symbol(std::string_view text) {
    if (!skip_symbol(text))
      fail(fmt::format("expected token '{}', got '{}'", text, described(current())));
  }
  void expect_name(std::string_view text) {
    if (!skip_name(text))
      fail(fmt::format("expected token '{}', got '{}'", text, described(current())));
  }
  Token expect(TokenType type, std::string_view name) {
    if (!current().is(type))
      fail(fmt::format("expected token '{}', got '{}'", name, described(current())));
    return next();
  }

  // --- Nodes ---

  /// One level of the source, for as long as it lives.
  class Level {
   public:
    explicit Level(Parser& parser) : parser_(parser) {
      if (++parser.level_ > deepest_source)
        throw JinjaError(Failure::limit,
                         fmt::format("is nested more than {} deep", deepest_source),
                         parser.current().line);
    }
    ~Level() { --parser_.level_; }

   private:
    Parser& parser_;
  };

  NodePointer make(Kind kind, int line) {
    bytes_ += sizeof(Node);
    return std::make_unique<Node>(kind, line);
  }
  void note_depth(Node& node, const NodePointer& child) {
    if (!child) return;
    node.depth = std::max<std::uint16_t>(node.depth, static_cast<std::uint16_t>(child->depth + 1));
    if (node.depth > deepest_tree)
      throw JinjaError(Failure::limit, fmt::format("is a tree of more than {} levels", deepest_tree),
                       node.line);
  }
  void adopt(Node& node, NodePointer child) {
    note_depth(node, child);
    bytes_ += sizeof(NodePointer);
    node.children.push_back(std::move(child));
  }
  void adopt_body(Node& node, std::vector<NodePointer>& place, std::vector<NodePointer> body) {
    for (const NodePointer& statement : body) note_depth(node, statement);
    place = std::move(body);
  }
  template <class... Children>
  NodePointer make(Kind kind, int line, NodePointer child, Children... children) {
    NodePointer node = make(kind, line);
    adopt(*node, std::move(child));
    (adopt(*node, std::move(children)), ...);
    return node;
  }
  NodePointer constant(Value value, int line) {
    NodePointer node = make(Kind::constant, line);
    node->constant = std::move(value);
    return node;
  }
  NodePointer text_constant(std::string text, int line) {
    bytes_ += sizeof(String) + text.size();
    return constant(make_constant(std::move(text)), line);
  }
  NodePointer name_node(std::string_view name, int line) {
    NodePointer node = make(Kind::name, line);
    node->symbol = syntax_.symbols.of(name);
    note_mention(node->symbol);
    return node;
  }
  void note_mention(Symbol symbol) {
    for (Signature* signature : signatures_) {
      if (symbol == Symbols::varargs) signature->takes_varargs = true;
      if (symbol == Symbols::kwargs) signature->takes_kwargs = true;
      if (symbol == Symbols::caller) signature->takes_caller = true;
    }
  }

  // --- Statements ---

  /// Up to a tag that begins with one of `ends`, whose word is current then; without any, up to the end.
  std::vector<NodePointer> statements(Words ends) {
    const Level level(*this);
    std::vector<NodePointer> body;
    NodePointer output;
    const auto add_output = [&](NodePointer expression, int line) {
      if (!output) output = make(Kind::output, line);
      adopt(*output, std::move(expression));
    };
    const auto flush = [&] {
      if (output) body.push_back(std::move(output));
    };
    while (true) {
      const Token& token = current();
      switch (token.type) {
        case TokenType::data:
          add_output(text_constant(token.text, token.line), token.line);
          next();
          break;
        case TokenType::variable_begin: {
          const int line = next().line;
          add_output(tuple({.conditional = true}), line);
          expect(TokenType::variable_end, "end of print statement");
          break;
        }
        case TokenType::block_begin:
          flush();
          next();
          if (std::ranges::any_of(ends, [&](std::string_view end) { return current().is_name(end); }))
            return body;
          body.push_back(statement());
          expect(TokenType::block_end, "end of statement block");
          break;
        default:
          flush();
          if (ends.size() != 0)
            fail(fmt::format("Unexpected end of template. Jinja was looking for the following tags: "
                             "'{}'",
                             fmt::join(ends, "' or '")));
          return body;
      }
    }
  }

  /// The statements of a tag up to `end`, whose word lies behind then.
  std::vector<NodePointer> body_until(std::string_view end) {
    expect(TokenType::block_end, "end of statement block");
    std::vector<NodePointer> body = statements({end});
    next();
    return body;
  }

  NodePointer statement() {
    const Token token = current();
    if (!token.is(TokenType::name)) fail("tag name expected");
    const std::string& word = token.text;
    if (word == "for") return for_loop();
    if (word == "if") return branch();
    if (word == "set") return assignment();
    if (word == "macro") return macro();
    if (word == "call") return call_block();
    if (word == "filter") return filter_block();
    if (word == "with") return with();
    if (word == "generation") return generation();
    if (word == "print") return print();
    if (word == "break" || word == "continue") {
      next();
      if (loops_ == 0) fail(fmt::format("'{}' outside of a loop", word), token.line);
      return make(word == "break" ? Kind::break_loop : Kind::continue_loop, token.line);
    }
    for (const std::string_view refused :
         {"include", "extends", "import", "from", "block", "autoescape", "do", "trans", "debug"})
      if (word == refused) fail(fmt::format("the statement '{}' is not for chat templates", word));
    fail(fmt::format("Encountered unknown tag '{}'.", word));
  }

  NodePointer for_loop() {
    const int line = next().line;
    NodePointer target = assign_target("in", false);
    expect_name("in");
    NodePointer iterable = tuple({.end = "recursive"});
    NodePointer condition;
    if (skip_name("if")) condition = expression();
    const bool is_recursive = skip_name("recursive");
    NodePointer node = make(Kind::loop, line, std::move(target), std::move(iterable), std::move(condition));
    node->is_recursive = is_recursive;
    expect(TokenType::block_end, "end of statement block");
    ++loops_;
    adopt_body(*node, node->body, statements({"endfor", "else"}));
    --loops_;
    if (next().text == "else") adopt_body(*node, node->otherwise, body_until("endfor"));
    return node;
  }

  NodePointer branch() {
    const Level level(*this);
    const int line = next().line;
    NodePointer node = make(Kind::branch, line, tuple({}));
    expect(TokenType::block_end, "end of statement block");
    adopt_body(*node, node->body, statements({"elif", "else", "endif"}));
    if (current().is_name("elif")) {
      // The rest is a branch of its own, in what happens otherwise.
      std::vector<NodePointer> rest;
      rest.push_back(branch());
      adopt_body(*node, node->otherwise, std::move(rest));
    } else if (next().text == "else") {
      adopt_body(*node, node->otherwise, body_until("endif"));
    }
    return node;
  }

  NodePointer assignment() {
    const int line = next().line;
    NodePointer target = assign_target({}, true);
    if (skip_symbol("=")) return make(Kind::assignment, line, std::move(target), tuple({.conditional = true}));
    NodePointer filter = filters(nullptr);
    NodePointer node = make(Kind::block_assignment, line, std::move(target), std::move(filter));
    adopt_body(*node, node->body, body_until("endset"));
    return node;
  }

  NodePointer with() {
    const int line = next().line;
    NodePointer node = make(Kind::scope, line);
    while (!current().is(TokenType::block_end)) {
      if (!node->children.empty()) expect_symbol(",");
      adopt(*node, assign_target({}, false));
      expect_symbol("=");
      adopt(*node, expression());
    }
    adopt_body(*node, node->body, body_until("endwith"));
    return node;
  }

  /// Marks what a model says in training data: for a prompt only a scope.
  NodePointer generation() {
    NodePointer node = make(Kind::scope, next().line);
    const int loops = std::exchange(loops_, 0);
    adopt_body(*node, node->body, body_until("endgeneration"));
    loops_ = loops;
    return node;
  }

  NodePointer print() {
    NodePointer node = make(Kind::output, next().line);
    while (!current().is(TokenType::block_end)) {
      if (!node->children.empty()) expect_symbol(",");
      adopt(*node, expression());
    }
    return node;
  }

  void read_signature(Node& node) {
    Signature& signature = *node.signature;
    expect_symbol("(");
    bool has_defaults = false;
    while (!current().is_symbol(")")) {
      if (!signature.parameters.empty()) expect_symbol(",");
      const Token name = expect(TokenType::name, "name");
      const Symbol symbol = syntax_.symbols.of(name.text);
      if (std::ranges::find(signature.parameters, symbol) != signature.parameters.end())
        fail(fmt::format("duplicate argument '{}'", name.text));
      signature.parameters.push_back(symbol);
      if (symbol == Symbols::caller) signature.has_explicit_caller = true;
      if (skip_symbol("=")) {
        adopt(node, expression());
        has_defaults = true;
      } else if (has_defaults) {
        fail("non-default argument follows default argument");
      }
    }
    expect_symbol(")");
  }

  void read_macro_body(Node& node, std::string_view end) {
    signatures_.push_back(node.signature.get());
    const int loops = std::exchange(loops_, 0);
    adopt_body(node, node.body, body_until(end));
    loops_ = loops;
    signatures_.pop_back();
  }

  NodePointer macro() {
    NodePointer node = make(Kind::macro, next().line);
    node->symbol = syntax_.symbols.of(expect(TokenType::name, "name").text);
    node->signature = std::make_unique<Signature>();
    read_signature(*node);
    read_macro_body(*node, "endmacro");
    return node;
  }

  NodePointer call_block() {
    const int line = next().line;
    NodePointer node = make(Kind::call_block, line);
    node->signature = std::make_unique<Signature>();
    adopt(*node, nullptr);
    if (current().is_symbol("(")) read_signature(*node);
    node->children[0] = expression();
    note_depth(*node, node->children[0]);
    if (node->children[0]->kind != Kind::call) fail("expected call", line);
    node->symbol = Symbols::caller;
    read_macro_body(*node, "endcall");
    return node;
  }

  NodePointer filter_block() {
    const int line = next().line;
    NodePointer node = make(Kind::filter_block, line, filters(nullptr, true));
    adopt_body(*node, node->body, body_until("endfilter"));
    return node;
  }

  // --- Targets ---

  NodePointer single_target(bool with_attribute) {
    if (current().is(TokenType::name) && with_attribute && look().is_symbol(".")) {
      const Token name = next();
      next();
      NodePointer node = make(Kind::attribute_target, name.line);
      node->symbol = syntax_.symbols.of(name.text);
      node->attribute = syntax_.symbols.of(expect(TokenType::name, "name").text);
      return node;
    }
    if (skip_symbol("(")) {
      NodePointer node = target_list({}, with_attribute, true);
      expect_symbol(")");
      return node;
    }
    const Token name = next();
    if (!name.is(TokenType::name)) fail(fmt::format("can't assign to '{}'", described(name)), name.line);
    for (const std::string_view word : {"true", "false", "none", "True", "False", "None"})
      if (name.text == word) fail("can't assign to 'const'", name.line);
    NodePointer node = make(Kind::name, name.line);
    node->symbol = syntax_.symbols.of(name.text);
    return node;
  }

  NodePointer target_list(std::string_view end, bool with_attribute, bool in_brackets) {
    const Level level(*this);
    const int line = current().line;
    std::vector<NodePointer> targets;
    bool is_tuple = false;
    while (true) {
      if (!targets.empty()) expect_symbol(",");
      if (current().is(TokenType::block_end) || current().is_symbol(")") || current().is_symbol("=") ||
          (!end.empty() && current().is_name(end)))
        break;
      targets.push_back(single_target(with_attribute));
      if (!current().is_symbol(",")) break;
      is_tuple = true;
    }
    if (!is_tuple && targets.size() == 1) return std::move(targets.front());
    if (targets.empty() && !in_brackets)
      fail(fmt::format("Expected an expression, got '{}'", described(current())));
    NodePointer node = make(Kind::tuple, line);
    for (NodePointer& target : targets) adopt(*node, std::move(target));
    return node;
  }
  NodePointer assign_target(std::string_view end, bool with_attribute) {
    return target_list(end, with_attribute, false);
  }

  // --- Expressions ---

  struct TupleRules {
    bool conditional = false;  ///< "a if b" may stand in it
    bool in_brackets = false;  ///< and so may be empty
    std::string_view end = {}; ///< a word that ends it
  };

  NodePointer tuple(TupleRules rules) {
    const Level level(*this);
    const int line = current().line;
    std::vector<NodePointer> items;
    bool is_tuple = false;
    while (true) {
      if (!items.empty()) expect_symbol(",");
      if (current().is(TokenType::variable_end) || current().is(TokenType::block_end) ||
          current().is_symbol(")") || (!rules.end.empty() && current().is_name(rules.end)))
        break;
      items.push_back(rules.conditional ? expression() : disjunction());
      if (!current().is_symbol(",")) break;
      is_tuple = true;
    }
    if (!is_tuple) {
      if (!items.empty()) return std::move(items.front());
      if (!rules.in_brackets)
        fail(fmt::format("Expected an expression, got '{}'", described(current())));
    }
    NodePointer node = make(Kind::tuple, line);
    for (NodePointer& item : items) adopt(*node, std::move(item));
    return node;
  }

  NodePointer expression() {
    const Level level(*this);
    NodePointer value = disjunction();
    while (current().is_name("if")) {
      const int line = next().line;
      NodePointer condition = disjunction();
      NodePointer other;
      if (skip_name("else")) other = expression();
      value = make(Kind::conditional, line, std::move(condition), std::move(value), std::move(other));
    }
    return value;
  }

  /// Operands of one kind, with `word` between them.
  template <class Operand>
  NodePointer chain(Kind kind, std::string_view word, Operand operand) {
    NodePointer first = operand();
    if (!current().is_name(word)) return first;
    NodePointer node = make(kind, current().line, std::move(first));
    while (skip_name(word)) adopt(*node, operand());
    return node;
  }
  NodePointer disjunction() {
    return chain(Kind::disjunction, "or", [this] { return conjunction(); });
  }
  NodePointer conjunction() {
    return chain(Kind::conjunction, "and", [this] { return negation(); });
  }
  NodePointer negation() {
    if (!current().is_name("not")) return comparison();
    const Level level(*this);
    const int line = next().line;
    return make(Kind::negation, line, negation());
  }

  NodePointer comparison() {
    NodePointer first = sum();
    NodePointer node;
    while (true) {
      Comparison found;
      if (current().is_symbol("==")) found = Comparison::equal;
      else if (current().is_symbol("!=")) found = Comparison::unequal;
      else if (current().is_symbol("<")) found = Comparison::less;
      else if (current().is_symbol("<=")) found = Comparison::less_equal;
      else if (current().is_symbol(">")) found = Comparison::greater;
      else if (current().is_symbol(">=")) found = Comparison::greater_equal;
      else if (current().is_name("in")) found = Comparison::in;
      else if (current().is_name("not") && look().is_name("in")) found = Comparison::not_in;
      else break;
      const int line = next().line;
      if (found == Comparison::not_in) next();
      if (!node) node = make(Kind::comparison, line, std::move(first));
      adopt(*node, sum());
      node->comparisons.push_back(found);
    }
    return node ? std::move(node) : std::move(first);
  }

  NodePointer binary(Operation operation, int line, NodePointer left, NodePointer right) {
    NodePointer node = make(Kind::binary, line, std::move(left), std::move(right));
    node->operation = operation;
    return node;
  }

  NodePointer sum() {
    NodePointer left = concatenation();
    while (current().is_symbol("+") || current().is_symbol("-")) {
      const Token token = next();
      left = binary(token.text == "+" ? Operation::add : Operation::subtract, token.line,
                    std::move(left), concatenation());
    }
    return left;
  }

  NodePointer concatenation() {
    NodePointer first = product();
    if (!current().is_symbol("~")) return first;
    NodePointer node = make(Kind::concatenation, current().line, std::move(first));
    while (skip_symbol("~")) adopt(*node, product());
    return node;
  }

  NodePointer product() {
    NodePointer left = power();
    while (true) {
      Operation found;
      if (current().is_symbol("*")) found = Operation::multiply;
      else if (current().is_symbol("/")) found = Operation::divide;
      else if (current().is_symbol("//")) found = Operation::floor_divide;
      else if (current().is_symbol("%")) found = Operation::modulo;
      else return left;
      const int line = next().line;
      left = binary(found, line, std::move(left), power());
    }
  }

  NodePointer power() {
    NodePointer left = unary(true);
    while (current().is_symbol("**")) {
      const int line = next().line;
      left = binary(Operation::power, line, std::move(left), unary(true));
    }
    return left;
  }

  NodePointer unary(bool with_filter) {
    const Level level(*this);
    NodePointer node;
    if (current().is_symbol("-") || current().is_symbol("+")) {
      const Token token = next();
      node = make(token.text == "-" ? Kind::minus : Kind::plus, token.line, unary(false));
    } else {
      node = primary();
    }
    node = postfix(std::move(node));
    return with_filter ? filter_expression(std::move(node)) : std::move(node);
  }

  NodePointer primary() {
    const Token token = next();
    switch (token.type) {
      case TokenType::name:
        if (token.text == "true" || token.text == "True") return constant(Value::boolean(true), token.line);
        if (token.text == "false" || token.text == "False") return constant(Value::boolean(false), token.line);
        if (token.text == "none" || token.text == "None") return constant(Value::none(), token.line);
        return name_node(token.text, token.line);
      case TokenType::string: {
        std::string text = token.text;
        while (current().is(TokenType::string)) text += next().text;
        return text_constant(std::move(text), token.line);
      }
      case TokenType::integer: return constant(Value::integer(token.integer), token.line);
      case TokenType::real: return constant(Value::real(token.real), token.line);
      default: break;
    }
    if (token.is_symbol("(")) {
      NodePointer node = tuple({.conditional = true, .in_brackets = true});
      expect_symbol(")");
      return node;
    }
    if (token.is_symbol("[")) return bracketed(Kind::list, token.line, "]");
    if (token.is_symbol("{")) return bracketed(Kind::dict, token.line, "}");
    fail(fmt::format("unexpected '{}'", described(token)), token.line);
  }

  /// A list or a dict, whose opening bracket lies behind.
  NodePointer bracketed(Kind kind, int line, std::string_view end) {
    NodePointer node = make(kind, line);
    while (!current().is_symbol(end)) {
      if (!node->children.empty()) expect_symbol(",");
      if (current().is_symbol(end)) break;
      adopt(*node, expression());
      if (kind != Kind::dict) continue;
      expect_symbol(":");
      adopt(*node, expression());
    }
    expect_symbol(end);
    return node;
  }

  NodePointer postfix(NodePointer node) {
    while (true) {
      if (current().is_symbol(".")) {
        const int line = next().line;
        const Token token = next();
        if (token.is(TokenType::name)) {
          NodePointer attribute = make(Kind::attribute, line, std::move(node));
          attribute->symbol = syntax_.symbols.of(token.text);
          node = std::move(attribute);
        } else if (token.is(TokenType::integer)) {
          node = make(Kind::item, line, std::move(node), constant(Value::integer(token.integer), line));
        } else {
          fail("expected name or number", token.line);
        }
      } else if (current().is_symbol("[")) {
        node = subscript(std::move(node));
      } else if (current().is_symbol("(")) {
        node = call(std::move(node));
      } else {
        return node;
      }
    }
  }

  NodePointer subscript(NodePointer object) {
    const int line = next().line;
    const auto is_end = [this] { return current().is_symbol("]") || current().is_symbol(","); };
    if (current().is_symbol("]")) {
      // As Jinja: the empty tuple.
      next();
      return make(Kind::item, line, std::move(object), make(Kind::tuple, line));
    }
    NodePointer begin;
    if (!current().is_symbol(":")) {
      begin = expression();
      if (!current().is_symbol(":")) {
        if (current().is_symbol(",")) {
          NodePointer index = make(Kind::tuple, line, std::move(begin));
          while (skip_symbol(",")) adopt(*index, expression());
          begin = std::move(index);
        }
        expect_symbol("]");
        return make(Kind::item, line, std::move(object), std::move(begin));
      }
    }
    next();
    NodePointer end, step;
    if (!current().is_symbol(":") && !is_end()) end = expression();
    if (skip_symbol(":") && !is_end()) step = expression();
    expect_symbol("]");
    return make(Kind::slice, line, std::move(object), std::move(begin), std::move(end), std::move(step));
  }

  void read_arguments(Node& node) {
    const int line = current().line;
    expect_symbol("(");
    node.arguments = std::make_unique<CallArguments>();
    CallArguments& arguments = *node.arguments;
    const auto ensure = [&](bool valid) {
      if (!valid) fail("invalid syntax for function call expression", line);
    };
    bool needs_comma = false;
    while (!current().is_symbol(")")) {
      if (needs_comma) {
        expect_symbol(",");
        if (current().is_symbol(")")) break;
      }
      if (skip_symbol("*")) {
        ensure(!arguments.list && !arguments.dict);
        arguments.list = expression();
        note_depth(node, arguments.list);
      } else if (skip_symbol("**")) {
        ensure(!arguments.dict);
        arguments.dict = expression();
        note_depth(node, arguments.dict);
      } else if (current().is(TokenType::name) && look().is_symbol("=")) {
        ensure(!arguments.dict);
        const Symbol name = syntax_.symbols.of(next().text);
        next();
        NodePointer value = expression();
        note_depth(node, value);
        arguments.named.emplace_back(name, std::move(value));
      } else {
        ensure(!arguments.list && !arguments.dict && arguments.named.empty());
        adopt(node, expression());
      }
      needs_comma = true;
    }
    expect_symbol(")");
    if (arguments.named.empty() && !arguments.list && !arguments.dict) node.arguments.reset();
  }

  NodePointer call(NodePointer callee) {
    NodePointer node = make(Kind::call, current().line, std::move(callee));
    read_arguments(*node);
    return node;
  }

  std::string dotted_name() {
    std::string name = expect(TokenType::name, "name").text;
    while (skip_symbol(".")) name += "." + expect(TokenType::name, "name").text;
    return name;
  }

  NodePointer filters(NodePointer subject, bool begins_with_name = false) {
    while (begins_with_name || skip_symbol("|")) {
      begins_with_name = false;
      NodePointer node = make(Kind::filter, current().line, std::move(subject));
      const std::string name = dotted_name();
      node->symbol = syntax_.symbols.of(name);
      node->filter = find_filter(name);
      if (current().is_symbol("(")) read_arguments(*node);
      subject = std::move(node);
    }
    return subject;
  }

  NodePointer filter_expression(NodePointer node) {
    while (true) {
      if (current().is_symbol("|"))
        node = filters(std::move(node));
      else if (current().is_name("is"))
        node = test(std::move(node));
      else if (current().is_symbol("("))
        node = call(std::move(node));
      else
        return node;
    }
  }

  NodePointer test(NodePointer subject) {
    const int line = next().line;
    const bool negated = skip_name("not");
    NodePointer node = make(Kind::test, line, std::move(subject));
    const std::string name = dotted_name();
    node->symbol = syntax_.symbols.of(name);
    node->test = find_test(name);
    const Token& token = current();
    if (token.is_symbol("(")) {
      read_arguments(*node);
    } else if (token.is(TokenType::name) ? !token.is_name("else") && !token.is_name("or") && !token.is_name("and")
                                         : token.is(TokenType::string) || token.is(TokenType::integer) ||
                                               token.is(TokenType::real) || token.is_symbol("[") ||
                                               token.is_symbol("{")) {
      if (token.is_name("is")) fail("You cannot chain multiple tests with is");
      NodePointer argument = primary();
      adopt(*node, postfix(std::move(argument)));
    }
    return negated ? make(Kind::negation, line, std::move(node)) : std::move(node);
  }

  std::vector<Token> tokens_;
  std::size_t at_ = 0;
  int level_ = 0;
  int loops_ = 0;  ///< that the current statement is in
  std::vector<Signature*> signatures_;
  Bytes bytes_ = 0;
  Syntax syntax_;
};

}  // namespace

Node::~Node() {
  if (!constant.is(Type::string)) return;
  const Object* object = constant.object();
  constant = Value::none();
  delete object;
}

Symbols::Symbols() {
  for (const char* name : {"loop", "caller", "varargs", "kwargs"}) of(name);
}

Symbol Symbols::of(std::string_view name) {
  const auto [place, is_new] = symbols_.emplace(name, static_cast<Symbol>(names_.size()));
  if (is_new) names_.emplace_back(name);
  return place->second;
}

Syntax parse(std::string_view source) {
  if (source.size() > longest_source)
    throw JinjaError(Failure::limit, fmt::format("is longer than {}", format_bytes(longest_source)));
  return Parser(source).run();
}

}  // namespace plimsoll::jinja
