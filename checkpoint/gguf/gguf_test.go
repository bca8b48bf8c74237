package gguf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// sample has a value of every kind, a tensor of every type that is converted, and one that is not.
func sample(t testing.TB) *File {
	t.Helper()
	f := &File{Pairs: []Pair{{"general.architecture", "llama"}, {"a", uint8(1)}, {"b", int8(-1)}, {"c", uint16(2)}, {"d", int16(-2)}, {"e", uint32(3)},
		{"f", int32(-3)}, {"g", float32(1.5)}, {"h", true}, {"i", uint64(4)}, {"j", int64(-4)}, {"k", 2.5}, {"l", []string{"x", "", "é"}},
		{"m", []uint32{1, 2}}, {"n", []bool{true, false}}, {"o", []float32{}}, {"p", []int8{-1, 1}}}}
	for _, typ := range []Type{F32, F16, BF16} {
		x, err := NewTensor(typ.String(), typ, []int{2, 3}, []float32{1, -2, 0.5, 3, 0, -0.25})
		if err != nil {
			t.Fatal(err)
		}
		f.Tensors = append(f.Tensors, x)
	}
	f.Tensors = append(f.Tensors, Tensor{Name: "q", Type: 9, Shape: []int{1, 64}, Data: bytes.Repeat([]byte{7}, 72)})
	for _, q := range quantised {
		n := q.typ.Block()
		x, err := NewTensor(q.typ.String(), q.typ, []int{2, n}, reference()[5*superLen:][:2*n])
		if err != nil {
			t.Fatal(err)
		}
		f.Tensors = append(f.Tensors, x)
	}
	return f
}

func marshal(t testing.TB, f *File) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := f.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestRoundTrip reads what was written.
func TestRoundTrip(t *testing.T) {
	for _, align := range []uint32{0, 8, 64} {
		f := sample(t)
		if align > 0 {
			f.Pairs = append(f.Pairs, Pair{alignmentKey, align})
		}
		b := marshal(t, f)
		got, err := Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, f) {
			t.Errorf("alignment %d: read\n%+v, want\n%+v", align, got, f)
		}
		for _, x := range got.Tensors[:3] {
			v, err := x.Floats()
			if err != nil || !reflect.DeepEqual(v, []float32{1, -2, 0.5, 3, 0, -0.25}) {
				t.Errorf("tensor %q is %v, %v", x.Name, v, err)
			}
		}
		if _, err := got.Tensors[3].Floats(); err == nil || !strings.Contains(err.Error(), `tensor "q": Q8_1 is not read, want one of F32, F16`) {
			t.Errorf("numbers of Q8_1: %v", err)
		}
	}
	if b := marshal(t, &File{}); len(b) != 24 {
		t.Errorf("an empty file has %d bytes, want 24", len(b))
	}
}

// TestWriteFile makes tensors while the file is written, in any order; what does not give all its bytes leaves no file.
func TestWriteFile(t *testing.T) {
	f := sample(t)
	want := marshal(t, f)
	for i := range f.Tensors {
		data := f.Tensors[i].Data
		f.Tensors[i].Data, f.Tensors[i].Fill = nil, func(w io.WriterAt) error {
			for n := len(data) - 1; n >= 0; n-- {
				if _, err := w.WriteAt(data[n:n+1], int64(n)); err != nil {
					return err
				}
			}
			return nil
		}
	}
	path := filepath.Join(t.TempDir(), "a.gguf")
	if err := f.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, %v; want the %d of Write", len(got), err, len(want))
	}
	for want, fill := range map[string]func(io.WriterAt) error{
		"1 bytes written, want": func(w io.WriterAt) error { _, err := w.WriteAt([]byte{1}, 0); return err },
		"1 bytes at 1000000 of": func(w io.WriterAt) error { _, err := w.WriteAt([]byte{1}, 1e6); return err },
		"no more":               func(io.WriterAt) error { return errors.New("no more") },
	} {
		f.Tensors[2].Fill = fill
		path := filepath.Join(t.TempDir(), "b.gguf")
		if err := f.WriteFile(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
		if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) > 0 {
			t.Errorf("%v, %v left", left, err)
		}
	}
}

// TestBytes holds the layout to the format's description, number by number.
func TestBytes(t *testing.T) {
	x, err := NewTensor("w", F32, []int{2, 3}, []float32{1, 2, 3, 4, 5, 6})
	if err != nil {
		t.Fatal(err)
	}
	got := marshal(t, &File{Pairs: []Pair{{"k", "v"}}, Tensors: []Tensor{x}})
	le := binary.LittleEndian
	want := le.AppendUint32([]byte("GGUF"), 3)
	want = le.AppendUint64(le.AppendUint64(want, 1), 1)
	want = append(le.AppendUint64(want, 1), 'k')
	want = append(le.AppendUint64(le.AppendUint32(want, 8), 1), 'v')
	want = append(le.AppendUint64(want, 1), 'w')
	want = le.AppendUint64(le.AppendUint64(le.AppendUint32(want, 2), 3), 2) // the fastest dimension first
	want = le.AppendUint64(le.AppendUint32(want, 0), 0)
	want = append(want, make([]byte, -len(want)&31)...)
	for v := range 6 {
		want = le.AppendUint32(want, math.Float32bits(float32(v+1)))
	}
	want = append(want, make([]byte, 8)...)
	if !bytes.Equal(got, want) {
		t.Errorf("bytes\n%q, want\n%q", got, want)
	}
}

