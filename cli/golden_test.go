package cli

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/internal/golden"
)

// TestGoldenAdapters takes adapters that PEFT wrote through the commands: inspected, evaluated as logits, merged, and the
// merged model's logits.
func TestGoldenAdapters(t *testing.T) {
	root := golden.Dir(t)
	for _, name := range []string{"llama-lora", "llama-lora-all-linear", "llama-lora-rslora"} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(root, "peft", name)
			base, adapter := filepath.Join(root, "models", "llama"), filepath.Join(dir, "adapter")
			t.Chdir(t.TempDir())
			if out := ok(t, "inspect", adapter).stdout; !strings.Contains(out, "LORA") {
				t.Errorf("graft inspect does not say that it is LORA:\n%s", out)
			}
			ids, want := reference(t, filepath.Join(dir, "reference.safetensors"))
			ok(t, "logits", adapter, "--base", base, "--ids", ids, "--compute", "f32", "--out", "adapter.safetensors")
			ok(t, "merge", adapter, "--base", base, "--dtype", "f32", "-o", "merged")
			ok(t, "logits", "merged", "--ids", ids, "--compute", "f32", "--out", "merged.safetensors")
			for _, got := range []string{"adapter.safetensors", "merged.safetensors"} {
				compareLogits(t, got, want)
			}
		})
	}
}

// reference reads the token ids of a case, as --ids takes them, and the logits of its real tokens.
func reference(t *testing.T, path string) (ids string, logits []float32) {
	t.Helper()
	c, err := checkpoint.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	tokens, err1 := c.Ints("input_ids")
	mask, err2 := c.Ints("attention_mask")
	logits, err3 := c.Floats("logits")
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	info, _ := c.Info("input_ids")
	var rows []string
	for i := range info.Shape[0] {
		var row []string
		for j := i * info.Shape[1]; j < (i+1)*info.Shape[1]; j++ {
			if mask[j] != 0 {
				row = append(row, fmt.Sprint(tokens[j]))
			}
		}
		rows = append(rows, strings.Join(row, ","))
	}
	return strings.Join(rows, ";"), logits
}

// compareLogits compares the logits of a file with the reference's.
func compareLogits(t *testing.T, path string, want []float32) {
	t.Helper()
	const tolerance = 2e-5 // a few times the reference's own distance from float64, 2.5e-6
	c, err := checkpoint.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got, err := c.Floats("logits")
	if err != nil || len(got) != len(want) {
		t.Fatalf("%s: %d logits (%v), want %d", path, len(got), err, len(want))
	}
	worst := 0.0
	for i := range got {
		worst = max(worst, math.Abs(float64(got[i]-want[i])))
	}
	if !(worst <= tolerance) {
		t.Errorf("%s: the logits are off by %g, want at most %g", path, worst, tolerance)
	}
}

// TestRealAdapters inspects adapters that people published, and refuses what they need and graft lacks in a line.
func TestRealAdapters(t *testing.T) {
	dir := filepath.Join(golden.Assets(t), "adapters")
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if !exists(filepath.Join(path, "adapter_config.json")) {
			continue
		}
		r := ok(t, "inspect", path)
		if !strings.Contains(r.stdout, "peft_type") || !strings.Contains(r.stdout, "LORA") {
			t.Errorf("graft inspect %s:\n%s", e.Name(), r.stdout)
		}
		r = graft("", "merge", path, "-o", filepath.Join(t.TempDir(), "merged"))
		t.Log(r.stderr)
		if line := strings.TrimSuffix(r.stderr, "\n"); r.code == exitOK || strings.Contains(line, "\n") || !strings.HasPrefix(line, "graft: ") {
			t.Errorf("graft merge %s without its base = %d, want a line:\n%s", e.Name(), r.code, r.stderr)
		}
	}
}
