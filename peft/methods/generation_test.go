package methods_test

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"testing"

	"github.com/graft-ml/graft/generate"
	"github.com/graft-ml/graft/internal/golden"
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/methods"
)

// TestGoldenGeneration continues the texts of the cases with something before the text, with a cache, as the library does.
func TestGoldenGeneration(t *testing.T) {
	dir := filepath.Join(golden.Dir(t), "peft")
	for _, name := range []string{"llama-prefix", "llama-prefix-projection", "llama-prompt", "llama-ptuning-mlp", "llama-ptuning-lstm", "llama-adaption-prompt",
		"mistral-prefix", "qwen2-tied-prefix", "gpt2-prefix", "gpt2-prompt", "gpt2-adaption-prompt"} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, name)
			var c struct {
				peftCase
				Greedy struct {
					Continuations [][]int32 `json:"continuations"`
				} `json:"greedy"`
			}
			if err := json.Unmarshal(read(t, filepath.Join(path, "case.json")), &c); err != nil {
				t.Fatal(err)
			}
			x := newFixture(t, path, c.peftCase)
			if _, _, err := methods.Load(filepath.Join(path, "adapter"), x.m, peft.Allow{}); err != nil {
				t.Fatal(err)
			}
			var prompts [][]int32
			for _, s := range x.batch.Segments {
				prompts = append(prompts, x.batch.Tokens[s.Start:s.End])
			}
			want := c.Greedy.Continuations
			got, err := generate.Tokens(t.Context(), generate.NewSession(x.m, kernel.ModeF32), prompts, generate.Options{MaxNewTokens: len(want[0])}, nil)
			if err != nil {
				t.Fatal(err)
			}
			for i := range want {
				if !slices.Equal(got[i], want[i]) {
					t.Errorf("text %d goes on with %v, want %v", i, got[i], want[i])
				}
			}
		})
	}
}
