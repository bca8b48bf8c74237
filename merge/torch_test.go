package merge

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/internal/golden"
)

// TestGoldenTorchBase folds into pytorch_model.bin as into the same tensors in safetensors.
func TestGoldenTorchBase(t *testing.T) {
	dir := filepath.Join(golden.Dir(t), "models", "llama-bin")
	if _, err := os.Stat(dir); err != nil {
		t.Skip(err)
	}
	torch, err := checkpoint.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer torch.Close()
	var entries []checkpoint.Entry
	for _, name := range torch.Names() {
		e, err := torch.Entry(name)
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, e)
	}
	twin := t.TempDir()
	if _, err := checkpoint.WriteShards(twin, entries, checkpoint.ShardOptions{}); err != nil {
		t.Fatal(err)
	}
	config, err := torch.ReadFile("config.json")
	if err == nil {
		err = os.WriteFile(filepath.Join(twin, "config.json"), config, 0o666)
	}
	if err != nil {
		t.Fatal(err)
	}
	safe, err := checkpoint.Open(twin)
	if err != nil {
		t.Fatal(err)
	}
	defer safe.Close()
	target := "model.layers.0.self_attn.q_proj.weight"
	info, _ := safe.Info(target)
	delta := lowRank(target, info.Shape[0], info.Shape[1], 3, false)
	var files [2][]byte
	for i, base := range []*checkpoint.Checkpoint{torch, safe} {
		out := filepath.Join(t.TempDir(), "out")
		if _, err := Fold(context.Background(), Job{Base: base, Deltas: []Delta{delta}, Out: out}); err != nil {
			t.Fatal(err)
		}
		if files[i], err = os.ReadFile(filepath.Join(out, "model.safetensors")); err != nil {
			t.Fatal(err)
		}
		if left, _ := filepath.Glob(filepath.Join(out, "*.bin")); len(left) > 0 {
			t.Errorf("%s was copied", left[0])
		}
	}
	if !bytes.Equal(files[0], files[1]) {
		t.Error("the merged files differ")
	}
}
