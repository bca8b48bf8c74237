package jinja

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// globals are the functions that every template sees.
var globals = map[string]any{
	"range":           &Func{"range", rangeOf},
	"dict":            &Func{"dict", func(_ *evaluator, a *args) (any, error) { return dictOf(a) }},
	"namespace":       &Func{"namespace", namespaceOf},
	"joiner":          &Func{"joiner", joinerOf},
	"cycler":          &Func{"cycler", cyclerOf},
	"raise_exception": &Func{"raise_exception", raise},
}

func raise(_ *evaluator, a *args) (any, error) {
	return nil, fmt.Errorf("%s", toText(a.get(0, "message", "")))
}

// maxRange is the longest range, as in the reference's sandbox.
const maxRange = 100000

func rangeOf(_ *evaluator, a *args) (any, error) {
	n := []int64{0, 0, 1}
	for i, v := range a.pos {
		_, x, isInt, ok := number(v)
		if !ok || !isInt || i > 2 {
			return nil, typeError("'%s' object cannot be interpreted as an integer", v)
		}
		if len(a.pos) == 1 {
			i = 1
		}
		n[i] = x
	}
	start, stop, step := n[0], n[1], n[2]
	if step == 0 || len(a.pos) == 0 {
		return nil, errors.New("range expects a stop, and a step that is not zero")
	}
	l := &List{}
	for i := start; step > 0 && i < stop || step < 0 && i > stop; i += step {
		if len(l.Items) == maxRange {
			return nil, fmt.Errorf("range too big, want at most %d items", maxRange)
		}
		l.Items = append(l.Items, i)
	}
	return l, nil
}

func dictOf(a *args) (*Dict, error) {
	d := newDict()
	if len(a.pos) > 0 {
		from, ok := a.pos[0].(*Dict)
		if !ok {
			return nil, typeError("dict() of '%s'", a.pos[0])
		}
		d.keys, d.values, d.index = slices.Clone(from.keys), slices.Clone(from.values), maps.Clone(from.index)
	}
	for _, s := range a.names {
		d.name(s, a.kw[s])
	}
	return d, nil
}

func namespaceOf(_ *evaluator, a *args) (any, error) {
	d, err := dictOf(a)
	if err != nil {
		return nil, err
	}
	return &namespace{*d}, nil
}

func joinerOf(_ *evaluator, a *args) (any, error) {
	sep, used := a.get(0, "sep", ", "), false
	return newFunc("joiner", func([]any) (any, error) {
		if !used {
			used = true
			return "", nil
		}
		return sep, nil
	}), nil
}

// cycler gives its items in turn.
type cycler struct {
	items []any
	i     int
}

func cyclerOf(_ *evaluator, a *args) (any, error) {
	if len(a.pos) == 0 {
		return nil, errors.New("at least one item has to be provided")
	}
	return &cycler{items: a.pos}, nil
}

func (c *cycler) attribute(name string) any {
	switch name {
	case "current":
		return c.items[c.i]
	case "next":
		return newFunc("next", func([]any) (any, error) {
			v := c.items[c.i]
			c.i = (c.i + 1) % len(c.items)
			return v, nil
		})
	case "reset":
		return newFunc("reset", func([]any) (any, error) {
			c.i = 0
			return nil, nil
		})
	}
	return Undefined{fmt.Sprintf("'Cycler object' has no attribute '%s'", name)}
}

// sortedBy sorts by a key; equal items keep their order, in reverse too.
func sortedBy(list []any, key func(any) (any, error), reverse bool) ([]any, error) {
	type entry struct{ key, v any }
	all := make([]entry, len(list))
	for i, v := range list {
		k, err := key(v)
		if err != nil {
			return nil, err
		}
		all[i] = entry{k, v}
	}
	var failed error
	sort.SliceStable(all, func(i, j int) bool {
		a, b := all[i].key, all[j].key
		if reverse {
			a, b = b, a
		}
		c, err := compare(a, b, "<")
		if err != nil && failed == nil {
			failed = err
		}
		return c < 0
	})
	out := make([]any, len(all))
	for i := range all {
		out[i] = all[i].v
	}
	return out, failed
}

// getter reads an attribute path such as "function.name" or "0"; nil is the value itself.
func getter(path any, otherwise any) func(any) (any, error) {
	if path == nil {
		return func(v any) (any, error) { return v, nil }
	}
	parts := []any{path}
	if s, ok := path.(string); ok {
		parts = parts[:0]
		for p := range strings.SplitSeq(s, ".") {
			if i, err := strconv.ParseInt(p, 10, 64); err == nil {
				parts = append(parts, i)
			} else {
				parts = append(parts, p)
			}
		}
	}
	return func(v any) (any, error) {
		for _, p := range parts {
			var err error
			if v, err = item(v, p); err != nil {
				return nil, err
			}
			if _, missing := v.(Undefined); missing && otherwise != nil {
				v = otherwise
			}
		}
		return v, nil
	}
}

// getters reads several attribute paths, "a,b", into a list; of one it is the value itself.
func getters(paths any) func(any) (any, error) {
	s, ok := paths.(string)
	if !ok || !strings.Contains(s, ",") {
		return getter(paths, nil)
	}
	var all []func(any) (any, error)
	for p := range strings.SplitSeq(s, ",") {
		all = append(all, getter(p, nil))
	}
	return func(v any) (any, error) {
		out := &List{}
		for _, get := range all {
			x, err := get(v)
			if err != nil {
				return nil, err
			}
			out.Items = append(out.Items, x)
		}
		return out, nil
	}
}

// folding makes a key that ignores the case of letters, unless told otherwise.
func folding(get func(any) (any, error), caseSensitive bool) func(any) (any, error) {
	if caseSensitive {
		return get
	}
	return func(v any) (any, error) {
		k, err := get(v)
		switch k := k.(type) {
		case string:
			return lower(k), err
		case *List:
			return mapped(k, func(x any) any {
				if s, ok := x.(string); ok {
					return lower(s)
				}
				return x
			}), err
		}
		return k, err
	}
}

func mapped(l *List, f func(any) any) *List {
	out := &List{Items: make([]any, len(l.Items)), tuple: l.tuple}
	for i, x := range l.Items {
		out.Items[i] = f(x)
	}
	return out
}
