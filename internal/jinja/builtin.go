package jinja

import (
	"errors"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"unicode"
)

// globals are the functions that every template sees.
var globals = map[string]any{
	"range":           &Func{"range", rangeOf},
	"dict":            &Func{"dict", func(_ *evaluator, a *args) (any, error) { return dictOf(a) }},
	"namespace":       &Func{"namespace", namespaceOf},
	"joiner":          &Func{"joiner", joinerOf},
	"cycler":          &Func{"cycler", cyclerOf},
	"raise_exception": &Func{"raise_exception", raise},
	"strftime_now":    &Func{"strftime_now", strftimeNow},
}

func raise(_ *evaluator, a *args) (any, error) {
	return nil, fmt.Errorf("%s", toText(a.get(0, "message", "")))
}

func strftimeNow(ev *evaluator, a *args) (any, error) {
	if ev.clock == nil {
		return nil, errors.New("strftime_now: no date is set")
	}
	return ev.clock(toText(a.get(0, "format", "")))
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
	d := NewDict()
	if len(a.pos) > 0 {
		from, ok := a.pos[0].(*Dict)
		if !ok {
			return nil, typeError("dict() of '%s'", a.pos[0])
		}
		for _, k := range from.keys {
			d.Set(k, from.values[k])
		}
	}
	for _, s := range a.names {
		d.Set(s, a.kw[s])
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
	return NewFunc("joiner", func([]any) (any, error) {
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
		return NewFunc("next", func([]any) (any, error) {
			v := c.items[c.i]
			c.i = (c.i + 1) % len(c.items)
			return v, nil
		})
	case "reset":
		return NewFunc("reset", func([]any) (any, error) {
			c.i = 0
			return nil, nil
		})
	}
	return Undefined{fmt.Sprintf("'Cycler object' has no attribute '%s'", name)}
}

// runTest evaluates "v is name(a)".
func runTest(name string, v any, a []any) (bool, error) {
	if t, ok := simpleTests[name]; ok {
		return t(v), nil
	}
	if name == "odd" || name == "even" {
		_, i, isInt, ok := number(v)
		if !ok || !isInt {
			return false, typeError("'%s' is neither odd nor even", v)
		}
		return (i%2 == 0) == (name == "even"), nil
	}
	op, ok := comparingTests[name]
	if !ok && name != "sameas" && name != "divisibleby" {
		return false, fmt.Errorf("no test named %q", name)
	}
	if len(a) < 1 {
		return false, fmt.Errorf("test %q needs an argument", name)
	}
	switch name {
	case "sameas":
		return typeName(v) == typeName(a[0]) && equal(v, a[0]), nil
	case "divisibleby":
		m, err := arithmetic("%", v, a[0])
		return equal(m, int64(0)), err
	}
	return holds(op, v, a[0])
}

var comparingTests = map[string]string{
	"eq": "==", "equalto": "==", "==": "==", "ne": "!=", "!=": "!=", "gt": ">", "greaterthan": ">", ">": ">", "ge": ">=", ">=": ">=",
	"lt": "<", "lessthan": "<", "<": "<", "le": "<=", "<=": "<=", "in": "in",
}

var simpleTests = map[string]func(v any) bool{
	"defined":   func(v any) bool { return typeName(v) != "Undefined" },
	"undefined": func(v any) bool { return typeName(v) == "Undefined" },
	"none":      func(v any) bool { return v == nil },
	"boolean":   func(v any) bool { return typeName(v) == "bool" },
	"true":      func(v any) bool { return v == true },
	"false":     func(v any) bool { return v == false },
	"integer":   func(v any) bool { return typeName(v) == "int" },
	"float":     func(v any) bool { return typeName(v) == "float" },
	"number":    func(v any) bool { _, _, _, ok := number(v); return ok },
	"string":    func(v any) bool { return typeName(v) == "str" },
	"mapping":   func(v any) bool { return typeName(v) == "dict" },
	"callable": func(v any) bool {
		switch v.(type) {
		case *Func, *loop:
			return true
		}
		return false
	},
	"iterable": func(v any) bool { _, err := items(v); return err == nil },
	"sequence": func(v any) bool { _, err := length(v); return err == nil },
	"escaped":  func(any) bool { return false },
	"lower":    func(v any) bool { return hasCase(toText(v), unicode.IsUpper, unicode.IsLower) },
	"upper":    func(v any) bool { return hasCase(toText(v), unicode.IsLower, unicode.IsUpper) },
}

// hasCase reports whether s has a letter of one case and none of the other.
func hasCase(s string, not, want func(rune) bool) bool {
	return strings.IndexFunc(s, not) < 0 && strings.IndexFunc(s, want) >= 0
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

// folding makes a key that ignores the case of letters, unless told otherwise.
func folding(get func(any) (any, error), caseSensitive bool) func(any) (any, error) {
	if caseSensitive {
		return get
	}
	return func(v any) (any, error) {
		k, err := get(v)
		if s, ok := k.(string); ok {
			return strings.ToLower(s), err
		}
		return k, err
	}
}

// format is Python's "%" on strings.
func format(f string, v any) (any, error) {
	values := []any{v}
	if l, ok := v.(*List); ok && l.tuple {
		values = l.Items
	}
	named, _ := v.(*Dict)
	var b strings.Builder
	for i := 0; i < len(f); i++ {
		if f[i] != '%' {
			b.WriteByte(f[i])
			continue
		}
		i++
		var key *string
		if i < len(f) && f[i] == '(' {
			end := strings.IndexByte(f[i:], ')')
			if end < 0 || named == nil {
				return nil, errors.New("format requires a mapping")
			}
			s := f[i+1 : i+end]
			key = &s
			i += end + 1
		}
		start := i
		for i < len(f) && strings.IndexByte("#0- +123456789.", f[i]) >= 0 {
			i++
		}
		if i == len(f) {
			return nil, errors.New("incomplete format")
		}
		spec := f[start:i]
		if f[i] == '%' {
			b.WriteByte('%')
			continue
		}
		var x any
		switch {
		case key != nil:
			var ok bool
			if x, ok = named.Get(*key); !ok {
				return nil, fmt.Errorf("format: no key %q", *key)
			}
		case len(values) == 0:
			return nil, errors.New("not enough arguments for format string")
		default:
			x, values = values[0], values[1:]
		}
		s, err := formatOne(spec, f[i], x)
		if err != nil {
			return nil, err
		}
		b.WriteString(s)
	}
	if len(values) > 0 && named == nil {
		return nil, errors.New("not all arguments converted during string formatting")
	}
	return b.String(), nil
}

// formatOne formats one value; width and precision are small numbers, or an error.
func formatOne(spec string, verb byte, v any) (string, error) {
	for n := range strings.FieldsFuncSeq(spec, func(r rune) bool { return r < '0' || r > '9' }) {
		if len(n) > 4 {
			return "", fmt.Errorf("format: width %s is too large", n)
		}
	}
	f, i, isInt, ok := number(v)
	switch verb {
	case 's':
		return fmt.Sprintf("%"+spec+"s", toText(v)), nil
	case 'r':
		return fmt.Sprintf("%"+spec+"s", repr(v)), nil
	case 'c':
		if s, isText := v.(string); isText {
			return fmt.Sprintf("%"+spec+"s", s), nil
		}
		return fmt.Sprintf("%"+spec+"c", rune(i)), nil
	}
	if !ok {
		return "", typeError("%%"+string(verb)+" format: a number is required, not %s", v)
	}
	switch verb {
	case 'd', 'i', 'u':
		if !isInt {
			i = int64(f)
		}
		return fmt.Sprintf("%"+spec+"d", i), nil
	case 'x', 'X', 'o':
		return fmt.Sprintf("%"+spec+string(verb), i), nil
	case 'e', 'E', 'f', 'F', 'g', 'G':
		if !strings.Contains(spec, ".") && (verb == 'g' || verb == 'G') {
			spec += ".6"
		}
		return fmt.Sprintf("%"+spec+string(verb), f), nil
	}
	return "", fmt.Errorf("unsupported format character %q", verb)
}
