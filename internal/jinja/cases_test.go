package jinja_test

import (
	"os"
	"testing"

	"github.com/graft-ml/graft/data"
	"github.com/graft-ml/graft/internal/jinja"
)

// cases is testdata/cases.json: what Python's jinja2 gives. testdata/gen/cases.py made it.
type cases struct {
	vars      map[string]any
	templates []string
	want      []data.Object
}

func readCases(t testing.TB) (c cases) {
	t.Helper()
	b, err := os.ReadFile("testdata/cases.json")
	if err != nil {
		t.Fatal(err)
	}
	v, err := data.ParseJSON(b)
	if err != nil {
		t.Fatal(err)
	}
	file := v.(data.Object)
	c.vars = map[string]any{}
	values, _ := file.Get("vars")
	for name, v := range values.(data.Object).All() {
		c.vars[name] = v
	}
	list, _ := file.Get("cases")
	for _, x := range list.([]any) {
		c.want = append(c.want, x.(data.Object))
		c.templates = append(c.templates, field(x.(data.Object), "template"))
	}
	return c
}

func field(o data.Object, name string) string {
	v, _ := o.Get(name)
	s, _ := v.(string)
	return s
}

func render(source string, vars map[string]any) (string, error) {
	t, err := jinja.Compile(source)
	if err != nil {
		return "", err
	}
	r, err := t.Render(vars, jinja.Options{})
	return r.Text, err
}

// TestCases compares texts, and that there is an error where Python has one; its words are Python's own.
func TestCases(t *testing.T) {
	all := readCases(t)
	for i, source := range all.templates {
		c := all.want[i]
		want, wrong := field(c, "text"), field(c, "error")
		got, err := render(source, all.vars)
		switch {
		case wrong != "" && err == nil:
			t.Errorf("%s: render(%q) = %q, want an error as %s: %s", field(c, "group"), source, got, wrong, field(c, "message"))
		case wrong == "" && err != nil:
			t.Errorf("%s: render(%q) = %v, want %q", field(c, "group"), source, err, want)
		case wrong == "" && got != want:
			t.Errorf("%s: render(%q)\n got %q\nwant %q", field(c, "group"), source, got, want)
		}
	}
}
