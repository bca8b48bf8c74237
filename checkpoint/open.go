package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/edsrzf/mmap-go"
)

// Open opens a folder that holds model.safetensors, or model.safetensors.index.json and its shards, or else the same with
// pytorch_model.bin; or one file of whatever name. The files are mapped into memory, so opening costs the same whatever their size. A file that shrinks
// while it is open ends the process, as with any mapping.
func Open(name string) (*Checkpoint, error) {
	st, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %s: %w", name, reason(err))
	}
	if !st.IsDir() {
		return OpenFile(name)
	}
	return open(name, os.DirFS(name), func(file string) (*file, error) { return mapFile(filepath.Join(name, file), file) })
}

// OpenFile opens one file.
func OpenFile(name string) (*Checkpoint, error) {
	dir, base := filepath.Split(name)
	f, err := mapFile(name, base)
	if err != nil {
		return nil, err
	}
	if f.table, err = parseFile(name, f.data); err != nil {
		return nil, errors.Join(err, closeFiles([]*file{f}))
	}
	return assemble(name, os.DirFS(filepath.Clean(dir)), []*file{f})
}

// OpenFS opens the folder fsys, whose files it reads into memory. It is for what is embedded in the program.
func OpenFS(fsys fs.FS) (*Checkpoint, error) {
	return open("", fsys, func(name string) (*file, error) {
		data, err := fs.ReadFile(fsys, name)
		if err != nil {
			return nil, fmt.Errorf("checkpoint: %s: %w", name, reason(err))
		}
		return &file{name: name, data: data}, nil
	})
}

// Parse reads a file that is in memory. The checkpoint aliases data.
func Parse(data []byte) (*Checkpoint, error) {
	table, err := parseFile("data", data)
	if err != nil {
		return nil, err
	}
	return assemble("data", nil, []*file{{data: data, table: table}})
}

// mapFile maps a file into memory, read-only.
func mapFile(full, name string) (*file, error) {
	fail := func(err error) (*file, error) { return nil, fmt.Errorf("checkpoint: %s: %w", full, reason(err)) }
	f, err := os.Open(full)
	if err != nil {
		return fail(err)
	}
	defer f.Close()
	st, err := f.Stat()
	switch {
	case err != nil:
		return fail(err)
	case !st.Mode().IsRegular():
		return fail(errors.New("not a regular file"))
	case st.Size() == 0:
		return fail(formatError("file is empty"))
	}
	m, err := mmap.Map(f, mmap.RDONLY, 0)
	if err != nil {
		return fail(fmt.Errorf("map %d bytes: %w", st.Size(), err))
	}
	return &file{name: name, data: m, unmap: m.Unmap}, nil
}

// open finds a folder's weights, reads them with read and joins them.
func open(place string, folder fs.FS, read func(name string) (*file, error)) (*Checkpoint, error) {
	names, index, err := findWeights(place, folder)
	if err != nil {
		return nil, err
	}
	var files []*file
	var errs []error
	for _, name := range names {
		f, err := read(name)
		if err == nil {
			files = append(files, f)
			f.table, err = parseFile(label(place, name), f.data)
		}
		errs = append(errs, err)
	}
	if err := oneLine(errs); err != nil {
		return nil, errors.Join(err, closeFiles(files))
	}
	c, err := assemble(place, folder, files)
	if err != nil || index == nil {
		return c, err
	}
	if err := index.check(c); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// HasWeights tells whether a folder holds weights, or the index of some, that Open reads.
func HasWeights(folder fs.FS) bool {
	return slices.ContainsFunc(Formats, func(f Format) bool {
		return f.Parse != nil && (has(folder, f.Files[0]) || has(folder, f.Files[0]+".index.json"))
	})
}

func has(folder fs.FS, name string) bool {
	_, err := fs.Stat(folder, name)
	return err == nil
}

// findWeights says which files of a folder hold its weights, and what the index says if there is one.
func findWeights(place string, folder fs.FS) ([]string, *index, error) {
	var wanted []string
	for _, f := range Formats {
		if len(f.Files) == 0 {
			continue
		}
		name := f.Files[0]
		if has(folder, name) {
			return []string{name}, nil, nil
		}
		if f.Parse == nil {
			continue
		}
		wanted = append(wanted, name)
		if has(folder, name+".index.json") {
			ix, err := readIndex(place, folder, name+".index.json")
			if err != nil {
				return nil, nil, err
			}
			return ix.files, ix, nil
		}
	}
	return nil, nil, fmt.Errorf("checkpoint: %s: no %s, whole or in shards with an index%s", place, strings.Join(wanted, " or "), found(folder))
}

// found lists what a folder holds that looks like weights.
func found(folder fs.FS) string {
	var names []string
	for _, f := range Formats {
		for _, end := range f.Endings {
			m, err := fs.Glob(folder, "*"+end)
			if err == nil {
				names = append(names, m...)
			}
		}
	}
	if len(names) == 0 {
		return ""
	}
	return " (there is " + path.Join(names[0]) + strings.Repeat(" and more", min(len(names)-1, 1)) + ")"
}

// oneLine joins errors into one line.
func oneLine(errs []error) error {
	err := errors.Join(errs...)
	if err == nil {
		return nil
	}
	return lineError{err}
}

// lineError is several errors that are printed in one line.
type lineError struct{ error }

func (e lineError) Error() string { return strings.ReplaceAll(e.error.Error(), "\n", "; ") }
func (e lineError) Unwrap() error { return e.error }
