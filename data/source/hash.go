package source

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/graft-ml/graft/data"
)

// Hash is the SHA-256 of everything that decides the rows: the files' names and bytes, as they lie there, and the settings. It reads each file once.
func (f Files) Hash() (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "%q %q %q %q %d %d\n", f.Dir, f.Path, f.Format, f.Unit, f.Skip, f.MaxRows)
	names, err := f.bytes()
	if err != nil {
		return "", err
	}
	for _, name := range names {
		if err := f.hash(h, name); err != nil {
			return "", data.Place{File: f.name(name)}.Errorf("%w", cause(err))
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// bytes are the files that are read: an archive, or the files of the source with those beside them.
func (f Files) bytes() ([]string, error) {
	if end := archiveEnd(f.Path); end >= 0 {
		if info, err := fs.Stat(f.FS, f.Path[:end]); err == nil && !info.IsDir() {
			return []string{f.Path[:end]}, nil
		}
	}
	list, err := f.List()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, name := range list {
		names = append(names, name)
		if format := formatOf(name); f.Format == parallelFormat || f.Format == "" && format != nil && format.Name == parallelFormat {
			for _, s := range besides(name) {
				names = append(names, path.Join(path.Dir(name), s))
			}
		}
	}
	return names, nil
}

// hash adds a file; one that is not there counts as well.
func (f *Files) hash(h io.Writer, name string) error {
	file, err := f.FS.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintf(h, "%q is not there\n", name)
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	one := sha256.New()
	n, err := io.CopyBuffer(one, file, make([]byte, 1<<20))
	fmt.Fprintf(h, "%q %d %x\n", name, n, one.Sum(nil))
	return err
}

// besides are the names of the files that readParallel reads beside NAME.in.
func besides(name string) []string {
	return []string{labelFile, strings.TrimSuffix(path.Base(name), ".in") + ".out"}
}
