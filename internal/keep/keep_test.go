package keep

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
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
