// Package jinja renders chat templates: the Jinja that Hugging Face models bring along, as transformers sets it up
// (trim_blocks, lstrip_blocks, break and continue, generation blocks, tojson without escapes, raise_exception,
// strftime_now), with Python's rules for printing, comparing, adding and failing.
//
//	t, err := jinja.Compile("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}")
//	messages := []any{map[string]any{"role": "user", "content": "Hi"}}
//	r, err := t.Render(map[string]any{"messages": messages}, jinja.Options{})
//	fmt.Print(r.Text) // user: Hi
//
// It exists because the Go libraries for Jinja follow Go where Python decides what a model has seen: "a" + ["b"] is an
// error and not a text, none prints as None, a set inside a loop ends with the loop.
//
// Templates are code from elsewhere, so rendering is bounded: see budget.go.
package jinja

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Template is a compiled template. Safe for concurrent use.
type Template struct {
	body  []step
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

// Span is a range of bytes of the rendered text.
type Span struct{ Start, End int }

// Rendered is the text, and where generation blocks wrote it.
type Rendered struct {
	Text   string
	Marked bool   // the template has generation blocks, and Spans are all of them that were reached
	Spans  []Span // in order; empty ones included
}

// Options are what templates may ask of the world.
type Options struct {
	Now time.Time // for strftime_now; zero: there is no such function, as templates can ask
}

// Render writes the template with variables of the types that From takes. Values given are not changed.
func (t *Template) Render(vars map[string]any, o Options) (Rendered, error) {
	ev := &evaluator{scope: &scope{vars: map[string]any{}}, out: &strings.Builder{}, filters: filterTable, now: o.Now}
	for _, k := range slices.Sorted(maps.Keys(vars)) {
		v, err := From(vars[k])
		if err != nil {
			return Rendered{}, fmt.Errorf("%s: %w", k, err)
		}
		ev.scope.set(k, v)
	}
	if err := ev.run(t.body); err != nil {
		return Rendered{}, err
	}
	return Rendered{ev.out.String(), t.marks && !ev.lost, ev.spans}, nil
}
