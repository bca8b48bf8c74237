package jinja_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/graft-ml/graft/internal/jinja"
)

func Example() {
	t, err := jinja.Compile("{% for m in messages %}{{ m.role }}: {% generation %}{{ m.content }}{% endgeneration %};{% endfor %}")
	if err != nil {
		fmt.Println(err)
		return
	}
	messages := []any{map[string]any{"role": "user", "content": "Hi"}, map[string]any{"role": "assistant", "content": "Hello!"}}
	r, err := t.Render(map[string]any{"messages": messages}, jinja.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(r.Text)
	for _, s := range r.Spans {
		fmt.Printf("%q\n", r.Text[s.Start:s.End])
	}
	// Output:
	// user: Hi;assistant: Hello!;
	// "Hi"
	// "Hello!"
}

func TestSpans(t *testing.T) {
	for _, c := range []struct {
		name, source string
		marked       bool
		spans        []jinja.Span
	}{
		{"no block marks nothing", "abc", false, nil},
		{"bytes are counted, not characters", "é{% generation %}ü{% endgeneration %}", true, []jinja.Span{{2, 4}}},
		{"an empty block is a span", "a{% generation %}{% endgeneration %}", true, []jinja.Span{{1, 1}}},
		{"a block that is not reached is none", "{% if false %}{% generation %}x{% endgeneration %}{% endif %}y", true, nil},
		{"a macro hides the place", "{% macro m() %}{% generation %}x{% endgeneration %}{% endmacro %}{{ m() }}", false, []jinja.Span{{0, 1}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tmpl, err := jinja.Compile(c.source)
			if err != nil {
				t.Fatal(err)
			}
			r, err := tmpl.Render(nil, jinja.Options{})
			if err != nil || r.Marked != c.marked || !reflect.DeepEqual(r.Spans, c.spans) {
				t.Errorf("Render(%q) = %+v, %v, want marked %v and spans %v", c.source, r, err, c.marked, c.spans)
			}
		})
	}
}

// TestBounds holds hostile templates to an error, within the time and memory of a test.
func TestBounds(t *testing.T) {
	double := func(init, step string, n int) string {
		return "{% set ns = namespace(x=" + init + ") %}{% for i in range(" + fmt.Sprint(n) + ") %}{% set ns.x = " + step + " %}{% endfor %}"
	}
	deep := double("[]", "[ns.x]", 1000)
	wide := double("[1]", "[ns.x, ns.x]", 60)
	loops := strings.Repeat("{% for i in range(100000) %}", 5) + "x" + strings.Repeat("{% endfor %}", 5)
	text := double("'ab'", "ns.x ~ ns.x", 22)
	for _, c := range []struct{ name, source, want string }{
		{"nested loops", loops, "too much work"},
		{"long range", "{{ range(100001) }}", "range too big"},
		{"text doubled", double("'ab'", "ns.x ~ ns.x", 60), "want at most"},
		{"text doubled by format", double("'ab'", "'%s%s' % (ns.x, ns.x)", 60), "want at most"},
		{"text doubled by join", double("'ab'", "[ns.x, ns.x] | join", 60), "want at most"},
		{"text doubled by replace", double("'aa'", "ns.x | replace('a', ns.x)", 60), "too long"},
		{"text repeated", "{{ 'ab' * 1000000000000 }}", "too long"},
		{"list doubled", double("[1]", "ns.x + ns.x", 60), "want at most"},
		{"list repeated", "{{ [1] * 1000000000000 }}", "too long"},
		{"shared parts printed", wide + "{{ ns.x }}", "want at most"},
		{"shared parts compared", wide + "{{ ns.x == ns.x }}", "want at most"},
		{"shared parts as JSON", wide + "{{ ns.x | tojson }}", "want at most"},
		{"lists in lists", deep + "{{ ns.x }}", "nested deeper"},
		{"dicts in dicts", double("{}", "{'a': ns.x}", 1000), "nested deeper"},
		{"macro that calls itself", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "calls nested deeper"},
		{"macros that call themselves twice", "{% macro f(n) %}{% if n > 0 %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(90) }}", "too much work"},
		{"loop that calls itself", "{% set l = [[1]] %}{% for x in l recursive %}{{ loop(l) }}{% endfor %}", "calls nested deeper"},
		{"brackets", "{{ " + strings.Repeat("(", 5000) + "1" + strings.Repeat(")", 5000) + " }}", "tag of more than"},
		{"long chain", "{{ a" + strings.Repeat(".a", 100000) + " }}", "tag of more than"},
		{"blocks in blocks", strings.Repeat("{% if true %}", 500), "nested deeper"},
		{"padding", "{% for i in range(100000) %}{{ 'x' | center(100000) }}{% endfor %}", "text of more than"},
		{"padding of each", "{{ range(100000) | map('center', 100000) | list }}", "too much work"},
		{"widths", "{{ '" + strings.Repeat("%9999d", 5000) + "' % (" + strings.Repeat("1,", 1000) + ") }}", "not enough arguments"},
		{"width", "{{ '%99999d' % 1 }}", "too large"},
		{"indentation", text + "{{ [[1] * 1000] | tojson(indent=ns.x) }}", "too long"},
		{"search in a loop", text + "{% for i in range(100000) %}{% if 'c' in ns.x %}{% endif %}{% endfor %}", "too much work"},
		{"count in a loop", text + "{% for i in range(100000) %}{% if ns.x.count('c') %}{% endif %}{% endfor %}", "too much work"},
		{"split", text + "{{ ns.x.split('a') }}", "more than"},
		{"separator", text + "{{ range(100000) | join(ns.x) }}", "too long"},
		{"sum of lists", "{{ ([[1] * 1000] * 100000) | sum(start=[]) }}", "want at most"},
		{"many arguments", text + "{% macro m() %}{{ varargs }}{% endmacro %}{{ m(" + strings.Repeat("ns.x,", 100) + ") }}", "want at most"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := render(c.source, nil)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("render = %v, want an error with %q", err, c.want)
			}
		})
	}
	t.Run("a namespace may hold itself", func(t *testing.T) {
		got, err := render("{% set ns = namespace() %}{% set ns.x = [ns] %}{{ ns }} {{ ns.x }} {{ ns == ns }} {{ ns | tojson }}", nil)
		if err == nil || !strings.Contains(err.Error(), "not JSON serializable") {
			t.Errorf("render = %q, %v", got, err)
		}
	})
}

