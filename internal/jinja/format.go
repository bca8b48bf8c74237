package jinja

import (
	"errors"
	"fmt"
	"strings"
)

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
			if x, ok = named.get(*key); !ok {
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
		if b.WriteString(s); b.Len() > 4*maxSize {
			return nil, errors.New("format: text is too long")
		}
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
