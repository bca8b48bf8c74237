package checkpoint

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"sync/atomic"
	"unicode/utf8"

	"github.com/graft-ml/graft/internal/atomicfile"
)

// Entry is a tensor to be written.
type Entry struct {
	Name  string
	DType DType
	Shape []int
	// Fill writes the tensor's bytes, as Encode makes them: one after the other with Write, or anywhere within the tensor
	// with WriteAt, which is safe for concurrent use. The number of bytes must come out right. One Fill runs at a time.
	Fill func(w Section) error
}

// Section is the place of one tensor in a file.
type Section interface {
	io.Writer
	io.WriterAt
}

// FromBytes is an entry of a tensor in memory or in another checkpoint.
func FromBytes(name string, d DType, shape []int, data []byte) Entry {
	return Entry{Name: name, DType: d, Shape: shape, Fill: func(w Section) error {
		_, err := w.Write(data)
		return err
	}}
}

// FromFloats is an entry of float32 numbers.
func FromFloats(name string, shape []int, data []float32) Entry {
	return FromBytes(name, F32, shape, bytesOf(data))
}

// Entry is a tensor of c, to be written again as it is.
func (c *Checkpoint) Entry(name string) (Entry, error) {
	t, err := c.at(name)
	if err != nil {
		return Entry{}, err
	}
	return FromBytes(t.Name, t.DType, t.Shape, t.data), nil
}

// Write writes a safetensors file: its bytes depend on the entries, not on their order. Metadata nil means
// {"format": "pt"}, which readers in Python insist on; an empty map means none.
func Write(path string, entries []Entry, metadata map[string]string) error {
	l, err := arrange(entries, metadata)
	if err != nil {
		return fmt.Errorf("checkpoint: %s: %w", path, err)
	}
	return atomicfile.WriteFile(path, func(f *os.File) error {
		if _, err := f.WriteAt(l.header, 0); err != nil {
			return err
		}
		at := int64(len(l.header))
		for i, e := range l.entries {
			if err := fill(f, at, e, l.sizes[i]); err != nil {
				return err
			}
			at += l.sizes[i]
		}
		return nil
	})
}

// Marshal is the safetensors file as Write writes it, in memory.
func Marshal(entries []Entry, metadata map[string]string) ([]byte, error) {
	l, err := arrange(entries, metadata)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	total := int64(len(l.header))
	for _, n := range l.sizes {
		total += n
	}
	m := make(memory, total)
	at := int64(copy(m, l.header))
	for i, e := range l.entries {
		if err := fill(m, at, e, l.sizes[i]); err != nil {
			return nil, fmt.Errorf("checkpoint: %w", err)
		}
		at += l.sizes[i]
	}
	return m, nil
}

type memory []byte

func (m memory) WriteAt(p []byte, off int64) (int, error) { return copy(m[off:], p), nil }

// fill lets an entry write its n bytes at a place of the file, and holds it to them.
func fill(f io.WriterAt, at int64, e Entry, n int64) error {
	s := &section{f: f, at: at, size: n}
	if err := e.Fill(s); err != nil {
		return err
	}
	if got := s.written.Load(); got != n {
		return fmt.Errorf("tensor %q: %d bytes written, want %d", e.Name, got, n)
	}
	return nil
}

// section is the part of a file that one tensor may write to.
type section struct {
	f             io.WriterAt
	at, size, pos int64
	written       atomic.Int64
}

func (s *section) Write(p []byte) (int, error) {
	n, err := s.WriteAt(p, s.pos)
	s.pos += int64(n)
	return n, err
}

func (s *section) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off > s.size || int64(len(p)) > s.size-off {
		return 0, fmt.Errorf("%d bytes at %d of a tensor of %d", len(p), off, s.size)
	}
	n, err := s.f.WriteAt(p, s.at+off)
	s.written.Add(int64(n))
	return n, err
}

