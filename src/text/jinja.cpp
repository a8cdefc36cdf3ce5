#include "text/jinja.h"

#include <fmt/format.h>

#include <algorithm>

#include "text/jinja_interpreter.h"
#include "text/jinja_parser.h"

namespace plimsoll::jinja {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view well_known_roles[] = {"system", "developer", "user", "assistant", "tool", "function",
                                                "model",  "ipython"};

Value to_value(Meter& meter, const Json& json, bool input, std::uint32_t depth = 0) {
  if (depth > deepest_nesting)
    throw JinjaError(Failure::limit, fmt::format("is given values more than {} deep", deepest_nesting));
  switch (json.type()) {
    case Json::value_t::boolean: return Value::boolean(json.get<bool>(), input);
    case Json::value_t::number_integer: return Value::integer(json.get<std::int64_t>(), input);
    case Json::value_t::number_unsigned: {
      const auto value = json.get<std::uint64_t>();
      if (value > static_cast<std::uint64_t>(INT64_MAX)) return Value::real(static_cast<double>(value), input);
      return Value::integer(static_cast<std::int64_t>(value), input);
    }
    case Json::value_t::number_float: return Value::real(json.get<double>(), input);
    case Json::value_t::string: return make_string(meter, json.get_ref<const std::string&>(), input);
    case Json::value_t::array: {
      Values items;
      items.reserve(json.size());
      for (const Json& item : json) items.push_back(to_value(meter, item, input, depth + 1));
      return make_list(meter, std::move(items), Type::list, input);
    }
    case Json::value_t::object: {
      const Value dict = make_dict(meter, input);
      for (const auto& [key, item] : json.items())
        dict.dict().set(make_string(meter, key, input), to_value(meter, item, input, depth + 1));
      return dict;
    }
    default: return Value::none();
  }
}

/// Messages: like any input, but for their roles.
Value messages_value(Meter& meter, const Json& messages) {
  if (!messages.is_array()) return to_value(meter, messages, true);
  Values items;
  for (const Json& message : messages) {
    Value item = to_value(meter, message, true, 1);
    const Value* role = item.is(Type::dict) ? item.dict().find(std::string_view("role")) : nullptr;
    if (role && role->is(Type::string) && std::ranges::find(well_known_roles, role->string().text) != std::end(well_known_roles))
      item.dict().set(make_string(meter, "role", true), make_string(meter, role->string().text));
    items.push_back(std::move(item));
  }
  return make_list(meter, std::move(items), Type::list, true);
}

}  // namespace

Template Template::compile(std::string_view source) {
  Template result;
  result.syntax_ = std::make_unique<const Syntax>(parse(source));
  return result;
}

Rendered Template::render(const std::vector<Variable>& variables, std::int64_t now, const Limits& limits) const {
  Meter meter(limits);
  Rendered rendered;
  {
    Interpreter interpreter(*syntax_, meter, now);
    for (const Variable& variable : variables)
      interpreter.set_global(variable.name, variable.has_roles ? messages_value(meter, *variable.value)
                                                               : to_value(meter, *variable.value, variable.is_input));
    TextBuilder out(meter);
    interpreter.render(out);
    const auto [text, runs] = out.take_runs();
    std::size_t begin = 0;
    for (const String::Run& run : runs) {
      rendered.parts.push_back({text.substr(begin, run.end - begin), run.input});
      begin = run.end;
    }
  }
  rendered.steps = meter.steps();
  rendered.peak_bytes = meter.peak();
  return rendered;
}

}  // namespace plimsoll::jinja
