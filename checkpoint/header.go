package checkpoint

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/bits"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/nlpodyssey/safetensors"
)

// maxHeader is the longest header that readers of safetensors accept.
const maxHeader = 100_000_000

// Table is what a file says it holds: its tensors in the order of their bytes, with offsets from the start of the file.
type Table struct {
	Metadata map[string]string
	Tensors  []Info
	copies   map[string][]byte // of tensors whose bytes do not lie in one piece, by name
}

// bytes are those of one of the table's tensors.
func (t *Table) bytes(data []byte, info Info) []byte {
	if b, ok := t.copies[info.Name]; ok {
		return b
	}
	return data[info.Offset : info.Offset+info.Size : info.Offset+info.Size]
}

// parseSafetensors reads and checks the header of a whole file. It is stricter than the reference: no key twice, no
// gaps, no overlaps, nothing after the last tensor, nothing unknown.
func parseSafetensors(data []byte) (*Table, error) {
	header, err := headerBytes(data)
	if err != nil {
		return nil, err
	}
	p := headerParser{dec: json.NewDecoder(bytes.NewReader(header)), start: int64(8 + len(header)), size: int64(len(data))}
	p.dec.UseNumber()
	if err := p.parse(); err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	p.checkLayout()
	if err := p.problems.bare(); err != nil {
		return nil, err
	}
	return &p.table, nil
}

// headerBytes cuts the header out of a file.
func headerBytes(data []byte) ([]byte, error) {
	if len(data) < 8 {
		return nil, fmt.Errorf("file has %d bytes, want at least 8 for the header's length", len(data))
	}
	n := binary.LittleEndian.Uint64(data)
	if n > maxHeader {
		return nil, fmt.Errorf("header's length is %d, want at most %d", n, maxHeader)
	}
	if n > uint64(len(data)-8) {
		return nil, fmt.Errorf("file is cut off: the header has %d bytes, of which %d are there", n, len(data)-8)
	}
	header := data[8 : 8+n]
	if n == 0 || header[0] != '{' {
		return nil, fmt.Errorf("header does not begin with {")
	}
	if !utf8.Valid(header) {
		return nil, fmt.Errorf("header is not valid UTF-8")
	}
	return header, nil
}

// headerParser walks the header's JSON token by token, because decoding into a map would hide keys that occur twice.
type headerParser struct {
	dec         *json.Decoder
	start, size int64 // where the tensors' bytes begin, where the file ends
	table       Table
	problems    problems
}

func (p *headerParser) parse() error {
	seen := map[string]bool{}
	if err := p.object("the header", func(name string) error {
		if seen[name] {
			p.problems.add("tensor %q is listed twice", name)
		}
		seen[name] = true
		if name == "__metadata__" {
			return p.meta()
		}
		return p.tensor(name)
	}); err != nil {
		return err
	}
	if _, err := p.dec.Token(); err == nil {
		return fmt.Errorf("more than one JSON value")
	}
	return p.padding()
}

// padding checks that only white space follows the header's object.
func (p *headerParser) padding() error {
	rest := p.dec.Buffered()
	var b [64]byte
	for {
		n, err := rest.Read(b[:])
		if i := bytes.IndexFunc(b[:n], func(r rune) bool { return r != ' ' && r != '\n' && r != '\t' && r != '\r' }); i >= 0 {
			return fmt.Errorf("%q after the JSON object, want spaces", b[i])
		}
		if err != nil {
			return nil
		}
	}
}

// object walks one JSON object, calling f at each value.
func (p *headerParser) object(what string, f func(key string) error) error {
	if err := p.open(what, '{'); err != nil {
		return err
	}
	for p.dec.More() {
		key, err := p.dec.Token()
		if err != nil {
			return syntax(err)
		}
		if err := f(key.(string)); err != nil {
			return err
		}
	}
	_, err := p.dec.Token()
	return syntax(err)
}

func (p *headerParser) open(what string, d json.Delim) error {
	t, err := p.dec.Token()
	if err != nil {
		return syntax(err)
	}
	if t != d {
		return fmt.Errorf("%s is %v, want %s … %s", what, t, d, map[json.Delim]string{'{': "}", '[': "]"}[d])
	}
	return nil
}

