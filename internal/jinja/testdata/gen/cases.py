"""Expected values for cases_test.go: small templates as Python's jinja2 renders them, set up as transformers does.

    python3 cases.py > ../cases.json

Made with Python 3.11 and jinja2 3.1.6; transformers itself is not needed (its set-up, chat_template_utils.py of 4.57, is
repeated here). Left out is what no chat template uses: attributes of numbers, str.encode, specifications in str.format, how a
range prints, blocks, imports and inheritance.
"""

import json

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment


class AssistantTracker(Extension):
    """{% generation %}, without the book-keeping."""

    tags = {"generation"}

    def parse(self, parser):
        lineno = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("_text"), [], [], body).set_lineno(lineno)

    def _text(self, caller):
        return caller()


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[AssistantTracker, jinja2.ext.loopcontrols])
env.filters["tojson"] = tojson
env.globals["raise_exception"] = raise_exception

VARS = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "  Grüße, 世界! 😀  "},
        {"role": "assistant", "content": "a\nb\r\nc", "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1, "y": [True, None, 2.5]}}}]},
    ],
    "n": 7,
    "f": 2.5,
    "s": "Hello, wörld",
    "empty": "",
    "none": None,
    "yes": True,
    "list": [3, 1, 2],
    "words": ["b", "a", "B", "c"],
    "dict": {"b": 1, "a": "x", "C": None},
    "rows": [{"k": "x", "v": 2}, {"k": "Y", "v": 1}, {"k": "x", "v": 3}],
}

