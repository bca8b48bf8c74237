package source

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/graft-ml/graft/data"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
)

// readParquet reads records of any schema. The format keeps its index at the end, so a compressed file is unpacked into
// memory first.
func readParquet(x *file, yield func(data.Row, error) bool) {
	at, size, err := x.random()
	if err != nil {
		yield(data.Row{}, x.errorf(0, "%w", cause(err)))
		return
	}
	var f *parquet.File
	if err := guard(func() (err error) {
		if err := checkFooter(at, size); err != nil {
			return err
		}
		if f, err = parquet.OpenFile(at, size, parquet.SkipBloomFilters(true), parquet.SkipPageIndex(true)); err != nil {
			return err
		}
		return checkCodecs(f.Metadata())
	}); err != nil {
		yield(data.Row{}, x.errorf(0, "bad Parquet: %w", err))
		return
	}
	var r *parquet.Reader
	if err := guard(func() error { r = parquet.NewReader(f); return nil }); err != nil {
		yield(data.Row{}, x.errorf(0, "bad Parquet: %w", err))
		return
	}
	defer guard(r.Close)
	for row := 1; ; row++ {
		out := data.Row{Place: x.place(0, row)}
		err := guard(func() (err error) { out.Fields, err = record(r); return err })
		var bad valueError
		switch {
		case err == io.EOF && int64(row) > f.NumRows():
			return
		case errors.As(err, &bad):
			out.Fields, err = nil, out.Errorf("%w", err)
		case err != nil:
			yield(data.Row{}, out.Errorf("bad Parquet: %w", err))
			return
		}
		if !yield(out, err) {
			return
		}
	}
}

// checkFooter checks what the library believes: that the file is long enough for the index that its last bytes announce.
//
//	"PAR1" … index [n] n uint32 "PAR1"
func checkFooter(at io.ReaderAt, size int64) error {
	const magic, ends = "PAR1", 12
	var tail [8]byte
	if size < ends {
		return fmt.Errorf("%d bytes, want at least %d", size, ends)
	}
	if _, err := at.ReadAt(tail[:], size-8); err != nil {
		return cause(err)
	}
	if string(tail[4:]) != magic {
		return fmt.Errorf("the file ends in %q, want %q", tail[4:], magic)
	}
	if n := int64(binary.LittleEndian.Uint32(tail[:])); n > size-ends {
		return fmt.Errorf("the index has %d bytes, want at most %d", n, size-ends)
	}
	return nil
}

// checkCodecs refuses LZ4: at a damaged block the library's reader doubles its buffer until memory is used up.
func checkCodecs(m *format.FileMetaData) error {
	for _, g := range m.RowGroups {
		for _, c := range g.Columns {
			if codec := c.MetaData.Codec; codec == format.Lz4 || codec == format.Lz4Raw {
				return fmt.Errorf("column %s is compressed with %v, want snappy, gzip, brotli, zstd or none", strings.Join(c.MetaData.PathInSchema, "."), codec)
			}
		}
	}
	return nil
}

// record reads the next record.
func record(r *parquet.Reader) (data.Object, error) {
	m := map[string]any{}
	if err := r.Read(&m); err != nil {
		return nil, err
	}
	v, err := group(r.Schema(), m)
	if err != nil {
		return nil, err
	}
	return v, nil
}

// random gives access to the bytes of the file in any order.
func (x *file) random() (io.ReaderAt, int64, error) {
	if at, ok := x.raw.(io.ReaderAt); ok && !x.zip {
		info, err := x.raw.Stat()
		if err != nil {
			return nil, 0, err
		}
		return at, info.Size(), nil
	}
	b, err := io.ReadAll(x.r)
	return bytes.NewReader(b), int64(len(b)), err
}

// guard turns a panic of the library, which trusts its input in places, into an error.
func guard(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	return f()
}

// valueError is a value that graft does not take, in a file that is good.
type valueError string

func (e valueError) Error() string { return string(e) }

// fromParquet turns a value of a column into one of data's. The library has dropped the levels that lists are stored with.
// node is nil below maps, whose keys are no part of the schema.
func fromParquet(node parquet.Node, v any) (any, error) {
	switch x := v.(type) {
	case nil, bool, int64, float64:
		return v, nil
	case map[string]any:
		return group(node, x)
	case []any:
		element := elementOf(node)
		out := make([]any, len(x))
		for i := range x {
			var err error
			if out[i], err = fromParquet(element, x[i]); err != nil {
				return nil, err
			}
		}
		return out, nil
	case string:
		return text(x)
	case []byte:
		return text(string(x))
	case int32:
		return int64(x), nil
	case uint32:
		return int64(x), nil
	case uint64:
		return int64(x), nil
	case float32:
		return float64(x), nil
	}
	return nil, valueError(fmt.Sprintf("a value of type %T, want text, numbers, booleans, lists or groups", v))
}

func text(s string) (any, error) {
	if !utf8.ValidString(s) {
		return nil, valueError(checkUTF8([]byte(s)).Error())
	}
	return s, nil
}

// group is an object with the fields in the order of the schema, and those that it does not have after them by name.
func group(node parquet.Node, m map[string]any) (data.Object, error) {
	o := make(data.Object, 0, len(m))
	put := func(node parquet.Node, name string) error {
		v, err := fromParquet(node, m[name])
		if err != nil {
			return fmt.Errorf("field %q: %w", name, err)
		}
		o = append(o, data.Field{Name: name, Value: v})
		return nil
	}
	var known []string
	if node != nil && !node.Leaf() && !isMap(node) {
		for _, f := range node.Fields() {
			if _, ok := m[f.Name()]; ok {
				known = append(known, f.Name())
				if err := put(f, f.Name()); err != nil {
					return nil, err
				}
			}
		}
	}
	var rest []string
	for name := range m {
		if !slices.Contains(known, name) {
			rest = append(rest, name)
		}
	}
	slices.Sort(rest)
	for _, name := range rest {
		if err := put(nil, name); err != nil {
			return nil, err
		}
	}
	return o, nil
}

func isMap(node parquet.Node) bool {
	t := node.Type().LogicalType()
	if t == nil {
		return false
	}
	_, ok := t.Value.(*format.MapType)
	return ok
}

// elementOf is the node of a list's elements: a list is a group of one repeated group of one element, or a repeated node
// by itself.
func elementOf(node parquet.Node) parquet.Node {
	if node == nil || node.Repeated() || node.Leaf() {
		return node
	}
	inner := node.Fields()
	if len(inner) != 1 || inner[0].Leaf() || len(inner[0].Fields()) != 1 {
		return nil
	}
	return inner[0].Fields()[0]
}
