"""Writes tests/text/golden/jinja_expressions.jsonl: small templates, each with what Python's jinja2 makes of it in the
environment that transformers sets up.   expressions.py > FILE"""
import json
import os
import time

os.environ["TZ"] = "UTC"
time.tzset()

import jinja2  # noqa: E402
import transformers.utils.chat_template_utils as judge  # noqa: E402

VARIABLES = {
    "s": "Hello, World", "u": "Žluťoučký kůň 雨 🌧️", "e": "", "w": "  a b\t\n c  ", "i": 7, "n": -3, "f": 2.5, "t": True, "z": None,
    "l": [1, 2, 3, 4, 5], "w_l": ["b", "A", "c", "a", "B"], "m": [[1, 2], [3], []], "d": {"b": 1, "A": 2, "c": [1, {"x": None}], "a": "é\"<&>'"},
    "k": {"items": 1, "keys": 2, "get": 3, "_x": 4}, "users": [{"name": "Bob", "age": 30, "tags": {"x": 1}}, {"name": "alice", "age": 25}, {"name": "Carl", "age": 30, "tags": {"x": 3}}],
    "nums": [0.1, 1e16, 1e-5, 123456789.123, -0.0, 1.0, 1e22, 5e-324, 100000.0], "html": "<a href=\"x\">&'</a>",
    "lines": "a\nb\r\nc\n\n d", "think": "<think>\nhm\n</think>\n\nYes </think> no",
}

