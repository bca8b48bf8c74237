package checkpoint

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"testing"
)

// pickler writes pickles as torch's does, for files to read.
type pickler struct {
	b     bytes.Buffer
	proto byte
}

func newPickler(proto byte) *pickler {
	p := &pickler{proto: proto}
	p.raw("\x80", string(proto))
	return p
}

func (p *pickler) raw(parts ...string) *pickler {
	for _, s := range parts {
		p.b.WriteString(s)
	}
	return p
}

func (p *pickler) bytes() []byte { return append(bytes.Clone(p.b.Bytes()), '.') }

func le(n uint64, size int) string {
	return string(binary.LittleEndian.AppendUint64(nil, n)[:size])
}

func (p *pickler) str(s string) *pickler {
	if p.proto >= 4 && len(s) < 256 {
		return p.raw("\x8c", le(uint64(len(s)), 1), s)
	}
	return p.raw("X", le(uint64(len(s)), 4), s)
}

func (p *pickler) int(n int) *pickler {
	switch {
	case n >= 0 && n < 256:
		return p.raw("K", le(uint64(n), 1))
	case n >= 0 && n < 1<<16:
		return p.raw("M", le(uint64(n), 2))
	case int(int32(n)) == n:
		return p.raw("J", le(uint64(n), 4))
	}
	return p.raw("\x8a\x08", le(uint64(n), 8))
}

func (p *pickler) ints(list []int) *pickler {
	p.raw("(")
	for _, n := range list {
		p.int(n)
	}
	return p.raw("t")
}

func (p *pickler) global(module, name string) *pickler {
	if p.proto >= 4 {
		return p.str(module).str(name).raw("\x93")
	}
	return p.raw("c", module, "\n", name, "\n")
}

func (p *pickler) ordered() *pickler { return p.global("collections", "OrderedDict").raw(")R") }

// savedTensor is a tensor of a file to write: a view of a storage. Untyped storages have a dtype.
type savedTensor struct {
	name, key, class string
	num              int // elements of the storage
	offset           int
	shape, strides   []int
	dtype            string
	parameter        bool
}

func (p *pickler) tensor(t savedTensor, legacy bool) *pickler {
	if t.parameter {
		p.global("torch._utils", "_rebuild_parameter").raw("(")
	}
	version := "_rebuild_tensor_v2"
	module := "torch"
	if t.dtype != "" {
		version, module = "_rebuild_tensor_v3", "torch.storage"
	}
	p.global("torch._utils", version).raw("((").str("storage").global(module, t.class).str(t.key).str("cpu").int(t.num)
	if legacy {
		p.raw("N")
	}
	p.raw("tQ").int(t.offset).ints(t.shape).ints(t.strides).raw("\x89").ordered()
	if t.dtype != "" {
		p.global("torch", t.dtype)
	}
	p.raw("tR")
	if t.parameter {
		p.raw("\x89").ordered().raw("tR")
	}
	return p
}

// saved is a whole file to write.
type saved struct {
	tensors  []savedTensor
	storages []savedStorage
	proto    byte
	plain    bool // a dict instead of an OrderedDict with _metadata
}

type savedStorage struct {
	key  string
	size int // of an element
	data []byte
}

// dict pickles the state dict.
func (s saved) dict(legacy bool) []byte {
	p := newPickler(max(s.proto, 2))
	if s.plain {
		p.raw("}")
	} else {
		p.ordered()
	}
	p.raw("q\x00(")
	for i, t := range s.tensors {
		p.str(t.name).raw("r", le(uint64(2*i+1), 4)).tensor(t, legacy).raw("r", le(uint64(2*i+2), 4))
	}
	p.raw("u")
	if !s.plain {
		p.raw("}").str("_metadata").ordered().raw("(").str("").raw("}").str("version").int(1).raw("sus", "b")
	}
	return p.bytes()
}

// zip is the file as torch writes it since 1.6.
func (s saved) zip(t testing.TB) []byte {
	entries := []zipEntry{{"m/data.pkl", s.dict(false)}, {"m/byteorder", []byte("little")}}
	for _, st := range s.storages {
		entries = append(entries, zipEntry{"m/data/" + st.key, st.data})
	}
	return zipOf(t, append(entries, zipEntry{"m/version", []byte("3\n")})...)
}

type zipEntry struct {
	name string
	data []byte
}

