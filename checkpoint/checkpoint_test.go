package checkpoint

import (
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/graft-ml/graft/internal/check"
	"github.com/nlpodyssey/safetensors"
	"github.com/x448/float16"
)

// raw is a safetensors file of any header and n bytes of tensors.
func raw(header string, n int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	b = append(b, header...)
	for i := range n {
		b = append(b, byte(i))
	}
	return b
}

func TestParseRefuses(t *testing.T) {
	const a = `"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}`
	length := func(n uint64) []byte { return append(binary.LittleEndian.AppendUint64(nil, n), `{"a":`...) }
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"nothing", nil, "file has 0 bytes, want at least 8"},
		{"half a length", []byte{1, 2, 3}, "file has 3 bytes, want at least 8"},
		{"a header of 2^63 bytes", length(1 << 63), "header's length is 9223372036854775808, want at most 100000000"},
		{"a header of 2^64-1 bytes", length(math.MaxUint64), "want at most 100000000"},
		{"a header longer than the file", length(1000), "file is cut off: the header has 1000 bytes, of which 5 are there"},
		{"an empty header", raw("", 4), "header does not begin with {"},
		{"leading spaces", raw(" {}", 0), "header does not begin with {"},
		{"a list", raw("[]", 0), "header does not begin with {"},
		{"broken JSON", raw(`{"a":`, 0), "not valid JSON: unexpected EOF"},
		{"an unfinished object", raw(`{`, 0), "not valid JSON"},
		{"two objects", raw(`{}{}`, 0), "more than one JSON value"},
		{"rubbish after the object", raw(`{}`+"\x00\x00", 0), `'\x00' after the JSON object`},
		{"invalid UTF-8", raw("{\"\xff\":1}", 0), "header is not valid UTF-8"},
		{"a number for a tensor", raw(`{"a":1}`, 0), `tensor "a" is 1, want { … }`},
		{"a tensor twice", raw(`{`+a+`,`+a+`}`, 8), `tensor "a" is listed twice`},
		{"metadata twice", raw(`{"__metadata__":{},"__metadata__":{},`+a+`}`, 8), `"__metadata__" is listed twice`},
		{"a metadata key twice", raw(`{"__metadata__":{"k":"1","k":"2"},`+a+`}`, 8), `__metadata__: "k" is listed twice`},
		{"metadata that is no string", raw(`{"__metadata__":{"k":{}},`+a+`}`, 8), `__metadata__: "k" is {, want a string`},
		{"a key twice", raw(`{"a":{"dtype":"F32","dtype":"F16","shape":[2],"data_offsets":[0,8]}}`, 8), `tensor "a": "dtype" is listed twice`},
		{"an unknown key", raw(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}}`, 8), `key "x", want dtype, shape and data_offsets`},
		{"no shape", raw(`{"a":{"dtype":"F32","data_offsets":[0,8]}}`, 8), `has keys ["dtype" "data_offsets"]`},
		{"three offsets", raw(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4,8]}}`, 8), "3 data_offsets"},
		{"an unknown dtype", raw(`{"a":{"dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8]}}`, 8), `tensor "a": dtype is "F8_E4M3", want BOOL,`},
		{"a dtype that is no string", raw(`{"a":{"dtype":4,"shape":[8],"data_offsets":[0,8]}}`, 8), `dtype is 4, want a string`},
		{"a negative dimension", raw(`{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}`, 8), `shape: -2, want whole numbers`},
		{"half a dimension", raw(`{"a":{"dtype":"F32","shape":[2.5],"data_offsets":[0,8]}}`, 8), `shape: 2.5, want whole numbers`},
		{"a dimension of words", raw(`{"a":{"dtype":"F32","shape":["2"],"data_offsets":[0,8]}}`, 8), `shape: 2, want whole numbers`},
		{"a shape that overflows", raw(`{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}`, 0), `is more than any memory holds`},
		{"a shape that overflows to the right size", raw(`{"a":{"dtype":"U8","shape":[4611686018427387904,4],"data_offsets":[0,0]}}`, 0), `is more than any memory holds`},
		{"a dimension of 2^64-1", raw(`{"a":{"dtype":"U8","shape":[18446744073709551615],"data_offsets":[0,8]}}`, 8), `is more than any memory holds`},
		{"a dimension of 2^63 beside zero", raw(`{"a":{"dtype":"U8","shape":[9223372036854775808,0],"data_offsets":[0,0]}}`, 0), `is more than any memory holds`},
		{"offsets of 2^64", raw(`{"a":{"dtype":"U8","shape":[8],"data_offsets":[0,18446744073709551616]}}`, 8), `want whole numbers below 2^64`},
		{"offsets beyond the file", raw(`{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}`, 8), `but the file has 8 bytes after its header`},
		{"offsets backwards", raw(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}`, 8), `want the end after the start`},
		{"a dtype of another size", raw(`{"a":{"dtype":"F16","shape":[2],"data_offsets":[0,8]}}`, 8), `F16 [2] takes 4 bytes, but data_offsets [0 8] give it 8`},
		{"overlap", raw(`{`+a+`,"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}`, 12), `tensor "b" begins at 4, within another tensor that ends at 8`},
		{"the same bytes twice", raw(`{`+a+`,"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, 8), `within another tensor`},
		{"a hole", raw(`{`+a+`,"b":{"dtype":"F32","shape":[1],"data_offsets":[12,16]}}`, 16), `tensor "b" begins at 12, leaving 4 bytes`},
		{"a hole at the start", raw(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}`, 8), `leaving 4 bytes that belong to no tensor`},
		{"bytes at the end", raw(`{`+a+`}`, 9), `1 bytes after the last tensor`},
		{"several things at once", raw(`{"a":{"dtype":"F3","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}`, 8), `"F3", want BOOL, U8, I8, I16, U16, F16, BF16, I32, U32, F32, F64, I64 or U64; tensor "b"`},
		{"deep nesting", raw(`{"a":`+strings.Repeat("[", 20000)+strings.Repeat("]", 20000)+`}`, 0), `tensor "a" is [, want { … }`},
		{"half a torch file", []byte("PK\x03\x04rest of the archive"), "zip archive is damaged or cut off"},
		{"a GGUF file", []byte("GGUF\x03\x00\x00\x00 and so on"), "is a GGUF file, want safetensors"},
		{"a pointer", []byte("version https://git-lfs.github.com/spec/v1\noid sha256:00"), "is a Git LFS pointer"},
		{"a web page", []byte("<!DOCTYPE html><html>not found</html>"), "header's length is"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse(c.data)
			if err == nil || !strings.Contains(err.Error(), c.want) || !errors.Is(err, ErrFormat) || strings.Contains(err.Error(), "\n") {
				t.Errorf("Parse: %v, want …%s…", err, c.want)
			}
		})
	}
}

