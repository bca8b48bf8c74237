package llamacpp

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/checkpoint/gguf"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/merge/verify"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/model/modeltest"
)

// TestImport writes every architecture as f32, reads it back and compares tensors and logits.
func TestImport(t *testing.T) {
	for _, tiny := range exportable(t) {
		t.Run(tiny.Name, func(t *testing.T) {
			dir := modeltest.Write(t, tiny)
			src, _ := folded(t, dir)
			g, _ := exported(t, dir, "f32")
			got := imports(t, g, tiny.JSON)
			if a, b := got.Names(), src.Names(); !slices.Equal(a, b) {
				t.Fatalf("tensors %v, want %v", a, b)
			}
			for _, name := range src.Names() {
				x, _ := got.Floats(name)
				y, _ := src.Floats(name)
				info, _ := got.Info(name)
				want, _ := src.Info(name)
				if !slices.Equal(info.Shape, want.Shape) {
					t.Errorf("%s is %v, want %v", name, info.Shape, want.Shape)
					continue
				}
				for i := range y {
					if d := x[i] - y[i]; d < -1e-7 || d > 1e-7 { // (1 + w) − 1 of gemma's norms
						t.Fatalf("%s[%d] = %g, want %g", name, i, x[i], y[i])
					}
				}
			}
			sameLogits(t, got, src)
		})
	}
}

// imports is a file as a checkpoint with the config.json given.
func imports(t *testing.T, g *gguf.File, config string) *checkpoint.Checkpoint {
	t.Helper()
	c, err := model.ParseConfig([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	entries, err := Import(context.Background(), g, c)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := checkpoint.Write(filepath.Join(dir, "model.safetensors"), entries, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o666); err != nil {
		t.Fatal(err)
	}
	got, err := checkpoint.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { got.Close() })
	return got
}

// sameLogits compares two checkpoints as models, on texts longer than windows.
func sameLogits(t *testing.T, a, b *checkpoint.Checkpoint) {
	t.Helper()
	rows := [][]int32{{1, 2, 3, 4, 5, 6, 7, 8}, {9, 3, 2}}
	var scores [2]kernel.Mat
	for i, c := range []*checkpoint.Checkpoint{a, b} {
		m, err := model.Load(c)
		if err != nil {
			t.Fatal(err)
		}
		if scores[i], err = verify.Scores(m, rows, kernel.ModeF32); err != nil {
			t.Fatal(err)
		}
	}
	for i := range scores[1].Rows {
		for j, want := range scores[1].Row(i) {
			if got := scores[0].Row(i)[j]; got-want < -2e-5 || got-want > 2e-5 { // norms are off by 1e-7, logits are tens
				t.Fatalf("logit %d of row %d is %g, want %g", j, i, got, want)
			}
		}
	}
}

// TestImportRefuses: files that are no models, or hold what the architecture has not.
func TestImportRefuses(t *testing.T) {
	c, err := model.ParseConfig([]byte(modeltest.Tiny[0].JSON))
	if err != nil {
		t.Fatal(err)
	}
	odd, _ := gguf.NewTensor("blk.0.attn_z.weight", gguf.F32, []int{2}, []float32{1, 2})
	rows, _ := gguf.NewTensor("blk.0.attn_q.weight", gguf.F32, []int{3, 1}, []float32{1, 2, 3})
	for want, f := range map[string]*gguf.File{
		"general.architecture":             {},
		`general.architecture is "x"`:      {Pairs: []gguf.Pair{{Key: KeyArch, Value: "x"}}},
		`general.type is "adapter"`:        {Pairs: []gguf.Pair{{Key: KeyArch, Value: "llama"}, {Key: KeyType, Value: "adapter"}}},
		`"blk.0.attn_z.weight" is no part`: {Pairs: []gguf.Pair{{Key: KeyArch, Value: "llama"}}, Tensors: []gguf.Tensor{odd}},
		`"blk.0.attn_q.weight" has 3 rows`: {Pairs: []gguf.Pair{{Key: KeyArch, Value: "llama"}}, Tensors: []gguf.Tensor{rows}},
	} {
		if _, err := Import(context.Background(), f, c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// TestSpecialRefuses: configs of which llama.cpp would compute something else.
func TestSpecialRefuses(t *testing.T) {
	for _, r := range []struct{ of, from, to, want string }{
		{"gemma2", `"query_pre_attn_scalar": 6`, `"query_pre_attn_scalar": 7`, "query_pre_attn_scalar is 7, want 6"},
		{"gemma2", `"sliding_window": 3`, `"sliding_window": 3, "final_logit_softcapping": 0`, "final_logit_softcapping 0, want both above 0"},
		{"gemma2", `"sliding_window": 3`, `"sliding_window": 3, "layer_types": ["full_attention", "sliding_attention", "full_attention"]`, "layer 0 has sliding_window false"},
		{"gemma3", `"sliding_window": 3`, `"sliding_window": 3, "rope_local_base_freq": 100`, "rope_local_base_freq is 100"},
		{"gemma3", `"final_logit_softcapping": null`, `"final_logit_softcapping": 3`, "final_logit_softcapping is there"},
		{"phi3", `"hidden_size": 16`, `"hidden_size": 12, "head_dim": 8`, "head_dim is 8"},
	} {
		i := slices.IndexFunc(asTrained, func(c modeltest.Config) bool { return strings.HasPrefix(c.Name, r.of) })
		c, x, err := checked([]byte(strings.Replace(asTrained[i].JSON, r.from, r.to, 1)))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := x.keys(c); err == nil || !strings.Contains(err.Error(), r.want) {
			t.Errorf("%s with %s: %v, want %s", r.of, r.to, err, r.want)
		}
	}
}
