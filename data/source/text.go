package source

import (
	"bytes"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/graft-ml/graft/data"
)

// readText reads plain text by unit.
func readText(x *file, yield func(data.Row, error) bool) {
	switch x.unit {
	case "paragraph":
		readParagraphs(x, yield)
	case "file":
		readWhole(x, yield)
	default:
		row := 0
		x.each(func(line []byte) bool {
			row++
			r := data.Row{Place: x.place(x.line, row)}
			if err := checkUTF8(line); err != nil {
				return yield(r, r.Errorf("%w", err))
			}
			r.Fields = data.Object{{Name: "text", Value: string(line)}}
			return yield(r, nil)
		}, yield)
	}
}

// each calls f with every line that is not blank. yield is told if reading fails.
func (x *file) each(f func(line []byte) bool, yield func(data.Row, error) bool) {
	var buf []byte
	for {
		line, err := x.next(buf)
		if err == io.EOF {
			return
		}
		if err != nil {
			yield(data.Row{}, x.errorf(x.line+1, "%w", cause(err)))
			return
		}
		if buf = line; len(bytes.TrimSpace(line)) > 0 && !f(line) {
			return
		}
	}
}

// readParagraphs joins the lines between blank ones. A row's line is its first.
func readParagraphs(x *file, yield func(data.Row, error) bool) {
	var buf, text []byte
	row, start := 0, 0
	flush := func() bool {
		if len(text) == 0 {
			return true
		}
		row++
		r := data.Row{Place: x.place(start, row)}
		s := text
		text = nil
		if err := checkUTF8(s); err != nil {
			return yield(r, r.Errorf("%w", err))
		}
		r.Fields = data.Object{{Name: "text", Value: string(s)}}
		return yield(r, nil)
	}
	for {
		line, err := x.next(buf)
		if err == io.EOF {
			flush()
			return
		}
		if err != nil {
			yield(data.Row{}, x.errorf(x.line+1, "%w", cause(err)))
			return
		}
		buf = line
		switch {
		case len(bytes.TrimSpace(line)) == 0:
			if !flush() {
				return
			}
		case len(text) == 0:
			text, start = append(text, line...), x.line
		default:
			text = append(append(text, '\n'), line...)
		}
	}
}

// readWhole makes one row of a file; lines end in LF.
func readWhole(x *file, yield func(data.Row, error) bool) {
	b, err := io.ReadAll(x.r)
	if err != nil {
		yield(data.Row{}, x.errorf(0, "%w", cause(err)))
		return
	}
	if len(bytes.TrimSpace(b)) == 0 {
		return
	}
	if err := checkUTF8(b); err != nil {
		yield(data.Row{}, x.errorf(1+bytes.Count(b[:firstBad(b)], []byte("\n")), "%w", err))
		return
	}
	b = bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n"))
	yield(data.Row{Place: x.place(1, 1), Fields: data.Object{{Name: "text", Value: string(b)}}}, nil)
}

// checkUTF8 names the first byte that is not UTF-8.
func checkUTF8(b []byte) error {
	if i := firstBad(b); i >= 0 {
		return fmt.Errorf("byte %d is %#02x, which is not UTF-8", i+1-(1+bytes.LastIndexByte(b[:i], '\n')), b[i])
	}
	return nil
}

// firstBad is the place of the first byte that is not UTF-8; -1 if there is none.
func firstBad(b []byte) int {
	if utf8.Valid(b) {
		return -1
	}
	i := 0
	for {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
}