// small is a file with a tensor of every dtype.
func small(t *testing.T) []byte {
	var entries []Entry
	for d := Bool; d <= U64; d++ {
		data := make([]byte, 6*d.Size())
		for i := range data {
			data[i] = byte(i*37) & 0x3f
		}
		entries = append(entries, FromBytes("t."+d.String(), d, []int{2, 3}, data))
	}
	entries = append(entries, FromFloats("scalar", nil, []float32{7}), FromFloats("empty", []int{3, 0}, nil), FromFloats("vector", []int{5}, []float32{1, 2, 3, 4, 5}))
	b, err := Marshal(entries, nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestEveryPrefix(t *testing.T) {
	data := small(t)
	if _, err := Parse(data); err != nil {
		t.Fatal(err)
	}
	for n := range data {
		if _, err := Parse(data[:n:n]); !errors.Is(err, ErrFormat) {
			t.Errorf("the first %d of %d bytes: %v", n, len(data), err)
		}
	}
}

// TestMisaligned reads the same numbers wherever the file lies in memory.
func TestMisaligned(t *testing.T) {
	data := small(t)
	want, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	for shift := range 8 {
		c, err := Parse(append(make([]byte, shift), data...)[shift:])
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range c.Names() {
			info, _ := c.Info(name)
			switch {
			case IsFloat(info.DType):
				got, err := c.Floats(name)
				ref, _ := want.Floats(name)
				if err != nil || !slices.Equal(got, ref) {
					t.Errorf("shift %d: %s = %v, want %v (%v)", shift, name, got, ref, err)
				}
			default:
				got, err := c.Ints(name)
				ref, _ := want.Ints(name)
				if err != nil || !slices.Equal(got, ref) {
					t.Errorf("shift %d: %s = %v, want %v (%v)", shift, name, got, ref, err)
				}
			}
			if info.Size > 0 {
				d, err := c.Tensor(name)
				if err != nil || !slices.Equal([]int(d.Shape()), info.Shape) {
					t.Errorf("shift %d: %s: %v (%v)", shift, name, d.Shape(), err)
				}
			}
		}
		checkFrozen(t, c)
	}
}

func checkFrozen(t *testing.T, c *Checkpoint) {
	for name, shape := range map[string][2]int{"t.F32": {2, 3}, "t.F16": {2, 3}, "t.BF16": {2, 3}, "vector": {1, 5}, "scalar": {1, 1}, "empty": {3, 0}} {
		w, _, err := c.Frozen(name)
		if err != nil || [2]int{w.Rows, w.Cols} != shape {
			t.Errorf("Frozen(%s) = %v, %v, want %v", name, w, err, shape)
			continue
		}
		want, _ := c.Floats(name)
		for k, x := range want {
			if got := w.At(k/shape[1], k%shape[1]); got != x {
				t.Errorf("Frozen(%s)[%d] = %g, want %g", name, k, got, x)
			}
		}
	}
}

func TestWrongKind(t *testing.T) {
	c, err := Parse(small(t))
	if err != nil {
		t.Fatal(err)
	}
	_, _, frozen := c.Frozen("t.I32")
	_, floats := c.Floats("t.BOOL")
	_, ints := c.Ints("t.F16")
	_, none := c.Bytes("nope")
	_, empty := c.Tensor("empty")
	_, file := c.ReadFile("config.json")
	for i, c := range []struct {
		err  error
		want string
	}{
		{frozen, `checkpoint: data: tensor "t.I32" is I32, want F32, F16 or BF16`},
		{floats, `tensor "t.BOOL" is BOOL, want F32, F16, BF16 or F64`},
		{ints, `tensor "t.F16" is F16, want whole numbers`},
		{none, `checkpoint: data: no tensor "nope" among its 16`},
		{empty, `tensor "empty" is [3 0], want at least one element`},
		{file, "checkpoint: config.json: it has no folder"},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) {
			t.Errorf("%d: %v, want …%s", i, c.err, c.want)
		}
	}
}

// folder is a sharded checkpoint in memory, with files replaced.
func folder(t *testing.T, replace fstest.MapFS) fstest.MapFS {
	one := func(names ...string) *fstest.MapFile {
		var entries []Entry
		for _, n := range names {
			entries = append(entries, FromFloats(n, []int{1}, []float32{1}))
		}
		b, err := Marshal(entries, nil)
		if err != nil {
			t.Fatal(err)
		}
		return &fstest.MapFile{Data: b}
	}
	fsys := fstest.MapFS{
		"config.json":                  {Data: []byte("{}")},
		"x.safetensors":                one("a", "b"),
		"y.safetensors":                one("c"),
		"z.safetensors":                one("a"),
		"model.safetensors.index.json": {Data: []byte(`{"metadata":{"total_size":1},"weight_map":{"a":"x.safetensors","c":"y.safetensors"}}`)},
	}
	for name, f := range replace {
		if fsys[name] = f; f == nil {
			delete(fsys, name)
		}
	}
	return fsys
}

func TestIndex(t *testing.T) {
	const ix = "model.safetensors.index.json"
	text := func(s string) fstest.MapFS { return fstest.MapFS{ix: {Data: []byte(s)}} }
	c, err := OpenFS(folder(t, nil))
	if err != nil || strings.Join(c.Names(), " ") != "a b c" {
		t.Fatalf("OpenFS: %v", err)
	}
	if b, err := c.ReadFile("config.json"); err != nil || string(b) != "{}" {
		t.Errorf("ReadFile: %q %v", b, err)
	}
	if _, err := c.ReadFile("none.json"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ReadFile: %v, want not exist", err)
	}
	for _, c := range []struct {
		name  string
		files fstest.MapFS
		want  string
	}{
		{"nothing there", fstest.MapFS{ix: nil}, "no model.safetensors or pytorch_model.bin, whole or in shards with an index (there is x.safetensors and more)"},
		{"not JSON", text("x"), "not valid JSON"},
		{"no map", text(`{}`), "weight_map is missing or empty"},
		{"an empty map", text(`{"weight_map":{}}`), "weight_map is missing or empty"},
		{"a map of numbers", text(`{"weight_map":{"a":1}}`), `weight_map: "a" is 1, want a string`},
		{"a map that is a list", text(`{"weight_map":["a"]}`), `weight_map is [, want {`},
		{"missing shards", text(`{"weight_map":{"a":"v","b":"w"}}`), "shard v: file does not exist; shard w: file does not exist"},
		{"a tensor in two places", text(`{"weight_map":{"a":"x.safetensors","a":"y.safetensors"}}`), `"a" is listed twice, in x.safetensors and in y.safetensors`},
		{"a path upwards", text(`{"weight_map":{"a":"../x.safetensors"}}`), `shard "../x.safetensors" is not the name of a file in this folder`},
		{"a path downwards", text(`{"weight_map":{"a":"sub/x.safetensors"}}`), "is not the name of a file"},
		{"an absolute path", text(`{"weight_map":{"a":"/etc/passwd"}}`), "is not the name of a file"},
		{"a path of Windows", text(`{"weight_map":{"a":"..\\x"}}`), "is not the name of a file"},
		{"the folder itself", text(`{"weight_map":{"a":"."}}`), "is not the name of a file"},
		{"a tensor in another shard", text(`{"weight_map":{"a":"x.safetensors","b":"y.safetensors"}}`), `tensor "b" is in x.safetensors, but the index has it in y.safetensors`},
		{"a tensor that is nowhere", text(`{"weight_map":{"a":"x.safetensors","q":"x.safetensors"}}`), `tensor "q" is not in x.safetensors, where the index has it`},
		{"a tensor in two shards", text(`{"weight_map":{"b":"x.safetensors","a":"z.safetensors"}}`), `tensor "a" is in x.safetensors and in z.safetensors, want one of them`},
		{"a broken shard", fstest.MapFS{"x.safetensors": {Data: []byte("{}")}, "y.safetensors": {}}, "checkpoint: x.safetensors: file has 2 bytes, want at least 8 for the header's length; checkpoint: y.safetensors: file has 0 bytes"},
		{"GGUF only", fstest.MapFS{ix: nil, "model.gguf": {Data: []byte("GGUF\x03\x00\x00\x00 and so on")}}, "checkpoint: model.gguf: is a GGUF file, want safetensors"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := OpenFS(folder(t, c.files))
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("OpenFS: %v, want …%s…", err, c.want)
			}
		})
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, data, 0o666); err != nil {
			t.Fatal(err)
		}
		return p
	}
	for _, c := range []struct{ path, want string }{
		{filepath.Join(dir, "none"), "none: no such file or directory"},
		{dir, "no model.safetensors or pytorch_model.bin, whole or in shards with an index (there is cut.safetensors and more)"},
		{write("empty.safetensors", nil), "empty.safetensors: file is empty"},
		{write("cut.safetensors", small(t)[:100]), "cut.safetensors: file is cut off: the header has "},
	} {
		if _, err := Open(c.path); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Open(%s): %v, want …%s", c.path, err, c.want)
		}
	}
	c, err := Open(write("ok.safetensors", small(t)))
	if err != nil {
		t.Fatal(err)
	}
	if info, ok := c.Info("scalar"); !ok || info.File != "ok.safetensors" || info.Len() != 1 {
		t.Errorf("Info: %+v", info)
	}
	if b, err := c.ReadFile("cut.safetensors"); err != nil || len(b) != 100 {
		t.Errorf("ReadFile: %d bytes, %v", len(b), err)
	}
	if _, err := c.ReadFile("../x"); err == nil {
		t.Error("ReadFile left the folder")
	}
	if err := errors.Join(c.Close(), c.Close()); err != nil {
		t.Errorf("Close twice: %v", err)
	}
}

