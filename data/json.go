package data

import (
	"fmt"
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// ParseJSON reads one JSON value that fills all of b. Unlike encoding/json it keeps the order of fields, tells integers
// (int64) from other numbers (float64), and takes a repeated field, a lone surrogate and bad UTF-8 for errors. Its errors
// are of type *JSONError.
func ParseJSON(b []byte) (any, error) {
	p := jsonParser{b: b}
	p.space()
	v, err := p.value(0)
	if err != nil {
		return nil, err
	}
	if p.space(); p.i < len(b) {
		return nil, p.errorf("%s after the value", p.here())
	}
	return v, nil
}

// maxJSONDepth keeps hostile nesting from using up the stack.
const maxJSONDepth = 500

type jsonParser struct {
	b []byte
	i int
}

// JSONError is what is wrong with a JSON text.
type JSONError struct {
	Offset  int // of the byte that cannot be, from 0
	Message string
}

// Error counts bytes from 1.
func (e *JSONError) Error() string {
	return fmt.Sprintf("bad JSON at byte %d: %s", e.Offset+1, e.Message)
}

func (p *jsonParser) errorf(format string, args ...any) error {
	return &JSONError{p.i, fmt.Sprintf(format, args...)}
}

// here names what stands at the current byte.
func (p *jsonParser) here() string {
	if p.i >= len(p.b) {
		return "end of text"
	}
	r, _ := utf8.DecodeRune(p.b[p.i:])
	return strconv.QuoteRune(r)
}

func (p *jsonParser) space() {
	for p.i < len(p.b) {
		switch p.b[p.i] {
		case ' ', '\t', '\n', '\r':
			p.i++
		default:
			return
		}
	}
}

func (p *jsonParser) value(depth int) (any, error) {
	if depth > maxJSONDepth {
		return nil, p.errorf("nested deeper than %d", maxJSONDepth)
	}
	if p.i >= len(p.b) {
		return nil, p.errorf("end of text, want a value")
	}
	switch c := p.b[p.i]; {
	case c == '{':
		return p.object(depth)
	case c == '[':
		return p.list(depth)
	case c == '"':
		return p.text()
	case c == '-' || c >= '0' && c <= '9':
		return p.number()
	}
	for _, w := range [...]struct {
		name  string
		value any
	}{{"true", true}, {"false", false}, {"null", nil}} {
		if len(p.b)-p.i >= len(w.name) && string(p.b[p.i:p.i+len(w.name)]) == w.name {
			p.i += len(w.name)
			return w.value, nil
		}
	}
	return nil, p.errorf("%s, want a value", p.here())
}

func (p *jsonParser) object(depth int) (any, error) {
	o := Object{}
	p.i++
	if p.space(); p.i < len(p.b) && p.b[p.i] == '}' {
		p.i++
		return o, nil
	}
	var seen map[string]bool // only for objects too wide to search
	for {
		p.space()
		if p.i >= len(p.b) || p.b[p.i] != '"' {
			return nil, p.errorf("%s, want a field name in quotes", p.here())
		}
		start := p.i
		name, err := p.text()
		if err != nil {
			return nil, err
		}
		if seen == nil && len(o) > 16 {
			seen = make(map[string]bool, 64)
			for i := range o {
				seen[o[i].Name] = true
			}
		}
		if repeated(o, seen, name) {
			p.i = start
			return nil, p.errorf("field %q twice", name)
		}
		if seen != nil {
			seen[name] = true
		}
		if p.space(); p.i >= len(p.b) || p.b[p.i] != ':' {
			return nil, p.errorf("%s, want ':'", p.here())
		}
		p.i++
		p.space()
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		o = append(o, Field{name, v})
		if more, err := p.more('}'); err != nil || !more {
			return o, err
		}
	}
}

func repeated(o Object, seen map[string]bool, name string) bool {
	if seen != nil {
		return seen[name]
	}
	for i := range o {
		if o[i].Name == name {
			return true
		}
	}
	return false
}

func (p *jsonParser) list(depth int) (any, error) {
	l := []any{}
	p.i++
	if p.space(); p.i < len(p.b) && p.b[p.i] == ']' {
		p.i++
		return l, nil
	}
	for {
		p.space()
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		l = append(l, v)
		if more, err := p.more(']'); err != nil || !more {
			return l, err
		}
	}
}

// more reads a comma, or the closing byte.
func (p *jsonParser) more(closing byte) (bool, error) {
	p.space()
	switch {
	case p.i < len(p.b) && p.b[p.i] == ',':
		p.i++
		return true, nil
	case p.i < len(p.b) && p.b[p.i] == closing:
		p.i++
		return false, nil
	}
	return false, p.errorf("%s, want ',' or %q", p.here(), closing)
}

func (p *jsonParser) number() (any, error) {
	start, integer := p.i, true
	if p.b[p.i] == '-' {
		p.i++
	}
	if p.i < len(p.b) && p.b[p.i] == '0' {
		p.i++
	} else if p.digits() == 0 {
		return nil, p.errorf("%s, want a digit", p.here())
	}
	if p.i < len(p.b) && p.b[p.i] == '.' {
		integer = false
		if p.i++; p.digits() == 0 {
			return nil, p.errorf("%s, want a digit", p.here())
		}
	}
	if p.i < len(p.b) && p.b[p.i]|0x20 == 'e' {
		integer = false
		if p.i++; p.i < len(p.b) && (p.b[p.i] == '+' || p.b[p.i] == '-') {
			p.i++
		}
		if p.digits() == 0 {
			return nil, p.errorf("%s, want a digit", p.here())
		}
	}
	s := string(p.b[start:p.i])
	if integer {
		if n, err := strconv.ParseInt(s, 10, 64); err == nil {
			return n, nil
		}
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsInf(f, 0) {
		p.i = start
		return nil, p.errorf("number out of range")
	}
	return f, nil
}

func (p *jsonParser) digits() int {
	start := p.i
	for p.i < len(p.b) && p.b[p.i] >= '0' && p.b[p.i] <= '9' {
		p.i++
	}
	return p.i - start
}

// text reads a string.
func (p *jsonParser) text() (string, error) {
	p.i++
	start := p.i
	for p.i < len(p.b) && p.b[p.i] != '"' && p.b[p.i] != '\\' && p.b[p.i] >= ' ' {
		p.i++
	}
	if p.i < len(p.b) && p.b[p.i] == '"' {
		s := p.b[start:p.i]
		if !utf8.Valid(s) {
			return "", p.notUTF8(start, s)
		}
		p.i++
		return string(s), nil
	}
	out := append([]byte(nil), p.b[start:p.i]...)
	for {
		if p.i >= len(p.b) {
			return "", p.errorf("end of text within a string")
		}
		switch c := p.b[p.i]; {
		case c == '"':
			if !utf8.Valid(out) {
				return "", p.notUTF8(start, out)
			}
			p.i++
			return string(out), nil
		case c < ' ':
			return "", p.errorf("control character %#02x in a string, want it escaped", c)
		case c == '\\':
			var err error
			if out, err = p.escape(out); err != nil {
				return "", err
			}
		default:
			out = append(out, c)
			p.i++
		}
	}
}

func (p *jsonParser) notUTF8(start int, s []byte) error {
	for len(s) > 0 {
		r, n := utf8.DecodeRune(s)
		if r == utf8.RuneError && n == 1 {
			break
		}
		s = s[n:]
	}
	c := byte(0)
	if len(s) > 0 {
		c = s[0]
	}
	p.i = start
	return p.errorf("string with byte %#02x, which is not UTF-8", c)
}

func (p *jsonParser) escape(out []byte) ([]byte, error) {
	if p.i+1 >= len(p.b) {
		return nil, p.errorf("end of text within a string")
	}
	c := p.b[p.i+1]
	switch c {
	case '"', '\\', '/':
		out = append(out, c)
	case 'b':
		out = append(out, '\b')
	case 'f':
		out = append(out, '\f')
	case 'n':
		out = append(out, '\n')
	case 'r':
		out = append(out, '\r')
	case 't':
		out = append(out, '\t')
	case 'u':
		r, ok := p.hex(p.i)
		if !ok {
			return nil, p.errorf(`\u without four hexadecimal digits`)
		}
		if utf16.IsSurrogate(r) {
			low, ok := p.hex(p.i + 6)
			if r = utf16.DecodeRune(r, low); !ok || r == utf8.RuneError {
				return nil, p.errorf("half of a surrogate pair (%s)", p.b[p.i:p.i+6])
			}
			p.i += 6
		}
		p.i += 6
		return utf8.AppendRune(out, r), nil
	default:
		return nil, p.errorf("unknown escape \\%c", c)
	}
	p.i += 2
	return out, nil
}

// hex reads \uXXXX at i.
func (p *jsonParser) hex(i int) (rune, bool) {
	if i+6 > len(p.b) || p.b[i] != '\\' || p.b[i+1] != 'u' {
		return 0, false
	}
	n := rune(0)
	for _, c := range p.b[i+2 : i+6] {
		switch {
		case c >= '0' && c <= '9':
			n = n<<4 | rune(c-'0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			n = n<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return n, true
}
