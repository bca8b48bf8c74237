package methods_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/internal/check"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/lora"
	"github.com/graft-ml/graft/merge"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/model/modeltest"
	"github.com/graft-ml/graft/peft"
)

// stored are ways in which files hold the one embedding of an encoder-decoder, by the ends of its names.
var stored = []struct {
	says  string
	names []string
}{
	{"once", []string{"shared"}},
	{"thrice", []string{"shared", "encoder.embed_tokens", "decoder.embed_tokens"}},
	{"by the stacks' names", []string{"encoder.embed_tokens", "decoder.embed_tokens"}},
	{"by one stack's name", []string{"decoder.embed_tokens"}},
}

// TestSharedEmbedding reads, adapts and merges models whose embedding is stored under each of its names.
func TestSharedEmbedding(t *testing.T) {
	for _, tiny := range modeltest.Tiny {
		if tiny.Name != "t5" && tiny.Name != "bart" {
			continue
		}
		base := modeltest.Open(t, modeltest.Write(t, tiny))
		batch := base.Set().Batch([]int32{0, 2})
		want := base.Logits(t, batch)
		for _, s := range stored {
			t.Run(tiny.Name+" "+s.says, func(t *testing.T) {
				x := modeltest.Open(t, rewritten(t, base, s.names))
				if !slices.Equal(x.Logits(t, batch), want) {
					t.Error("the logits depend on the names in the file")
				}
				c := lora.New()
				c.Init, c.Rank, c.Alpha, c.TargetModules = "false", 3, 7, peft.Names{List: []string{"shared"}} // B is drawn, too
				a, err := c.Attach(x.Model, rand.New(rand.NewPCG(1, 2)))
				if err != nil {
					t.Fatal(err)
				}
				for _, p := range a.Params() {
					op.Data(p)[0] += 0.1
				}
				adapted := x.Logits(t, batch)
				out := filepath.Join(t.TempDir(), "merged")
				if _, err := merge.Fold(t.Context(), merge.Job{Base: x.Source, Deltas: a.(peft.Merger).Deltas(), Ties: peft.Ties(x.Model), Out: out}); err != nil {
					t.Fatal(err)
				}
				check.Close(t, "merged logits", modeltest.Open(t, out).Logits(t, batch), adapted, 1e-4, 1e-5) // weights are rounded once more
			})
		}
		t.Run(tiny.Name+" in names that differ", func(t *testing.T) {
			src, err := checkpoint.Open(rewritten(t, base, []string{"shared", "encoder.embed_tokens!"}))
			if err != nil {
				t.Fatal(err)
			}
			defer src.Close()
			if _, err := model.Load(src); err == nil || !strings.Contains(err.Error(), "differ, want one embedding of both stacks") {
				t.Errorf("%v, want an error about the two embeddings", err)
			}
		})
	}
}

// rewritten is the model's folder with the embedding under other names; one with ! has other numbers.
func rewritten(t *testing.T, base *modeltest.Base, names []string) string {
	t.Helper()
	var list []checkpoint.Entry
	for _, name := range base.Source.Names() {
		front, ok := strings.CutSuffix(name, "shared.weight")
		e, err := base.Source.Entry(name)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			list = append(list, e)
			continue
		}
		info, _ := base.Source.Info(name)
		for _, n := range names {
			v := values(t, base.Source, name)
			if strings.HasSuffix(n, "!") {
				v[0]++
			}
			list = append(list, checkpoint.FromFloats(front+strings.TrimSuffix(n, "!")+".weight", info.Shape, v))
		}
	}
	dir := t.TempDir()
	if err := checkpoint.Write(filepath.Join(dir, "model.safetensors"), list, nil); err != nil {
		t.Fatal(err)
	}
	config, err := base.Source.ReadFile("config.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), config, 0o666); err != nil {
		t.Fatal(err)
	}
	return dir
}
