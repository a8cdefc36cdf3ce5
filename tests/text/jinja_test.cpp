// The language of templates, against what Python's jinja2 makes of the same (tests/templates/expressions.py).
#include "text/jinja.h"

#include <gtest/gtest.h>

#include <fstream>

namespace plimsoll::jinja {
namespace {

using Json = nlohmann::ordered_json;

std::string text_of(const Rendered& rendered) {
  std::string text;
  for (const TextPart& part : rendered.parts) text += part.text;
  return text;
}

std::string render(std::string_view source, const Json& variables = Json::object(), std::int64_t now = 0,
                   const Limits& limits = {}) {
  std::vector<Variable> all;
  for (const auto& [name, value] : variables.items()) all.push_back({.name = name, .value = &value});
  return text_of(Template::compile(source).render(all, now, limits));
}

const char* name(Failure failure) {
  switch (failure) {
    case Failure::syntax: return "syntax";
    case Failure::undefined: return "undefined";
    case Failure::type: return "type";
    case Failure::raised: return "raised";
    case Failure::security: return "security";
    case Failure::limit: return "limit";
  }
  return "?";
}

TEST(Jinja, RendersAsPythonsJinja) {
  setenv("TZ", "UTC", 1);
  std::ifstream lines(std::string(PLIMSOLL_GOLDEN) + "/jinja_expressions.jsonl");
  std::string line;
  ASSERT_TRUE(std::getline(lines, line));
  const Json head = Json::parse(line);
  int count = 0;
  while (std::getline(lines, line)) {
    const Json wanted = Json::parse(line);
    const auto source = wanted["template"].get<std::string>();
    ++count;
    try {
      const std::string text = render(source, head["variables"], head["now"].get<std::int64_t>());
      EXPECT_EQ(text, wanted.value("text", "(" + wanted.value("error", std::string()) + ")")) << source;
    } catch (const JinjaError& error) {
      EXPECT_EQ(name(error.kind()), wanted.value("error", "text")) << source << ": " << error.what();
      if (wanted.contains("message")) {
        EXPECT_EQ(error.what(), wanted["message"].get<std::string>()) << source;
      }
      EXPECT_GT(error.line(), 0) << source;
    }
  }
  EXPECT_GT(count, 800);
}

/// Kind of failure, and its line; "" for none.
std::string failure(std::string_view source, const Json& variables = Json::object(), const Limits& limits = {}) {
  try {
    render(source, variables, 0, limits);
  } catch (const JinjaError& error) {
    return std::string(name(error.kind())) + " in line " + std::to_string(error.line()) + ": " + error.what();
  }
  return "";
}

TEST(Jinja, ErrorsNameTheLine) {
  EXPECT_EQ(failure("a\n\n{{ x.y.z }}"), "undefined in line 3: 'x' is undefined");
  EXPECT_EQ(failure("{% if true %}\n{% for x in [1] %}\n{{ 1 + 'a' }}\n{% endfor %}\n{% endif %}"),
            "type in line 3: unsupported operand type(s) for +: 'int' and 'str'");
  EXPECT_EQ(failure("a\r\nb\r\n{% nothing %}"), "syntax in line 3: Encountered unknown tag 'nothing'.");
  EXPECT_EQ(failure("{{ 'a\n\nb' }}{{ raise_exception('no') }}"), "raised in line 3: no");
}

TEST(Jinja, OtherTemplatesCannotBeReached) {
  for (const char* word : {"include", "extends", "import", "from", "block"})
    EXPECT_EQ(failure("{% " + std::string(word) + " 'x' %}"),
              "syntax in line 1: the statement '" + std::string(word) + "' is not for chat templates");
}

// --- Limits ---

TEST(Jinja, StepsAreLimited) {
  EXPECT_EQ(failure("{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
                    Json::object(), {.steps = 10000})
                .substr(0, 5),
            "limit");
  EXPECT_EQ(failure("{{ range(1000000000) }}").substr(0, 4), "type");
}

TEST(Jinja, OutputIsLimited) {
  EXPECT_EQ(failure("{{ 'abcdefgh' * 100000000 }}").substr(0, 5), "limit");
  EXPECT_EQ(failure("{{ 'a' * 9000000000000000000 }}").substr(0, 5), "limit");
  EXPECT_EQ(failure("{{ 'a'.center(100000000) }}").substr(0, 5), "limit");
  EXPECT_EQ(failure("{{ 'a' | indent(100000000, true) }}").substr(0, 5), "limit");
  EXPECT_EQ(failure("{{ ('x' * 1000).replace('x', 'y' * 100000) }}").substr(0, 5), "limit");
  EXPECT_EQ(failure("{% for a in range(1000) %}{{ 'x' * 1000000 }}{% endfor %}").substr(0, 5), "limit");
}

TEST(Jinja, MemoryIsLimited) {
  EXPECT_EQ(failure("{{ [0] * 100000000 }}").substr(0, 5), "limit");
  EXPECT_EQ(failure("{{ [0] * 9000000000000000000 }}").substr(0, 5), "limit");
  EXPECT_EQ(failure("{{ [1] | batch(9000000000000000000, 0) | list }}").substr(0, 5), "limit");
  EXPECT_EQ(failure("{% set ns = namespace(l=[]) %}{% for a in range(100000) %}{% set ns.l = ns.l + ['x' * 10000] %}"
                    "{% endfor %}")
                .substr(0, 5),
            "limit");
}

TEST(Jinja, WorkIsLimited) {
  EXPECT_EQ(failure("{% set x = 'a' * 10000000 %}{% for a in range(100000) %}{% set y = x ~ 'b' %}{% endfor %}")
                .substr(0, 5),
            "limit");
}

TEST(Jinja, DepthIsLimited) {
  EXPECT_EQ(failure("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}").substr(0, 5), "limit");
  EXPECT_EQ(failure("{{ " + std::string(1000, '(') + "1" + std::string(1000, ')') + " }}").substr(0, 5), "limit");
  EXPECT_EQ(failure("{{ " + std::string(1000, '[') + std::string(1000, ']') + " }}").substr(0, 5), "limit");
  std::string sum = "{{ 1";
  for (int i = 0; i < 100000; ++i) sum += " + 1";
  EXPECT_EQ(failure(sum + " }}").substr(0, 5), "limit");
  std::string not_true = "{{ ";
  for (int i = 0; i < 100000; ++i) not_true += "not ";
  EXPECT_EQ(failure(not_true + "true }}").substr(0, 5), "limit");
  std::string ifs;
  for (int i = 0; i < 100000; ++i) ifs += "{% if true %}";
  EXPECT_EQ(failure(ifs).substr(0, 5), "limit");
  std::string elifs = "{% if true %}";
  for (int i = 0; i < 100000; ++i) elifs += "{% elif true %}";
  EXPECT_EQ(failure(elifs).substr(0, 5), "limit");
  std::string attributes = "{{ a";
  for (int i = 0; i < 100000; ++i) attributes += ".a";
  EXPECT_EQ(failure(attributes + " }}").substr(0, 5), "limit");
  EXPECT_EQ(failure("{% set ns = namespace(x=[]) %}{% for a in range(100000) %}{% set ns.x = [ns.x] %}{% endfor %}")
                .substr(0, 5),
            "limit");
  EXPECT_EQ(failure("{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}").substr(0, 5), "limit");
  EXPECT_EQ(failure("{% for x in [[1]] recursive %}{{ loop([[x]]) }}{% endfor %}").substr(0, 5), "limit");
}

TEST(Jinja, WhatHoldsItselfIsFreed) {
  // Leaks are the sanitizers' to find.
  EXPECT_EQ(render("{% set ns = namespace() %}{% set ns.x = ns %}{% set ns.y = [ns, {'a': ns}] %}"), "");
  EXPECT_EQ(render("{% macro m() %}x{% endmacro %}{% set ns = namespace(m=m) %}{{ ns.m() }}"), "x");
  EXPECT_EQ(render("{% set ns = namespace() %}{% for x in [1, 2] %}{% macro m() %}{{ x }}{% endmacro %}"
                   "{% set ns.m = m %}{% set ns.l = loop %}{{ loop.changed(loop) }}{% endfor %}{{ ns.m() }}{{ ns.l.index }}"),
            "TrueFalse22");
  std::string chain = "{% set l = [namespace()";
  for (int i = 0; i < 1000; ++i) chain += ", namespace()";
  EXPECT_EQ(render(chain + "] %}{% for n in l %}{% if not loop.first %}{% set p = loop.previtem %}{% set p.x = n %}"
                           "{% endif %}{% endfor %}"),
            "");
}

// --- What came from outside ---

/// What is from outside in angle brackets.
std::string marked(std::string_view source, const Json& variables) {
  std::vector<Variable> all;
  for (const auto& [name, value] : variables.items()) all.push_back({.name = name, .value = &value, .has_roles = name == "messages"});
  std::string text;
  for (const TextPart& part : Template::compile(source).render(all, 0).parts)
    text += part.is_input ? "<" + part.text + ">" : part.text;
  return text;
}

TEST(Jinja, TextsKnowWhatCameFromOutside) {
  const Json x = {{"x", "ab c"}, {"n", 5}, {"l", Json::array({"p", "q"})}, {"d", {{"k", "v"}}}, {"t", true}};
  const auto is = [&](std::string_view source, std::string_view wanted) {
    EXPECT_EQ(marked(source, x), wanted) << source;
  };
  is("[{{ x }}]", "[<ab c>]");
  is("{{ '[' + x + ']' }}", "[<ab c>]");
  is("{{ '[' ~ x ~ n ~ ']' }}", "[<ab c5>]");
  is("{{ ('[' ~ x)[0:2] }}", "[<a>");
  is("{{ ('[' ~ x)[::-1] }}", "<c ba>[");
  is("{{ ('[' ~ x)[1] }}", "<a>");
  is("{{ ('[' ~ x) | upper }}", "[<AB C>");
  is("{{ ('  [' ~ x ~ '] ') | trim }}", "[<ab c>]");
  is("{{ ('[' ~ x ~ ']').split(' ') | join('-') }}", "[<ab>-<c>]");
  is("{{ l | join('|') }}", "<p>|<q>");
  is("{{ x.replace('b', '|') }}", "<a| c>");
  is("{{ 'a|b'.replace('|', x) }}", "a<ab c>b");
  is("{{ l | tojson }}", "<[\"p\", \"q\"]>");
  is("{{ {'a': x} | tojson }}", "<{\"a\": \"ab c\"}>");
  is("{{ {'a': 1} | tojson }}", "{\"a\": 1}");
  is("{{ d }}", "<{'k': 'v'}>");
  is("{{ ['a', x] }}", "['a', <'ab c'>]");
  is("{% for k, v in d.items() %}{{ k }}={{ v }}{% endfor %}", "<k>=<v>");
  is("{{ n + 1 }}{{ n | string }}{{ 1 + 1 }}{{ t }}", "<65>2<True>");
  is("{% set y %}[{{ x }}]{% endset %}{{ y | title }}", "[<Ab C>]");
  is("{% macro m(a) %}({{ a }}){% endmacro %}{{ m(x) }}{{ m('z') }}", "(<ab c>)(z)");
  is("{{ '%s|%d' % (x, n) }}", "<ab c>|<5>");
  is("{{ '{}|{}'.format(x, 'y') }}", "<ab c>|y");
  is("{{ x | indent }}{{ x | capitalize }}{{ x | e }}", "<ab cAb cab c>");
  is("{{ x | length }}", "4");
  is("{{ (x | list)[0] }}", "<a>");
  is("{{ ([x] * 2) | join }}", "<ab cab c>");
  is("{{ x * 2 }}", "<ab cab c>");
  is("{{ '{' ~ x ~ '}' == '{ab c}' }}", "True");
}

TEST(Jinja, OnlyWellKnownRolesAreTheTemplatesOwn) {
  const Json messages = {{"messages", Json::parse(R"([{"role": "user", "content": "user"}, {"role": "im_end", "content": "x"}])")}};
  EXPECT_EQ(marked("{% for m in messages %}{{ '<|' ~ m.role ~ '|>' ~ m.content }}{% endfor %}", messages),
            "<|user|><user><|<im_end>|><x>");
}

}  // namespace
}  // namespace plimsoll::jinja
