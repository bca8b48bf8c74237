package data

import (
	"fmt"
	"iter"
	"strconv"
	"strings"
)

// Row is one record of a data set, before anybody knows what it means.
type Row struct {
	Place
	Fields Object // in the order of the file
}

// Place says where a row stands, for messages.
type Place struct {
	File string
	Line int // counted from 1; 0 if the format has no lines
	Row  int // counted from 1 within the file
	Part int // paragraph of a file of articles, counted from 1; 0 = the rows have none
}

// String is "train.jsonl:17", or "train.parquet: row 17" for formats without lines.
func (p Place) String() string {
	switch {
	case p.Line > 0:
		return p.File + ":" + strconv.Itoa(p.Line)
	case p.Row > 0:
		return p.File + ": row " + strconv.Itoa(p.Row)
	}
	return p.File
}

// Errorf is an error at this place.
func (p Place) Errorf(format string, args ...any) error {
	return fmt.Errorf("data: %s: %w", p, fmt.Errorf(format, args...))
}

// Field is a named value: nil, bool, int64, float64, string, []any or Object.
type Field struct {
	Name  string
	Value any
}

// Object is a record that keeps the order of its fields, since templates print it.
type Object []Field

// Get finds a field. A field that is null counts as absent.
func (o Object) Get(name string) (any, bool) {
	for i := range o {
		if o[i].Name == name {
			return o[i].Value, o[i].Value != nil
		}
	}
	return nil, false
}

// All goes through the fields in order.
func (o Object) All() iter.Seq2[string, any] {
	return func(yield func(string, any) bool) {
		for i := range o {
			if !yield(o[i].Name, o[i].Value) {
				return
			}
		}
	}
}

// names lists the fields for messages.
func (o Object) names() string {
	if len(o) == 0 {
		return "none"
	}
	s := make([]string, len(o))
	for i := range o {
		s[i] = strconv.Quote(o[i].Name)
	}
	return strings.Join(s, ", ")
}

// kind names a value's type for messages.
func kind(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "a boolean"
	case int64, float64:
		return "a number"
	case string:
		return "a string"
	case []any:
		return "a list"
	case Object:
		return "an object"
	}
	return fmt.Sprintf("a %T", v)
}
