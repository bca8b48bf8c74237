package jinja

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"
)

// Values are nil (None), bool, int64, float64, string, *List, *Dict, *Func, *namespace and Undefined.

// List is a list, or a tuple, which differs in how it prints.
type List struct {
	Items []any
	tuple bool
	names []string // of the items, for tuples whose items are attributes, too
	extent
}

// Dict keeps its keys in the order in which they came.
type Dict struct {
	keys   []any
	values []any
	index  map[any]int // by hashed key
	extent
}

func newDict() *Dict { return &Dict{index: map[any]int{}} }

// set adds or replaces a key.
func (d *Dict) set(key, value any) error {
	h, err := hashed(key)
	if err != nil {
		return err
	}
	d.put(h, key, value)
	return nil
}

// name adds or replaces a key that is a text.
func (d *Dict) name(key string, value any) { d.put(key, key, value) }

func (d *Dict) put(hashed, key, value any) {
	if i, ok := d.index[hashed]; ok {
		d.values[i] = value
		return
	}
	d.index[hashed] = len(d.keys)
	d.keys, d.values = append(d.keys, key), append(d.values, value)
}

// get looks a key up.
func (d *Dict) get(key any) (any, bool) {
	h, err := hashed(key)
	if err != nil {
		return nil, false
	}
	i, ok := d.index[h]
	if !ok {
		return nil, false
	}
	return d.values[i], true
}

// tupleKey is a tuple as a key.
type tupleKey string

// hashed is v as a key of Go's maps, where equal keys are one: 1, 1.0 and true are.
func hashed(v any) (any, error) {
	switch v := v.(type) {
	case bool:
		return int64(map[bool]int{true: 1}[v]), nil
	case float64:
		if i := int64(v); v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return i, nil
		}
	case *List:
		if !v.tuple {
			return nil, errors.New("unhashable type: 'list'")
		}
		key := tupleKey("")
		for _, x := range v.Items {
			h, err := hashed(x)
			if err != nil {
				return nil, err
			}
			key += tupleKey(fmt.Sprintf("%T %s,", h, toText(h)))
		}
		return key, nil
	case *Dict:
		return nil, errors.New("unhashable type: 'dict'")
	case Undefined:
		return Undefined{}, nil
	}
	return v, nil
}

// Func is a function that templates can call.
type Func struct {
	name string
	call func(ev *evaluator, a *args) (any, error)
}

// newFunc makes a function of its positional arguments.
func newFunc(name string, f func(args []any) (any, error)) *Func {
	return &Func{name, func(_ *evaluator, a *args) (any, error) { return f(a.pos) }}
}

// namespace is what namespace() returns: attributes that can be set.
type namespace struct{ Dict }

// Undefined is what missing names and attributes are. It prints as nothing; using it otherwise is an error.
type Undefined struct{ why string }

func (u Undefined) err() error { return fmt.Errorf("%s", u.why) }

// typeName is Python's name of the type.
func typeName(v any) string {
	switch v := v.(type) {
	case nil:
		return "NoneType"
	case bool:
		return "bool"
	case int64:
		return "int"
	case float64:
		return "float"
	case string:
		return "str"
	case *List:
		if v.tuple {
			return "tuple"
		}
		return "list"
	case *Dict:
		return "dict"
	case *namespace:
		return "Namespace"
	case Undefined:
		return "Undefined"
	}
	return "function"
}

// truth is Python's bool().
func truth(v any) bool {
	switch v := v.(type) {
	case nil, Undefined:
		return false
	case bool:
		return v
	case int64:
		return v != 0
	case float64:
		return v != 0
	case string:
		return v != ""
	case *List:
		return len(v.Items) > 0
	case *Dict:
		return len(v.keys) > 0
	}
	return true
}

// toText is Python's str().
func toText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case Undefined:
		return ""
	}
	return repr(v)
}

// repr is Python's repr().
func repr(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case bool:
		if v {
			return "True"
		}
		return "False"
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		return floatText(v)
	case string:
		return quote(v)
	case *List:
		parts := make([]string, len(v.Items))
		for i, x := range v.Items {
			parts[i] = repr(x)
		}
		if !v.tuple {
			return "[" + strings.Join(parts, ", ") + "]"
		}
		if len(parts) == 1 {
			return "(" + parts[0] + ",)"
		}
		return "(" + strings.Join(parts, ", ") + ")"
	case *Dict:
		parts := make([]string, len(v.keys))
		for i, k := range v.keys {
			parts[i] = repr(k) + ": " + repr(v.values[i])
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case *namespace:
		return "<Namespace>" // which may hold itself
	case *Func:
		return "<function " + v.name + ">"
	case Undefined:
		return "Undefined"
	}
	return fmt.Sprint(v)
}

