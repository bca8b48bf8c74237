package source

import (
	"encoding/csv"
	"errors"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/graft-ml/graft/data"
)

// readCSV reads records whose first one names the columns. Reading goes on after a record with too few or too many
// fields; after a misplaced quote nobody knows where the next record begins.
func readCSV(x *file, yield func(data.Row, error) bool) {
	r := csv.NewReader(x.r)
	r.FieldsPerRecord = -1
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
		if !yield(x.record(header, record, line, row)) {
			return
		}
	}
}

// record is a row of a table.
func (x *file) record(header, record []string, line, row int) (data.Row, error) {
	out := data.Row{Place: x.place(line, row)}
	if len(record) != len(header) {
		return out, out.Errorf("%d fields, want %d as in the header", len(record), len(header))
	}
	var fields data.Object
	for i, value := range record {
		if !utf8.ValidString(value) {
			return out, out.Errorf("column %q: %w", header[i], checkUTF8([]byte(value)))
		}
		fields = append(fields, data.Field{Name: header[i], Value: value})
	}
	out.Fields = fields
	return out, nil
}

// readTSV reads a record from each line. Quotes mean nothing, as in most of such files, unless a field begins and ends
// with one.
func readTSV(x *file, yield func(data.Row, error) bool) {
	var header []string
	row := 0
	x.each(func(line []byte) bool {
		record := strings.Split(string(line), "\t")
		for i, f := range record {
			if n := len(f); n >= 2 && f[0] == '"' && f[n-1] == '"' {
				record[i] = strings.ReplaceAll(f[1:n-1], `""`, `"`)
			}
		}
		if header == nil {
			header = record
			err := x.checkHeader(header)
			if err != nil {
				yield(data.Row{}, err)
			}
			return err == nil
		}
		row++
		return yield(x.record(header, record, x.line, row))
	}, yield)
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
