package api

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/graft-ml/graft/data"
)

// fields reads an object of a request, field by field. The first thing that is wrong is kept and the rest reads as if it were not
// there, so that a reader needs no error after each field; end reports it, or a field that nobody asked for.
type fields struct {
	data.Object
	path string // before the names in messages
	read map[string]bool
	err  *Error
}

func newFields(o data.Object) *fields { return &fields{Object: o, read: map[string]bool{}} }

// name is a field's name in messages.
func (f *fields) name(field string) string { return f.path + field }

func (f *fields) wrong(field, format string, args ...any) {
	if f.err == nil {
		f.err = refuse(f.name(field), "%s: %s", f.name(field), fmt.Sprintf(format, args...))
	}
}

// take is the value of a field; null counts as absent.
func (f *fields) take(field string) (any, bool) {
	f.read[field] = true
	return f.Get(field)
}

// has says that a field is there, without reading it.
func (f *fields) has(field string) bool {
	_, ok := f.Get(field)
	return ok
}

func (f *fields) str(field, otherwise string) string {
	v, ok := f.take(field)
	if !ok {
		return otherwise
	}
	s, ok := v.(string)
	if !ok {
		f.wrong(field, "%s, want a string", kindOf(v))
		return otherwise
	}
	return s
}

func (f *fields) flag(field string, otherwise bool) bool {
	v, ok := f.take(field)
	if !ok {
		return otherwise
	}
	b, ok := v.(bool)
	if !ok {
		f.wrong(field, "%s, want true or false", kindOf(v))
		return otherwise
	}
	return b
}

// whole is an integer from low to high.
func (f *fields) whole(field string, otherwise, low, high int) int {
	v, ok := f.take(field)
	if !ok {
		return otherwise
	}
	n, ok := integer(v)
	if !ok {
		f.wrong(field, "%s, want a whole number", kindOf(v))
		return otherwise
	}
	if n < int64(low) || n > int64(high) {
		f.wrong(field, "is %d, want %d to %d", n, low, high)
		return otherwise
	}
	return int(n)
}

// integer accepts 3 and 3.0.
func integer(v any) (int64, bool) {
	switch n := v.(type) {
	case int64:
		return n, true
	case float64:
		if n == math.Trunc(n) && math.Abs(n) < 1<<53 {
			return int64(n), true
		}
	}
	return 0, false
}

// number is a number from low to high.
func (f *fields) number(field string, otherwise, low, high float64) float64 {
	v, ok := f.take(field)
	if !ok {
		return otherwise
	}
	x, ok := numeric(v)
	if !ok {
		f.wrong(field, "%s, want a number", kindOf(v))
		return otherwise
	}
	if !(x >= low && x <= high) {
		f.wrong(field, "is %g, want %g to %g", x, low, high)
		return otherwise
	}
	return x
}

func numeric(v any) (float64, bool) {
	switch n := v.(type) {
	case int: // of a table, never of JSON
		return float64(n), true
	case int64:
		return float64(n), true
	case float64:
		return n, true
	}
	return 0, false
}

func (f *fields) list(field string) []any {
	v, ok := f.take(field)
	if !ok {
		return nil
	}
	l, ok := v.([]any)
	if !ok {
		f.wrong(field, "%s, want a list", kindOf(v))
	}
	return l
}

// object is an object within; its errors become those of f when f.nested is called on it.
func (f *fields) object(field string) *fields {
	v, ok := f.take(field)
	if !ok {
		return nil
	}
	o, ok := v.(data.Object)
	if !ok {
		f.wrong(field, "%s, want an object", kindOf(v))
		return nil
	}
	return f.within(field+".", o)
}

// within reads an object below this one.
func (f *fields) within(path string, o data.Object) *fields {
	in := newFields(o)
	in.path = f.path + path
	return in
}

// nested ends the reading of an object within.
func (f *fields) nested(in *fields) {
	if err := in.end(); err != nil && f.err == nil {
		f.err = err
	}
}

// texts is a string or a list of strings.
func (f *fields) texts(field string, most int) []string {
	v, ok := f.take(field)
	if !ok {
		return nil
	}
	if s, ok := v.(string); ok {
		return []string{s}
	}
	l, ok := v.([]any)
	if !ok {
		f.wrong(field, "%s, want a string or a list of strings", kindOf(v))
		return nil
	}
	if len(l) > most {
		f.wrong(field, "%d strings, want at most %d", len(l), most)
		return nil
	}
	out := make([]string, len(l))
	for i, v := range l {
		if out[i], ok = v.(string); !ok {
			f.wrong(fmt.Sprintf("%s[%d]", field, i), "%s, want a string", kindOf(v))
			return nil
		}
	}
	return out
}

// ignore takes fields that say nothing about the answer.
func (f *fields) ignore(names ...string) {
	for _, n := range names {
		f.read[n] = true
	}
}

// only refuses a field whose value asks for what is not done here; values that ask for nothing pass.
func (f *fields) only(field, why string, nothing ...any) {
	v, ok := f.take(field)
	if !ok || slices.ContainsFunc(nothing, func(n any) bool { return equal(v, n) }) {
		return
	}
	f.wrong(field, "%s", why)
}

// equal compares scalars of JSON, numbers by value.
func equal(a, b any) bool {
	x, ok := numeric(a)
	y, also := numeric(b)
	if ok && also {
		return x == y
	}
	switch a.(type) {
	case string, bool:
		return a == b
	case []any:
		l, ok := b.([]any)
		return ok && len(l) == 0 && len(a.([]any)) == 0
	case data.Object:
		o, ok := b.(data.Object)
		return ok && len(o) == 0 && len(a.(data.Object)) == 0
	}
	return false
}

// end says what was wrong.
func (f *fields) end() *Error {
	if f.err != nil {
		return f.err
	}
	for i := range f.Object {
		if n := f.Object[i].Name; !f.read[n] {
			return refuse(f.name(n), "%s: no such field here, want some of %s", shown(f.name(n)), strings.Join(f.known(), ", "))
		}
	}
	return nil
}

// known lists the fields that were asked for.
func (f *fields) known() []string {
	var names []string
	for n := range f.read {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// shown shortens what a client wrote, for messages.
func shown(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// kindOf names what stands where something else should.
func kindOf(v any) string {
	switch v.(type) {
	case string:
		return "a string"
	case bool:
		return "true or false"
	case int64, float64:
		return "a number"
	case []any:
		return "a list"
	case data.Object:
		return "an object"
	}
	return "null"
}