// layout is a file before its tensors: the entries in their order, their sizes, and all that comes before them.
type layout struct {
	entries []Entry
	sizes   []int64
	header  []byte
}

// arrange checks the entries and lays them out as the reference does: by dtype, the widest first, then by name.
func arrange(entries []Entry, metadata map[string]string) (*layout, error) {
	if metadata == nil {
		metadata = map[string]string{"format": "pt"}
	}
	l := &layout{entries: slices.Clone(entries)}
	slices.SortStableFunc(l.entries, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(b.DType, a.DType), cmp.Compare(a.Name, b.Name))
	})
	var p problems
	seen := map[string]bool{}
	for _, e := range l.entries {
		n, err := sizeOf(e)
		switch {
		case err != nil:
			p.add("%v", err)
		case seen[e.Name]:
			p.add("tensor %q is to be written twice", e.Name)
		}
		seen[e.Name] = true
		l.sizes = append(l.sizes, n)
	}
	if err := p.bare(); err != nil {
		return nil, err
	}
	l.header = appendHeader(l, metadata)
	if len(l.header)-8 > maxHeader {
		return nil, fmt.Errorf("header has %d bytes, want at most %d", len(l.header)-8, maxHeader)
	}
	return l, nil
}

// sizeOf is an entry's size in bytes.
func sizeOf(e Entry) (int64, error) {
	if e.Name == "__metadata__" || !utf8.ValidString(e.Name) {
		return 0, fmt.Errorf("tensor %q: not a name that a file can have", e.Name)
	}
	shape := make([]uint64, len(e.Shape))
	for i, d := range e.Shape {
		if d < 0 {
			return 0, fmt.Errorf("tensor %q: shape %v has a negative dimension", e.Name, e.Shape)
		}
		shape[i] = uint64(d)
	}
	n, ok := byteSize(e.DType, shape)
	if !ok {
		return 0, fmt.Errorf("tensor %q: shape %v of %s is more than any memory holds", e.Name, e.Shape, e.DType)
	}
	return int64(n), nil
}

// appendHeader writes the header as the reference does, byte for byte: no spaces but the padding, tensors in the order of
// their bytes.
func appendHeader(l *layout, metadata map[string]string) []byte {
	b := make([]byte, 8, 1<<12)
	b = append(b, '{')
	if len(metadata) > 0 {
		b = append(b, `"__metadata__":{`...)
		for i, k := range slices.Sorted(maps.Keys(metadata)) {
			b = appendQuoted(comma(b, i), k)
			b = appendQuoted(append(b, ':'), metadata[k])
		}
		b = append(b, '}')
	}
	at := int64(0)
	for i, e := range l.entries {
		b = appendQuoted(comma(b, i+len(metadata)), e.Name)
		b = append(append(append(b, `:{"dtype":"`...), e.DType.String()...), `","shape":[`...)
		for j, d := range e.Shape {
			b = strconv.AppendInt(comma(b, j), int64(d), 10)
		}
		b = strconv.AppendInt(append(b, `],"data_offsets":[`...), at, 10)
		at += l.sizes[i]
		b = append(strconv.AppendInt(append(b, ','), at, 10), "]}"...)
	}
	b = append(b, '}')
	b = append(b, bytes.Repeat([]byte(" "), -len(b)&7)...)
	binary.LittleEndian.PutUint64(b, uint64(len(b)-8))
	return b
}

func comma(b []byte, i int) []byte {
	if i > 0 {
		return append(b, ',')
	}
	return b
}

// appendQuoted writes a JSON string with the fewest escapes that JSON allows, as the reference does.
func appendQuoted(b []byte, s string) []byte {
	const short = "\b\f\n\r\t\"\\"
	b = append(b, '"')
	for i := range len(s) {
		c := s[i]
		switch k := bytes.IndexByte([]byte(short), c); {
		case k >= 0:
			b = append(b, '\\', `bfnrt"\`[k])
		case c < ' ':
			b = fmt.Appendf(b, `\u%04x`, c)
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}
