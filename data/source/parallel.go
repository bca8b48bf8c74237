package source

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/graft-ml/graft/data"
)

// labelFile lies beside NAME.in and has a label for each of its lines.
const labelFile = "label"

const parallelFormat = "parallel"

// readParallel reads a text from each line of NAME.in, with its label from the file label and the tags of its words from
// NAME.out, if they are there: the layout of SNIPS and ATIS. Line n of each belongs to row n.
func readParallel(x *file, yield func(data.Row, error) bool) {
	var sides []*side
	for _, name := range besides(x.path) {
		sides = append(sides, &side{name: name})
	}
	for _, s := range sides {
		if err := s.open(x); err != nil {
			yield(data.Row{}, err)
			return
		}
		defer s.close()
	}
	var buf []byte
	for {
		line, err := x.next(buf)
		if err != nil && err != io.EOF {
			yield(data.Row{}, x.errorf(x.line+1, "%w", cause(err)))
			return
		}
		for _, s := range sides {
			if serr := s.step(err == io.EOF, x.line); serr != nil {
				yield(data.Row{}, serr)
				return
			}
		}
		if err == io.EOF {
			return
		}
		buf = line
		if !yield(x.parallel(line, sides[0], sides[1])) {
			return
		}
	}
}

// parallel is a row.
func (x *file) parallel(line []byte, label, tags *side) (data.Row, error) {
	r := data.Row{Place: x.place(x.line, x.line)}
	if err := checkUTF8(line); err != nil {
		return r, r.Errorf("%w", err)
	}
	words := strings.Fields(string(line))
	r.Fields = data.Object{{Name: "text", Value: strings.TrimSpace(string(line))}}
	if label.file != nil {
		r.Fields = append(r.Fields, data.Field{Name: "label", Value: strings.TrimSpace(label.line)})
	}
	if tags.file != nil {
		t := strings.Fields(tags.line)
		if len(t) != len(words) {
			return data.Row{Place: r.Place}, tags.errorf(x.line, "%d tags, want %d as %s has words", len(t), len(words), x.name)
		}
		r.Fields = append(r.Fields, data.Field{Name: "tokens", Value: list(words)}, data.Field{Name: "tags", Value: list(t)})
	}
	return r, nil
}

func list(s []string) []any {
	out := make([]any, len(s))
	for i := range s {
		out[i] = s[i]
	}
	return out
}

// side is a file beside NAME.in. file is nil if it is not there.
type side struct {
	name string
	*file
	line string // the current one
	buf  []byte
}

func (s *side) open(x *file) error {
	f, err := x.fs.Open(path.Join(path.Dir(x.path), s.name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	name := path.Join(path.Dir(x.name), s.name)
	if err != nil {
		return data.Place{File: name}.Errorf("%w", cause(err))
	}
	s.file = &file{name: name, r: bufio.NewReader(f), raw: f}
	return s.file.mark()
}

func (s *side) close() {
	if s.file != nil {
		s.raw.Close()
	}
}

// step goes to the line that belongs to line n of NAME.in, or, at its end, sees that there is none.
func (s *side) step(end bool, n int) error {
	if s.file == nil {
		return nil
	}
	line, err := s.next(s.buf)
	switch {
	case err != nil && err != io.EOF:
		return s.errorf(s.file.line+1, "%w", cause(err))
	case end && err == nil && len(bytes.TrimSpace(line)) > 0:
		return s.errorf(s.file.line, "a line more than the texts have, want %d", n)
	case !end && err == io.EOF:
		return s.errorf(s.file.line, "%d lines, want one for each text", s.file.line)
	}
	if bad := checkUTF8(line); bad != nil {
		return s.errorf(s.file.line, "%w", bad)
	}
	s.buf, s.line = line, string(line)
	return nil
}