# Expressions: each becomes {{ ... }}.
EXPRESSIONS = r"""
1 + 2 * 3
(1 + 2) * 3
7 / 2
7 // 2
-7 // 2
-7 % 3
7 % -3
7.5 % 2
-7.5 % 2
7.5 // 2
2 ** 10
2 ** -1
2 ** 3 ** 2
-2 ** 2
1 - 1 - 1
+5
-i
- -i
not t
not not t
1 == 1.0
true == 1
t + t
'a' == "a"
'1' == 1
none == false
1 < 2 < 3
1 < 3 < 2
1 != 2 != 1
'a' < 'b'
[1, 2] < [1, 3]
(1, 2) == (1, 2)
[1, 2] == (1, 2)
{'a': 1} == {'a': 1.0}
1 and 2
0 and 2
1 or 2
0 or ''
e or 'x'
none or undefined_thing or 'y'
1 if t
1 if not t
(1 if not t) is defined
1 if f > 3 else 2 if f > 2 else 3
'a' 'b' "c"
'a' ~ 1 ~ none ~ true ~ 1.5
s ~ u
1 ~ 2
s + '!' * 3
3 * 'ab'
'ab' * -1
[0] * 3
l + [6]
(1,) + (2,)
'%s is %d years, %.2f%%' % ('x', 3, 1.005)
'%05d|%-5s|%5s|%+d|%x|%X|%o|%e|%g' % (42, 'a', 'b', 3, 255, 255, 8, 12345.678, 0.0001)
'%(a)s-%(b)r' % {'a': 1, 'b': 'x'}
'%s' % l
'%r' % 'it\'s'
'%c%c' % (65, 'b')
'%5.1f|%-8.3e|% d' % (3.14159, 31415.9, 5)
'%s %s' % (1,)
'%d' % 'x'
'a' + 1
1 + 'a'
none + 1
l + 'x'
undefined_thing + 1
undefined_thing
undefined_thing is defined
undefined_thing.x
undefined_thing['x']
s.nothing
s.nothing is defined
d.nothing
d.nothing.more
d['nothing'] is undefined
l[10]
l[10] is defined
l[-1]
l[0]
l[-6]
l['x']
z.x
z['x']
i.x
d.b
d['b']
d.get('b')
d.get('nothing')
d.get('nothing', 5)
k['items']
k['get']
k._x
k['_x']
k.items()
k.get('items')
d.items()
d.keys()
d.values()
d.items() | list
d.values() | list
d.keys() | length
'b' in d
'b' in d.keys()
1 in d.values()
'q' not in d
'ell' in s
'' in s
1 in s
2 in l
2 in (1, 2)
2 in undefined_thing
none in [none]
[] in m
2 in none
s[0]
s[-1]
s[100]
u[0]
u[-2]
s[1:4]
s[:5]
s[-5:]
s[::-1]
s[::2]
s[5:1:-1]
u[::-1]
u[3:8]
s[10:5]
s[-100:100]
l[1:]
l[:-1]
l[::-1]
l[::2]
l[3:0:-2]
l[-2:]
l[100:]
(1, 2, 3)[1:]
undefined_thing[1:]
i[1:]
l[1:2][0]
l.0
m.0.1
m[0][1]
s.upper()
s.lower()
s.title()
s.capitalize()
s.swapcase()
'ß ŉ ﬁ ǆ' | upper
'ß ŉ ﬁ ǆ'.title()
'ǆ ß'.capitalize()
'İ Σ ΑΣ ΑΣ.'.lower()
'ǅ'.swapcase()
'it\'s they\'re x2y'.title()
'hello world-foo (bar) [baz] {q} <w> a_b'|title
u.upper()
u | length
e | length
w.strip()
w.lstrip()
w.rstrip()
'xxaxx'.strip('x')
'xyaxy'.strip('yx')
'\n\na\n'.strip('\n')
'\u00a0\u2003a\u3000'.strip()
'\u00a0a' | trim
'\x1c\x85a'.strip()
'xax' | trim('x')
42 | trim
none | trim
undefined_thing | trim
w.split()
w.split(' ')
s.split(', ')
s.split('l', 1)
s.rsplit('l', 1)
w.split(none, 1)
w.rsplit(none, 1)
'a,b,,c'.split(',')
''.split()
''.split(',')
'aXbXc'.split('X', 0)
'abc'.split('')
think.split('</think>')[-1]
think.split('</think>')[0].split('<think>')[-1].lstrip('\n')
think.rstrip('\n').rsplit('</think>', 1)
s.partition(', ')
s.partition('zz')
s.rpartition('o')
lines.splitlines()
lines.splitlines(true)
'a\x0bb\x0cc\x1cd\x85e\u2028f'.splitlines()
s.replace('l', 'L')
s.replace('l', 'L', 1)
s.replace('', '-')
'aaa'.replace('aa', 'b')
s | replace('o', '0')
s | replace('o', '0', 1)
12321 | replace(2, 'x')
s.startswith('Hell')
s.startswith(('x', 'H'))
s.endswith('World')
s.startswith('ello', 1)
s.startswith('Hello', 0, 3)
s.find('o')
s.find('o', 5)
s.find('zz')
s.rfind('o')
s.index('W')
s.index('zz')
u.find('ů')
s.count('l')
s.count('l', 4)
'aaaa'.count('aa')
'abc'.count('')
'a'.center(5) ~ '|'
'ab'.center(5, '*')
'abc'.center(6, '*')
'a'.ljust(4, '.') ~ 'a'.rjust(4, '.')
'42'.zfill(5) ~ '-42'.zfill(5)
'a\tb\tc'.expandtabs(4)
'foobar'.removeprefix('foo') ~ 'foobar'.removesuffix('bar')
', '.join(['a', 'b'])
', '.join([1])
'-'.join('abc')
'abc'.isalpha() ~ '123'.isdigit() ~ 'a1'.isalnum() ~ ' '.isspace() ~ 'Ab'.istitle() ~ 'AB'.isupper() ~ 'ab'.islower()
'²'.isdigit() ~ '²'.isdecimal() ~ '½'.isnumeric() ~ '٣'.isdecimal()
''.isalpha() ~ ''.isspace() ~ ''.isascii()
'a b'.isidentifier() ~ 'ab'.isidentifier() ~ '1a'.isidentifier()
'{} and {}'.format(1, 'x')
'{1} {0} {1}'.format('a', 'b')
'{name} {l[0]} {d[b]}'.format(name='n', l=l, d=d)
'{:>5}|{:<5}|{:^5}|{:*^7}|{:05d}|{:+.2f}|{:,}|{:x}|{:#x}|{:.3}|{:%}|{:e}'.format(1, 2, 3, 'a', 42, 3.14159, 1234567, 255, 255, 'abcdef', 0.25, 12345.678)
'{!r} {!s}'.format('a', 'b')
'{{}} {}'.format(1)
'{} {}'.format(1)
'{:d}'.format('x')
'{:{}}'.format('a', 5) ~ '|'
'{:.2f} {:g} {} {}'.format(2.675, 1e-7, 1e16, 0.1)
'%s' | format('a')
'%s-%s' | format('a', 'b')
l | first
l | last
[] | first
[] | last
'abc' | first
'abc' | last
l | length
d | length
m | length
none | length
5 | length
l | sum
users | sum(attribute='age')
users | sum('age', 10)
l | max
l | min
w_l | max
w_l | min
w_l | min(case_sensitive=true)
users | max(attribute='age')
[] | max
w_l | sort
w_l | sort(reverse=true)
w_l | sort(case_sensitive=true)
users | sort(attribute='age') | map(attribute='name') | list
users | sort(attribute='age,name') | map(attribute='name') | list
users | sort(true, attribute='age') | map(attribute='name') | list
[3, 'a'] | sort
w_l | unique | list
w_l | unique(true) | list
users | unique(attribute='age') | map(attribute='name') | list
w_l | join
w_l | join(', ')
users | join(', ', attribute='name')
[1, none, true, 'x', undefined_thing] | join('-')
users | map(attribute='name') | join(',')
users | map(attribute='tags.x', default='-') | list
users | map(attribute='nothing') | list
users | map('length') | list
w_l | map('upper') | list
w_l | map('replace', 'a', 'b') | list
[1, 0, 2] | select | list
[1, 0, 2] | reject | list
l | select('odd') | list
l | reject('odd') | list
l | select('gt', 2) | list
l | select('in', [1, 9]) | list
l | select('divisibleby', 2) | list
users | selectattr('age', 'equalto', 30) | map(attribute='name') | list
users | selectattr('tags') | map(attribute='name') | list
users | selectattr('tags', 'defined') | list | length
users | rejectattr('age', 'eq', 30) | map(attribute='name') | list
users | rejectattr('tags') | list
users | selectattr('tags.x', '==', 3) | first
users | selectattr('name', 'nothing') | list
l | batch(2) | list
l | batch(2, 0) | list
l | slice(2) | list
l | slice(3, 'x') | list
users | groupby('age') | list
(users | groupby('age'))[0][1] | length
users | groupby('tags.x', default=0) | list
l | reverse | list
'abc' | reverse
d | list
'abc' | list
l | list
5 | list
none | list
undefined_thing | list
d | dictsort
d | dictsort(true)
d | dictsort(by='key', reverse=true)
{'a': 2, 'b': 1} | dictsort(by='value')
d | items | list
undefined_thing | items | list
l | items | list
d | tojson
d | tojson(indent=2)
d | tojson(true)
d | tojson(ensure_ascii=true)
d | tojson(sort_keys=true)
{'a': [1, 2], 'b': {}, 'c': []} | tojson(indent=4)
{'a': [1, 2]} | tojson(separators=(',', ':'))
{'a': [1, 2]} | tojson(false, 0)
{'a': [1, 2]} | tojson(indent='--')
u | tojson
u | tojson(ensure_ascii=true)
'\x00\x1f\x7f\b\f\n\r\t"\\/é\u2028' | tojson
html | tojson
nums | tojson
nums
[1, 1.0, true, none, 'x', (1, 2)] | tojson
{1: 2, none: 3, true: 4, 1.5: 5} | tojson
undefined_thing | tojson
[undefined_thing] | tojson
d.items() | tojson
{(1, 2): 3} | tojson
d
l
(1,)
()
[none, true, 1.5, 'a\'b', "a\"b", 'a\'b"c', '\n\t\\\x00\x7f\xa0\u200b\u2028é雨🌧']
{'a': {'b': (1, 2)}}
[undefined_thing]
{}
range(5)
range(5) | list
range(2, 10, 3) | list
range(5, 0, -2) | list
range(0)| list
range(10)[2:5]
range(10)[::2] | list
range(3)[5]
range(1000000)
range('a')
1.5 | int
'12' | int
' 12 ' | int
'12.7' | int
'x' | int
'x' | int(5)
'0x1f' | int(base=16)
'1f' | int(0, 16)
'1_000' | int
none | int
'1e3' | int
true | int
'1.5' | float
'x' | float
'x' | float(2.5)
5 | float
'inf' | float
'1_0.5' | float
2.5 | round
3.5 | round
2.675 | round(2)
42 | round
-2.5 | round
1234.5 | round(-2)
2.1 | round(0, 'ceil')
2.9 | round(method='floor')
2.15 | round(1, 'ceil')
-3 | abs
-3.5 | abs
'x' | abs
'abc' | upper
'ABC' | lower
'aBC def' | capitalize
42 | upper
none | upper
5 | string + '1'
(5 | string) + '1'
d | string
e | default('x')
e | default('x', true)
none | default('x')
none | default('x', true)
undefined_thing | default('x')
undefined_thing | default
undefined_thing.x | default('x')
d.nothing | default('x')
undefined_thing | d('x')
false | default('x', boolean=true)
lines | indent
lines | indent(2)
lines | indent(2, true)
lines | indent(2, first=true, blank=true)
lines | indent('> ')
'' | indent
'a\n' | indent(2) ~ '|'
'a\n\nb' | indent(2, blank=true)
5 | indent
'abc' | center(9) ~ '|'
'foo bar baz qux' | truncate(9)
'foo bar baz qux' | truncate(9, true)
'foo bar baz qux' | truncate(11)
'foo bar baz qux' | truncate(11, false, '...', 0)
'foo bar' | truncate(9)
'a b  c-d é_x' | wordcount
html | escape
html | e
html | safe
(html | safe) ~ '<'
(html | safe) + '<'
'<' + ('>' | safe)
('<' | e) + '<'
'<' | e | e
'<' | e | forceescape
('<b>' | safe) is escaped
('a' | safe).upper() is escaped
['a' | safe]
'a b/ü?&' | urlencode
{'a': 'b c', 'd': 1} | urlencode
d | attr('b')
(s | attr('upper'))()
users[0] | attr('name')
1 is odd
2 is even
4 is divisibleby 2
4 is divisibleby(3)
2.0 is even
'x' is odd
1 is number
1.5 is number
true is number
true is integer
1 is integer
1.5 is float
'a' is string
l is iterable
s is iterable
d is iterable
5 is iterable
undefined_thing is iterable
l is sequence
s is sequence
d is sequence
undefined_thing is sequence
d.items() is sequence
d is mapping
l is mapping
none is none
undefined_thing is none
undefined_thing is undefined
e is defined
t is true
1 is true
t is boolean
0 is false
false is false
not t is true
1 is eq 1
1 is == 1
1 is equalto(1)
1 is ne 2
1 is lt 2
2 is gt 1
1 is le 1
1 is ge(2)
1 is in [1, 2]
z[1:]
d[1:]
l[::0]
l['a':]
1 is not in [1, 2]
1 is sameas 1
none is sameas none
'abc' is lower
'ABC' is upper
range is callable
s is callable
'upper' is filter
'nothing' is filter
'odd' is test
1 is nothing
1 | nothing
1 is not none and 2 is defined
s is string and l is not string
loop
namespace(a=1).a
namespace().a
namespace({'a': 2}, b=3).b
namespace(_a=1)
dict(a=1, b=2)
dict([('a', 1)])
dict({'a': 1}, a=2)
joiner()()
cycler(1, 2).next()
raise_exception('my words')
raise_exception(1)
strftime_now('%Y-%m-%d %H:%M:%S %d %b %B %a %A %j %y %I %p %% %-d %e %F %T')
l.append(6)
l.pop()
d.update({})
d.pop('b')
d.clear
l.sort()
s.__class__
d.__class__
l.index(3)
l.count(3)
l.index(9)
l.copy()
d.copy()
(1, 2).index(2)
1.5
1e3
1.5e-7
1_000
0x1F + 0b11 + 0o17
1e400
'\x41\u0041\U0001F327\101\n'
'a\
b'
'\d\w'
"tab\there"
s()
i()
undefined_thing()
d.nothing()
s.upper(1)
s.nothing()
[1, 2,]
{'a': 1,}
(1, 2,)
[]
1, 2
1,
d.c[1].x
d['c'][1]['x'] is none
(l | length) > 3 and s
l | length > 3
'a' in 'abc' and 'b' not in 'xyz'
not 'a' in 'b'
not (t and f)
[1, 2][t]
'abc'[t]
{true: 'x'}[1]
{1: 'x'}[1.0]
{'a': 1}['a'] + 1
{'a': 1}.a
[l, s][1]
users[0]['name'] ~ users[0].name
users | length ~ 'x'
'a' ~ ('b' if t) ~ ('c' if not t)
l[i]
s | upper | lower | title
-1 | abs
(-1) | abs
2 + 3 | string
'a' 'b' | upper
t | tojson ~ f | tojson ~ z | tojson
1 if t else 2 ~ 'x'
'b' + 'a' | upper
4 is divisibleby 2 and 1
9007199254740993
0.1 + 0.2
1e15
1e16
123456789012345680.0
-1e-5
1 / 3
10 / 5
1 / 0
1 // 0
1 % 0
1.0 / 0
3 * 1.5
true + 1
true / 2
5 - true
'x' - 1
l - 1
d + d
l * 1.5
'a' > 1
none > 1
1 > none
undefined_thing > 1
undefined_thing == undefined_other
undefined_thing == none
undefined_thing != ''
t > false
1.5 > 1
[1] == [true]
s == s
'A' < 'a'
'é' > 'z'
l is sameas l
"{% raw %}"
'}}' ~ '%}'
{'a': {'b': {'c': 1}}}['a']['b']['c']
"a" in {"a": 1} | list
caller
true and True and not False and None is none
TRUE
"x" if undefined_thing else "y"
"x" if undefined_thing is defined else "y"
(undefined_thing or {}).get('x')
(z or 'x')
(l + [6, 7])[-2:]
s[i - 5]
"%s" % undefined_thing
"%s" % none
"%d" % 2.9
"%d%%" % 5
"100%" % ()
"%" % 1
"%(x)s" % 5
"abc" % 5
"%s" % (1, 2)
"%z" % 1
""".strip("\n").split("\n")

