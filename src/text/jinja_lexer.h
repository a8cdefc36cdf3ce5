// Cuts a template into tokens, with Jinja's rules for white space around tags as chat templates are written for them:
// trim_blocks and lstrip_blocks.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace plimsoll::jinja {

enum class TokenType : std::uint8_t {
  data,  ///< text between tags
  variable_begin,
  variable_end,
  block_begin,
  block_end,
  name,
  string,
  integer,
  real,
  symbol,  ///< an operator or a bracket
  end,
};

struct Token {
  TokenType type;
  int line;          ///< from 1
  std::string text;  ///< of strings: what they stand for
  std::int64_t integer = 0;
  double real = 0;

  bool is(TokenType wanted) const { return type == wanted; }
  bool is_symbol(std::string_view wanted) const { return type == TokenType::symbol && text == wanted; }
  bool is_name(std::string_view wanted) const { return type == TokenType::name && text == wanted; }
};

/// Ends with a token of type `end`. Throws Failure::syntax.
std::vector<Token> tokenize(std::string_view source);

}  // namespace plimsoll::jinja
