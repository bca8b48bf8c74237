package jinja

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// FromJSON reads a JSON value; objects keep the order of their keys, whole numbers stay whole.
func FromJSON(b []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	v, err := readValue(dec)
	if err != nil {
		return nil, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, fmt.Errorf("more than one JSON value")
	}
	return v, nil
}

func readValue(dec *json.Decoder) (any, error) {
	t, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch t := t.(type) {
	case json.Number:
		if i, err := t.Int64(); err == nil {
			return i, nil
		}
		return t.Float64()
	case json.Delim:
		if t == '{' {
			return readDict(dec)
		}
		l := &List{}
		for dec.More() {
			v, err := readValue(dec)
			if err != nil {
				return nil, err
			}
			l.Items = append(l.Items, v)
		}
		_, err := dec.Token()
		return l, err
	}
	return t, nil // nil, bool or string
}

func readDict(dec *json.Decoder) (any, error) {
	d := NewDict()
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, err
		}
		v, err := readValue(dec)
		if err != nil {
			return nil, err
		}
		d.Set(key, v)
	}
	_, err := dec.Token()
	return d, err
}

// jsonWriter writes as Python's json.dumps does.
type jsonWriter struct {
	b           strings.Builder
	ascii, sort bool
	indent      string // "" for one line
	item, key   string // separators
}

func (w *jsonWriter) value(v any, depth int) error {
	switch v := v.(type) {
	case nil:
		w.b.WriteString("null")
	case bool:
		w.b.WriteString(strconv.FormatBool(v))
	case int64:
		w.b.WriteString(strconv.FormatInt(v, 10))
	case float64:
		w.b.WriteString(jsonFloat(v))
	case string:
		w.text(v)
	case *List:
		return w.sequence('[', ']', len(v.Items), depth, func(i int) error { return w.value(v.Items[i], depth+1) })
	case *Dict:
		keys := v.keys
		if w.sort {
			sorted, err := sortedBy(keys, func(k any) (any, error) { return k, nil }, false)
			if err != nil {
				return err
			}
			keys = sorted
		}
		return w.sequence('{', '}', len(keys), depth, func(i int) error {
			switch k := keys[i].(type) {
			case string:
				w.text(k)
			case nil, bool:
				w.b.WriteByte('"')
				_ = w.value(k, 0) // these cannot fail
				w.b.WriteByte('"')
			default:
				w.text(toText(k))
			}
			w.b.WriteString(w.key)
			return w.value(v.values[keys[i]], depth+1)
		})
	default:
		return fmt.Errorf("object of type %s is not JSON serializable", typeName(v))
	}
	return nil
}

func (w *jsonWriter) sequence(open, end byte, n, depth int, element func(int) error) error {
	w.b.WriteByte(open)
	for i := range n {
		if i > 0 {
			w.b.WriteString(w.item)
		}
		w.line(depth + 1)
		if err := element(i); err != nil {
			return err
		}
	}
	if n > 0 {
		w.line(depth)
	}
	w.b.WriteByte(end)
	return nil
}

func (w *jsonWriter) line(depth int) {
	if w.indent != "" {
		w.b.WriteByte('\n')
		w.b.WriteString(strings.Repeat(w.indent, depth))
	}
}

func jsonFloat(f float64) string {
	switch {
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	case math.IsNaN(f):
		return "NaN"
	}
	return floatText(f)
}

func (w *jsonWriter) text(s string) {
	w.b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			w.b.WriteByte('\\')
			w.b.WriteRune(r)
		case r < ' ' && strings.ContainsRune("\b\f\n\r\t", r):
			w.b.WriteByte('\\')
			w.b.WriteByte("bfnrt"[strings.IndexRune("\b\f\n\r\t", r)])
		case r < ' ' || w.ascii && r >= 0x7f && r < 0x10000:
			fmt.Fprintf(&w.b, `\u%04x`, r)
		case w.ascii && r >= 0x10000:
			r -= 0x10000
			fmt.Fprintf(&w.b, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			w.b.WriteRune(r)
		}
	}
	w.b.WriteByte('"')
}

// toJSON is the filter of chat templates: tojson(ensure_ascii=False, indent=None, separators=None, sort_keys=False).
func toJSON(_ *evaluator, a *args) (any, error) {
	w := jsonWriter{item: ", ", key: ": "}
	w.ascii = truth(a.get(1, "ensure_ascii", false))
	w.sort = truth(a.get(4, "sort_keys", false))
	switch n := a.get(2, "indent", nil).(type) {
	case int64:
		w.indent, w.item = strings.Repeat(" ", int(min(max(n, 0), 64))), ","
	case string:
		w.indent, w.item = n, ","
	}
	if l, ok := a.get(3, "separators", nil).(*List); ok {
		if len(l.Items) != 2 {
			return nil, fmt.Errorf("tojson: separators has %d values, want two", len(l.Items))
		}
		w.item, w.key = toText(l.Items[0]), toText(l.Items[1])
	}
	if u, ok := a.pos[0].(Undefined); ok {
		return nil, u.err()
	}
	if err := w.value(a.pos[0], 0); err != nil {
		return nil, err
	}
	return w.b.String(), nil
}