func TestConvert(t *testing.T) {
	t.Run("every f16 widens as the library widens it, and comes back", func(t *testing.T) {
		for h := range 1 << 16 {
			want := float16.Frombits(uint16(h)).Float32()
			var b [2]byte
			var got [1]float32
			binary.LittleEndian.PutUint16(b[:], uint16(h))
			Decode(got[:], b[:], F16)
			if got[0] != want && !(got[0] != got[0] && want != want) {
				t.Fatalf("Decode(%#x) = %g, want %g", h, got[0], want)
			}
			Encode(b[:], []float32{want}, F16)
			if back := binary.LittleEndian.Uint16(b[:]); back != uint16(h) && want == want {
				t.Fatalf("Encode(%g) = %#x, want %#x", want, back, h)
			}
		}
	})
	t.Run("bf16 rounds to nearest, ties to even", func(t *testing.T) {
		for _, c := range []struct {
			in   uint32
			want uint16
		}{
			{0x3f800000, 0x3f80}, {0x3f808000, 0x3f80}, {0x3f808001, 0x3f81}, {0x3f818000, 0x3f82}, {0x3f817fff, 0x3f81},
			{0xbf808001, 0xbf81}, {0x7f7fffff, 0x7f80}, {0x7f800000, 0x7f80}, {0xff800000, 0xff80}, {0x7f800001, 0x7fc0},
			{0x00000001, 0x0000}, {0x80000000, 0x8000}, {0x00008001, 0x0001},
		} {
			var b [2]byte
			Encode(b[:], []float32{math.Float32frombits(c.in)}, BF16)
			if got := binary.LittleEndian.Uint16(b[:]); got != c.want {
				t.Errorf("Encode(%#x) = %#x, want %#x", c.in, got, c.want)
			}
		}
	})
	t.Run("all lengths and misalignments", func(t *testing.T) {
		x := make([]float32, 600)
		for i := range x {
			x[i] = float32(i%61-30) / 8 // exact in every dtype
		}
		for _, d := range []DType{F16, BF16, F32, F64} {
			for _, n := range []int{0, 1, 2, 3, 255, 256, 257, 600} {
				for shift := range 3 {
					buf := make([]byte, shift+n*int(d.Size())+1)
					Encode(buf[shift:len(buf)-1], x[:n], d)
					got := make([]float32, n)
					Decode(got, buf[shift:len(buf)-1], d)
					check.Close(t, d.String(), got, x[:n], 0, 0)
					if buf[len(buf)-1] != 0 {
						t.Errorf("%s of %d: wrote past the end", d, n)
					}
				}
			}
		}
	})
}

