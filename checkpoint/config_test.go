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
