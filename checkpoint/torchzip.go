package checkpoint

import (
	"archive/zip"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// archive is the zip archive of torch.save: its entries by name, and the folder that all of torch's own lie in.
type archive struct {
	entries map[string]*zip.File
	folder  string // with the slash
	size    int64
}

// readArchive reads the zip format: the pickle, and where its storages lie.
func (f *torchFile) readArchive() (any, error) {
	a, err := openArchive(f.data)
	if err != nil {
		return nil, err
	}
	at, size, err := a.find("data.pkl")
	if err != nil {
		return nil, err
	}
	root, n, err := f.decode(f.data[at : at+size])
	if err != nil {
		return nil, fmt.Errorf("data.pkl: %w", err)
	}
	if int64(n) != size {
		return nil, fmt.Errorf("data.pkl: %d bytes after the pickle", size-int64(n))
	}
	var p problems
	for _, s := range f.order {
		at, size, err := a.find("data/" + s.key)
		if err == nil {
			err = f.place(s, at, size)
		}
		if err != nil {
			p.add("%v", err)
		}
	}
	if err := p.bare(); err != nil {
		return nil, err
	}
	return root, f.apart()
}

// openArchive lists the entries and checks that torch.save wrote them, on a machine whose numbers are ours.
func openArchive(data []byte) (*archive, error) {
	r, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if errors.Is(err, zip.ErrFormat) {
		return nil, errors.New("zip archive is damaged or cut off: the directory at its end is missing or wrong")
	}
	if err != nil {
		return nil, err
	}
	a := &archive{entries: map[string]*zip.File{}, size: int64(len(data))}
	for _, e := range r.File {
		if _, ok := a.entries[e.Name]; ok {
			return nil, fmt.Errorf("zip entry %q is there twice", e.Name)
		}
		a.entries[e.Name] = e
		if folder, ok := strings.CutSuffix(e.Name, "data.pkl"); ok && strings.Count(folder, "/") == 1 && strings.HasSuffix(folder, "/") {
			if a.folder != "" {
				return nil, fmt.Errorf("zip archive has %sdata.pkl and %sdata.pkl, want one", a.folder, folder)
			}
			a.folder = folder
		}
	}
	if a.folder == "" {
		return nil, errors.New("zip archive has no data.pkl: torch.save did not write it")
	}
	if _, ok := a.entries[a.folder+"constants.pkl"]; ok {
		return nil, errors.New("is a TorchScript program, want the tensors of torch.save")
	}
	return a, a.checkOrder(data)
}

// checkOrder checks the byte order, where the archive states it.
func (a *archive) checkOrder(data []byte) error {
	if _, ok := a.entries[a.folder+"byteorder"]; !ok {
		return nil
	}
	at, size, err := a.find("byteorder")
	if err != nil {
		return err
	}
	if order := data[at : at+min(size, 16)]; string(order) != "little" {
		return fmt.Errorf("byteorder is %q, want \"little\"", order)
	}
	return nil
}

// find says where the bytes of one of torch's entries lie.
func (a *archive) find(name string) (at, size int64, err error) {
	name = a.folder + name
	e, ok := a.entries[name]
	if !ok {
		return 0, 0, fmt.Errorf("zip archive has no %q", name)
	}
	if e.Method != zip.Store || e.CompressedSize64 != e.UncompressedSize64 || e.Flags&1 != 0 {
		return 0, 0, fmt.Errorf("zip entry %q is compressed or encrypted, want it stored", name)
	}
	at, err = e.DataOffset()
	if err != nil {
		return 0, 0, fmt.Errorf("zip entry %q: %w", name, err)
	}
	if at < 0 || at > a.size || e.UncompressedSize64 > uint64(a.size-at) {
		return 0, 0, fmt.Errorf("zip entry %q has %d bytes at %d, but the file ends at %d", name, e.UncompressedSize64, at, a.size)
	}
	return at, int64(e.UncompressedSize64), nil
}

// apart checks that no storage lies within another.
func (f *torchFile) apart() error {
	order := slices.Clone(f.order)
	slices.SortStableFunc(order, func(a, b *storage) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.size(), b.size())) })
	for i, s := range order[min(1, len(order)):] {
		if before := order[i]; before.at+before.size() > s.at {
			return fmt.Errorf("storage %q begins at %d, within storage %q", s.key, s.at, before.key)
		}
	}
	return nil
}
