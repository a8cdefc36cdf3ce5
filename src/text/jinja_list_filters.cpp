// Filters of lists and dicts.
#include <fmt/format.h>

#include <algorithm>

#include "text/jinja_filters.h"
#include "text/jinja_interpreter.h"

namespace plimsoll::jinja {
namespace {

bool flag(const Arguments& arguments, std::size_t place, std::string_view name) {
  const Value* found = arguments.find(place, name);
  return found && is_true(*found);
}

const Value* given(const Arguments& arguments, std::size_t place, std::string_view name) {
  const Value* found = arguments.find(place, name);
  return found && found->is(Type::none) ? nullptr : found;
}

/// What values are sorted and told apart by.
class Key {
 public:
  Key(Interpreter& interpreter, const Value* attribute, bool case_sensitive)
      : interpreter_(interpreter), attribute_(attribute), case_sensitive_(case_sensitive) {}

  Value of(const Value& value) const {
    Value key = attribute_ ? attribute_path(interpreter_, value, *attribute_) : value;
    if (!case_sensitive_ && key.is(Type::string)) key = call_method(interpreter_, key, "lower", {});
    return key;
  }

  /// By several attributes: "a,b".
  Values all_of(const Value& value) const {
    if (!attribute_ || !attribute_->is(Type::string)) return {of(value)};
    Values keys;
    std::string_view rest = attribute_->string().text;
    while (true) {
      const std::size_t comma = rest.find(',');
      const Value part = interpreter_.string(std::string(rest.substr(0, comma)));
      keys.push_back(Key(interpreter_, &part, case_sensitive_).of(value));
      if (comma == std::string_view::npos) return keys;
      rest.remove_prefix(comma + 1);
    }
  }

 private:
  Interpreter& interpreter_;
  const Value* attribute_;
  bool case_sensitive_;
};

/// Merge sort, since comparing may throw and need not be an order at all.
void sort_by_keys(Interpreter& interpreter, std::vector<std::pair<Values, Value>>& items, bool reverse) {
  const auto less = [&](const Values& a, const Values& b) {
    for (std::size_t i = 0; i < a.size(); ++i) {
      if (a.size() > 1 && equal(interpreter.meter(), a[i], b[i])) continue;
      return compare(interpreter.meter(), a[i], b[i], "<") < 0;
    }
    return false;
  };
  std::vector<std::pair<Values, Value>> merged(items.size());
  for (std::size_t width = 1; width < items.size(); width *= 2) {
    for (std::size_t begin = 0; begin < items.size(); begin += 2 * width) {
      const std::size_t middle = std::min(begin + width, items.size());
      const std::size_t end = std::min(begin + 2 * width, items.size());
      std::size_t left = begin, right = middle;
      for (std::size_t out = begin; out < end; ++out) {
        const bool takes_right =
            left == middle ||
            (right < end && (reverse ? less(items[left].first, items[right].first)
                                     : less(items[right].first, items[left].first)));
        merged[out] = std::move(items[takes_right ? right++ : left++]);
      }
    }
    items.swap(merged);
  }
}

std::vector<std::pair<Values, Value>> with_keys(Interpreter& interpreter, const Values& items, const Key& key) {
  // Keys and their lists are only held here.
  interpreter.meter().work(items.size() * sizeof(Value) * 4);
  std::vector<std::pair<Values, Value>> result;
  for (const Value& item : items) result.emplace_back(key.all_of(item), item);
  return result;
}

/// Whether select and its like keep a value: by a test with its arguments, or by truth.
class Selection {
 public:
  Selection(Interpreter& interpreter, const Arguments& arguments, std::size_t first)
      : interpreter_(interpreter) {
    if (arguments.positional.size() <= first) return;
    const Value& name = arguments.positional[first];
    if (!name.is(Type::string)) fail_type("a test is named by a string");
    test_ = find_test(name.string().text);
    if (!test_) throw JinjaError(Failure::syntax, fmt::format("No test named '{}'.", name.string().text));
    arguments_.positional.assign(arguments.positional.begin() + static_cast<std::ptrdiff_t>(first) + 1,
                                 arguments.positional.end());
    arguments_.named = arguments.named;
  }
  bool holds(const Value& value) const {
    return test_ ? test_(interpreter_, value, arguments_) : is_true(value);
  }

