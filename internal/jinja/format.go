package jinja

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// directive is one of Python's "%": (key), flags with width and precision, and the letter.
var directive = regexp.MustCompile(`(?s)%(?:\(([^)]*)\))?([#0\- +.1-9]*)(.?)`)

// format is Python's "%" on strings: v is a tuple, a dict for keys, or the only value.
func format(f string, v any) (any, error) {
	rest := []any{v}
	if l, ok := v.(*List); ok && l.tuple {
		rest = l.Items
	}
	named, _ := v.(*Dict)
	var b strings.Builder
	last := 0
	for _, m := range directive.FindAllStringSubmatchIndex(f, -1) {
		b.WriteString(f[last:m[0]])
		last = m[1]
		if f[m[6]:m[7]] == "%" {
			b.WriteByte('%')
			continue
		}
		var x any
		switch {
		case m[2] >= 0:
			if named == nil {
				return nil, errors.New("format requires a mapping")
			}
			var ok bool
			if x, ok = named.get(f[m[2]:m[3]]); !ok {
				return nil, fmt.Errorf("format: no key %q", f[m[2]:m[3]])
			}
		case len(rest) == 0:
			return nil, errors.New("not enough arguments for format string")
		default:
			x, rest = rest[0], rest[1:]
		}
		s, err := formatOne(f[m[4]:m[5]], f[m[6]:m[7]], x)
		if err != nil {
			return nil, err
		}
		if b.WriteString(s); b.Len() > 4*maxSize {
			return nil, errors.New("format: text is too long")
		}
	}
	if len(rest) > 0 && named == nil {
		return nil, errors.New("not all arguments converted during string formatting")
	}
	b.WriteString(f[last:])
	return b.String(), nil
}

// formatOne formats one value; width and precision are small numbers, or an error.
func formatOne(spec, verb string, v any) (string, error) {
	for n := range strings.FieldsFuncSeq(spec, func(r rune) bool { return r < '0' || r > '9' }) {
		if len(n) > 4 {
			return "", fmt.Errorf("format: width %s is too large", n)
		}
	}
	f, i, isInt, ok := number(v)
	switch verb {
	case "s":
		return fmt.Sprintf("%"+spec+"s", toText(v)), nil
	case "r":
		return fmt.Sprintf("%"+spec+"s", repr(v)), nil
	case "c":
		if s, isText := v.(string); isText {
			return fmt.Sprintf("%"+spec+"s", s), nil
		}
		return fmt.Sprintf("%"+spec+"c", rune(i)), nil
	}
	if !ok {
		return "", typeError("%%"+verb+" format: a number is required, not %s", v)
	}
	switch verb {
	case "d", "i", "u":
		if !isInt {
			i = int64(f)
		}
		return fmt.Sprintf("%"+spec+"d", i), nil
	case "x", "X", "o":
		return fmt.Sprintf("%"+spec+verb, i), nil
	case "e", "E", "f", "F", "g", "G":
		if !strings.Contains(spec, ".") && (verb == "g" || verb == "G") {
			spec += ".6"
		}
		return fmt.Sprintf("%"+spec+verb, f), nil
	}
	return "", fmt.Errorf("unsupported format character %q", verb)
}
