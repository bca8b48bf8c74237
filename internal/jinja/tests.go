package jinja

import (
	"fmt"
	"strings"
	"unicode"
)

// test evaluates "v is name(a)".
func (ev *evaluator) test(name string, v any, a []any) (bool, error) {
	if err := ev.spend(1 + width(v)); err != nil {
		return false, err
	}
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
	if name == "filter" {
		_, ok := ev.filters[toText(v)]
		return ok, nil
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
	return ev.holds(op, v, a[0])
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
