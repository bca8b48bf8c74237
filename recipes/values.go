package recipes

import (
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// Names is a list of strings, or one string that means a pattern.
type Names struct {
	List    []string
	Pattern string
}

// IsZero says that nothing was named.
func (n Names) IsZero() bool { return n.List == nil && n.Pattern == "" }

// Entry is one key of a Pattern.
type Entry struct {
	Key   string
	Value float64
}

// Pattern maps patterns to numbers, in the order of the file.
type Pattern []Entry

// Strings maps names to names.
type Strings map[string]string

// Indices is a list of whole numbers, or one for each name of a table.
type Indices struct {
	List   []int
	ByName map[string][]int
}

// below says that a number is smaller than the bound.
func (x Indices) below(bound int) bool {
	small := func(l []int) bool { return len(l) > 0 && slices.Min(l) < bound }
	for _, l := range x.ByName {
		if small(l) {
			return true
		}
	}
	return small(x.List)
}

// Table is a table of arguments that something else checks.
type Table map[string]any

// kinds says in words what a value of a field must be.
func kindOf(v any) string {
	switch v.(type) {
	case string:
		return "a string"
	case bool:
		return "true or false"
	case int, uint64:
		return "a whole number"
	case float64:
		return "a number"
	case []string:
		return "a list of strings"
	case []int:
		return "a list of whole numbers"
	case Names:
		return "a string or a list of strings"
	case Pattern:
		return "a table of numbers"
	case Strings:
		return "a table of strings"
	case Indices:
		return "a list of whole numbers or a table of such lists"
	case Table:
		return "a table"
	case []Source:
		return "an array of tables"
	}
	return fmt.Sprintf("a %T", v)
}

// assign converts what TOML gave to the type of old; got says what it was when that cannot be.
func assign(old, v any, order []string) (value any, ok bool) {
	switch old.(type) {
	case string:
		s, ok := v.(string)
		return s, ok
	case bool:
		b, ok := v.(bool)
		return b, ok
	case int:
		n, ok := v.(int64)
		return int(n), ok && int64(int(n)) == n
	case uint64:
		n, ok := v.(int64)
		return uint64(n), ok && n >= 0
	case float64:
		return number(v)
	case []string:
		return listOf[string](v)
	case []int:
		return wholeNumbers(v)
	case Indices:
		return indicesOf(v)
	case Names:
		if s, ok := v.(string); ok {
			return Names{Pattern: s}, true
		}
		l, ok := listOf[string](v)
		return Names{List: l}, ok
	case Strings:
		m, ok := v.(map[string]any)
		out := Strings{}
		for k, e := range m {
			s, isString := e.(string)
			out[k], ok = s, ok && isString
		}
		return out, ok
	case Pattern:
		return patternOf(v, order)
	case Table:
		m, ok := v.(map[string]any)
		return Table(m), ok
	}
	return nil, false
}

// wholeNumbers is a list of them, or one.
func wholeNumbers(v any) ([]int, bool) {
	if n, ok := v.(int64); ok {
		return []int{int(n)}, true
	}
	l, ok := listOf[int64](v)
	out := make([]int, len(l))
	for i := range l {
		out[i] = int(l[i])
	}
	return out, ok
}

func indicesOf(v any) (Indices, bool) {
	m, ok := v.(map[string]any)
	if !ok {
		l, ok := wholeNumbers(v)
		return Indices{List: l}, ok
	}
	x := Indices{ByName: map[string][]int{}}
	for name, e := range m {
		if x.ByName[name], ok = wholeNumbers(e); !ok {
			return Indices{}, false
		}
	}
	return x, true
}

func number(v any) (float64, bool) {
	switch n := v.(type) {
	case int64:
		return float64(n), true
	case float64:
		return n, n == n
	}
	return 0, false
}

func listOf[T any](v any) ([]T, bool) {
	l, ok := v.([]any)
	if !ok {
		return nil, false
	}
	out := make([]T, len(l))
	for i := range l {
		if out[i], ok = l[i].(T); !ok {
			return nil, false
		}
	}
	return out, true
}

func patternOf(v any, order []string) (Pattern, bool) {
	m, ok := v.(map[string]any)
	if !ok {
		return nil, false
	}
	if len(order) != len(m) {
		order = nil
		for k := range m {
			order = append(order, k)
		}
		sort.Strings(order)
	}
	p := Pattern{}
	for _, k := range order {
		n, ok := number(m[k])
		if !ok {
			return nil, false
		}
		p = append(p, Entry{k, n})
	}
	return p, true
}

// describe says what a TOML value is, for errors.
func describe(v any) string {
	switch v := v.(type) {
	case string:
		return strconv.Quote(clip(v))
	case bool:
		return fmt.Sprint(v)
	case int64, float64:
		return fmt.Sprint(v)
	case []any:
		return "a list"
	case []map[string]any:
		return "an array of tables"
	case map[string]any:
		return "a table"
	}
	return fmt.Sprintf("%v", v)
}

// clip shortens a text for a message.
func clip(s string) string {
	if r := []rune(s); len(r) > 40 {
		return string(r[:40]) + "…"
	}
	return s
}

// literal writes a value as TOML.
func literal(v any) string {
	switch v := v.(type) {
	case string:
		return quote(v)
	case float64:
		s := strconv.FormatFloat(v, 'g', -1, 64)
		if !strings.ContainsAny(s, ".eIN") {
			s += ".0"
		}
		return s
	case []string:
		return list(v, quote)
	case []int:
		return list(v, strconv.Itoa)
	case []any:
		return list(v, func(e any) string { return literal(e) })
	case Names:
		if v.Pattern != "" {
			return quote(v.Pattern)
		}
		return list(v.List, quote)
	case Pattern:
		return "{ " + strings.Join(each(v, func(e Entry) string { return quote(e.Key) + " = " + literal(e.Value) }), ", ") + " }"
	case Indices:
		if v.ByName != nil {
			return inline(v.ByName, func(l []int) string { return list(l, strconv.Itoa) })
		}
		return list(v.List, strconv.Itoa)
	case Strings:
		return inline(v, quote)
	case Table:
		return inline(v, func(e any) string { return literal(e) })
	case map[string]any:
		return inline(v, func(e any) string { return literal(e) })
	}
	return fmt.Sprint(v)
}

func each[T any](l []T, f func(T) string) []string {
	out := make([]string, len(l))
	for i := range l {
		out[i] = f(l[i])
	}
	return out
}

func list[T any](l []T, f func(T) string) string { return "[" + strings.Join(each(l, f), ", ") + "]" }

func inline[V any](m map[string]V, f func(V) string) string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return "{ " + strings.Join(each(keys, func(k string) string { return quote(k) + " = " + f(m[k]) }), ", ") + " }"
}

// quote writes a basic string of TOML.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
