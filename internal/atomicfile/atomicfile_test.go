package atomicfile

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/graft-ml/graft/internal/check"
)

func list(t *testing.T, dir string) string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func content(t *testing.T, path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.txt")
	hello := func(w io.Writer) error { _, err := io.WriteString(w, "hello"); return err }
	broken := errors.New("broken")

	t.Run("a write appears", func(t *testing.T) {
		if err := Write(path, hello); err != nil || content(t, path) != "hello" || list(t, dir) != "a.txt" {
			t.Errorf("Write: %v, folder has %s", err, list(t, dir))
		}
		if st, err := os.Stat(path); err != nil || st.Mode().Perm()&0o400 == 0 || st.Mode().Perm()&0o111 != 0 {
			t.Errorf("mode %v %v", st.Mode(), err)
		}
	})
	t.Run("a failed write leaves the old file and nothing else", func(t *testing.T) {
		err := Write(path, func(w io.Writer) error { io.WriteString(w, strings.Repeat("x", 1<<20)); return broken })
		if !errors.Is(err, broken) || content(t, path) != "hello" || list(t, dir) != "a.txt" {
			t.Errorf("Write: %v, folder has %s", err, list(t, dir))
		}
	})
	t.Run("a panicking write leaves nothing", func(t *testing.T) {
		check.Panics(t, "Write", func() { Write(path, func(io.Writer) error { panic("bug") }) })
		if list(t, dir) != "a.txt" {
			t.Errorf("folder has %s", list(t, dir))
		}
	})
	t.Run("a leftover is removed, one being written is not", func(t *testing.T) {
		left := filepath.Join(dir, ".a.txt.tmp-0000beef")
		foreign := filepath.Join(dir, ".a.txt.tmp-mine")
		for _, p := range []string{left, foreign} {
			if err := os.WriteFile(p, []byte("half"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		err := Write(path, func(io.Writer) error {
			if list(t, dir) == "" || strings.Contains(list(t, dir), "beef") {
				t.Errorf("folder has %s", list(t, dir))
			}
			return Write(path, hello) // a second writer of the same name
		})
		if err != nil || content(t, path) != "" || list(t, dir) != ".a.txt.tmp-mine a.txt" {
			t.Errorf("Write: %v, folder has %s", err, list(t, dir))
		}
	})
	t.Run("a link is followed", func(t *testing.T) {
		link := filepath.Join(t.TempDir(), "link")
		if err := os.Symlink(path, link); err != nil {
			t.Skip(err)
		}
		if err := WriteBytes(link, []byte("through")); err != nil || content(t, path) != "through" {
			t.Errorf("WriteBytes: %v, %q", err, content(t, path))
		}
	})
	t.Run("errors name the final file", func(t *testing.T) {
		for bad, want := range map[string]string{
			filepath.Join(dir, "none", "x"): "none/x: no such file or directory",
			dir:                             "is not a regular file",
			filepath.Join(path, "x"):        "a.txt/x: not a directory",
		} {
			if err := Write(bad, hello); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), mark) {
				t.Errorf("Write(%s): %v, want …%s", bad, err, want)
			}
		}
	})
}

// TestWriteTogether has many writers of one name: each write is whole, nothing stays behind.
func TestWriteTogether(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			if err := WriteBytes(path, []byte(strings.Repeat(string(rune('a'+i)), 1000))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	s := content(t, path)
	if len(s) != 1000 || strings.Trim(s, s[:1]) != "" || list(t, dir) != "a" {
		t.Errorf("%d bytes, folder has %s", len(s), list(t, dir))
	}
}

func TestWriteDir(t *testing.T) {
	root := t.TempDir()
	path := filepath.Join(root, "deep", "model")
	fill := func(text string) func(string) error {
		return func(dir string) error { return WriteBytes(filepath.Join(dir, text), []byte(text)) }
	}
	t.Run("a folder appears with its parents", func(t *testing.T) {
		if err := WriteDir(path, false, fill("one")); err != nil || list(t, path) != "one" {
			t.Errorf("WriteDir: %v", err)
		}
	})
	t.Run("an existing folder is kept unless it may be replaced", func(t *testing.T) {
		if err := WriteDir(path, false, fill("two")); !errors.Is(err, fs.ErrExist) || list(t, path) != "one" {
			t.Errorf("WriteDir: %v, folder has %s", err, list(t, path))
		}
		if err := WriteDir(path, true, fill("two")); err != nil || list(t, path) != "two" {
			t.Errorf("WriteDir: %v, folder has %s", err, list(t, path))
		}
	})
	t.Run("an empty folder is filled", func(t *testing.T) {
		empty := filepath.Join(root, "deep", "empty")
		if err := os.Mkdir(empty, 0o777); err != nil {
			t.Fatal(err)
		}
		if err := WriteDir(empty, false, fill("x")); err != nil || list(t, empty) != "x" {
			t.Errorf("WriteDir: %v", err)
		}
		os.RemoveAll(empty)
	})
	t.Run("a failure changes nothing", func(t *testing.T) {
		broken := errors.New("broken")
		err := WriteDir(path, true, func(dir string) error { return errors.Join(fill("three")(dir), broken) })
		if !errors.Is(err, broken) || list(t, path) != "two" {
			t.Errorf("WriteDir: %v, folder has %s", err, list(t, path))
		}
	})
	t.Run("leftovers of killed writers go", func(t *testing.T) {
		if err := os.MkdirAll(filepath.Join(root, "deep", ".model.tmp-00c0ffee", "sub"), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := WriteDir(path, true, fill("four")); err != nil || list(t, filepath.Dir(path)) != "model" {
			t.Errorf("WriteDir: %v, folder has %s", err, list(t, filepath.Dir(path)))
		}
	})
	t.Run("the other way of replacing works too", func(t *testing.T) {
		temp := filepath.Join(root, "deep", ".model.tmp-12345678")
		if err := errors.Join(os.Mkdir(temp, 0o777), fill("five")(temp)); err != nil {
			t.Fatal(err)
		}
		if err := place(temp, path); err != nil || list(t, path) != "five" {
			t.Errorf("place: %v", err)
		}
		os.RemoveAll(temp)
	})
}

func TestMkdirAll(t *testing.T) {
	root := t.TempDir()
	file := filepath.Join(root, "file")
	if err := WriteBytes(file, nil); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ dir, want string }{
		{filepath.Join(root, "a", "b", "c"), ""},
		{filepath.Join(root, "a", "b"), ""},
		{root, ""},
		{filepath.Join(root, "d", "..", "e") + "/", ""},
		{file, "not a directory"},
		{filepath.Join(file, "x"), "not a directory"},
	} {
		err := MkdirAll(c.dir)
		if c.want != "" {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("MkdirAll(%s): %v, want …%s", c.dir, err, c.want)
			}
			continue
		}
		if st, serr := os.Stat(c.dir); err != nil || serr != nil || !st.IsDir() {
			t.Errorf("MkdirAll(%s): %v, %v", c.dir, err, serr)
		}
	}
	t.Chdir(root)
	if err := MkdirAll(filepath.Join("rel", "ative")); err != nil || list(t, "rel") != "ative" {
		t.Errorf("MkdirAll: %v", err)
	}
}

func TestIsTemp(t *testing.T) {
	for name, want := range map[string]bool{"dir/.a.tmp-01234567": true, ".a.tmp-0": false, "a.tmp-01234567": false, ".tmp-01234567": false, "a": false} {
		if got := IsTemp(name); got != want {
			t.Errorf("IsTemp(%q) = %v", name, got)
		}
	}
}