// floatText is Python's repr of a float: shortest digits, and always a point, exponent or name.
func floatText(f float64) string {
	switch {
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	case math.IsNaN(f):
		return "nan"
	}
	if a := math.Abs(f); a != 0 && (a < 1e-4 || a >= 1e16) {
		return strconv.FormatFloat(f, 'e', -1, 64)
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// quote is Python's repr of a string.
func quote(s string) string {
	q := byte('\'')
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		q = '"'
	}
	b := []byte{q}
	for _, r := range s {
		switch {
		case r == rune(q) || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, `\n`...)
		case r == '\r':
			b = append(b, `\r`...)
		case r == '\t':
			b = append(b, `\t`...)
		case r < ' ' || r == 0x7f || r >= 0x80 && r <= 0xa0 || r == 0xad:
			b = fmt.Appendf(b, `\x%02x`, r)
		case r < 0x7f || unicode.IsPrint(r):
			b = append(b, string(r)...)
		case r < 0x10000:
			b = fmt.Appendf(b, `\u%04x`, r)
		default:
			b = fmt.Appendf(b, `\U%08x`, r)
		}
	}
	return string(append(b, q))
}

// number converts bool, int and float; isInt says that both sides are whole.
func number(v any) (f float64, i int64, isInt, ok bool) {
	switch v := v.(type) {
	case bool:
		if v {
			return 1, 1, true, true
		}
		return 0, 0, true, true
	case int64:
		return float64(v), v, true, true
	case float64:
		return v, 0, false, true
	}
	return 0, 0, false, false
}

// equal is Python's ==.
func equal(a, b any) bool {
	if x, i, xi, ok := number(a); ok {
		y, j, yi, ok := number(b)
		return ok && (xi && yi && i == j || !(xi && yi) && x == y)
	}
	switch a := a.(type) {
	case nil:
		return b == nil
	case Undefined:
		_, ok := b.(Undefined)
		return ok
	case string:
		s, ok := b.(string)
		return ok && a == s
	case *List:
		l, ok := b.(*List)
		if !ok || len(a.Items) != len(l.Items) || a.tuple != l.tuple {
			return false
		}
		for i := range a.Items {
			if !equal(a.Items[i], l.Items[i]) {
				return false
			}
		}
		return true
	case *Dict:
		d, ok := b.(*Dict)
		if !ok || len(a.keys) != len(d.keys) {
			return false
		}
		for i, k := range a.keys {
			v, ok := d.get(k)
			if !ok || !equal(a.values[i], v) {
				return false
			}
		}
		return true
	}
	return a == b
}

// compare orders numbers, strings and lists.
func compare(a, b any, op string) (int, error) {
	if x, _, _, ok := number(a); ok {
		if y, _, _, ok := number(b); ok {
			switch {
			case x < y:
				return -1, nil
			case x > y:
				return 1, nil
			}
			return 0, nil
		}
	}
	switch a := a.(type) {
	case Undefined:
		return 0, a.err()
	case string:
		if s, ok := b.(string); ok {
			return strings.Compare(a, s), nil
		}
	case *List:
		if l, ok := b.(*List); ok {
			for i := range min(len(a.Items), len(l.Items)) {
				if c, err := compare(a.Items[i], l.Items[i], op); c != 0 || err != nil {
					return c, err
				}
			}
			return len(a.Items) - len(l.Items), nil
		}
	}
	if u, ok := b.(Undefined); ok {
		return 0, u.err()
	}
	return 0, fmt.Errorf("'%s' not supported between instances of '%s' and '%s'", op, typeName(a), typeName(b))
}

// items lists what a loop over v visits.
func items(v any) ([]any, error) {
	switch v := v.(type) {
	case *List:
		return v.Items, nil
	case *Dict:
		return v.keys, nil
	case string:
		if len(v) > 4*maxItems {
			return nil, fmt.Errorf("text of %d bytes is too long to go through", len(v))
		}
		out := make([]any, 0, len(v))
		for _, r := range v {
			out = append(out, string(r))
		}
		return out, nil
	case Undefined:
		return nil, nil
	}
	return nil, fmt.Errorf("'%s' object is not iterable", typeName(v))
}

// contains is Python's in.
func contains(container, x any) (bool, error) {
	switch c := container.(type) {
	case string:
		s, ok := x.(string)
		if !ok {
			return false, fmt.Errorf("'in <string>' requires string as left operand, not %s", typeName(x))
		}
		return strings.Contains(c, s), nil
	case *Dict:
		_, ok := c.get(x)
		return ok, nil
	}
	all, err := items(container)
	if err != nil {
		return false, fmt.Errorf("argument of type '%s' is not iterable", typeName(container))
	}
	for _, y := range all {
		if equal(x, y) {
			return true, nil
		}
	}
	return false, nil
}

// length is Python's len().
func length(v any) (int64, error) {
	switch v := v.(type) {
	case string:
		return int64(len([]rune(v))), nil
	case *List:
		return int64(len(v.Items)), nil
	case *Dict:
		return int64(len(v.keys)), nil
	case Undefined:
		return 0, nil
	}
	return 0, fmt.Errorf("object of type '%s' has no len()", typeName(v))
}
