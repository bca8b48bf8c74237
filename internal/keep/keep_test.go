package keep

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"
)

func TestFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "cache")
	t.Setenv(Variable, dir)
	k := Open()
	if _, ok := k.Get("a"); ok {
		t.Error("an empty folder remembers")
	}
	k.Put("a", []byte("one"))
	k.Put("b", nil)
	k.Put("a", []byte("two"))
	for key, want := range map[string]string{"a": "two", "b": ""} {
		if v, ok := Open().Get(key); !ok || !bytes.Equal(v, []byte(want)) {
			t.Errorf("Get(%q) = %q, %v, want %q", key, v, ok, want)
		}
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) != 2 {
		t.Errorf("the folder holds %d files, %v, want 2", len(list), err)
	}
}

func TestNowhere(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"off", file, filepath.Join(file, "below")} {
		t.Setenv(Variable, dir)
		k := Open()
		k.Put("a", []byte("one"))
		if _, ok := k.Get("a"); ok {
			t.Errorf("%s remembers", dir)
		}
	}
}

// TestDamaged cuts a result at every place and changes each of its bytes: none is taken for the result.
func TestDamaged(t *testing.T) {
	t.Setenv(Variable, t.TempDir())
	k := Open()
	k.Put("a", []byte("what was found"))
	path := k.file("a")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	try := func(what string, b []byte) {
		t.Helper()
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if v, ok := k.Get("a"); ok {
			t.Errorf("%s: Get = %q", what, v)
		}
	}
	for i := range whole {
		try(fmt.Sprintf("cut to %d bytes", i), whole[:i])
		changed := bytes.Clone(whole)
		changed[i] ^= 4
		try(fmt.Sprintf("byte %d changed", i), changed)
	}
	k.Put("a", []byte("again"))
	if v, ok := k.Get("a"); !ok || string(v) != "again" {
		t.Errorf("Get = %q, %v after the work was done again", v, ok)
	}
}

// TestBounds keeps what was used last, and leaves files of others alone.
func TestBounds(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "notes.txt"), make([]byte, 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	k := Folder{dir, 4 * (100 + sha256.Size)}
	start := time.Now().Add(-time.Hour)
	for i, key := range []string{"a", "b", "c", "d"} {
		k.Put(key, make([]byte, 100))
		when := start.Add(time.Duration(i) * time.Minute)
		if err := os.Chtimes(k.file(key), when, when); err != nil {
			t.Fatal(err)
		}
	}
	k.Get("a")
	k.Put("e", make([]byte, 100))
	k.Put("too large", make([]byte, 200))
	for key, want := range map[string]bool{"a": true, "b": false, "c": true, "d": true, "e": true, "too large": false} {
		if _, ok := k.Get(key); ok != want {
			t.Errorf("%s is remembered: %v, want %v", key, ok, want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "notes.txt")); err != nil {
		t.Error(err)
	}
}

// TestTogether has many write and read the same results.
func TestTogether(t *testing.T) {
	t.Setenv(Variable, t.TempDir())
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for i := range 20 {
				key := strconv.Itoa(i % 3)
				want := bytes.Repeat([]byte(key), 1000)
				if v, ok := Open().Get(key); ok && !bytes.Equal(v, want) {
					t.Errorf("Get(%s) is another's", key)
				}
				Open().Put(key, want)
			}
		})
	}
	group.Wait()
}
