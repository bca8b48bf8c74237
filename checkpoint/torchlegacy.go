package checkpoint

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/graft-ml/graft/internal/pickle"
)

// What the first two pickles of a file from before the zip format hold.
const (
	legacyMagic   = pickle.Long("\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19") // 0x1950a86a20f9469cfc6c
	legacyVersion = int64(1001)
)

// readLegacy reads the format from before torch 1.6: five pickles and then the storages.
func (f *torchFile) readLegacy() (any, error) {
	at := 0
	var values [5]any
	for i, what := range []string{"magic number", "version", "system", "tensors", "keys of storages"} {
		v, n, err := f.decode(f.data[at:])
		if err != nil {
			return nil, fmt.Errorf("%s, at %d: %w", what, at, err)
		}
		at += n
		values[i] = v
		if err := checkLegacy(i, v); err != nil {
			return nil, err
		}
	}
	keys, ok := values[4].(*pickle.List)
	if !ok {
		return nil, fmt.Errorf("keys of storages are %s, want a list", pickle.Describe(values[4]))
	}
	return values[3], f.placeLegacy(keys.Items, int64(at))
}

// checkLegacy checks the i-th pickle of the head.
func checkLegacy(i int, v any) error {
	switch i {
	case 0:
		if v != legacyMagic {
			return fmt.Errorf("is a pickle of %s, want a file of torch.save, which begins with a magic number", pickle.Describe(v))
		}
	case 1:
		if v != legacyVersion {
			return fmt.Errorf("version is %s other than %d", pickle.Describe(v), legacyVersion)
		}
	case 2:
		system, ok := v.(*pickle.Dict)
		if !ok {
			return fmt.Errorf("system is %s, want a dict", pickle.Describe(v))
		}
		for j, k := range system.Keys {
			if k == "little_endian" && system.Values[j] != true {
				return errors.New("numbers are big-endian, want little-endian")
			}
		}
	}
	return nil
}

// placeLegacy finds the storages, which lie behind each other from at to the end of the file.
func (f *torchFile) placeLegacy(keys []any, at int64) error {
	for _, k := range keys {
		key, ok := k.(string)
		s := f.storages[key]
		if !ok || s == nil || s.at > 0 {
			return fmt.Errorf("key of a storage is %s %q that no tensor uses or that is listed before", pickle.Describe(k), key)
		}
		rest := f.data[at:]
		if len(rest) < 8 {
			return fmt.Errorf("file is cut off: storage %q is missing", key)
		}
		if n := binary.LittleEndian.Uint64(rest); n != s.num {
			return fmt.Errorf("storage %q has %d elements, want %d", key, n, s.num)
		}
		if size := s.size(); size > int64(len(rest)-8) {
			return fmt.Errorf("file is cut off: storage %q has %d bytes, of which %d are there", key, size, len(rest)-8)
		}
		s.at = at + 8
		at = s.at + s.size()
	}
	for _, s := range f.order {
		if s.at == 0 {
			return fmt.Errorf("storage %q is not in the file", s.key)
		}
	}
	if rest := int64(len(f.data)) - at; rest > 0 {
		return fmt.Errorf("%d bytes after the last storage", rest)
	}
	return nil
}
