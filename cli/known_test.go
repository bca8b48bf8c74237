package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/graft-ml/graft/internal/keep"
)

// TestKnownHash has the hash of weights remembered until a file changes.
func TestKnownHash(t *testing.T) {
	dir := t.TempDir()
	if err := makeWorld(dir); err != nil {
		t.Fatal(err)
	}
	cache := filepath.Join(dir, "cache")
	t.Setenv(keep.Variable, cache)
	file := filepath.Join(dir, "base", "model.safetensors")
	start := time.Now()
	hash := func(age time.Duration) (string, error) {
		t.Helper()
		when := start.Add(-age)
		list, err := os.ReadDir(filepath.Join(dir, "base"))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			if err := os.Chtimes(filepath.Join(dir, "base", e.Name()), when, when); err != nil {
				t.Fatal(err)
			}
		}
		b, err := openBase(t.Context(), filepath.Join(dir, "base"), arithmetic{})
		if err != nil {
			t.Fatal(err)
		}
		defer b.close()
		return (&plan{base: b}).soundHash(t.Context())
	}
	remembered := func() int {
		list, _ := os.ReadDir(cache)
		return len(list)
	}
	fresh, err := hash(0)
	if err != nil || remembered() != 0 {
		t.Fatalf("files just written: %v, %d results remembered, want none", err, remembered())
	}
	for range 2 {
		if again, err := hash(time.Hour); err != nil || again != fresh || remembered() != 1 {
			t.Fatalf("hash %s, %v, %d results remembered, want %s and 1", again, err, remembered(), fresh)
		}
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	copy(raw[len(raw)-4:], []byte{0, 0, 0xc0, 0x7f}) // NaN
	if err := os.WriteFile(file, raw, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := hash(2 * time.Hour); err == nil || !strings.Contains(err.Error(), "no finite number") {
		t.Errorf("changed weights: %v, want them looked at", err)
	}
}
