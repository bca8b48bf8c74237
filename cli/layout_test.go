package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// TestGradientCheckpointing trains the same with layers computed again as with all kept, byte for byte.
func TestGradientCheckpointing(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := makeWorld("."); err != nil {
		t.Fatal(err)
	}
	var adapters [][]byte
	for _, set := range []string{"false", "true"} {
		ok(t, "train", "r.toml", "--out", set, "--set", "train.gradient_checkpointing="+set)
		raw, err := os.ReadFile(filepath.Join(set, "adapter", "adapter_model.safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		adapters = append(adapters, raw)
	}
	if !bytes.Equal(adapters[0], adapters[1]) {
		t.Error("the adapters differ")
	}
}

// TestMemoryDecides has less memory make passes smaller, and has them keep less where one row is too large.
func TestMemoryDecides(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := makeWorld("."); err != nil {
		t.Fatal(err)
	}
	plan := func(memory string) (f forecast) {
		t.Helper()
		if err := json.Unmarshal([]byte(ok(t, "check", "r.toml", "--json", "--set", "train.memory="+memory).stdout), &f); err != nil {
			t.Fatal(err)
		}
		return f
	}
	much, less := plan("auto"), plan("69MB")
	if much.MicroTokens != mostTokens || much.Recompute {
		t.Errorf("with much memory: %d tokens a pass, computed again %v, want %d and not", much.MicroTokens, much.Recompute, mostTokens)
	}
	if less.MicroTokens >= much.MicroTokens {
		t.Errorf("with 69 MB: %d tokens a pass, want fewer than %d", less.MicroTokens, much.MicroTokens)
	}
	if much.MemoryAnonymous <= 0 {
		t.Errorf("memory is %d", much.MemoryAnonymous)
	}
}
