package checkpoint

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestWriteTorch reads what was written: every dtype that torch has a class for, scalars and empty tensors.
func TestWriteTorch(t *testing.T) {
	var want []Entry
	for _, d := range []DType{F32, F16, BF16, F64, I64, I32, I16, I8, U8, Bool} {
		want = append(want, FromBytes("t."+d.String(), d, []int{2, 3}, bytes.Repeat([]byte{1}, 6*int(d.Size()))))
	}
	want = append(want, FromFloats("scalar", nil, []float32{7}), FromFloats("empty", []int{3, 0}, nil))
	path, again := filepath.Join(t.TempDir(), "a.bin"), filepath.Join(t.TempDir(), "b.bin")
	for _, p := range []string{path, again} {
		if err := WriteTorch(p, want); err != nil {
			t.Fatal(err)
		}
	}
	c, err := OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if len(c.Names()) != len(want) {
		t.Errorf("tensors %v, want %d", c.Names(), len(want))
	}
	for _, e := range want {
		info, _ := c.Info(e.Name)
		got, err := c.Bytes(e.Name)
		if err != nil {
			t.Fatal(err)
		}
		var b memory = make([]byte, info.Size)
		if err := fill(b, 0, e, info.Size); err != nil || info.DType != e.DType || !slices.Equal(info.Shape, e.Shape) || !bytes.Equal(got, b) {
			t.Errorf("tensor %q: %+v %v, %v, want %s %v", e.Name, info, got, err, e.DType, e.Shape)
		}
		if info.Size > 0 && info.Offset%64 != 0 {
			t.Errorf("tensor %q lies at %d, want a multiple of 64", e.Name, info.Offset)
		}
	}
	if err := WriteTorch(path, []Entry{FromBytes("u", U16, []int{1}, []byte{1, 2})}); err == nil || !strings.Contains(err.Error(), `tensor "u": U16 has no class of storages`) {
		t.Errorf("U16: %v", err)
	}
}
