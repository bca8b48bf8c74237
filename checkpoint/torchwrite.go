package checkpoint

import (
	"archive/zip"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/graft-ml/graft/internal/atomicfile"
)

// WriteTorch writes a state dict as torch.save does: a zip archive with a pickled OrderedDict of tensors, each in a storage of its
// own. torch.load(…, weights_only=True) reads it. All of it is in memory while it is written; it is for adapters.
func WriteTorch(path string, entries []Entry) error {
	l, err := arrange(entries, nil)
	if err != nil {
		return fmt.Errorf("checkpoint: %s: %w", path, err)
	}
	data := make([]memory, len(l.entries))
	for i, e := range l.entries {
		data[i] = make(memory, l.sizes[i])
		if err := fill(data[i], 0, e, l.sizes[i]); err != nil {
			return fmt.Errorf("checkpoint: %s: %w", path, err)
		}
	}
	dict, err := pickleDict(l.entries)
	if err != nil {
		return fmt.Errorf("checkpoint: %s: %w", path, err)
	}
	return atomicfile.Write(path, func(w io.Writer) error {
		z := &torchArchive{w: zip.NewWriter(w)}
		z.add("data.pkl", dict)
		z.add("byteorder", []byte("little"))
		for i := range data {
			z.add("data/"+strconv.Itoa(i), data[i])
		}
		z.add("version", []byte("3\n"))
		return errors.Join(z.err, z.w.Close())
	})
}

// torchArchive writes entries that are not compressed, their bytes at multiples of 64.
type torchArchive struct {
	w   *zip.Writer
	at  int
	err error
}

func (z *torchArchive) add(name string, data []byte) {
	if z.err != nil {
		return
	}
	const localHeader, extraHeader = 30, 4
	name = "archive/" + name
	pad := -(z.at + localHeader + len(name) + extraHeader) & 63
	extra := append(binary.LittleEndian.AppendUint16([]byte("FB"), uint16(pad)), strings.Repeat("Z", pad)...)
	w, err := z.w.CreateRaw(&zip.FileHeader{Name: name, Method: zip.Store, Extra: extra, CRC32: crc32.ChecksumIEEE(data),
		CompressedSize64: uint64(len(data)), UncompressedSize64: uint64(len(data))})
	if err == nil {
		_, err = w.Write(data)
	}
	z.at += localHeader + len(name) + len(extra) + len(data)
	z.err = err
}

// classOf is the class of storages of a dtype.
func classOf(d DType) (string, error) {
	for name, v := range torchGlobals {
		if s, ok := v.(storageType); ok && s.dtype == d && !s.untyped {
			return strings.TrimPrefix(name, "torch."), nil
		}
	}
	return "", fmt.Errorf("%s has no class of storages in torch", d)
}

// pickleDict is the dict in protocol 2; the i-th tensor lies in the storage of that number.
func pickleDict(entries []Entry) ([]byte, error) {
	p := pickleWriter("\x80\x02")
	p.orderedDict()
	p.add("(")
	for i, e := range entries {
		class, err := classOf(e.DType)
		if err != nil {
			return nil, fmt.Errorf("tensor %q: %w", e.Name, err)
		}
		p.text(e.Name)
		p.global("torch._utils", "_rebuild_tensor_v2")
		p.add("((")
		p.text("storage")
		p.global("torch", class)
		p.text(strconv.Itoa(i))
		p.text("cpu")
		n, strides := 1, make([]int, len(e.Shape))
		for k, d := range slices.Backward(e.Shape) {
			strides[k] = n
			n *= d
		}
		p.whole(n)
		p.add("tQ")
		p.whole(0)
		p.tuple(e.Shape)
		p.tuple(strides)
		p.add("\x89") // requires_grad False
		p.orderedDict()
		p.add("tR")
	}
	p.add("u.")
	return p, nil
}

// pickleWriter writes the few instructions that a state dict needs.
type pickleWriter []byte

func (p *pickleWriter) add(s string) { *p = append(*p, s...) }

func (p *pickleWriter) text(s string) {
	*p = binary.LittleEndian.AppendUint32(append(*p, 'X'), uint32(len(s)))
	p.add(s)
}

func (p *pickleWriter) global(module, name string) { p.add("c" + module + "\n" + name + "\n") }

func (p *pickleWriter) orderedDict() {
	p.global("collections", "OrderedDict")
	p.add(")R")
}

func (p *pickleWriter) whole(n int) {
	if n < 1<<31 {
		*p = binary.LittleEndian.AppendUint32(append(*p, 'J'), uint32(n))
		return
	}
	*p = binary.LittleEndian.AppendUint64(append(*p, 0x8a, 8), uint64(n))
}

func (p *pickleWriter) tuple(list []int) {
	p.add("(")
	for _, n := range list {
		p.whole(n)
	}
	p.add("t")
}
