package source

import (
	"encoding/csv"
	"errors"
	"io"
	"unicode/utf8"

	"github.com/graft-ml/graft/data"
)

func readCSV(x *file, yield func(data.Row, error) bool) { x.table(',', yield) }
func readTSV(x *file, yield func(data.Row, error) bool) { x.table('\t', yield) }

// table reads records whose first one names the columns. Reading goes on after a record with too few or too many fields;
// after a misplaced quote nobody knows where the next record begins.
func (x *file) table(comma rune, yield func(data.Row, error) bool) {
	r := csv.NewReader(x.r)
	r.Comma, r.FieldsPerRecord = comma, -1
	header, err := r.Read()
	if err == io.EOF {
		return
	}
	if err != nil {
		yield(data.Row{}, x.csvError(err))
		return
	}
	if err := x.checkHeader(header); err != nil {
		yield(data.Row{}, err)
		return
	}
	for row := 1; ; row++ {
		record, err := r.Read()
		if err == io.EOF {
			return
		}
		if err != nil {
			yield(data.Row{}, x.csvError(err))
			return
		}
		line, _ := r.FieldPos(0)
		out := data.Row{Place: x.place(line, row)}
		if len(record) != len(header) {
			err = out.Errorf("%d fields, want %d as in the header", len(record), len(header))
		}
		for i := 0; i < len(record) && err == nil; i++ {
			if !utf8.ValidString(record[i]) {
				err = out.Errorf("column %q: %w", header[i], checkUTF8([]byte(record[i])))
			}
			out.Fields = append(out.Fields, data.Field{Name: header[i], Value: record[i]})
		}
		if err != nil {
			out.Fields = nil
		}
		if !yield(out, err) {
			return
		}
	}
}

func (x *file) checkHeader(header []string) error {
	var errs []error
	seen := map[string]bool{}
	for i, name := range header {
		switch {
		case name == "":
			errs = append(errs, x.errorf(1, "column %d has no name in the header", i+1))
		case !utf8.ValidString(name):
			errs = append(errs, x.errorf(1, "header: %w", checkUTF8([]byte(name))))
		case seen[name]:
			errs = append(errs, x.errorf(1, "column %q twice in the header", name))
		}
		seen[name] = true
	}
	return errors.Join(errs...)
}

func (x *file) csvError(err error) error {
	var bad *csv.ParseError
	if !errors.As(err, &bad) {
		return x.errorf(0, "%w", cause(err))
	}
	if bad.StartLine != bad.Line {
		return x.errorf(bad.StartLine, "record up to line %d: %w", bad.Line, bad.Err)
	}
	return x.errorf(bad.Line, "byte %d: %w", bad.Column, bad.Err)
}
