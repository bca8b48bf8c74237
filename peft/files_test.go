package peft

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/graft-ml/graft/checkpoint"
)

// TestOpenTensors prefers safetensors to torch's files and says what it looked for.
func TestOpenTensors(t *testing.T) {
	dir := t.TempDir()
	_, err := OpenTensors(dir)
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "no adapter_model.safetensors and no adapter_model.bin") {
		t.Errorf("nothing there: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, TorchFile), []byte("PK\x03\x04 half a file"), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenTensors(dir); !errors.Is(err, checkpoint.ErrFormat) || !strings.Contains(err.Error(), "adapter_model.bin: zip archive is damaged or cut off") {
		t.Errorf("torch's file alone: %v", err)
	}
	if err := checkpoint.Write(filepath.Join(dir, TensorsFile), []checkpoint.Entry{checkpoint.FromFloats("a", nil, []float32{1})}, nil); err != nil {
		t.Fatal(err)
	}
	c, err := OpenTensors(dir)
	if err != nil {
		t.Fatalf("both: %v", err)
	}
	if err := c.Close(); err != nil || len(c.Names()) != 1 {
		t.Errorf("both: %q, %v", c.Names(), err)
	}
}
