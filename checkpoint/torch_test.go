package checkpoint

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"unsafe"
)

// TestTorch reads files of both formats as the safetensors file of the same tensors.
func TestTorch(t *testing.T) {
	for proto := byte(2); proto <= 5; proto++ {
		s, entries := everyKind(t, proto)
		twin, err := Marshal(entries, nil)
		if err != nil {
			t.Fatal(err)
		}
		want, err := Parse(twin)
		if err != nil {
			t.Fatal(err)
		}
		s.plain = proto%2 == 1
		for form, data := range map[string][]byte{"zip": s.zip(t), "legacy": s.legacy()} {
			c, err := Parse(data)
			if err != nil {
				t.Fatalf("%s, protocol %d: %v", form, proto, err)
			}
			same(t, c, want)
			if a, b := must(c.Hash(t.Context())), must(want.Hash(t.Context())); a != b {
				t.Errorf("%s, protocol %d: hash %s, want %s", form, proto, a, b)
			}
		}
	}
}

// same compares all tensors of two checkpoints.
func same(t *testing.T, c, want *Checkpoint) {
	t.Helper()
	if !slices.Equal(c.Names(), want.Names()) {
		t.Errorf("%s: tensors %q, want %q", c.Path(), c.Names(), want.Names())
		return
	}
	for _, name := range want.Names() {
		a, _ := c.Info(name)
		b, _ := want.Info(name)
		x, err1 := c.Bytes(name)
		y, err2 := want.Bytes(name)
		if err := errors.Join(err1, err2); err != nil || a.DType != b.DType || !slices.Equal(a.Shape, b.Shape) || a.Size != b.Size || !bytes.Equal(x, y) {
			t.Errorf("%s: %s is %s %v % x, want %s %v % x (%v)", c.Path(), name, a.DType, a.Shape, x, b.DType, b.Shape, y, err)
		}
	}
}

// TestTorchInPlace holds that contiguous tensors alias the file and that tied ones share their bytes.
func TestTorchInPlace(t *testing.T) {
	s, _ := everyKind(t, 2)
	data := s.zip(t)
	c, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	at := func(name string) *byte { return unsafe.SliceData(must1(c.Bytes(name))) }
	for _, name := range c.Names() {
		info, _ := c.Info(name)
		if info.Size == 0 {
			continue
		}
		in := at(name) == &data[info.Offset]
		if copied := strings.HasPrefix(name, "transposed") || name == "every other" || name == "columns"; in == copied {
			t.Errorf("%s: in place is %v", name, in)
		}
	}
	if at("tied") != at("again") || at("transposed") != at("transposed.tied") {
		t.Error("tied tensors have bytes of their own")
	}
	stored := c.Stored()
	if !slices.IsSortedFunc(stored, func(a, b Info) int { return int(a.Offset - b.Offset) }) {
		t.Errorf("Stored is not in the order of the file: %v", stored)
	}
}