func TestFirstNonFinite(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, d := range []DType{F16, BF16, F32, F64} {
		for _, n := range []int{1, 7, 33, 5_000_000} {
			x := make([]float32, n)
			for i := range x {
				x[i] = -60000
			}
			data := make([]byte, n*int(d.Size()))
			Encode(data, x, d)
			if i, bad := firstNonFinite(data, d); bad {
				t.Errorf("%s of %d: found %d", d, n, i)
			}
			for _, at := range [][2]int{{0, n - 1}, {n / 2, n - 1}, {n - 1, n - 1}} {
				bad := slices.Clone(data)
				size := int(d.Size())
				Encode(bad[at[1]*size:(at[1]+1)*size], []float32{-inf}, d)
				Encode(bad[at[0]*size:(at[0]+1)*size], []float32{nan}, d)
				if i, found := firstNonFinite(bad, d); !found || i != at[0] {
					t.Errorf("%s of %d: found %d %v, want %d", d, n, i, found, at[0])
				}
			}
		}
	}
	if _, bad := firstNonFinite([]byte{0xff, 0xff, 0xff, 0xff}, I32); bad {
		t.Error("whole numbers are always finite")
	}
}

func TestHash(t *testing.T) {
	a, b := FromFloats("a", []int{2}, []float32{1, 2}), FromFloats("b", []int{2}, []float32{3, 4})
	hash := func(entries ...Entry) string {
		data, err := Marshal(entries, map[string]string{"n": string(rune('0' + len(entries)))})
		if err != nil {
			t.Fatal(err)
		}
		c, err := Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		h, err := c.Hash(context.Background())
		if err != nil || len(h) != 64 {
			t.Fatal(h, err)
		}
		return h
	}
	want := hash(a, b)
	if got := hash(b, a); got != want {
		t.Errorf("the order changes the hash")
	}
	dir := t.TempDir()
	if _, err := WriteShards(dir, []Entry{b, a}, ShardOptions{MaxShardSize: 8}); err != nil {
		t.Fatal(err)
	}
	c, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got, err := c.Hash(context.Background()); got != want || err != nil {
		t.Errorf("shards change the hash: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := c.Hash(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Hash of a cancelled context: %v", err)
	}
	for name, other := range map[string]Entry{
		"value": FromFloats("b", []int{2}, []float32{3, 5}),
		"name":  FromFloats("c", []int{2}, []float32{3, 4}),
		"shape": FromFloats("b", []int{2, 1}, []float32{3, 4}),
		"dtype": FromBytes("b", U32, []int{2}, bytesOf([]float32{3, 4})),
	} {
		if hash(a, other) == want {
			t.Errorf("another %s has the same hash", name)
		}
	}
}