// TestTruncated cuts a file at every byte of its content.
func TestTruncated(t *testing.T) {
	f := sample(t)
	b := marshal(t, f)
	padding := -len(f.Tensors[len(f.Tensors)-1].Data) & 31
	for n := range len(b) - padding {
		_, err := Parse(b[:n:n])
		if err == nil || !errors.Is(err, ErrFormat) || strings.Contains(err.Error(), "\n") {
			t.Fatalf("cut to %d of %d bytes: %v, want one line", n, len(b), err)
		}
	}
}

// TestParseRefuses changes one thing at a time.
func TestParseRefuses(t *testing.T) {
	good := marshal(t, sample(t))
	put := func(at int, v ...byte) []byte {
		b := bytes.Clone(good)
		copy(b[at:], v)
		return b
	}
	single := marshal(t, &File{Tensors: []Tensor{{Name: "w", Type: F32, Shape: []int{1}, Data: make([]byte, 4)}}})
	info := bytes.IndexByte(single, 'w')
	change := func(at int, v ...byte) []byte {
		b := bytes.Clone(single)
		copy(b[info+at:], v)
		return b
	}
	for name, x := range map[string]struct {
		data []byte
		want string
	}{
		"another magic":          {put(0, 'g'), `file begins with "gGUF", want "GGUF"`},
		"version 1":              {put(4, 1), "version is 1, want 2 or 3"},
		"big-endian":             {put(4, 0, 0, 0, 3), "numbers are big-endian"},
		"too many tensors":       {put(8, 255, 255, 255, 255, 255, 255, 255, 255), "file is cut off: 18446744073709551615 tensors"},
		"too many keys":          {put(16, 255, 255, 255, 255), "4294967295 keys"},
		"a long key":             {put(24, 255, 255, 255, 255, 255), "characters"},
		"unknown kind of value":  {put(24+8+len("general.architecture"), 99), `key "general.architecture": kind of value 99 is unknown`},
		"array of arrays":        {put(24+8+len("general.architecture"), 9, 0, 0, 0, 9), "arrays of arrays"},
		"dimensions":             {change(1, 9), `tensor "w" has 9 dimensions, want at most 4`},
		"a dimension":            {change(5, 0, 0, 0, 0, 0, 0, 0, 1), `tensor "w" has a dimension of 72057594037927936`},
		"a type":                 {change(13, 77), `tensor "w": type 77 is unknown`},
		"rows of whole blocks":   {change(13, 8), `rows of Q8_0 want a multiple of 32 numbers`},
		"an offset":              {change(17, 32), `tensor "w": offset is 32, want 0`},
		"a name of no character": {change(-8, 0), `has a name of 0 characters`},
		"more after the end":     {append(bytes.Clone(good), make([]byte, 64)...), "bytes after the end"},
	} {
		if _, err := Parse(x.data); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v, want %s", name, err, x.want)
		}
	}
}

// TestWriteRefuses gives files that cannot be.
func TestWriteRefuses(t *testing.T) {
	w := Tensor{Name: "w", Type: F32, Shape: []int{1}, Data: make([]byte, 4)}
	streamed := Tensor{Name: "w", Type: F32, Shape: []int{1}, Fill: func(io.WriterAt) error { return nil }}
	long := w
	long.Name = strings.Repeat("w", 64)
	short := w
	short.Data = nil
	for _, x := range []struct {
		f    File
		want string
	}{
		{File{Pairs: []Pair{{"k", 1}}}, `key "k": a int is no kind of value`},
		{File{Pairs: []Pair{{"k", nil}}}, `key "k": a value is missing`},
		{File{Pairs: []Pair{{"k", "a"}, {"k", "b"}}}, "there twice"},
		{File{Pairs: []Pair{{alignmentKey, uint32(12)}}}, `key "general.alignment" is 12, want a power of two`},
		{File{Tensors: []Tensor{w, w}}, `tensor "w" is there twice`},
		{File{Tensors: []Tensor{long}}, "a name of 64 characters"},
		{File{Tensors: []Tensor{short}}, `tensor "w": 0 bytes, want 4`},
		{File{Tensors: []Tensor{streamed}}, `tensor "w" is made while a file is written`},
	} {
		if err := x.f.Write(&bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%+v: %v, want %s", x.f, err, x.want)
		}
	}
}

// TestBF16 rounds to the nearest, halves to even.
func TestBF16(t *testing.T) {
	in := []float32{1, 1 + 1.0/256, 1 + 3.0/256, float32(math.Inf(1)), float32(math.NaN()), 3e38}
	b := make([]byte, 2*len(in))
	encodeBF16(b, in)
	out := make([]float32, len(in))
	decodeBF16(out, b)
	for i, want := range []float32{1, 1, 1 + 4.0/256, float32(math.Inf(1))} {
		if out[i] != want {
			t.Errorf("%g becomes %g, want %g", in[i], out[i], want)
		}
	}
	if out[4] == out[4] {
		t.Errorf("NaN becomes %g", out[4])
	}
}

// FuzzParse reads anything without a panic; what it reads it writes again so that it reads the same.
func FuzzParse(f *testing.F) {
	f.Add(marshal(f, sample(f)))
	f.Add(marshal(f, &File{}))
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := Parse(data)
		if err != nil {
			return
		}
		for i := range a.Tensors {
			if x, err := a.Tensors[i].Floats(); err == nil && len(x) != a.Tensors[i].Len() {
				t.Errorf("tensor %q has %d numbers, want %d", a.Tensors[i].Name, len(x), a.Tensors[i].Len())
			}
		}
		b, err := Parse(marshal(t, a))
		if err != nil {
			t.Fatal(err)
		}
		if x, y := marshal(t, a), marshal(t, b); !bytes.Equal(x, y) {
			t.Errorf("%q became %q", x, y)
		}
	})
}
