package source

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/graft-ml/graft/data"
)

// readLines reads an object from each line. Reading goes on after a bad line.
func readLines(x *file, yield func(data.Row, error) bool) {
	row := 0
	x.each(func(line []byte) bool {
		row++
		return yield(x.object(line, x.line, row))
	}, yield)
}

// object is a row from the JSON of an object that begins at line.
func (x *file) object(b []byte, line, row int) (data.Row, error) {
	r := data.Row{Place: x.place(line, row)}
	v, err := x.parse(b, line)
	if err != nil {
		return r, err
	}
	o, ok := v.(data.Object)
	if !ok {
		return r, r.Errorf("the row is %s, want an object {…}", kind(v))
	}
	r.Fields = o
	return r, nil
}

// parse reads JSON that begins at line; errors name the line in it.
func (x *file) parse(b []byte, line int) (any, error) {
	v, err := data.ParseJSON(b)
	var bad *data.JSONError
	if errors.As(err, &bad) {
		before := b[:min(bad.Offset, len(b))]
		here := *bad
		here.Offset -= 1 + bytes.LastIndexByte(before, '\n')
		return nil, x.errorf(line+bytes.Count(before, []byte("\n")), "%w", &here)
	}
	return v, err
}

func kind(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case []any:
		return "a list"
	case string:
		return "a string"
	case bool:
		return "a boolean"
	}
	return "a number"
}

// readJSON reads a list of objects piece by piece, or objects one after the other, or one object that holds all rows.
// Articles of SQuAD are taken apart into questions.
func readJSON(x *file, yield func(data.Row, error) bool) {
	yield = x.questions(yield)
	s := &values{r: x.r, line: 1}
	c, err := s.peek()
	if err == io.EOF {
		return
	}
	if err == nil && c == '[' {
		x.list(s, yield)
		return
	}
	first, line, err := s.next()
	if err != nil {
		yield(data.Row{}, x.errorf(s.line, "%w", cause(err)))
		return
	}
	if _, err := s.peek(); err == io.EOF {
		x.single(first, line, yield)
		return
	}
	for row := 1; ; row++ {
		if !yield(x.object(first, line, row)) {
			return
		}
		if first, line, err = s.next(); err != nil {
			if err != io.EOF {
				yield(data.Row{}, x.errorf(s.line, "%w", cause(err)))
			}
			return
		}
	}
}

// list reads the elements of a list.
func (x *file) list(s *values, yield func(data.Row, error) bool) {
	s.byte()
	fail := func(err error) {
		if err == io.EOF {
			err = errors.New("the file ends within the list")
		}
		yield(data.Row{}, x.errorf(s.line, "%w", cause(err)))
	}
	c, err := s.peek()
	if err == nil && c == ']' {
		s.byte()
		x.rest(s, yield)
		return
	}
	for row := 1; ; row++ {
		b, line, err := s.next()
		if err != nil {
			fail(err)
			return
		}
		if !yield(x.object(b, line, row)) {
			return
		}
		if c, err = s.peek(); err != nil {
			fail(err)
			return
		}
		s.byte()
		switch c {
		case ',':
		case ']':
			x.rest(s, yield)
			return
		default:
			fail(fmt.Errorf("%q after a row, want ',' or ']'", c))
			return
		}
	}
}

// rest refuses what follows a list.
func (x *file) rest(s *values, yield func(data.Row, error) bool) {
	if c, err := s.peek(); err == nil {
		yield(data.Row{}, x.errorf(s.line, "%q after the end of the list", c))
	} else if err != io.EOF {
		yield(data.Row{}, x.errorf(s.line, "%w", cause(err)))
	}
}

// single reads the only object of a file: {"data": [{…}, …]}, columns, or a row.
func (x *file) single(b []byte, line int, yield func(data.Row, error) bool) {
	first, err := x.object(b, line, 1)
	if err != nil {
		yield(first, err)
		return
	}
	if v, ok := first.Fields.Get("data"); ok {
		if rows, ok := v.([]any); ok && len(rows) > 0 {
			x.objects(rows, yield)
			return
		}
	}
	n, ok := columns(first.Fields)
	if !ok {
		yield(first, nil)
		return
	}
	for i := range n {
		r := data.Row{Place: x.place(0, i+1)}
		for _, f := range first.Fields {
			r.Fields = append(r.Fields, data.Field{Name: f.Name, Value: f.Value.([]any)[i]})
		}
		if !yield(r, nil) {
			return
		}
	}
}

func (x *file) objects(rows []any, yield func(data.Row, error) bool) {
	for i, v := range rows {
		r := data.Row{Place: x.place(0, i+1)}
		o, ok := v.(data.Object)
		if !ok {
			if !yield(r, r.Errorf("the row is %s, want an object {…}", kind(v))) {
				return
			}
			continue
		}
		r.Fields = o
		if !yield(r, nil) {
			return
		}
	}
}

// columns says whether all fields are lists of one length. A list of objects is not a column: a row with messages looks so.
func columns(o data.Object) (n int, ok bool) {
	for i, f := range o {
		list, ok := f.Value.([]any)
		if !ok || i > 0 && len(list) != n {
			return 0, false
		}
		if slices.ContainsFunc(list, func(v any) bool { _, is := v.(data.Object); return is }) {
			return 0, false
		}
		n = len(list)
	}
	return n, len(o) > 0
}

// values cuts JSON values out of a text without understanding more of them than where they end.
type values struct {
	r    *bufio.Reader
	line int // of the next byte
	buf  []byte
}

func (s *values) byte() (byte, error) {
	c, err := s.r.ReadByte()
	if c == '\n' && err == nil {
		s.line++
	}
	return c, err
}

// peek skips space and looks at the next byte.
func (s *values) peek() (byte, error) {
	for {
		c, err := s.r.ReadByte()
		if err != nil {
			return 0, err
		}
		switch c {
		case '\n':
			s.line++
		case ' ', '\t', '\r':
		default:
			return c, s.r.UnreadByte()
		}
	}
}

// next is the next value and the line where it begins. The bytes are good until the next call.
func (s *values) next() (b []byte, line int, err error) {
	c, err := s.peek()
	if err != nil {
		return nil, s.line, err
	}
	line, s.buf = s.line, s.buf[:0]
	nested, depth, quoted := c == '{' || c == '[', 0, false
	for {
		c, err := s.byte()
		if err == io.EOF && len(s.buf) > 0 {
			return s.buf, line, nil // the parser says what is missing
		}
		if err != nil {
			return nil, line, err
		}
		if !nested && !quoted && (c == ',' || c == ']' || c == '}' || c <= ' ') {
			if c == '\n' {
				s.line--
			}
			if len(s.buf) > 0 {
				return s.buf, line, s.r.UnreadByte()
			}
		}
		s.buf = append(s.buf, c)
		switch {
		case quoted && c == '\\':
			if c, err = s.byte(); err == nil {
				s.buf = append(s.buf, c)
			}
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			if depth--; depth <= 0 {
				return s.buf, line, nil
			}
		}
	}
}