// FuzzParse holds that nothing panics, that what we accept the library accepts, and that it can be written again.
func FuzzParse(f *testing.F) {
	f.Add(raw(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}  `, 8))
	f.Add(raw(`{"__metadata__":{"format":"pt"},"a":{"dtype":"BF16","shape":[],"data_offsets":[0,2]},"b":{"dtype":"I8","shape":[0,9],"data_offsets":[2,2]}}`, 2))
	f.Add(raw(`{}`, 0))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse(data)
		if err != nil {
			return
		}
		if _, err := safetensors.Deserialize(data); err != nil {
			t.Fatalf("we accept what the library does not: %v", err)
		}
		var entries []Entry
		for _, name := range c.Names() {
			info, _ := c.Info(name)
			if IsFloat(info.DType) {
				if _, err := c.Floats(name); err != nil {
					t.Fatal(err)
				}
				c.FirstNonFinite(name)
			}
			e, err := c.Entry(name)
			if err != nil {
				t.Fatal(err)
			}
			entries = append(entries, e)
		}
		out, err := Marshal(entries, c.Metadata())
		if err != nil {
			t.Fatal(err)
		}
		d, err := Parse(out)
		if err != nil {
			t.Fatal(err)
		}
		if a, _ := c.Hash(t.Context()); a != must(d.Hash(t.Context())) {
			t.Fatal("writing again changes the weights")
		}
	})
}

func must(s string, err error) string {
	if err != nil {
		return err.Error()
	}
	return s
}

// FuzzIndex holds that no index leads out of the folder or panics.
func FuzzIndex(f *testing.F) {
	f.Add([]byte(`{"metadata":{"total_size":1},"weight_map":{"a":"x.safetensors","c":"y.safetensors"}}`))
	f.Add([]byte(`{"weight_map":{"a":"../x"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := OpenFS(folder(t, fstest.MapFS{"model.safetensors.index.json": {Data: data}}))
		if err == nil && len(c.Names()) == 0 {
			t.Fatal("an index of nothing was accepted")
		}
	})
}