TEMPLATES = [
    # White space.
    "a\n{% if t %}\nb\n{% endif %}\nc\n", "a\n  {% if t %}\n  b\n  {% endif %}\n  c\n", "a {%- if t -%} b {%- endif -%} c", "  {%+ if t %}x{% endif %}", "a\n\n{{- s -}}\n\nb",
    "  {{ s }}\n  x", "{# c #}\na", "  {# c #}\na", "a {#- c -#} b", "x{% if t %}\n\n\ny{% endif %}", "{% if t +%}\nx{% endif %}", "a\n {%- if t %} x {% endif -%}\n b", "\n\n{% if t %}x{% endif %}\n\n",
    "a\r\nb\r\n{% if t %}\r\nc{% endif %}\r\n", "\t{% if t %}x\n\t{% endif %}\ty", "{% if t %}  {% if t %}x{% endif %}  {% endif %}", "a\u00a0{%- if t %}x{% endif %}", "x\n\u2003{% if t %}y{% endif %}", "{{ s }}\n{{ s }}\n\n", "{{ s -}}\n  \n {{- s }}",
    "{% set x = 1 %}\n{% set y = 2 %}\n{{ x + y }}\n", "{% for x in l %}\n{{ x }}\n{% endfor %}\n", "{%- for x in l %}\n  {{- x }}\n{%- endfor %}", "{% for x in l -%}\n  {{ x }}\n{% endfor %}", "{#- a -#}\n\n b", "a{# b\n c #}\nd", "{{ '  ' }}\n{% if t %}{% endif %}", "a   {% set x = 1 %}   b", "   {% set x = 1 %}   b", "x\n   {#- c #}\ny", "x\n   {# c -#}\n\ny",
    # Raw, comments, brackets in expressions.
    "{% raw %}{{ s }} {% if %}{% endraw %}", "{%- raw -%}  {{ x }}  {%- endraw -%}  y", "a\n{% raw %}\n{{ x }}\n{% endraw %}\nb", "a\n  {% raw %}  x\n  {% endraw %}\nb", "{{ {'a': {'b': 1}}['a']['b'] }}", "{{ {'a': {'b': 1}} }}", "{{ '{{ x }}' }}", "{{ \"}}\" }}{% if '%}' %}x{% endif %}", "{# {{ x }} #}y", "{ { x } }", "{", "{}", "a { b % c # d", "%} }} #}", "{{ [[1], [2]][0] }}",
    # Loops.
    "{% for x in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }};{% endfor %}", "{% for x in [] %}a{% else %}none{% endfor %}", "{% for x in l if x > 2 %}{{ x }}{{ loop.index }}{{ loop.length }}{{ loop.last }};{% else %}no{% endfor %}", "{% for x in l if x > 9 %}{{ x }}{% else %}no{% endfor %}",
    "{% for x in l %}{{ loop.previtem }}-{{ x }}-{{ loop.nextitem }};{% endfor %}", "{% for x in l %}{{ loop.previtem is defined }}{{ loop.nextitem is defined }}{% endfor %}", "{% for x in l if x is odd %}{{ loop.previtem }}-{{ x }}-{{ loop.nextitem }};{% endfor %}", "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "{% for k, v in d | dictsort %}{{ k }}={{ v }};{% endfor %}", "{% for k in d %}{{ k }}{% endfor %}",
    "{% for c in u %}{{ c }}|{% endfor %}", "{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}", "{% for a, b in [(1, 2, 3)] %}{% endfor %}", "{% for a, b in [1] %}{% endfor %}", "{% for x in none %}{% endfor %}", "{% for x in 5 %}{% endfor %}", "{% for x in undefined_thing %}a{% else %}b{% endfor %}",
    "{% for x in l %}{% if x == 3 %}{% break %}{% endif %}{{ x }}{% endfor %}", "{% for x in l %}{% if x is odd %}{% continue %}{% endif %}{{ x }}{% endfor %}", "{% for x in l %}{% for y in l %}{% if y > x %}{% break %}{% endif %}{{ y }}{% endfor %};{% endfor %}", "{% for x in l %}{{ loop.cycle('a', 'b') }}{% endfor %}", "{% for x in [1, 1, 2] %}{{ loop.changed(x) }}{% endfor %}",
    "{% for x in [1, [2, [3]]] recursive %}{% if x is iterable %}[{{ loop(x) }}]{% else %}{{ x }}d{{ loop.depth }}{% endif %}{% endfor %}", "{% for x in l %}{{ loop(x) }}{% endfor %}", "{% for x in l %}{% set outer = loop %}{% for y in [1] %}{{ outer.index }}{{ loop.index }}{% endfor %}{% endfor %}", "{% for x in l %}{{ x }}{% endfor %}{{ x }}", "{% for x in l %}{% for x in 'ab' %}{{ x }}{% endfor %}{{ x }}{% endfor %}", "{{ loop is defined }}{% for x in [1] %}{{ loop is defined }}{% endfor %}",
    "{% for x in l | select('odd') %}{{ x }}{{ loop.last }}{% endfor %}", "{% for i in range(3) %}{{ i }}{% endfor %}", "{% for m in users %}{{ m.name }}{% if not loop.last %}, {% endif %}{% endfor %}", "{% set g = l | select('odd') %}{{ g | list }}{{ g | list }}", "{% set g = l | select('odd') %}{% for x in g %}{{ x }}{% endfor %}{% for x in g %}{{ x }}{% else %}empty{% endfor %}", "{% for x in l %}{{ loop }}{% endfor %}", "{% for x in l if loop.index > 1 %}{{ x }}{% endfor %}",
    # Scopes.
    "{% set x = 1 %}{% for y in l %}{% set x = y %}{% endfor %}{{ x }}", "{% set ns = namespace(x=1) %}{% for y in l %}{% set ns.x = y %}{% endfor %}{{ ns.x }}", "{% set x = 1 %}{% for y in l %}{{ x }}{% set x = y %}{{ x }};{% endfor %}", "{% if t %}{% set x = 5 %}{% endif %}{{ x }}", "{% for y in [1] %}{% if t %}{% set x = 5 %}{% endif %}{{ x }}{% endfor %}{{ x }}", "{% with a = 1, b = 2 %}{{ a }}{{ b }}{% set c = 3 %}{{ c }}{% endwith %}{{ a }}{{ c }}", "{% set a = 9 %}{% with a = 1, b = a %}{{ a }}{{ b }}{% endwith %}",
    "{% set a, b = 1, 2 %}{{ a }}{{ b }}", "{% set (a, b) = (1, 2) %}{{ a }}{{ b }}", "{% set x %}a{{ s }}b{% endset %}{{ x }}{{ x | length }}", "{% set x | upper %}abc{% endset %}{{ x }}", "{% set x | replace('a', 'b') | upper %}abc{% endset %}{{ x }}", "{% set ns = namespace() %}{% set ns.a = 1 %}{% set ns.b %}x{% endset %}{{ ns.a }}{{ ns.b }}{{ ns.c is defined }}", "{% set d.x = 1 %}", "{% set undefined_thing.x = 1 %}", "{% set ns = namespace(a=1) %}{% set ns._b = 1 %}", "{% set x = 1 %}{% set y %}{% set x = 2 %}{{ x }}{% endset %}{{ y }}{{ x }}",
    "{% filter upper %}a{{ s }}{% endfilter %}", "{% filter replace('a', 'b') | upper %}banana{% endfilter %}", "{% filter indent(2) %}a\nb{% endfilter %}", "{% generation %}a{{ s }}{% endgeneration %}b", "{% set x = 1 %}{% generation %}{% set x = 2 %}{{ x }}{% endgeneration %}{{ x }}", "{% print s, i %}", "{% for messages in [1] %}{{ messages }}{% endfor %}", "{% set l = l[1:] %}{{ l }}", "{% for x in l %}{% set l = [] %}{{ x }}{% endfor %}{{ l }}",
    # Macros.
    "{% macro m(a, b=2) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}{{ m(1, 3) }}{{ m(b=5, a=4) }}{{ m() }}", "{% macro m(a) %}x{% endmacro %}{{ m(1, 2) }}", "{% macro m(a) %}x{% endmacro %}{{ m(b=2) }}", "{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, x=3) }}", "{% macro m(n) %}{% if n > 0 %}{{ n }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(5) }}", "{% macro m() %} a \n{% endmacro %}[{{ m() }}]", "{% macro m() %}x{% endmacro %}{{ m() + 'y' }}{{ m() | upper }}{{ m() is string }}",
    "{% macro m() %}{{ x }}{% endmacro %}{% set x = 1 %}{{ m() }}", "{% set x = 1 %}{% macro m() %}{{ x }}{% set x = 2 %}{{ x }}{% endmacro %}{{ m() }}{{ x }}", "{% macro m() %}{{ y }}{% endmacro %}{% for y in [1, 2] %}[{{ m() }}]{% endfor %}", "{% for y in [1, 2] %}{% macro m() %}{{ y }}{% endmacro %}{{ m() }}{% endfor %}", "{% macro m(a=s) %}{{ a }}{% endmacro %}{{ m() }}", "{% macro m(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}", "{% macro outer() %}{% macro inner() %}i{% endmacro %}[{{ inner() }}]{% endmacro %}{{ outer() }}",
    "{% macro m() %}({{ caller() }}){% endmacro %}{% call m() %}x{{ s }}{% endcall %}", "{% macro m() %}({{ caller(1, b=2) }}){% endmacro %}{% call(a, b) m() %}{{ a }}{{ b }}{% endcall %}", "{% macro m() %}{{ caller is defined }}{% endmacro %}{{ m() }}", "{% macro m() %}{{ caller() }}{% endmacro %}{{ m() }}", "{% macro m() %}x{% endmacro %}{% call m() %}y{% endcall %}", "{{ m() }}{% macro m() %}x{% endmacro %}", "{% macro m(a) %}{{ m.name }}{{ m.arguments }}{% endmacro %}{{ m() }}", "{% set f = namespace() %}{% macro m(a) %}{{ a }}{% endmacro %}{% set f.m = m %}{{ f.m(3) }}", "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}B{% endmacro %}{{ a() }}", "{% macro m(*a) %}{% endmacro %}", "{% macro m(a=1, b) %}{% endmacro %}", "{% macro m(l) %}{% for x in l %}{{ x }}{% if not loop.last %}{{ m([x]) }}{% endif %}{% endfor %}{% endmacro %}{{ m(l) }}", "{{ dict(*[[('a', 1)]], **{'b': 2}) }}", "{% macro m(a, b) %}{{ a }}{{ b }}{% endmacro %}{{ m(*[1, 2]) }}{{ m(**{'a': 3, 'b': 4}) }}", "{% macro m(a) %}{{ a is defined }}{{ a }}{% endmacro %}{{ m() }}",
    # Branches.
    "{% if e %}a{% elif i %}b{% else %}c{% endif %}", "{% if not t %}a{% elif false %}b{% else %}c{% endif %}", "{% if undefined_thing %}a{% else %}b{% endif %}", "{% if [] or {} or '' or 0 or 0.0 or none %}a{% else %}b{% endif %}", "{% if l | select('odd') %}always{% endif %}", "{% if 'a' in s and s is string %}x{% endif %}", "{% if i == 7 %}{% if n < 0 %}x{% else %}y{% endif %}{% endif %}",
    "{% set j = joiner('; ') %}{% for x in l %}{{ j() }}{{ x }}{% endfor %}", "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}{% set x = c.reset() %}{{ c.current }}",
    # What is no template.
    "{% if %}", "{% if t %}", "{% endif %}", "{% for x %}{% endfor %}", "{% for x in l %}", "{{ }}", "{{ s", "{% if t", "{{ s | }}", "{{ s. }}", "{{ [1, }}", "{{ (1 }}", "{% nothing %}", "{% set %}", "{% set 1 = 2 %}", "{% set x %}", "{# open", "{% raw %} open", "{{ 'open }}", "{% break %}", "{{ s s }}", "{{ 1 + }}", "{{ * }}", "{{ ! }}", "{{ a.b. }}", "{% macro %}{% endmacro %}", "{% macro m(a a) %}{% endmacro %}", "{% for 1 in l %}{% endfor %}", "{% set none = 1 %}", "{{ ] }}", "{{ (] }}", "{{ f(a=1, 2) }}", "{{ f(**d, *l) }}", "{% else %}", "{% if t %}{% else %}{% else %}{% endif %}", "{{ 1 is }}", "{{ x is y is z }}", "{{ $ }}", "{{ a ? b }}", "{% if t %}{% endfor %}", "{{ '\\N{DASH}' }}", "{{ '\\xZZ' }}", "{{ ' ' ' }}",
]


class Clock(judge.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(1722000000, tz)


def render(source):
    try:
        return {"text": judge._compile_jinja_template(source).render(**VARIABLES)}
    except jinja2.exceptions.UndefinedError as error:
        return {"error": "undefined", "message": error.message}
    except jinja2.exceptions.SecurityError as error:
        return {"error": "security", "message": error.message}
    except (jinja2.exceptions.TemplateSyntaxError, jinja2.exceptions.TemplateRuntimeError, SyntaxError):
        return {"error": "syntax"}
    except jinja2.exceptions.TemplateError as error:
        return {"error": "raised", "message": str(error.message)}
    except Exception:
        return {"error": "type"}


def main():
    judge.datetime = Clock
    print(json.dumps({"variables": VARIABLES, "now": 1722000000}, ensure_ascii=False))
    for expression in EXPRESSIONS:
        # A line end in an expression stands as "\" and the next line.
        print(json.dumps({"template": "{{ " + expression + " }}", **render("{{ " + expression + " }}")}, ensure_ascii=False))
    for template in TEMPLATES:
        print(json.dumps({"template": template, **render(template)}, ensure_ascii=False))


main()
