package peft

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestFullMatch(t *testing.T) {
	for _, c := range []struct {
		name, pattern, module string
		want                  bool
	}{
		{"the whole name must match", `q_proj`, "model.layers.0.self_attn.q_proj", false},
		{"a pattern may match the whole name", `.*\.q_proj`, "model.layers.0.self_attn.q_proj", true},
		{"alternatives are all anchored", `a|b`, "ab", false},
		{"look-ahead excludes", `^(?!.*layers\.1\.).*\.q_proj$`, "model.layers.1.self_attn.q_proj", false},
		{"look-ahead lets others pass", `^(?!.*layers\.1\.).*\.q_proj$`, "model.layers.10.self_attn.q_proj", true},
		{"look-behind works", `.*(?<!k)_proj`, "x.k_proj", false},
		{"named groups are Python's", `(?P<l>\d)\.(?P=l)`, "3.3", true},
		{"a group's name must come again", `(?P<l>\d)\.(?P=l)`, "3.4", false},
		{"an open count begins at zero", `a{,2}`, "", true},
		{"an open count ends", `a{,2}`, "aaa", false},
		{`\Z is the end`, `a\Z`, "a", true},
		{"a bracket in a class is a member", `[[a]x`, "[x", true},
		{"a class has no subtraction", `[a-z-[aeiou]]+`, "e]", true},
		{"a closing bracket may come first", `[]a]+`, "]a", true},
		{"an escaped bracket is one", `\[a\]`, "[a]", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			re, err := fullMatch("target_modules", c.pattern)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := re.match(c.module); got != c.want || err != nil {
				t.Errorf("%q on %q: %v, %v, want %v", c.pattern, c.module, got, err, c.want)
			}
		})
	}
}

func TestBadPatterns(t *testing.T) {
	for _, pattern := range []string{"(", "[a", "a**", "(?P<", `\`, strings.Repeat("a", maxPattern+1)} {
		if _, err := fullMatch("target_modules", pattern); err == nil || !strings.Contains(err.Error(), "target_modules") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.20q: %v, want one line that names the key", pattern, err)
		}
	}
}

func TestHostilePatternEndsInTime(t *testing.T) {
	re, err := fullMatch("target_modules", `(a+)+(b+)+c`)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	_, err = re.match(strings.Repeat("a", 60) + strings.Repeat("b", 60))
	if err == nil || !strings.Contains(err.Error(), "takes longer") {
		t.Errorf("a pattern that backtracks for ever: %v, want an error", err)
	}
	if took := time.Since(start); took > 10*matchTime {
		t.Errorf("it took %v, want about %v", took, matchTime)
	}
}

func TestPatternLookup(t *testing.T) {
	for _, c := range []struct {
		name, json, module, want string
	}{
		{"a key matches the end after a dot", `{"q_proj": 3}`, "a.q_proj", "3"},
		{"a key does not match half a part", `{"proj": 3}`, "a.q_proj", ""},
		{"the first key that matches counts", `{".*": 5, "q_proj": 3}`, "a.q_proj", "5"},
		{"^ pins a key to the whole name", `{"^q_proj": 3}`, "a.q_proj", ""},
		{"^ matches the whole name", `{"^a.q_proj": 3}`, "a.q_proj", "3"},
		{"^ binds one alternative only", `{"^x|q_proj": 3}`, "a.q_proj", "3"},
		{"a key may be an alternative", `{"q_proj|v_proj": 3}`, "a.v_proj", "3"},
		{"a repeated key keeps its place and takes the later value", `{"q": 1, ".*": 2, "q": 4}`, "a.q", "4"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var p Pattern
			if err := json.Unmarshal([]byte(c.json), &p); err != nil {
				t.Fatal(err)
			}
			x, err := p.Compile("rank_pattern")
			if err != nil {
				t.Fatal(err)
			}
			got, ok, err := x.Lookup(c.module)
			if string(got) != c.want || ok != (c.want != "") || err != nil {
				t.Errorf("%s on %q: %q, %v, %v, want %q", c.json, c.module, got, ok, err, c.want)
			}
		})
	}
	for _, bad := range []string{`[]`, `{"q": "8"}`, `{"q": null}`, `3`} {
		var p Pattern
		if err := json.Unmarshal([]byte(bad), &p); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
}

func TestNamesJSON(t *testing.T) {
	for text, want := range map[string]Names{`null`: {}, `["b","a"]`: {List: []string{"b", "a"}}, `".*x"`: {Pattern: ".*x"},
		`[]`: {List: []string{}}, `""`: {List: []string{}}} {
		var n Names
		if err := json.Unmarshal([]byte(text), &n); err != nil || n.Pattern != want.Pattern || !slices.Equal(n.List, want.List) || n.IsNull() != want.IsNull() {
			t.Errorf("%s: %v (null %v), %v, want %v", text, n, n.IsNull(), err, want)
		}
	}
}

func FuzzFromPython(f *testing.F) {
	for _, s := range []string{`^(?!.*a).*[b-d]$`, `(?P<n>a)(?P=n)`, `a{,3}`, `[]a[`, `\`, `(?P=`, `[^]]`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, pattern string) {
		if len(pattern) > 200 {
			return
		}
		if re, err := fullMatch("target_modules", pattern); err == nil {
			re.re.MatchTimeout = 10 * time.Millisecond
			re.match("model.layers.0.self_attn.q_proj")
		}
	})
}
