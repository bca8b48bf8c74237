package jinja

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// jsonWriter writes as Python's json.dumps does.
type jsonWriter struct {
	b           strings.Builder
	ascii, sort bool
	lines       bool   // one for each item
	indent      string // of a line
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
		return w.dict(v, depth)
	default:
		return fmt.Errorf("object of type %s is not JSON serializable", typeName(v))
	}
	return nil
}

func (w *jsonWriter) dict(d *Dict, depth int) error {
	items := d.pairs().Items
	if w.sort {
		var err error
		if items, err = sortedBy(items, getter(int64(0), nil), false); err != nil {
			return err
		}
	}
	return w.sequence('{', '}', len(items), depth, func(i int) error {
		pair := items[i].(*List).Items
		switch k := pair[0].(type) {
		case string:
			w.text(k)
		case nil, bool, int64, float64:
			w.b.WriteByte('"')
			_ = w.value(k, 0) // these cannot fail
			w.b.WriteByte('"')
		default:
			return fmt.Errorf("keys must be str, int, float, bool or None, not %s", typeName(k))
		}
		w.b.WriteString(w.key)
		return w.value(pair[1], depth+1)
	})
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
		if w.b.Len() > 4*maxSize {
			return errors.New("tojson: text is too long")
		}
	}
	if n > 0 {
		w.line(depth)
	}
	w.b.WriteByte(end)
	return nil
}

func (w *jsonWriter) line(depth int) {
	if w.lines {
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
		w.lines, w.indent, w.item = true, strings.Repeat(" ", int(min(max(n, 0), 64))), ","
	case string:
		w.lines, w.indent, w.item = true, n, ","
	}
	if l, ok := a.get(3, "separators", nil).(*List); ok {
		if len(l.Items) != 2 {
			return nil, fmt.Errorf("tojson: separators has %d values, want two", len(l.Items))
		}
		w.item, w.key = toText(l.Items[0]), toText(l.Items[1])
	}
	if max(len(w.indent), len(w.item), len(w.key)) > 64 {
		return nil, errors.New("tojson: indent and separators are too long, want at most 64 bytes")
	}
	if u, ok := a.pos[0].(Undefined); ok {
		return nil, u.err()
	}
	if err := w.value(a.pos[0], 0); err != nil {
		return nil, err
	}
	return w.b.String(), nil
}
