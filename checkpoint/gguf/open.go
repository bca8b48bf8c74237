package gguf

import (
	"errors"
	"fmt"
	"os"

	"github.com/edsrzf/mmap-go"
)

// Open maps a file into memory and parses it. Its tensors alias the mapping until close is called. A file that shrinks while it is open
// ends the process, as with any mapping.
func Open(path string) (f *File, close func() error, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("gguf: %w", err)
	}
	defer file.Close()
	if st, err := file.Stat(); err != nil || !st.Mode().IsRegular() || st.Size() == 0 {
		return nil, nil, errors.Join(fmt.Errorf("gguf: %s: no file, or an empty one", path), err)
	}
	m, err := mmap.Map(file, mmap.RDONLY, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("gguf: %s: %w", path, err)
	}
	if f, err = Parse(m); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("%s: %w", path, err), m.Unmap())
	}
	return f, m.Unmap, nil
}
