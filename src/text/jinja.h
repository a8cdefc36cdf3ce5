// Jinja templates as chat models bring them: what Hugging Face's transformers renders with Python's jinja2 in its immutable
// sandbox, without Python. Strings know which of their bytes came with the request.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja_syntax.h"
#include "text/jinja_value.h"
#include "text/tokenizer.h"

namespace plimsoll::jinja {

/// A variable of a template.
struct Variable {
  std::string_view name;
  const nlohmann::ordered_json* value;
  bool is_input = true;  ///< came with the request, and so is never read as control tokens
  /// An array of messages: their roles, where they are well-known ones, are the template's own words ("<|" + role + "|>"
  /// is a control token in some).
  bool has_roles = false;
};

struct Rendered {
  std::vector<TextPart> parts;
  std::uint64_t steps = 0;
  Bytes peak_bytes = 0;  ///< of values
};

/// Immutable and thread-safe.
class Template {
 public:
  /// Throws JinjaError: Failure::syntax, Failure::limit.
  static Template compile(std::string_view source);

  /// `now`: seconds since 1970. Throws JinjaError.
  Rendered render(const std::vector<Variable>& variables, std::int64_t now, const Limits& limits = {}) const;

  Bytes memory_bytes() const { return syntax_->bytes; }

 private:
  std::unique_ptr<const Syntax> syntax_;
};

}  // namespace plimsoll::jinja