func must1[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestTorchEveryPrefix cuts files of both formats at every place.
func TestTorchEveryPrefix(t *testing.T) {
	s, _ := everyKind(t, 2)
	for form, data := range map[string][]byte{"zip": s.zip(t), "legacy": s.legacy()} {
		for n := range data {
			if _, err := Parse(data[:n:n]); !errors.Is(err, ErrFormat) {
				t.Errorf("%s: the first %d of %d bytes: %v", form, n, len(data), err)
			}
		}
	}
}

// one is a file of one tensor in a storage "0" of six numbers.
func one(change func(*savedTensor)) saved {
	v := savedTensor{name: "w", key: "0", class: "FloatStorage", num: 6, shape: []int{2, 3}, strides: []int{3, 1}}
	if change != nil {
		change(&v)
	}
	return saved{tensors: []savedTensor{v}, storages: []savedStorage{{"0", 4, make([]byte, 24)}}}
}

func TestTorchRefusesTensors(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*savedTensor)
		want   string
	}{
		{"an offset that leads out", func(v *savedTensor) { v.offset = 1 }, `tensor "w": shape [2 3] with strides [3 1] from 1 leads out of its storage of 6`},
		{"a negative offset", func(v *savedTensor) { v.offset = -1 }, "storage_offset has -1, want at least 0"},
		{"the largest offset", func(v *savedTensor) { v.offset = math.MaxInt64 }, "leads out of its storage"},
		{"a negative stride", func(v *savedTensor) { v.strides = []int{3, -1} }, "stride has -1, want at least 0"},
		{"a negative size", func(v *savedTensor) { v.shape = []int{-2, 3} }, "size has -2, want at least 0"},
		{"a shape that overflows", func(v *savedTensor) { v.shape = []int{1 << 40, 1 << 40} }, "is more than any memory holds"},
		{"strides that overflow", func(v *savedTensor) { v.strides = []int{math.MaxInt64, math.MaxInt64} }, "leads out of its storage"},
		{"a shape and strides that overflow to something small", func(v *savedTensor) { v.shape, v.strides = []int{3, 2}, []int{1 << 62, 1 << 62} }, "leads out of its storage"},
		{"a stride of zero", func(v *savedTensor) { v.strides = []int{0, 1} }, "has elements at the same place"},
		{"strides that overlap", func(v *savedTensor) { v.strides = []int{2, 1} }, "has elements at the same place"},
		{"too few strides", func(v *savedTensor) { v.strides = []int{1} }, "want as many strides as dimensions"},
		{"too many dimensions", func(v *savedTensor) { v.shape = make([]int, 65) }, "size has 65 numbers, want at most 64"},
		{"a storage of another size", func(v *savedTensor) { v.num = 7 }, `storage "0" has `},
		{"a storage of a negative size", func(v *savedTensor) { v.num = -6 }, `storage "0" has -6 elements, which no memory holds`},
		{"a storage of 2^61 numbers", func(v *savedTensor) { v.num = 1 << 61 }, `which no memory holds`},
		{"a storage of another dtype", func(v *savedTensor) { v.class = "DoubleStorage" }, `storage "0"`},
		{"a class that is not known", func(v *savedTensor) { v.class = "QInt8Storage" }, `global "torch.QInt8Storage", want OrderedDict, _rebuild_parameter, _rebuild_tensor_v2, _rebuild_tensor_v3; nothing else is looked up or run`},
		{"an untyped storage without a dtype", func(v *savedTensor) { v.dtype = "uint16" }, `global "torch.storage.FloatStorage"`},
		{"a dtype that is not known", func(v *savedTensor) { v.class, v.dtype = "UntypedStorage", "float8_e4m3fn" }, `global "torch.float8_e4m3fn"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := one(c.change)
			for form, data := range map[string][]byte{"zip": s.zip(t), "legacy": s.legacy()} {
				_, err := Parse(data)
				if err == nil || !strings.Contains(err.Error(), c.want) || !errors.Is(err, ErrFormat) || strings.Contains(err.Error(), "\n") {
					t.Errorf("%s: %v, want …%s…", form, err, c.want)
				}
			}
		})
	}
	t.Run("views that multiply a storage", func(t *testing.T) {
		s := one(func(v *savedTensor) { v.strides = []int{1, 2} })
		f := &torchFile{data: s.legacy(), storages: map[string]*storage{}, copies: map[string][]byte{}}
		root, err := f.readLegacy()
		if err != nil {
			t.Fatal(err)
		}
		f.copied = int64(len(f.data)) - 4 // as if much had been copied before
		if _, err := f.list(root); err == nil || !strings.Contains(err.Error(), "take more bytes than the file has") {
			t.Errorf("list: %v", err)
		}
	})
}

func TestTorchRefusesPickles(t *testing.T) {
	p := func() *pickler { return newPickler(2) }
	tensor := savedTensor{name: "w", key: "0", class: "FloatStorage", num: 6, shape: []int{6}, strides: []int{1}}
	for _, c := range []struct {
		name string
		pkl  []byte
		want string
	}{
		{"a command", p().raw("cos\nsystem\n(X\x02\x00\x00\x00lstR").bytes(), `data.pkl: pickle, byte 2: global "os.system", want OrderedDict`},
		{"a builtin", p().raw("c__builtin__\neval\n(X\x01\x00\x00\x001tR").bytes(), `global "__builtin__.eval"`},
		{"an instance", p().raw("(ios\nsystem\n").bytes(), "instruction 0x69"},
		{"an object", p().ordered().raw(")\x81").bytes(), "instruction 0x81"},
		{"a list", p().raw("]").bytes(), "holds a list of 0, want a dict of tensors"},
		{"a tensor alone", p().tensor(tensor, false).bytes(), "holds a tensor, want a dict of tensors"},
		{"a number among tensors", p().raw("}").str("epoch").int(3).raw("s").bytes(), `entry "epoch" is a whole number, want a tensor`},
		{"a state dict within", p().raw("}").str("state_dict").raw("}s").bytes(), `entry "state_dict" is a dict of 0, want a tensor`},
		{"a key that is no string", p().raw("}").int(1).tensor(tensor, false).raw("s").bytes(), `a key is a whole number, want the name of a tensor`},
		{"a tensor twice", p().raw("}(").str("w").tensor(tensor, false).str("w").tensor(tensor, false).raw("u").bytes(), `tensor "w" is listed twice`},
		{"a storage of two kinds", p().raw("}(").str("w").tensor(tensor, false).str("v").tensor(savedTensor{key: "0", class: "IntStorage", num: 6}, false).raw("u").bytes(), `storage "0" is 6 of I32 here and 6 of F32 there`},
		{"an unknown persistent id", p().str("module").raw("Q").bytes(), "refers to a string outside of the pickle"},
		{"a short persistent id", p().raw("(").str("storage").raw("tQ").bytes(), "refers to a tuple of 1 outside"},
		{"a storage's view", p().raw("(").str("storage").global("torch", "FloatStorage").str("0").str("cpu").int(6).int(1).raw("tQ").bytes(), "want a whole storage"},
		{"hooks", p().global("torch._utils", "_rebuild_tensor_v2").raw("((").str("storage").global("torch", "FloatStorage").str("0").str("cpu").int(6).raw("tQ").int(0).
			ints([]int{6}).ints([]int{1}).raw("\x89}K\x01K\x01stR").bytes(), "a dict of 1 beside its numbers"},
		{"metadata", p().global("torch._utils", "_rebuild_tensor_v2").raw("((").str("storage").global("torch", "FloatStorage").str("0").str("cpu").int(6).raw("tQ").int(0).
			ints([]int{6}).ints([]int{1}).raw("\x89}}").str("conj").raw("\x88stR").bytes(), "a dict of 1 beside its numbers"},
		{"a tensor of nothing", p().global("torch._utils", "_rebuild_tensor_v2").raw(")R").bytes(), "tensor of 0 arguments"},
		{"a parameter of nothing", p().global("torch._utils", "_rebuild_parameter").raw("(NNNtR").bytes(), "parameter is None, want a tensor"},
		{"a call of a storage", p().global("torch", "FloatStorage").raw(")R").bytes(), "calls a class of storages with a tuple of 0"},
		{"attributes of a tensor", p().tensor(tensor, false).raw("}b").bytes(), "fills a tensor, want an OrderedDict"},
		{"bytes after the pickle", append(p().raw("}").bytes(), 0), "1 bytes after the pickle"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse(zipOf(t, zipEntry{"m/data.pkl", c.pkl}, zipEntry{"m/data/0", make([]byte, 24)}))
			if err == nil || !strings.Contains(err.Error(), c.want) || !errors.Is(err, ErrFormat) {
				t.Errorf("%v, want …%s…", err, c.want)
			}
		})
	}
}

func TestTorchRefusesArchives(t *testing.T) {
	dict := zipEntry{"m/data.pkl", one(nil).dict(false)}
	full := zipEntry{"m/data/0", make([]byte, 24)}
	flipped := func(old, new string) []byte {
		return bytes.ReplaceAll(zipOf(t, dict, full), []byte(old), []byte(new))
	}
	overlap := func() []byte {
		s := one(nil)
		s.tensors = append(s.tensors, savedTensor{name: "v", key: "1", class: "FloatStorage", num: 6, shape: []int{6}, strides: []int{1}})
		data := zipOf(t, zipEntry{"m/data.pkl", s.dict(false)}, full, zipEntry{"m/data/1", make([]byte, 24)})
		// The directory's second storage is made to point at the first.
		first := bytes.Index(data, []byte("m/data/0")) - 30
		entry := bytes.LastIndex(data, []byte("m/data/1"))
		binary.LittleEndian.PutUint32(data[entry-4:], uint32(first))
		return data
	}
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"no pickle", zipOf(t, zipEntry{"m/a.txt", nil}), "zip archive has no data.pkl: torch.save did not write it"},
		{"a pickle at the top", zipOf(t, zipEntry{"data.pkl", nil}), "has no data.pkl"},
		{"two pickles", zipOf(t, dict, zipEntry{"n/data.pkl", nil}), "has m/data.pkl and n/data.pkl, want one"},
		{"an entry twice", zipOf(t, dict, full, full), `zip entry "m/data/0" is there twice`},
		{"a program", zipOf(t, dict, full, zipEntry{"m/constants.pkl", nil}), "is a TorchScript program"},
		{"big-endian numbers", zipOf(t, dict, full, zipEntry{"m/byteorder", []byte("big")}), `byteorder is "big", want "little"`},
		{"no storage", zipOf(t, dict), `zip archive has no "m/data/0"`},
		{"a storage that is too small", zipOf(t, dict, zipEntry{"m/data/0", make([]byte, 20)}), `storage "0" has 20 bytes, want 6 of F32`},
		{"a storage that is too large", zipOf(t, dict, zipEntry{"m/data/0", make([]byte, 28)}), `storage "0" has 28 bytes, want 6 of F32`},
		{"entries that overlap", overlap(), `storage "1" begins at `},
		{"sizes that differ", flipped("\x18\x00\x00\x00\x18\x00\x00\x00", "\x17\x00\x00\x00\x18\x00\x00\x00"), "is compressed or encrypted"},
		{"sizes beyond the file", flipped("\x18\x00\x00\x00\x18\x00\x00\x00", "\x18\x00\x00\x7f\x18\x00\x00\x7f"), `has 2130706456 bytes at `},
		{"no directory", zipOf(t, dict, full)[:200], "zip archive is damaged or cut off"},
		{"rubbish", []byte("PK\x03\x04 and so on, an archive"), "zip archive is damaged or cut off"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse(c.data)
			if err == nil || !strings.Contains(err.Error(), c.want) || !errors.Is(err, ErrFormat) {
				t.Errorf("%v, want …%s…", err, c.want)
			}
		})
	}
}

func TestTorchRefusesLegacy(t *testing.T) {
	whole := string(one(nil).legacy())
	swap := func(old, new string) []byte { return []byte(strings.Replace(whole, old, new, 1)) }
	keys := newPickler(2).raw("](").str("0").raw("e").bytes()
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"any pickle", newPickler(2).raw("}").bytes(), "is a pickle of a dict of 0, want a file of torch.save, which begins with a magic number"},
		{"another version", swap("M\xe9\x03", "M\xea\x03"), "version is a whole number other than 1001"},
		{"no system", swap("}(X\x10\x00\x00\x00protocol_versionM\xe9\x03X\x0d\x00\x00\x00little_endian\x88u", "N"), "system is None, want a dict"},
		{"big-endian numbers", swap("\x88u", "\x89u"), "numbers are big-endian"},
		{"bytes at the end", append([]byte(whole), 0), "1 bytes after the last storage"},
		{"keys that are no list", swap(string(keys), "\x80\x02N."), "keys of storages are None, want a list"},
		{"a key twice", swap(string(keys), string(newPickler(2).raw("](").str("0").str("0").raw("e").bytes())), `a string "0" that no tensor uses or that is listed before`},
		{"a key of no tensor", swap(string(keys), string(newPickler(2).raw("](").str("1").raw("e").bytes())), `a string "1" that no tensor uses`},
		{"a key that is no string", swap(string(keys), string(newPickler(2).raw("](}e").bytes())), `a dict of 0 "" that no tensor uses`},
		{"no keys", swap(string(keys), string(newPickler(2).raw("]").bytes())), `storage "0" is not in the file`},
		{"a number of elements that is too large", swap("\x06\x00\x00\x00\x00\x00\x00\x00", "\xff\xff\xff\xff\xff\xff\xff\xff"), `storage "0" has 18446744073709551615 elements, want 6`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse(c.data)
			if err == nil || !strings.Contains(err.Error(), c.want) || !errors.Is(err, ErrFormat) {
				t.Errorf("%v, want …%s…", err, c.want)
			}
		})
	}
}

// TestTorchFolder opens folders of torch files: whole, in shards, beside safetensors.
func TestTorchFolder(t *testing.T) {
	named := func(name string) []byte { return one(func(v *savedTensor) { v.name = name }).zip(t) }
	fsys := fstest.MapFS{
		"pytorch_model-00001-of-00002.bin": {Data: named("a")},
		"pytorch_model-00002-of-00002.bin": {Data: named("b")},
		"pytorch_model.bin.index.json": {Data: []byte(`{"metadata":{"total_size":48},"weight_map":{
			"a":"pytorch_model-00001-of-00002.bin","b":"pytorch_model-00002-of-00002.bin"}}`)},
	}
	open := func() string {
		c, err := OpenFS(fsys)
		if err != nil {
			return err.Error()
		}
		return strings.Join(c.Names(), " ")
	}
	if got := open(); got != "a b" {
		t.Errorf("shards: %s", got)
	}
	fsys["pytorch_model.bin"] = &fstest.MapFile{Data: named("whole")}
	if got := open(); got != "whole" {
		t.Errorf("one file and shards: %s", got)
	}
	fsys["model.safetensors"] = &fstest.MapFile{Data: raw("{}", 0)}
	if got := open(); got != "" {
		t.Errorf("safetensors beside: %s", got)
	}
	path := filepath.Join(t.TempDir(), "weights.pt")
	if err := os.WriteFile(path, named("w")[:50], 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); err == nil || !strings.Contains(err.Error(), "weights.pt: zip archive is damaged or cut off") {
		t.Errorf("Open: %v", err)
	}
	if err := os.WriteFile(path, named("w"), 0o666); err != nil {
		t.Fatal(err)
	}
	c, err := Open(path)
	if err != nil || c.MappedBytes() != int64(len(named("w"))) {
		t.Fatalf("Open: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// FuzzTorch holds that nothing panics and that what is accepted can be read and written again.
func FuzzTorch(f *testing.F) {
	s, _ := everyKind(f, 2)
	f.Add(s.zip(f))
	f.Add(s.legacy())
	s, _ = everyKind(f, 4)
	f.Add(s.zip(f))
	f.Add(one(nil).zip(f))
	f.Add(one(nil).legacy())
	f.Fuzz(func(t *testing.T, data []byte) { rewrite(t, data) })
}

// FuzzTorchPickle is FuzzTorch for the pickle alone, in an archive that is right.
func FuzzTorchPickle(f *testing.F) {
	s, _ := everyKind(f, 2)
	f.Add(s.dict(false))
	f.Add(one(nil).dict(false))
	f.Fuzz(func(t *testing.T, pkl []byte) {
		entries := []zipEntry{{"m/data.pkl", pkl}}
		for _, st := range s.storages {
			entries = append(entries, zipEntry{"m/data/" + st.key, st.data})
		}
		rewrite(t, zipOf(t, entries...))
	})
}

// rewrite parses data and, if that works, writes it as safetensors and compares.
func rewrite(t *testing.T, data []byte) {
	c, err := Parse(data)
	if err != nil {
		return
	}
	var entries []Entry
	for _, name := range c.Names() {
		if name == "__metadata__" {
			return // no name for safetensors
		}
		e, err := c.Entry(name)
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, e)
	}
	out, err := Marshal(entries, nil)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse(out)
	if err != nil {
		t.Fatal(err)
	}
	same(t, again, c)
}