 private:
  Interpreter& interpreter_;
  TestFunction test_ = nullptr;
  Arguments arguments_;
};

Value selected(Interpreter& interpreter, const Value& subject, const Arguments& arguments, bool by_attribute,
               bool wanted) {
  if (by_attribute && arguments.positional.empty()) fail_type("Missing parameter for attribute name");
  const Selection selection(interpreter, arguments, by_attribute ? 1 : 0);
  Values kept;
  if (is_true(subject))
    for (Value& item : items_of(interpreter, subject)) {
      interpreter.meter().step();
      const bool holds = selection.holds(
          by_attribute ? attribute_path(interpreter, item, arguments.positional[0]) : item);
      if (holds == wanted) kept.push_back(std::move(item));
    }
  return make_generator(interpreter.meter(), std::move(kept));
}

Value extreme(Interpreter& interpreter, const Value& subject, const Arguments& arguments, bool greatest) {
  arguments.check(greatest ? "max" : "min", {"case_sensitive", "attribute"});
  const Key key(interpreter, given(arguments, 1, "attribute"), flag(arguments, 0, "case_sensitive"));
  const Values items = items_of(interpreter, subject);
  if (items.empty()) return make_undefined(interpreter.meter(), "No aggregated item, sequence was empty.");
  std::size_t best = 0;
  Value best_key = key.of(items[0]);
  for (std::size_t i = 1; i < items.size(); ++i) {
    Value other = key.of(items[i]);
    const int order = compare(interpreter.meter(), other, best_key, greatest ? ">" : "<");
    if (greatest ? order <= 0 : order >= 0) continue;
    best = i;
    best_key = std::move(other);
  }
  return items[best];
}

}  // namespace

Value filter_attr(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  const Value* name = arguments.find(0, "name");
  if (!name) fail_type("attr takes a name");
  const Value text = to_string(interpreter, *name);
  // Attributes alone, no keys.
  if (subject.is(Type::dict) && !has_method(subject, text.string().text) &&
      !is_unsafe_attribute(subject, text.string().text))
    return make_undefined(interpreter.meter(),
                          fmt::format("'dict object' has no attribute '{}'", text.string().text));
  return interpreter.attribute(subject, text.string().text);
}

Value filter_batch(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  arguments.check("batch", {"linecount", "fill_with"});
  const Value *count = arguments.find(0, "linecount"), *fill = given(arguments, 1, "fill_with");
  if (!count) fail_type("batch takes a count");
  const std::int64_t size = whole(*count, "the count");
  Values batches, batch;
  for (Value& item : items_of(interpreter, subject)) {
    if (static_cast<std::int64_t>(batch.size()) == size)
      batches.push_back(make_list(interpreter.meter(), std::exchange(batch, {})));
    batch.push_back(std::move(item));
  }
  if (!batch.empty()) {
    if (fill && size > static_cast<std::int64_t>(batch.size())) {
      const Bytes held = static_cast<Bytes>(size) * sizeof(Value);
      if (static_cast<Bytes>(size) > interpreter.meter().limits().values) interpreter.meter().charge(~Bytes{0});
      interpreter.meter().charge(held);
      interpreter.meter().work(held);
      batch.resize(static_cast<std::size_t>(size), *fill);
      interpreter.meter().release(held);
    }
    batches.push_back(make_list(interpreter.meter(), std::move(batch)));
  }
  return make_generator(interpreter.meter(), std::move(batches));
}

Value filter_slice(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  arguments.check("slice", {"slices", "fill_with"});
  const Value *count = arguments.find(0, "slices"), *fill = given(arguments, 1, "fill_with");
  if (!count) fail_type("slice takes a count");
  const std::int64_t slices = whole(*count, "the count");
  if (slices == 0) fail_type("integer division or modulo by zero");
  const Values items = items_of(interpreter, subject);
  const auto length = static_cast<std::int64_t>(items.size());
  Values result;
  std::int64_t at = 0;
  for (std::int64_t i = 0; i < slices; ++i) {
    interpreter.meter().step();
    const bool has_extra = i < length % slices;
    const std::int64_t size = length / slices + has_extra;
    Values part(items.begin() + at, items.begin() + at + size);
    at += size;
    if (fill && !has_extra) part.push_back(*fill);
    result.push_back(make_list(interpreter.meter(), std::move(part)));
  }
  return make_generator(interpreter.meter(), std::move(result));
}

Value filter_dictsort(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  arguments.check("dictsort", {"case_sensitive", "by", "reverse"});
  const Value* by = arguments.find(1, "by");
  const std::string which = by && by->is(Type::string) ? by->string().text : by ? "" : "key";
  if (which != "key" && which != "value") fail_type("You can only sort by either \"key\" or \"value\"");
  if (subject.is(Type::undefined)) throw JinjaError(Failure::undefined, subject.as<Undefined>().message);
  if (!subject.is(Type::dict))
    fail_type(fmt::format("'{}' object has no attribute 'items'", type_name(subject)));
  const Key key(interpreter, nullptr, flag(arguments, 0, "case_sensitive"));
  std::vector<std::pair<Values, Value>> items;
  for (const auto& [name, value] : subject.dict().entries)
    items.emplace_back(Values{key.of(which == "key" ? name : value)},
                       make_list(interpreter.meter(), {name, value}, Type::tuple));
  sort_by_keys(interpreter, items, flag(arguments, 2, "reverse"));
  Values sorted;
  for (auto& [unused, item] : items) sorted.push_back(std::move(item));
  return make_list(interpreter.meter(), std::move(sorted), Type::list, subject.is_input());
}

Value filter_first(Interpreter& interpreter, const Value& subject, const Arguments&) {
  if (subject.is(Type::generator)) {
    Generator& generator = subject.as<Generator>();
    if (generator.next < generator.items.size()) return generator.items[generator.next++];
  } else if (subject.is(Type::string) || subject.is_sequence()) {
    const Value first = interpreter.item(subject, Value::integer(0));
    if (!first.is(Type::undefined) || (subject.is_sequence() && !subject.list().items.empty())) return first;
  } else {
    const Values items = items_of(interpreter, subject);
    if (!items.empty()) return items.front();
  }
  return make_undefined(interpreter.meter(), "No first item, sequence was empty.");
}

Value filter_last(Interpreter& interpreter, const Value& subject, const Arguments&) {
  if (subject.is(Type::generator)) fail_type("'generator' object is not reversible");
  const Values items = items_of(interpreter, subject);
  return items.empty() ? make_undefined(interpreter.meter(), "No last item, sequence was empty.") : items.back();
}

Value filter_groupby(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  arguments.check("groupby", {"attribute", "default", "case_sensitive"});
  const Value *attribute = arguments.find(0, "attribute"), *otherwise = given(arguments, 1, "default");
  if (!attribute) fail_type("groupby takes an attribute");
  const bool case_sensitive = flag(arguments, 2, "case_sensitive");
  const auto plain_key = [&](const Value& item) {
    return attribute_path(interpreter, item, *attribute, otherwise);
  };
  std::vector<std::pair<Values, Value>> items;
  for (const Value& item : items_of(interpreter, subject))
    items.emplace_back(Values{Key(interpreter, nullptr, case_sensitive).of(plain_key(item))}, item);
  sort_by_keys(interpreter, items, false);
  Values groups;
  for (std::size_t begin = 0; begin < items.size();) {
    Values group;
    std::size_t end = begin;
    while (end < items.size() &&
           equal(interpreter.meter(), items[begin].first[0], items[end].first[0]))
      group.push_back(items[end++].second);
    if (end == begin) group.push_back(items[end++].second);  // NaN is not equal to itself
    const Value key = plain_key(items[begin].second);
    groups.push_back(make_list(interpreter.meter(),
                               {key, make_list(interpreter.meter(), std::move(group))}, Type::tuple));
    begin = end;
  }
  return make_list(interpreter.meter(), std::move(groups));
}

Value filter_items(Interpreter& interpreter, const Value& subject, const Arguments&) {
  if (subject.is(Type::undefined)) return make_generator(interpreter.meter(), {});
  if (!subject.is(Type::dict)) fail_type("Can only get item pairs from a mapping.");
  Values items;
  for (const auto& [key, value] : subject.dict().entries)
    items.push_back(make_list(interpreter.meter(), {key, value}, Type::tuple));
  return make_generator(interpreter.meter(), std::move(items));
}

Value filter_join(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  arguments.check("join", {"d", "attribute"});
  const Value *separator = arguments.find(0, "d"), *attribute = given(arguments, 1, "attribute");
  const Value between = separator ? to_string(interpreter, *separator) : interpreter.string("");
  TextBuilder builder(interpreter.meter());
  bool first = true;
  for (const Value& item : items_of(interpreter, subject)) {
    if (!std::exchange(first, false)) builder.append(between.string());
    append_string(builder, attribute ? attribute_path(interpreter, item, *attribute) : item);
  }
  return builder.take();
}

Value filter_length(Interpreter& interpreter, const Value& subject, const Arguments&) {
  return Value::integer(length_of(interpreter, subject));
}

Value filter_list(Interpreter& interpreter, const Value& subject, const Arguments&) {
  return make_list(interpreter.meter(), items_of(interpreter, subject), Type::list, subject.is_input());
}

Value filter_map(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  Values result;
  if (arguments.positional.empty()) {
    const Value *attribute = arguments.find(1, "attribute"), *otherwise = given(arguments, 1, "default");
    if (!attribute) fail_type("map requires a filter argument");
    if (arguments.named.size() > (otherwise ? 2U : 1U))
      fail_type(fmt::format("Unexpected keyword argument '{}'", arguments.named.back().first));
    if (is_true(subject))
      for (const Value& item : items_of(interpreter, subject)) {
        interpreter.meter().step();
        result.push_back(attribute_path(interpreter, item, *attribute, otherwise));
      }
  } else {
    const Value& name = arguments.positional[0];
    if (!name.is(Type::string)) fail_type("a filter is named by a string");
    const FilterFunction filter = find_filter(name.string().text);
    if (!filter) throw JinjaError(Failure::syntax, fmt::format("No filter named '{}'.", name.string().text));
    Arguments rest;
    rest.positional.assign(arguments.positional.begin() + 1, arguments.positional.end());
    rest.named = arguments.named;
    if (is_true(subject))
      for (const Value& item : items_of(interpreter, subject)) {
        interpreter.meter().step();
        result.push_back(filter(interpreter, item, rest));
      }
  }
  return make_generator(interpreter.meter(), std::move(result));
}

Value filter_max(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  return extreme(interpreter, subject, arguments, true);
}
Value filter_min(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  return extreme(interpreter, subject, arguments, false);
}

Value filter_select(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  return selected(interpreter, subject, arguments, false, true);
}
Value filter_reject(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  return selected(interpreter, subject, arguments, false, false);
}
Value filter_selectattr(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  return selected(interpreter, subject, arguments, true, true);
}
Value filter_rejectattr(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  return selected(interpreter, subject, arguments, true, false);
}

Value filter_reverse(Interpreter& interpreter, const Value& subject, const Arguments&) {
  if (subject.is(Type::string))
    return slice(interpreter, subject, Value::none(), Value::none(), Value::integer(-1));
  Values items = items_of(interpreter, subject);
  std::ranges::reverse(items);
  return make_generator(interpreter.meter(), std::move(items));
}

Value filter_sort(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  arguments.check("sort", {"reverse", "case_sensitive", "attribute"});
  const Key key(interpreter, given(arguments, 2, "attribute"), flag(arguments, 1, "case_sensitive"));
  auto items = with_keys(interpreter, items_of(interpreter, subject), key);
  sort_by_keys(interpreter, items, flag(arguments, 0, "reverse"));
  Values sorted;
  for (auto& [unused, item] : items) sorted.push_back(std::move(item));
  return make_list(interpreter.meter(), std::move(sorted), Type::list, subject.is_input());
}

Value filter_sum(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  arguments.check("sum", {"attribute", "start"});
  const Value *attribute = given(arguments, 0, "attribute"), *start = arguments.find(1, "start");
  Value sum = start ? *start : Value::integer(0);
  if (sum.is(Type::string)) fail_type("sum() can't sum strings [use ''.join(seq) instead]");
  for (const Value& item : items_of(interpreter, subject)) {
    interpreter.meter().step();
    sum = add(interpreter, sum, attribute ? attribute_path(interpreter, item, *attribute) : item);
  }
  return sum;
}

Value filter_unique(Interpreter& interpreter, const Value& subject, const Arguments& arguments) {
  arguments.check("unique", {"case_sensitive", "attribute"});
  const Key key(interpreter, given(arguments, 1, "attribute"), flag(arguments, 0, "case_sensitive"));
  const Value seen = make_dict(interpreter.meter());
  Values result;
  for (Value& item : items_of(interpreter, subject)) {
    const Value id = key.of(item);
    if (seen.dict().find(id)) continue;
    seen.dict().set(id, Value::none());
    result.push_back(std::move(item));
  }
  return make_generator(interpreter.meter(), std::move(result));
}

}  // namespace plimsoll::jinja