GROUPS = {
    "white space": r"""
a {% if true %} b {% endif %} c
{% if yes %}\nx\n{% endif %}\ny
  {% if yes %}  \n  x  \n  {% endif %}  \ny\n
a \n {%- if yes %} b {%- endif -%} \n c
a \n {{- s -}} \n c
   {%+ if yes %}x{% endif %}
{% if yes +%}\nx{% endif %}
x {# note #} y
  {# note #}\ny
x {#- note -#} y
{{ s }}\n\n
\n{{ s }}\n
{% raw %}{{ a }} {% b %}{% endraw %}!
{%- raw -%}  {{ a }}  {%- endraw -%}  !
  {% set x = 1 %}\n  {{ x }}\n
a\r\nb{% if yes %}\r\nc{% endif %}
{{ '}}' }}{{ "{%" }}{{ {'a': {'b': 1}}['a']['b'] }}
x  {%- for i in [1,2] %}\n {{ i }}\n {%- endfor %}\n z
{% for i in [1,2] -%}\n {{ i }}\n{% endfor %}
{% if yes %}{# c #}\n{% endif %}x
""",
    "literals": r"""
{{ 1 }} {{ -1 }} {{ 1.0 }} {{ 1e3 }} {{ 1_000 }} {{ 1.5e-7 }} {{ 1e16 }} {{ 123456789012345678 }}
{{ true }} {{ True }} {{ false }} {{ none }} {{ None }}
{{ 'a' "b" }} {{ 'it\'s' }} {{ "tab\there" }} {{ 'é\u00e9\x41' }} {{ '\q' }} {{ 'a\\b' }}
{{ [1, 'a', none, 2.0, true] }} {{ (1,) }} {{ (1, 'b') }} {{ () }} {{ {} }} {{ [] }}
{{ {'a': 1, 2: 'b', none: [1]} }}
{{ 'it"s' }} {{ ['it\'s', "say \"x\"", 'both \' "'] }} {{ ['é', '\n', '\x00', '世'] }}
{{ {1: 'a', true: 'b', 1.0: 'c'} }}
{{ {(1, 'a'): 2}[(1, 'a')] }}
{{ [1,2,] }} {{ {'a': 1,} }}
{{ 1, 2 }}
""",
    "arithmetic": r"""
{{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 7 / 2 }} {{ 6 / 2 }} {{ 2 ** 10 }} {{ 2 ** -1 }}
{{ 7.5 // 2 }} {{ -7.5 % 2 }} {{ 1 + 2.0 }} {{ 0.1 + 0.2 }} {{ 1e308 * 10 }}
{{ -2 ** 2 }} {{ 2 ** 3 ** 2 }} {{ 2 + 3 * 4 }} {{ (2 + 3) * 4 }} {{ 10 - 2 - 3 }}
{{ 'ab' * 3 }} {{ 3 * 'ab' }} {{ [1] * 2 }} {{ 2 * [1, 2] }} {{ 'a' + 'b' }} {{ [1] + [2] }} {{ (1,) + (2,) }}
{{ true + true }} {{ true * 3 }}
{{ 'a' ~ 1 ~ none ~ true ~ 2.0 ~ [1] ~ missing }}
{{ 1 + 'a' }}
{{ 'a' + 1 }}
{{ 'a' + ['b'] }}
{{ [1] + 'a' }}
{{ [1] + (2,) }}
{{ none + 1 }}
{{ missing + 1 }}
{{ 1 / 0 }}
{{ 1 % 0 }}
{{ 1.0 // 0 }}
{{ 'a' - 'b' }}
{{ -'a' }}
{{ +n }} {{ -f }} {{ - -3 }}
{{ 1 ~ 2 + 3 }}
""",
    "comparing": r"""
{{ 1 < 2 }} {{ 1 < 2 < 3 }} {{ 3 > 2 > 2 }} {{ 1 == 1.0 }} {{ 1 == true }} {{ 'a' < 'b' }} {{ [1, 2] < [1, 3] }} {{ (1,) == [1] }}
{{ 1 != 2 }} {{ none == none }} {{ none == false }} {{ '' == none }} {{ {'a': 1} == {'a': 1.0} }} {{ [1, [2]] == [1, [2]] }}
{{ 'a' in 'abc' }} {{ 'a' not in 'abc' }} {{ 1 in [1.0] }} {{ 'a' in {'a': 1} }} {{ 1 in {true: 2} }} {{ 'x' in [] }} {{ '' in 'a' }}
{{ 1 < 'a' }}
{{ none < 1 }}
{{ [] < {} }}
{{ 1 in 'abc' }}
{{ 1 in 2 }}
{{ 1 in none }}
{{ missing in [1] }} {{ missing == missing2 }} {{ missing == none }} {{ missing != 1 }}
{{ not 1 }} {{ not '' }} {{ not not 2 }} {{ 1 and 0 }} {{ 0 or 'x' }} {{ none or [] }} {{ 'a' and 'b' }} {{ not 1 == 2 }}
{{ not missing }} {{ missing or 'x' }}
{{ 'a' if yes else 'b' }} {{ 'a' if none else 'b' }} {{ 'a' if none }}{{ ('a' if none) is defined }}
{{ 1 if 0 else 2 if 0 else 3 }}
{{ missing < 1 }}
{{ [] or none }} {{ {} and 1 }} {{ 0.0 or 'zero' }}
""",
    "attributes and items": r"""
{{ messages[0].role }} {{ messages[0]['role'] }} {{ messages[-1].role }} {{ messages.0.role }} {{ s[0] }} {{ s[-1] }} {{ s[8] }}
{{ messages[0].nope }}|{{ messages[0]['nope'] }}|{{ messages[99] }}|{{ s[99] }}|{{ n.nope }}
{{ messages[99].role }}
{{ messages[0].nope.deeper }}
{{ missing.x }}
{{ missing['x'] }}
{{ none.x is defined }} {{ none['x'] is defined }}
{{ none.x.y }}
{{ s[1:3] }} {{ s[::-1] }} {{ s[-5:] }} {{ s[:-5] }} {{ s[::2] }} {{ s[10:1:-3] }} {{ s[100:] }}| {{ list[1:] }} {{ list[::-1] }} {{ list[:-1] }} {{ (1,2,3)[1:] }} {{ s[:none] }}
{{ list[1:][0] }} {{ messages[1:][0].role }} {{ messages[:1] | length }}
{{ list['0'] is defined }} {{ list[0.0] is defined }} {{ dict[none] is defined }} {{ list[true] }}
{{ {'items': 1}.items is callable }} {{ {'items': 1}['items'] }} {{ {'get': 5}['get'] }} {{ {'keys': 5}.keys is callable }}
{{ dict.a }} {{ dict['C'] }} {{ dict.C }} {{ dict.get('a') }} {{ dict.get('z') }} {{ dict.get('z', 'd') }} {{ dict.items() | list }} {{ dict.keys() | list }} {{ dict.values() | list }}
{{ list[::0] }}
{{ list['a':] }}
{{ n[0] }}
{{ list.append(4) }}
{{ dict.update({'x': 1}) }}
{{ dict.pop('a') }}
{{ dict.setdefault('a', 2) }}
{{ list.pop() }} x
{{ list.index(2) }} {{ list.count(1) }} {{ (1, 2).index(2) }}
{{ list.index(9) }}
{{ s.nope() }}
{{ s() }}
{{ s.__class__ }}
{{ messages.nope }}x
""",
    "strings": r"""
{{ s.upper() }} {{ s.lower() }} {{ s.title() }} {{ 'aB'.swapcase() }} {{ 'hELLO wORLD'.capitalize() }} {{ "they're bill's".title() }}
{{ '  a '.strip() }}| {{ '  a '.lstrip() }}| {{ '  a '.rstrip() }}| {{ 'xxaxx'.strip('x') }} {{ 'abcba'.lstrip('ab') }} {{ '\n a\t'.strip() }} {{ 'a'.strip(none) }}
{{ 'a,b,,c'.split(',') }} {{ ' a  b '.split() }} {{ 'a b c'.split(' ', 1) }} {{ 'a b c'.split(maxsplit=1) }} {{ 'a,b,c'.rsplit(',', 1) }} {{ ''.split() }} {{ ''.split(',') }} {{ ' a  b c '.rsplit(none, 1) }} {{ ' a  b c '.split(none, 1) }}
{{ 'a\nb\r\nc\n'.splitlines() }} {{ 'a\nb'.splitlines(true) }} {{ ''.splitlines() }}
{{ s.startswith('He') }} {{ s.endswith('d') }} {{ s.startswith(('x', 'H')) }} {{ s.startswith('l', 2) }} {{ s.endswith('l', 0, 4) }}
{{ s.find('l') }} {{ s.rfind('l') }} {{ s.find('z') }} {{ s.find('l', 4) }} {{ s.index('w') }} {{ s.count('l') }} {{ 'aaa'.count('') }} {{ s.find('ö') }}
{{ s.index('z') }}
{{ s.replace('l', 'L') }} {{ s.replace('l', 'L', 1) }} {{ 'ab'.replace('', '-') }}
{{ ', '.join(['a', 'b']) }} {{ ''.join([]) }} {{ '-'.join('abc') }}
{{ ', '.join(['a', 1]) }}
{{ 'a-b-c'.partition('-') }} {{ 'a-b-c'.rpartition('-') }} {{ 'abc'.partition('-') }} {{ 'abc'.rpartition('-') }}
{{ 'ab'.ljust(4) }}| {{ 'ab'.rjust(4, '*') }} {{ 'ab'.center(5, '*') }} {{ 'abc'.center(6, '*') }} {{ '-5'.zfill(4) }} {{ '5'.zfill(3) }}
{{ '12'.isdigit() }} {{ 'a1'.isalnum() }} {{ 'ab'.isalpha() }} {{ ' '.isspace() }} {{ ''.isdigit() }} {{ 'AB'.isupper() }} {{ 'ab1'.islower() }} {{ '½'.isnumeric() }} {{ '²'.isdigit() }} {{ '²'.isdecimal() }}
{{ 'prefix-x'.removeprefix('prefix-') }} {{ 'x.txt'.removesuffix('.txt') }} {{ 'ß'.upper() }} {{ 'straße'.casefold() }}
{{ '{} {} {x}'.format(1, 'a', x=none) }} {{ '{0}{1}{0}'.format('a', 'b') }} {{ '{{}}'.format() }}
{{ '{}'.format() }}
{{ s.strip(1) }}
{{ s.split(1) }}
{{ s.split('') }}
{{ s.replace('a') }}
{{ 'ab'.ljust(4, 'xy') }}
""",
    "formatting": r"""
{{ '%s and %s' % ('a', 1) }} {{ '%d%%' % 5 }} {{ '%05.2f' % 3.14159 }} {{ '%5s|%-5s|' % ('a', 'b') }} {{ '%x %X %o' % (255, 255, 8) }} {{ '%e' % 12345.678 }} {{ '%g' % 1e-10 }} {{ '%g' % 100000.0 }} {{ '%r' % 'a' }} {{ '%c' % 'x' }} {{ '%+d' % 3 }} {{ '%03d' % -5 }}
{{ '%(a)s-%(b)d' % {'a': 'x', 'b': 2} }} {{ '%s' % none }} {{ '%s' % [1] }} {{ '%.2s|' % 'abc' }}
{{ '%s %s' | format('a', 2) }} {{ '%s' % 'a' % () }}
{{ '%d' % 'a' }}
{{ '%s %s' % ('a',) }}
{{ '%s' % ('a', 'b') }}
{{ '%q' % 1 }}
{{ 1.0 }} {{ 100000.0 }} {{ 1e22 }} {{ 0.00001 }} {{ 1.10 }} {{ 3.0 * 1.1 }} {{ 1e5 | int }} {{ 2.675 | round(2) }} {{ 2.5 | round }} {{ 3.5 | round }} {{ 1234.5 | round(-2) }} {{ 2.1 | round(0, 'ceil') }} {{ 2.9 | round(method='floor') }} {{ 7 | round }} {{ -0.0 }}
""",
    "filters": r"""
{{ 'a' | upper }} {{ '  a ' | trim }}| {{ 'xax' | trim('x') }} {{ 'hello world' | title }} {{ "it's o'neil-x (y)" | title }} {{ 'hELLO' | capitalize }} {{ 'ab' | center(6) }}| {{ 'a b' | wordcount }} {{ 'x' | length }} {{ 'wörld' | count }}
{{ list | first }} {{ list | last }} {{ list | length }} {{ list | sum }} {{ list | max }} {{ list | min }} {{ list | sort }} {{ list | sort(reverse=true) }} {{ list | reverse | list }} {{ 'abc' | reverse }} {{ [] | first is defined }} {{ [] | max is defined }}
{{ words | sort }} {{ words | sort(case_sensitive=true) }} {{ words | unique | list }} {{ words | unique(case_sensitive=true) | list }} {{ words | max }} {{ words | join('-') }} {{ words | join }} {{ [1, none, 'a'] | join(',') }}
{{ rows | map(attribute='v') | list }} {{ rows | map(attribute='z', default=0) | list }} {{ words | map('upper') | list }} {{ words | map('replace', 'a', 'x') | list }} {{ list | map('string') | list }} {{ rows | sum('v') }} {{ rows | sum(attribute='v', start=10) }} {{ rows | join(',', attribute='v') }}
{{ rows | sort(attribute='v') | map(attribute='v') | list }} {{ rows | sort(attribute='k,v') | map(attribute='v') | list }} {{ rows | max(attribute='v') }} {{ rows | unique(attribute='k') | map(attribute='v') | list }}
{{ rows | selectattr('k', 'equalto', 'x') | map(attribute='v') | list }} {{ rows | rejectattr('k', 'eq', 'x') | list | length }} {{ rows | selectattr('nope') | list }} {{ rows | selectattr('v', '>', 1) | list | length }} {{ rows | selectattr('k', 'in', ['Y']) | list | length }}
{{ [0, 1, none, 'a', ''] | select | list }} {{ [0, 1, none, 'a'] | reject | list }} {{ [1, 2, 3] | select('odd') | list }} {{ [1, 2, 3] | reject('odd') | list }} {{ [1, 'a'] | select('string') | list }}
{% for k, g in rows | groupby('k') %}{{ k }}:{{ g | map(attribute='v') | list }} {% endfor %}
{% for g in rows | groupby('v') %}{{ g.grouper }}={{ g.list | length }} {% endfor %}
{{ dict | dictsort }} {{ dict | dictsort(true) }} {{ {'a': 2, 'b': 1} | dictsort(by='value') }} {{ {'a': 2, 'b': 1} | dictsort(reverse=true) }} {{ dict | items | list }} {{ missing | items | list }} {{ dict | list }} {{ dict | length }}
{{ missing | default('d') }} {{ none | default('d') }} {{ none | default('d', true) }} {{ '' | d('x', boolean=true) }} {{ 0 | default(5) }}
{{ '7' | int }} {{ '7.9' | int }} {{ 'x' | int }} {{ 'x' | int(5) }} {{ 2.9 | int }} {{ -2.9 | int }} {{ '0x1f' | int(base=16) }} {{ 'ff' | int(0, 16) }} {{ '1.5' | float }} {{ 'x' | float }} {{ 3 | float }} {{ none | int }} {{ true | int }} {{ ' 12 ' | int }}
{{ -3 | abs }} {{ (-3) | abs }} {{ -2.5 | abs }} {{ 5 | string ~ 'x' }} {{ '<a href="x">\'&' | e }} {{ '<a>' | safe }} {{ '<a>' | escape }}
{{ 'a\nb\n\nc' | indent }}| {{ 'a\nb' | indent(2, true) }} {{ 'a\n\nb' | indent(2, blank=true) }} {{ 'a\nb' | indent('> ') }}
{{ [1,2,3,4,5] | batch(2) | list }} {{ [1,2,3,4,5] | batch(2, 'x') | list }} {{ [1,2,3,4,5] | slice(2) | list }} {{ [1,2,3,4,5] | slice(3, 'x') | list }}
{{ 'hello big world' | truncate(9) }} {{ 'hello big world' | truncate(9, true) }} {{ 'hello' | truncate(4, leeway=0, end='.') }} {{ 'short' | truncate(5) }}
{{ 'a b/ü&c' | urlencode }} {{ 'x' | replace('x', 'y') }} {{ 'aaa' | replace('a', 'b', 2) }} {{ 12 | replace('1', 'x') }} {{ 5 | upper }} {{ 'abc' | list }} {{ none | string }} {{ dict | attr('a') is defined }} {{ (1,2) | list }}
{{ missing | upper }}| {{ missing | length }} {{ missing | list }} {{ missing | join }}| {{ missing | trim }}|
{{ none | length }}
{{ 5 | length }}
{{ 5 | list }}
{{ 'a' | nope }}
{{ ['a', 1] | sort }}
{{ [[1], [2]] | unique | list }}
{{ 'x' | abs }}
{{ dict | sum }}
{{ words | sort | first | upper }} {{ -1 | abs + 2 }} {{ 'a' ~ 'b' | upper }} {{ ('a' ~ 'b') | upper }} {{ 'a' | upper ~ 'b' }} {{ 2 * 3 | string }}
{% filter upper %}a {{ s }}{% endfilter %}
{% filter replace('a', 'x') | upper %}banana{% endfilter %}
{{ [] | sum }} {{ ['a', 'b'] | sum(start='') }}
""",
    "json": r"""
{{ dict | tojson }} {{ list | tojson }} {{ 'é"\\\n\t<>&\'/\x01\x7f😀' | tojson }} {{ none | tojson }} {{ 1.0 | tojson }} {{ 1e20 | tojson }} {{ 1e-7 | tojson }} {{ true | tojson }} {{ (1, 2) | tojson }} {{ {1: 2, none: 3, true: 4, 1.5: 5} | tojson }} {{ [] | tojson }} {{ {} | tojson }}
{{ messages[2] | tojson(indent=2) }}
{{ {'b': [], 'a': {}} | tojson(indent=4, sort_keys=true) }} {{ [1, [2]] | tojson(separators=(',', ':')) }} {{ {'é': '😀'} | tojson(ensure_ascii=true) }} {{ [1, {'a': 2}] | tojson(indent=1, separators=(', ', ': ')) }} {{ [1] | tojson(indent=0) }} {{ [1] | tojson(indent='\t') }}
{{ missing | tojson }}
{{ range | tojson }}
{{ {(1, 2): 3} | tojson }}
""",
    "tests": r"""
{{ missing is defined }} {{ missing is undefined }} {{ n is defined }} {{ none is none }} {{ none is defined }} {{ messages[0].x is defined }} {{ messages[9] is defined }}
{{ n is number }} {{ true is number }} {{ true is integer }} {{ n is integer }} {{ f is float }} {{ 1.0 is integer }} {{ true is boolean }} {{ 1 is boolean }} {{ true is true }} {{ 1 is true }} {{ false is false }}
{{ s is string }} {{ list is string }} {{ list is iterable }} {{ s is iterable }} {{ n is iterable }} {{ dict is mapping }} {{ list is mapping }} {{ list is sequence }} {{ s is sequence }} {{ dict is sequence }} {{ n is sequence }} {{ range is callable }} {{ s.upper is callable }} {{ s is callable }} {{ missing is iterable }} {{ missing is string }} {{ missing is none }}
{{ 3 is odd }} {{ 4 is even }} {{ 9 is divisibleby 3 }} {{ 9 is divisibleby(2) }} {{ 1 is eq 1 }} {{ 1 is equalto 2 }} {{ 1 is ne 2 }} {{ 2 is gt 1 }} {{ 2 is ge 2 }} {{ 1 is lt 2 }} {{ 1 is le 0 }} {{ 1 is in [1, 2] }} {{ none is sameas none }} {{ 1 is sameas true }} {{ 'ab' is lower }} {{ 'AB' is upper }}
{{ n is not none }} {{ n is not string }} {{ not n is string }} {{ 1 is in [1] and 2 is in [2] }} {{ 'a' is string and true }} {{ n is defined and n > 3 }}
{{ n is nope }}
{{ 'a' is odd }}
{{ 1 is divisibleby 0 }}
{{ s is filter }} {{ 'upper' is filter }}
""",
    "loops": r"""
{% for x in list %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }} {% endfor %}
{% for x in [] %}a{% else %}none{% endfor %} {% for x in missing %}a{% else %}b{% endfor %}
{% for x in list if x > 1 %}{{ loop.index }}:{{ x }} {% else %}none{% endfor %}
{% for x in list %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }} {% endfor %}
{% for x in list %}{{ loop.cycle('a', 'b') }}{% endfor %} {% for x in [1,1,2] %}{{ loop.changed(x) }}{% endfor %}
{% for k, v in dict.items() %}{{ k }}={{ v }},{% endfor %} {% for k in dict %}{{ k }}{% endfor %} {% for (a, b) in [(1, 2), (3, 4)] %}{{ a + b }} {% endfor %}
{% for x in list %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %} {% for x in list %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% endfor %}
{% for a in [[1, [2, [3]]]] recursive %}{% if a is iterable %}[{{ loop(a) }}]{% else %}{{ a }}{{ loop.depth }}{{ loop.depth0 }}{% endif %}{% endfor %}
{% for i in range(3) %}{{ i }}{% endfor %} {% for i in range(5, 0, -2) %}{{ i }}{% endfor %} {{ range(3) | list }} {{ range(1, 3) | sum }} {{ range(4)[2] }}
{% for c in 'héy' %}{{ c }}.{% endfor %}
{% for x in list %}{% set y = x %}{% endfor %}{{ y }}
{% set y = 0 %}{% for x in list %}{% set y = x %}{{ y }}{% endfor %}{{ y }}
{% set ns = namespace(y=0) %}{% for x in list %}{% set ns.y = ns.y + x %}{% endfor %}{{ ns.y }}
{% for a, b in [[1, 2, 3]] %}{% endfor %}
{% for x in 5 %}{% endfor %}
{% for x in none %}{% endfor %}
{{ loop }}
{% for x in list %}{% for y in list %}{{ loop.index }}{% endfor %}{{ loop.index }} {% endfor %}
{% for x in list %}{{ x }}{% if not loop.last %}, {% endif %}{% endfor %}
{% for x in range(3) %}{% set x = x * 2 %}{{ x }}{% endfor %}
{% for m in messages[1:] %}{{ m.role }}{{ loop.first }}{% endfor %}
{% break %}
{% for x in list %}{% else %}{% break %}{% endfor %}
""",
    "blocks": r"""
{% set x = 'a' %}{{ x }} {% set x, y = 1, 2 %}{{ x + y }} {% set z %}b {{ s }}{% endset %}{{ z | length }} {% set w | upper %}abc{% endset %}{{ w }}
{% if n > 10 %}a{% elif n > 5 %}b{% else %}c{% endif %} {% if missing %}x{% endif %} {% if missing is defined and missing.x %}x{% else %}y{% endif %}
{% if yes %}{% set v = 1 %}{% endif %}{{ v }}
{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a }} {% with %}{% set q = 1 %}{{ q }}{% endwith %}{{ q }}
{% macro m(a, b='x', c=none) %}[{{ a }}{{ b }}{{ c }}]{% endmacro %}{{ m(1) }}{{ m(1, 2) }}{{ m(1, c=3) }}{{ m() }}{{ m(b=1, a=2) }}
{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, x=3) }}
{% macro m(x) %}{{ caller() }}-{{ x }}{% endmacro %}{% call m(1) %}body{% endcall %}
{% macro m() %}{{ caller('a', 2) }}{% endmacro %}{% call(x, y) m() %}{{ x }}{{ y }}{% endcall %}
{% macro f(n) %}{{ n if n < 2 else f(n - 1) ~ n }}{% endmacro %}{{ f(4) }}
{% macro m(a) %}x{% endmacro %}{{ m(1, 2) }}
{% macro m(a) %}x{% endmacro %}{{ m(b=2) }}
{% macro m(a) %}{{ a.x }}{% endmacro %}{{ m() }}
{% set g = 'outer' %}{% macro m() %}{{ g }}{% endmacro %}{% set g = 'later' %}{{ m() }}
{% macro m() %}{% set inner = 1 %}{% endmacro %}{{ m() }}{{ inner }}
{{ m2() }}{% macro m2() %}a{% endmacro %}
{% generation %}a{{ s }}{% endgeneration %} {% set x = 1 %}{% generation %}{% set x = 2 %}{{ x }}{% endgeneration %}{{ x }}
{{ raise_exception('no: ' ~ n) }}
{% set d = dict(a=1, b=2) %}{{ d }} {{ dict({'x': 1}, y=2) }}
{% set j = joiner('|') %}{{ j() }}a{{ j() }}b{{ j() }} {% set c = cycler(1, 2) %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}
{% set ns = namespace() %}{{ ns.a is defined }}{% set ns.a = [1] %}{% set ns.a = ns.a + [2] %}{{ ns.a }}
{% set x.y = 1 %}
{% set d = {} %}{% set d.x = 1 %}
{% do 1 %}
{% nope %}
{% if %}{% endif %}
{% if x %}
{% endfor %}
{{ }}
{{ 1 2 }}
{{ 'a }}
{{ a b }}
{% for in x %}{% endfor %}
{{ (1 }}
{{ [1 }}
{{ 1 ] }}
{# open
{% raw %} open
{% set ns = namespace(a=1) %}{% with ns2 = ns %}{% set ns2.a = 5 %}{% endwith %}{{ ns.a }}
{% set x = 1 %}{% if yes %}{% set x = 2 %}{% endif %}{{ x }}
{% set f = s.upper %}{{ f() }} {{ (s.upper)() }} {{ [s.lower][0]() }}
{{ m.x(*[1, 2], **{'a': 3}) if false else 'ok' }} {% macro k(a, b, c) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ k(*[1, 2], c=3) }}{{ k(**{'a': 1, 'b': 2, 'c': 3}) }}
{{ messages | map(attribute='role') | join(', ') }}{{ ' ' if messages[0].role == 'system' else '' }}{{ messages[1].content.strip() }}
{% set loop_messages = messages[1:] if messages[0].role == 'system' else messages %}{{ loop_messages | length }}
{%- for m in messages -%}\n  {{- '<|' ~ m['role'] ~ '|>' -}}\n  {%- if m.tool_calls is defined -%}\n{% for t in m.tool_calls %}{{ t.function.name }}({{ t.function.arguments | tojson }}){% endfor %}\n{%- endif %}\n{%- endfor %}
{{ messages[2].content.splitlines() }} {{ messages[1].content | trim | length }}
{{ namespace(a=1).a }} {{ (namespace(a=1)).b is defined }}
{% include 'x' %}
{% extends 'x' %}
""",
}


def show(source):
    try:
        return {"text": env.from_string(source).render(**json.loads(json.dumps(VARS)))}
    except Exception as e:
        return {"error": type(e).__name__, "message": str(e)}


cases = []
for group, lines in GROUPS.items():
    for line in lines.strip("\n").split("\n"):
        # In the table above \n outside of quotes stands for a line end; in quotes Jinja reads the escape itself.
        out, quote, i = "", "", 0
        while i < len(line):
            c = line[i]
            if not quote and c == "\\" and i + 1 < len(line) and line[i + 1] in "nr":
                out += {"n": "\n", "r": "\r"}[line[i + 1]]
                i += 2
                continue
            if quote and c == "\\":
                out += line[i : i + 2]
                i += 2
                continue
            if quote == c:
                quote = ""
            elif not quote and c in "\"'" and "{{" in out or not quote and c in "\"'" and "{%" in out:
                quote = c
            out += c
            i += 1
        cases.append({"group": group, "template": out, **show(out)})
print(json.dumps({"vars": VARS, "cases": cases}, ensure_ascii=False, indent=1))
