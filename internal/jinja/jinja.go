// Package jinja renders chat templates: the Jinja that Hugging Face models bring along, as transformers sets it up
// (trim_blocks, lstrip_blocks, break and continue, generation blocks, tojson without escapes, raise_exception,
// strftime_now), with Python's rules for printing, comparing, adding and failing.
//
//	t, err := jinja.Compile("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}")
//	messages, err := jinja.FromJSON([]byte(`[{"role": "user", "content": "Hi"}]`))
//	r, err := t.Render(map[string]any{"messages": messages}, jinja.Options{})
//	fmt.Print(r.Text) // user: Hi
//
// It exists because the Go libraries for Jinja follow Go where Python decides what a model has seen: "a" + ["b"] is an
// error and not a text, none prints as None, a set inside a loop ends with the loop.
//
// Templates are code from elsewhere, so rendering is bounded: in depth of calls, in steps, in the length of ranges.
package jinja

import (
	"fmt"
	"strings"
)

// Template is a compiled template. Safe for concurrent use.
type Template struct {
	body  []statement
	marks bool
}

// Compile reads a template.
func Compile(source string) (*Template, error) {
	tokens, err := lex(source)
	if err != nil {
		return nil, err
	}
	p := &parser{tokens: tokens}
	body, _, err := p.body()
	if err != nil {
		return nil, err
	}
	return &Template{body, p.marks}, nil
}

// Marks reports whether the template has generation blocks.
func (t *Template) Marks() bool { return t.marks }

// Span is a range of bytes of the rendered text.
type Span struct{ Start, End int }

// Rendered is the text, and where generation blocks wrote it.
type Rendered struct {
	Text  string
	Spans []Span
}

// Options are what templates may ask of the world.
type Options struct {
	// Clock writes the time for strftime_now; nil makes that an error.
	Clock func(format string) (string, error)
}

// Render writes the template with variables, which are values of this package (see FromJSON). Values given are not
// changed.
func (t *Template) Render(vars map[string]any, o Options) (Rendered, error) {
	ev := &evaluator{scope: &scope{vars: map[string]any{}}, out: &strings.Builder{}, filters: filterTable, clock: o.Clock}
	for k, v := range vars {
		ev.scope.set(k, v)
	}
	if err := ev.run(t.body); err != nil {
		return Rendered{}, err
	}
	if ev.out.Len() > maxText {
		return Rendered{}, fmt.Errorf("text of %d bytes, want at most %d", ev.out.Len(), maxText)
	}
	return Rendered{ev.out.String(), ev.spans}, nil
}
