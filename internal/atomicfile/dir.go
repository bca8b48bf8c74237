package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// WriteDir makes the folder path appear with all that fill wrote into the temporary folder it is given, or not at all.
// fill must have synced its files. An existing folder is an error unless replace is set; then it stays as it was until
// the new one takes its name. An empty folder counts as not there.
func WriteDir(path string, replace bool, fill func(dir string) error) (err error) {
	path = filepath.Clean(path)
	if err := vacant(path, replace); err != nil {
		return err
	}
	removeStale(path)
	if err := MkdirAll(filepath.Dir(path)); err != nil {
		return named(path, err)
	}
	d, err := createDir(path)
	if err != nil {
		return named(path, err)
	}
	defer d.Close() // after the folder has its name or is gone: the lock lives as long
	temp := d.Name()
	defer os.RemoveAll(temp) // does nothing once it is renamed; removes the old folder once they are exchanged
	if err := fill(temp); err != nil {
		return &moved{err, temp, path}
	}
	if err := syncDir(temp); err != nil {
		return named(path, err)
	}
	if err := vacant(path, replace); err != nil {
		return err
	}
	if err := place(temp, path); err != nil {
		return named(path, err)
	}
	return named(path, syncDir(filepath.Dir(path)))
}

// MkdirAll makes a folder and those above it, as os.MkdirAll does, and makes them lasting: what is written into a folder is lost
// with it if the folder above was never synced.
func MkdirAll(dir string) error {
	dir = filepath.Clean(dir)
	if st, err := os.Stat(dir); err == nil && st.IsDir() {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := MkdirAll(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if st, err := os.Stat(dir); err != nil || !st.IsDir() {
		return &fs.PathError{Op: "mkdir", Path: dir, Err: syscall.ENOTDIR}
	}
	return syncDir(parent)
}

// vacant tells whether path can be written: nothing there, an empty folder, or a folder to replace.
func vacant(path string, replace bool) error {
	st, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return named(path, err)
	case !st.IsDir():
		return fmt.Errorf("atomicfile: %s: is a file, want a folder", path)
	case replace:
		return nil
	}
	if entries, err := os.ReadDir(path); err != nil || len(entries) > 0 {
		return fmt.Errorf("atomicfile: %s: %w", path, fs.ErrExist)
	}
	return nil
}

// createDir makes and locks a temporary folder for path.
func createDir(path string) (*os.File, error) {
	for {
		name := tempName(path)
		err := os.Mkdir(name, 0o777)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		d, err := os.Open(name)
		if err != nil {
			return nil, errors.Join(err, os.Remove(name))
		}
		if lock(d) && same(d) {
			return d, nil
		}
		d.Close()
	}
}

// place gives temp its final name. What had the name before ends up under temp, or under another temporary name. Where the system
// cannot exchange two names there is a moment between two renames in which nothing has the name.
func place(temp, path string) error {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return os.Rename(temp, path)
	}
	if os.Remove(path) == nil { // an empty folder
		return os.Rename(temp, path)
	}
	if exchange(temp, path) == nil {
		return nil
	}
	old := tempName(path)
	if err := os.Rename(path, old); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return errors.Join(err, os.Rename(old, path))
	}
	return os.RemoveAll(old)
}

// moved is an error about something in a temporary folder, told as if the folder had its final name.
type moved struct {
	error
	temp, path string
}

func (m *moved) Error() string { return strings.ReplaceAll(m.error.Error(), m.temp, m.path) }
func (m *moved) Unwrap() error { return m.error }
