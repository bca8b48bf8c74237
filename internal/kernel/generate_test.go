package kernel

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestGeneratedFilesAreCurrent runs the generator again: it must write the bytes that are checked in.
func TestGeneratedFilesAreCurrent(t *testing.T) {
	if testing.Short() {
		t.Skip("building the generator takes seconds; run without -short")
	}
	dir := t.TempDir()
	if out, err := exec.Command("go", "run", "-C", "_asm", ".", dir).CombinedOutput(); err != nil {
		t.Fatalf("go run: %v\n%s", err, out)
	}
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(names) == 0 {
		t.Fatalf("the generator wrote %d files (%v)", len(names), err)
	}
	for _, name := range names {
		want, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(filepath.Base(name)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what go generate writes (%v)", filepath.Base(name), err)
		}
	}
}
