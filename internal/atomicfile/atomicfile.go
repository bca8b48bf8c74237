// Package atomicfile writes files and folders that appear whole or not at all.
//
//	err := atomicfile.Write("run/metrics.json", func(w io.Writer) error {
//		_, err := w.Write(data)
//		return err
//	})
//
// What is being written lies beside its final name under a temporary one, ".NAME.tmp-XXXXXXXX". It is synced to the disk
// and renamed when complete, and removed on any error. A process that is killed leaves its temporary behind; the next
// write to the same name removes it. Temporaries that another process is still writing are locked and left alone.
package atomicfile

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

const mark = ".tmp-"

// IsTemp tells whether the name of a file or folder is a temporary one of this package, left behind or in the making.
func IsTemp(name string) bool {
	name = filepath.Base(name)
	i := strings.LastIndex(name, mark)
	return i > 1 && name[0] == '.' && len(name) == i+len(mark)+8
}

// Write writes path through a buffer.
func Write(path string, write func(w io.Writer) error) error {
	return WriteFile(path, func(f *os.File) error {
		w := bufio.NewWriterSize(f, 1<<16)
		if err := write(w); err != nil {
			return err
		}
		return w.Flush()
	})
}

// WriteBytes writes data to path.
func WriteBytes(path string, data []byte) error {
	return WriteFile(path, func(f *os.File) error {
		_, err := f.Write(data)
		return err
	})
}

// WriteFile writes path with the file itself in hand, for those who write at offsets. A symbolic link is followed;
// anything else that is not a regular file is refused.
func WriteFile(path string, write func(f *os.File) error) (err error) {
	path, err = target(path)
	if err != nil {
		return err
	}
	removeStale(path)
	f, err := create(path)
	if err != nil {
		return named(path, err)
	}
	temp := f.Name()
	done := false
	defer func() { // also when write panics
		if !done {
			f.Close()
			os.Remove(temp)
		}
	}()
	if err := early(f, write); err != nil {
		return ofWriter(path, err)
	}
	if err := f.Sync(); err != nil {
		return named(path, err)
	}
	if err := rename(f, path); err != nil {
		return named(path, err)
	}
	done = true
	return named(path, syncDir(filepath.Dir(path)))
}

// early writes f while the disk already takes what is there.
func early(f *os.File, write func(f *os.File) error) error {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() { defer close(stopped); writeback(f, stop) }()
	defer func() { close(stop); <-stopped }()
	return write(f)
}

// rename gives f its final name and closes it, in this order so that it stays locked until it is no leftover any more.
// Windows does not rename open files, nor remove them.
func rename(f *os.File, path string) error {
	if runtime.GOOS == "windows" {
		if err := f.Close(); err != nil {
			return err
		}
		return os.Rename(f.Name(), path)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return f.Close()
}

// target follows a symbolic link and refuses what cannot be replaced.
func target(path string) (string, error) {
	st, err := os.Lstat(path)
	if err != nil {
		return path, nil // creating it will tell what is wrong, if anything
	}
	if st.Mode()&fs.ModeSymlink != 0 {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			return target(real)
		}
		return path, nil
	}
	if !st.Mode().IsRegular() {
		return path, fmt.Errorf("atomicfile: %s: is not a regular file", path)
	}
	return path, nil
}

// create makes and locks a temporary file for path.
func create(path string) (*os.File, error) {
	for {
		f, err := os.OpenFile(tempName(path), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if lock(f) && same(f) {
			return f, nil
		}
		// Another writer took it for a leftover in the moment before it was locked.
		f.Close()
	}
}

func tempName(path string) string {
	return filepath.Join(filepath.Dir(path), fmt.Sprintf("%s%08x", prefix(path), rand.Uint32()))
}

func prefix(path string) string { return "." + filepath.Base(path) + mark }

// same tells whether the open file still has its name.
func same(f *os.File) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Stat(f.Name())
	return err == nil && os.SameFile(a, b)
}

// removeStale removes the temporaries of path that no process is writing. What it cannot remove does no harm.
func removeStale(path string) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), prefix(path)) || !IsTemp(e.Name()) {
			continue
		}
		name := filepath.Join(filepath.Dir(path), e.Name())
		f, err := os.Open(name)
		if err != nil {
			continue
		}
		if stale(f) {
			os.RemoveAll(name)
		}
		f.Close()
	}
}

// named says which file an error is about, once.
func named(path string, err error) error {
	if err == nil {
		return nil
	}
	var p *fs.PathError
	var l *os.LinkError
	if errors.As(err, &p) && IsTemp(p.Path) {
		err = p.Err
	} else if errors.As(err, &l) {
		err = l.Err
	}
	return fmt.Errorf("atomicfile: %s: %w", path, err)
}

// ofWriter names the file in an error of the disk. What else the writer has to say is about its own business.
func ofWriter(path string, err error) error {
	var p *fs.PathError
	if errors.As(err, &p) && IsTemp(p.Path) {
		return named(path, err)
	}
	return err
}

// syncDir makes a rename lasting, where the system can.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return nil // a folder that may be written but not read
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}