// zipOf is an archive of stored entries, their data at multiples of 64.
func zipOf(t testing.TB, entries ...zipEntry) []byte {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, e := range entries {
		h := &zip.FileHeader{Name: e.name, Method: zip.Store, CRC32: crc32.ChecksumIEEE(e.data),
			CompressedSize64: uint64(len(e.data)), UncompressedSize64: uint64(len(e.data))}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		pad := -(b.Len() + 30 + len(e.name) + 4) & 63
		h.Extra = append([]byte("FB"+le(uint64(pad), 2)), bytes.Repeat([]byte("Z"), pad)...)
		to, err := w.CreateRaw(h)
		if err == nil {
			_, err = to.Write(e.data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

const legacyHead = "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03."

// legacy is the file as torch wrote it before 1.6.
func (s saved) legacy() []byte {
	b := []byte(legacyHead)
	b = append(b, newPickler(2).raw("}(").str("protocol_version").int(1001).str("little_endian").raw("\x88u").bytes()...)
	b = append(b, s.dict(true)...)
	keys := newPickler(2).raw("](")
	for _, st := range s.storages {
		keys.str(st.key)
	}
	b = append(b, keys.raw("e").bytes()...)
	for _, st := range s.storages {
		b = binary.LittleEndian.AppendUint64(b, uint64(len(st.data)/st.size))
		b = append(b, st.data...)
	}
	return b
}

// torchClasses are the classes of storages by dtype.
var torchClasses = map[DType]string{F32: "FloatStorage", F16: "HalfStorage", BF16: "BFloat16Storage", F64: "DoubleStorage", I64: "LongStorage",
	I32: "IntStorage", I16: "ShortStorage", I8: "CharStorage", U8: "ByteStorage", Bool: "BoolStorage"}

// untypedNames are the dtypes without a class.
var untypedNames = map[DType]string{U16: "uint16", U32: "uint32", U64: "uint64"}

// everyKind is a file with a tensor of every dtype, a scalar, an empty tensor, parameters, a transposed and a tied pair, and what
// safetensors has of it.
func everyKind(t testing.TB, proto byte) (saved, []Entry) {
	s := saved{proto: proto}
	var entries []Entry
	add := func(name string, d DType, num, offset int, shape, strides []int, want []byte) savedTensor {
		v := savedTensor{name: name, key: fmt.Sprint(len(s.storages) - 1), class: torchClasses[d], num: num, offset: offset, shape: shape, strides: strides}
		if n, ok := untypedNames[d]; ok {
			v.class, v.dtype, v.num = "UntypedStorage", n, num*int(d.Size())
		}
		v.parameter = len(s.tensors)%2 == 1
		s.tensors = append(s.tensors, v)
		entries = append(entries, FromBytes(name, d, shape, want))
		return v
	}
	for d := Bool; d <= U64; d++ {
		data := make([]byte, 7*d.Size())
		for i := range data {
			data[i] = byte(i*37+int(d)) & 0x3f
		}
		size := int(d.Size())
		if _, untyped := untypedNames[d]; untyped {
			size = 1
		}
		s.storages = append(s.storages, savedStorage{fmt.Sprint(len(s.storages)), size, data})
		add("t."+d.String(), d, 7, 1, []int{2, 3}, []int{3, 1}, data[d.Size():])
	}
	x := []float32{1, 2, 3, 4, 5, 6, 7}
	s.storages = append(s.storages, savedStorage{fmt.Sprint(len(s.storages)), 4, bytesOf(x)})
	add("scalar", F32, 7, 6, nil, nil, bytesOf(x[6:]))
	add("empty", F32, 7, 0, []int{3, 0}, []int{1, 1}, nil)
	add("transposed", F32, 7, 1, []int{3, 2}, []int{1, 3}, bytesOf([]float32{2, 5, 3, 6, 4, 7}))
	add("transposed.tied", F32, 7, 1, []int{3, 2}, []int{1, 3}, bytesOf([]float32{2, 5, 3, 6, 4, 7}))
	add("tied", F32, 7, 1, []int{2, 3}, []int{3, 1}, bytesOf(x[1:]))
	add("again", F32, 7, 1, []int{2, 1, 3}, []int{3, 99, 1}, bytesOf(x[1:]))
	add("every other", F32, 7, 0, []int{4}, []int{2}, bytesOf([]float32{1, 3, 5, 7}))
	add("columns", F32, 7, 0, []int{2, 2}, []int{3, 1}, bytesOf([]float32{1, 2, 4, 5}))
	return s, entries
}