func syntax(err error) error {
	switch err {
	case nil:
		return nil
	case io.EOF:
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("not valid JSON: %w", err)
}

func (p *headerParser) meta() error {
	p.table.Metadata = map[string]string{}
	return p.object("__metadata__", func(key string) error {
		v, err := p.dec.Token()
		if err != nil {
			return syntax(err)
		}
		s, ok := v.(string)
		if !ok {
			return fmt.Errorf("__metadata__: %q is %v, want a string", key, v)
		}
		if _, twice := p.table.Metadata[key]; twice {
			p.problems.add("__metadata__: %q is listed twice", key)
		}
		p.table.Metadata[key] = s
		return nil
	})
}

// tensor reads one tensor's description; what is wrong with its values is collected, what is wrong with its JSON ends it.
func (p *headerParser) tensor(name string) error {
	what := fmt.Sprintf("tensor %q", name)
	var dtype string
	var shape, offsets []uint64
	var keys []string
	if err := p.object(what, func(key string) (err error) {
		if slices.Contains(keys, key) {
			return fmt.Errorf("%s: %q is listed twice", what, key)
		}
		keys = append(keys, key)
		switch key {
		case "dtype":
			dtype, err = p.string(what + ": dtype")
		case "shape":
			shape, err = p.numbers(what + ": shape")
		case "data_offsets":
			offsets, err = p.numbers(what + ": data_offsets")
		default:
			err = fmt.Errorf("%s: key %q, want dtype, shape and data_offsets", what, key)
		}
		return err
	}); err != nil {
		return err
	}
	if len(keys) != 3 || len(offsets) != 2 {
		return fmt.Errorf("%s: has keys %q and %d data_offsets, want dtype, shape and two data_offsets", what, keys, len(offsets))
	}
	p.check(what, Info{Name: name}, dtype, shape, offsets)
	return nil
}

func (p *headerParser) string(what string) (string, error) {
	t, err := p.dec.Token()
	if err != nil {
		return "", syntax(err)
	}
	s, ok := t.(string)
	if !ok {
		return "", fmt.Errorf("%s is %v, want a string", what, t)
	}
	return s, nil
}

func (p *headerParser) numbers(what string) ([]uint64, error) {
	if err := p.open(what, '['); err != nil {
		return nil, err
	}
	ns := []uint64{}
	for p.dec.More() {
		t, err := p.dec.Token()
		if err != nil {
			return nil, syntax(err)
		}
		num, ok := t.(json.Number)
		n, err := strconv.ParseUint(string(num), 10, 64)
		if !ok || err != nil {
			return nil, fmt.Errorf("%s: %v, want whole numbers below 2^64", what, t)
		}
		ns = append(ns, n)
	}
	_, err := p.dec.Token()
	return ns, syntax(err)
}

// check compares a tensor's dtype, shape and offsets with each other and with the file.
func (p *headerParser) check(what string, info Info, dtype string, shape, offsets []uint64) {
	d, err := safetensors.ParseDType(dtype)
	if err != nil {
		p.problems.add("%s: dtype is %q, want BOOL, U8, I8, I16, U16, F16, BF16, I32, U32, F32, F64, I64 or U64", what, dtype)
		return
	}
	want, ok := byteSize(d, shape)
	if !ok {
		p.problems.add("%s: shape %v of %s is more than any memory holds", what, shape, d)
		return
	}
	room := uint64(p.size - p.start)
	switch {
	case offsets[1] < offsets[0]:
		p.problems.add("%s: data_offsets are %v, want the end after the start", what, offsets)
		return
	case offsets[1] > room:
		p.problems.add("%s: data_offsets are %v, but the file has %d bytes after its header", what, offsets, room)
		return
	case offsets[1]-offsets[0] != want:
		p.problems.add("%s: %s %v takes %d bytes, but data_offsets %v give it %d", what, d, shape, want, offsets, offsets[1]-offsets[0])
		return
	}
	info.DType, info.Size, info.Offset = d, int64(want), p.start+int64(offsets[0])
	info.Shape = make([]int, len(shape))
	for i, n := range shape {
		info.Shape[i] = int(n)
	}
	p.table.Tensors = append(p.table.Tensors, info)
}

// byteSize is the size of a tensor; false if a dimension, the number of elements or the size does not fit an int.
func byteSize(d DType, shape []uint64) (uint64, bool) {
	const most = uint64(^uint(0) >> 1)
	n := d.Size()
	zero := false
	for _, dim := range shape {
		if dim > most {
			return 0, false
		}
		if dim == 0 {
			zero = true
			continue
		}
		hi, lo := bits.Mul64(n, dim)
		if hi != 0 || lo > most {
			return 0, false
		}
		n = lo
	}
	if zero {
		return 0, true
	}
	return n, true
}

// checkLayout sorts the tensors by their place and checks that they fill the file without gaps or overlaps.
func (p *headerParser) checkLayout() {
	if len(p.problems.lines) > 0 {
		return
	}
	slices.SortStableFunc(p.table.Tensors, func(a, b Info) int {
		return cmp.Or(cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.Size, b.Size))
	})
	at := p.start
	for _, t := range p.table.Tensors {
		switch {
		case t.Offset > at:
			p.problems.add("tensor %q begins at %d, leaving %d bytes that belong to no tensor", t.Name, t.Offset-p.start, t.Offset-at)
		case t.Offset < at:
			p.problems.add("tensor %q begins at %d, within another tensor that ends at %d", t.Name, t.Offset-p.start, at-p.start)
		}
		at = max(at, t.Offset+t.Size)
	}
	if at != p.size {
		p.problems.add("%d bytes after the last tensor", p.size-at)
	}
}
