package checkpoint

import "testing"

func TestSetConfig(t *testing.T) {
	for _, c := range []struct{ config, want string }{
		{`{"a": true, "x": {"a": true}}`, `{"a": false, "x": {"a": true}}`},
		{`{"x": {"a": true}, "a": 5}`, `{"x": {"a": true}, "a": false}`},
		{"{\n  \"x\": 1\n}", "{\n  \"a\": false,\n  \"x\": 1\n}"},
		{`{}`, "{\n  \"a\": false}"},
		{`[1]`, `[1]`},
	} {
		if got := string(SetConfig([]byte(c.config), "a", "false")); got != c.want {
			t.Errorf("SetConfig(%s) = %s, want %s", c.config, got, c.want)
		}
	}
}

func TestRemoveConfig(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"first", `{"q": {"a": 1}, "b": 2}`, `{ "b": 2}`},
		{"between", "{\n  \"a\": 1,\n  \"q\": 3,\n  \"b\": 2\n}", "{\n  \"a\": 1,\n  \"b\": 2\n}"},
		{"last", "{\n  \"a\": 1,\n  \"q\": [1]\n}", "{\n  \"a\": 1\n}"},
		{"only", `{"q": 1}`, `{}`},
		{"not there", `{"a": {"q": 1}}`, `{"a": {"q": 1}}`},
		{"named in a text before", `{"a": "\"q\":", "q": 1}`, `{"a": "\"q\":"}`},
		{"written with an escape", `{"\u0071": 1}`, `{"\u0071": 1}`},
		{"no object", `[1]`, `[1]`},
	} {
		if got := string(RemoveConfig([]byte(c.in), "q")); got != c.want {
			t.Errorf("%s: %s became %s, want %s", c.name, c.in, got, c.want)
		}
	}
}