func TestStrftime(t *testing.T) {
	now := time.Date(2024, 7, 3, 9, 5, 0, 0, time.UTC)
	for _, c := range []struct{ format, want string }{
		{"%d %b %Y", "03 Jul 2024"}, {"%-d. %B %y, %A", "3. July 24, Wednesday"}, {"%Y-%m-%dT%H:%M:%S", "2024-07-03T09:05:00"},
		{"%I %p %j %%", "09 AM 185 %"}, {"%-I", "9"}, {"%-M", "5"},
	} {
		tmpl, err := jinja.Compile("{{ strftime_now('" + c.format + "') }}")
		if err != nil {
			t.Fatal(err)
		}
		if r, err := tmpl.Render(nil, jinja.Options{Now: now}); err != nil || r.Text != c.want {
			t.Errorf("strftime_now(%q) = %q, %v, want %q", c.format, r.Text, err, c.want)
		}
	}
	t.Run("without a date there is no such function", func(t *testing.T) {
		got, err := render("{% if strftime_now is defined %}now{% else %}26 Jul 2024{% endif %}", nil)
		if got != "26 Jul 2024" {
			t.Errorf("render = %q, %v", got, err)
		}
	})
	for _, bad := range []string{"%", "%-", "%Q"} {
		tmpl, _ := jinja.Compile("{{ strftime_now('" + bad + "') }}")
		if r, err := tmpl.Render(nil, jinja.Options{Now: now}); err == nil {
			t.Errorf("strftime_now(%q) = %q, want an error", bad, r.Text)
		}
	}
}

func TestErrorsNameTheLine(t *testing.T) {
	for _, c := range []struct{ source, want string }{
		{"a\n{{ b c }}", `line 2: unexpected "c", want the end of print statement`},
		{"a\n\n{% if x %}", `line 3: unexpected end of template, want "elif"`},
		{"a\n{{ raise_exception('no system') }}", "line 2: no system"},
		{"\n{{ 'a' | nope }}", `line 2: no filter named "nope"`},
		{"\n\n{{ x.y }}", "line 3: 'x' is undefined"},
		{"{% set a =\n 1 + 'x' %}", "line 1: unsupported operand type(s) for +: 'int' and 'str'"},
		{"{{ 'abc }}", "line 1: string without an end"},
		{"{% include 'x' %}", `line 1: unknown tag "include"`},
	} {
		if _, err := render(c.source, nil); err == nil || err.Error() != c.want {
			t.Errorf("render(%q) = %v, want %q", c.source, err, c.want)
		}
	}
}

func TestFromRefuses(t *testing.T) {
	deep := any(1)
	for range 200 {
		deep = []any{deep}
	}
	for _, v := range []any{deep, uint8(1), struct{}{}, []any{make(chan int)}, strings.Repeat("x", 1<<25)} {
		if _, err := jinja.From(v); err == nil {
			t.Errorf("From(%T) = nil, want an error", v)
		}
	}
}

func FuzzRender(f *testing.F) {
	for _, c := range readCases(f).templates {
		f.Add(c)
	}
	for _, s := range []string{"{{ ('a' * 9999999) * 3 }}", "{% generation %}{{ m", "{{ -9223372036854775807 // -1 }}"} {
		f.Add(s)
	}
	vars := readCases(f).vars
	f.Fuzz(func(t *testing.T, source string) {
		tmpl, err := jinja.Compile(source)
		if err != nil {
			return
		}
		r, err := tmpl.Render(vars, jinja.Options{})
		if err != nil {
			return
		}
		for _, s := range r.Spans {
			if r.Marked && (s.Start < 0 || s.Start > s.End || s.End > len(r.Text)) {
				t.Errorf("Render(%q): span %v of a text of %d bytes", source, s, len(r.Text))
			}
		}
		again, err := tmpl.Render(vars, jinja.Options{})
		if err != nil || again.Text != r.Text {
			t.Errorf("Render(%q) = %q, then %q, %v", source, r.Text, again.Text, err)
		}
	})
}
