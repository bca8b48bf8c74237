package peft

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
)

// Object is a JSON object as it came, with numbers as they were written; keys that nobody reads survive in it.
type Object map[string]any

// ParseObject decodes one JSON object.
func ParseObject(b []byte) (Object, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var o Object
	if err := d.Decode(&o); err != nil {
		return nil, fmt.Errorf("peft: adapter_config.json: %s", jsonProblem(err))
	}
	if o == nil {
		return nil, fmt.Errorf("peft: adapter_config.json: it is null, want an object")
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("peft: adapter_config.json: there is more after the object")
	}
	return o, nil
}

// jsonProblem says what is wrong in the words of the file rather than of Go.
func jsonProblem(err error) string {
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &kind):
		return fmt.Sprintf("it is a JSON %s, want an object", kind.Value)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "it ends in the middle"
	case errors.Is(err, io.EOF):
		return "it is empty, want an object"
	}
	return err.Error()
}

// PythonJSON writes v as json.dumps(v, indent=2, sort_keys=True) does, the form of adapter_config.json.
func PythonJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	if err := python(&b, v, "\n"); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// python writes one value; newline is a line end with the indentation of the value's own line.
func python(b *bytes.Buffer, v any, newline string) error {
	inner := newline + "  "
	switch v := v.(type) {
	case nil:
		b.WriteString("null")
	case bool:
		fmt.Fprint(b, v)
	case string:
		pythonString(b, v)
	case int:
		fmt.Fprint(b, v)
	case json.Number:
		b.WriteString(pythonNumber(v))
	case float64:
		b.WriteString(pythonFloat(v))
	case []any:
		return pythonItems(b, "[", "]", newline, len(v), func(i int) error {
			return python(b, v[i], inner)
		})
	case Object:
		return python(b, map[string]any(v), newline)
	case map[string]any:
		keys := slices.Sorted(maps.Keys(v))
		return pythonItems(b, "{", "}", newline, len(v), func(i int) error {
			pythonString(b, keys[i])
			b.WriteString(": ")
			return python(b, v[keys[i]], inner)
		})
	default:
		return fmt.Errorf("peft: adapter_config.json: cannot write a %T", v)
	}
	return nil
}

func pythonItems(b *bytes.Buffer, open, end, newline string, n int, item func(i int) error) error {
	b.WriteString(open)
	for i := range n {
		if i > 0 {
			b.WriteString(",")
		}
		b.WriteString(newline + "  ")
		if err := item(i); err != nil {
			return err
		}
	}
	if n > 0 {
		b.WriteString(newline)
	}
	b.WriteString(end)
	return nil
}

// pythonString escapes everything beyond ASCII.
func pythonString(b *bytes.Buffer, s string) {
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case strings.ContainsRune("\b\f\n\r\t", r):
			b.WriteByte('\\')
			b.WriteByte("bfnrt"[strings.IndexRune("\b\f\n\r\t", r)])
		case r < 0x20 || r >= 0x7f && r < 0x10000:
			fmt.Fprintf(b, `\u%04x`, r)
		case r >= 0x10000:
			hi, lo := utf16.EncodeRune(r)
			fmt.Fprintf(b, `\u%04x\u%04x`, hi, lo)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
}

// pythonNumber writes a number as Python does after reading it: whole numbers as they are, others in their shortest form.
func pythonNumber(n json.Number) string {
	if !strings.ContainsAny(n.String(), ".eE") {
		return n.String()
	}
	f, err := n.Float64()
	if err != nil { // beyond float64
		return n.String()
	}
	return pythonFloat(f)
}

// pythonFloat is repr(f).
func pythonFloat(f float64) string {
	switch {
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	case math.IsNaN(f):
		return "NaN"
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
