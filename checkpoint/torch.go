package checkpoint

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/graft-ml/graft/internal/pickle"
)

// zipMagic begins a zip archive, one of torch's two formats.
const zipMagic = "PK\x03\x04"

// isPickle tells whether a file begins as the other, with a pickle of protocol 2 to 5.
func isPickle(head []byte) bool {
	return len(head) > 1 && head[0] == 0x80 && head[1] >= 2 && head[1] <= 5
}

// parseTorch lists the tensors of a file of torch.save.
func parseTorch(data []byte) (*Table, error) {
	f := &torchFile{data: data, storages: map[string]*storage{}, copies: map[string][]byte{}}
	var root any
	var err error
	switch {
	case hasPrefix(data, zipMagic):
		root, err = f.readArchive()
	case isPickle(data):
		root, err = f.readLegacy()
	default:
		err = fmt.Errorf("begins with %q, want a zip archive or a pickle, as torch.save writes them", data[:min(len(data), 8)])
	}
	if err != nil {
		return nil, err
	}
	return f.list(root)
}

// torchFile is a file of torch.save while it is read.
type torchFile struct {
	data     []byte
	storages map[string]*storage
	order    []*storage        // as they are first mentioned
	copies   map[string][]byte // of views that do not lie in one piece, by what tells them apart
	copied   int64             // bytes of copies
}

// storage is a row of numbers in the file, which tensors are views of.
type storage struct {
	storageType
	key string
	num uint64 // elements
	at  int64  // of the first byte in the file, once it is found
}

// storageType is what a storage holds. An untyped one holds bytes; the tensors say what they are.
type storageType struct {
	dtype   DType
	untyped bool
}

func (s *storage) String() string   { return "a storage" }
func (storageType) String() string  { return "a class of storages" }
func (t *strided) String() string   { return "a tensor" }
func (d torchDType) String() string { return "a dtype" }

// size is the storage's length in bytes; byteSize has checked that there is one.
func (s *storage) size() int64 {
	n, _ := byteSize(s.dtype, []uint64{s.num})
	return int64(n)
}

// decode reads a pickle of the file.
func (f *torchFile) decode(data []byte) (any, int, error) {
	d := &pickle.Decoder{Globals: torchGlobals, Persistent: f.persistent}
	return d.Decode(data)
}

// persistent finds the storage of a persistent id:
//
//	("storage", class, key, device, number of elements[, None])
func (f *torchFile) persistent(id any) (any, error) {
	t, ok := id.(pickle.Tuple)
	if !ok || len(t) < 5 || len(t) > 6 || t[0] != "storage" || len(t) == 6 && t[5] != nil {
		return nil, fmt.Errorf("refers to %s outside of the pickle, want a whole storage", pickle.Describe(id))
	}
	class, ok1 := t[1].(storageType)
	key, ok2 := t[2].(string)
	num, ok3 := t[4].(int64)
	if !ok1 || !ok2 || !ok3 {
		return nil, fmt.Errorf("storage of %s, %s and %s, want class, key and number", pickle.Describe(t[1]), pickle.Describe(t[2]), pickle.Describe(t[4]))
	}
	if _, fits := byteSize(class.dtype, []uint64{uint64(num)}); !fits {
		return nil, fmt.Errorf("storage %q has %d elements, which no memory holds", key, num)
	}
	s, ok := f.storages[key]
	if !ok {
		s = &storage{storageType: class, key: key, num: uint64(num)}
		f.storages[key], f.order = s, append(f.order, s)
	}
	if s.storageType != class || s.num != uint64(num) {
		return nil, fmt.Errorf("storage %q is %d of %s here and %d of %s there", key, num, class.dtype, s.num, s.dtype)
	}
	return s, nil
}

// place says where a storage lies, once that is known.
func (f *torchFile) place(s *storage, at, size int64) error {
	if size != s.size() {
		return fmt.Errorf("storage %q has %d bytes, want %d of %s", s.key, size, s.num, s.dtype)
	}
	s.at = at
	return nil
}

// list is the table of a state dict. All that is wrong with its tensors is in one error.
func (f *torchFile) list(root any) (*Table, error) {
	dict, ok := root.(*pickle.Dict)
	if !ok {
		return nil, fmt.Errorf("holds %s, want a dict of tensors", pickle.Describe(root))
	}
	table := &Table{copies: map[string][]byte{}}
	var p problems
	seen := map[string]bool{}
	for i, key := range dict.Keys {
		name, ok := key.(string)
		t, isTensor := dict.Values[i].(*strided)
		switch {
		case !ok:
			p.add("a key is %s, want the name of a tensor", pickle.Describe(key))
			continue
		case seen[name]:
			p.add("tensor %q is listed twice", name)
			continue
		case !isTensor:
			p.add("entry %q is %s, want a tensor", name, pickle.Describe(dict.Values[i]))
			continue
		}
		seen[name] = true
		info, copied, err := f.resolve(name, t)
		if err != nil {
			p.add("tensor %q: %v", name, err)
			continue
		}
		if copied != nil {
			table.copies[name] = copied
		}
		table.Tensors = append(table.Tensors, info)
	}
	slices.SortStableFunc(table.Tensors, func(a, b Info) int { return cmp.Compare(a.Offset, b.Offset) })
	return table, p.bare()
}

// resolve finds a tensor's bytes: in place if they lie in one piece, else a copy. Tensors that are the same view of the same storage,
// as tied weights are, share the bytes in both cases.
func (f *torchFile) resolve(name string, t *strided) (Info, []byte, error) {
	size, err := t.check()
	if err != nil {
		return Info{}, nil, err
	}
	info := Info{Name: name, DType: t.dtype, Offset: t.storage.at + int64(t.offset*t.dtype.Size()), Size: int64(size), Shape: make([]int, len(t.shape))}
	for i, n := range t.shape {
		info.Shape[i] = int(n)
	}
	if size == 0 {
		info.Offset = t.storage.at // whatever the view's offset says, it has no first element
	}
	if size == 0 || t.contiguous() {
		return info, nil, nil
	}
	if err := t.distinct(); err != nil {
		return Info{}, nil, err
	}
	id := fmt.Sprint(info.Offset, t.dtype, t.shape, t.strides)
	if b, ok := f.copies[id]; ok {
		return info, b, nil
	}
	// Together, honest views visit each byte of the file about once, in whatever order.
	if f.copied += info.Size; f.copied > int64(len(f.data)) {
		return Info{}, nil, errors.New("tensors that do not lie in one piece take more bytes than the file has")
	}
	f.copies[id] = t.gather(f.data)
	return info, f.copies[id], nil
}
