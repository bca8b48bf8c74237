package methods_test

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/internal/golden"
	"github.com/graft-ml/graft/lora"
	"github.com/graft-ml/graft/model"
	"github.com/graft-ml/graft/peft"
	"github.com/graft-ml/graft/peft/methods"
)

// The shapes of models that published adapters are for. Vocabularies and MLPs, which no adapter here touches, are small.
const (
	gpt2Shape       = `{"model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "n_inner": 8, "vocab_size": 64, "n_positions": 16}`
	gpt2MediumShape = `{"model_type": "gpt2", "n_embd": 1024, "n_layer": 24, "n_head": 16, "n_inner": 8, "vocab_size": 64, "n_positions": 16}`
	gptNeoShape     = `{"model_type": "gpt_neo", "hidden_size": 768, "num_layers": 12, "num_heads": 12, "intermediate_size": 8, "vocab_size": 64,
		"max_position_embeddings": 16, "attention_types": [[["global", "local"], 6]]}`
	bloomShape   = `{"model_type": "bloom", "n_embed": 1024, "n_layer": 24, "n_head": 16, "vocab_size": 64}`
	robertaShape = `{"model_type": "roberta", "architectures": ["RobertaForSequenceClassification"], "hidden_size": 768, "num_hidden_layers": 12,
		"num_attention_heads": 12, "intermediate_size": 8, "vocab_size": 64, "max_position_embeddings": 18, "type_vocab_size": 1,
		"id2label": {"0": "a", "1": "b", "2": "c"}}`
)

// shaped is a model of a shape with random weights.
func shaped(t *testing.T, shape string) *model.Model {
	t.Helper()
	c, err := model.ParseConfig([]byte(shape))
	if err != nil {
		t.Fatal(err)
	}
	c.IntermediateSize = 8 // bloom's config.json cannot say it
	m, err := model.New(c, rand.New(rand.NewPCG(1, 2)))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestPublishedAdapters loads adapters that people published onto models of their shape: every tensor has its place, and what is
// written again has the same tensors, byte for byte, and the same value of every key.
func TestPublishedAdapters(t *testing.T) {
	assets := filepath.Join(golden.Assets(t), "adapters")
	for _, x := range []struct {
		folder, shape string
		tensors       int
	}{
		{"gpt2-smart-review-lora-r8", gpt2Shape, 24},
		{"gpt2-smart-review-lora-r8/checkpoint-2500", gpt2Shape, 24},
		{"gpt2-smart-review-lora-r8/checkpoint-5000", gpt2Shape, 24},
		{"gpt-neo-125M-movies-lora-r8", gptNeoShape, 48},
		{"bloom-560m-lora-r8-bin", bloomShape, 48},
	} {
		t.Run(x.folder, func(t *testing.T) {
			dir, out := filepath.Join(assets, x.folder), t.TempDir()
			c, a, err := methods.Load(dir, shaped(t, x.shape), peft.Allow{})
			if err != nil {
				t.Fatal(err)
			}
			if err := peft.Save(out, c, a); err != nil {
				t.Fatal(err)
			}
			if n := sameTensors(t, dir, out); n != x.tensors {
				t.Errorf("%d tensors, want %d", n, x.tensors)
			}
			sameKeys(t, filepath.Join(dir, peft.ConfigFile), filepath.Join(out, peft.ConfigFile))
		})
	}
}

// sameTensors compares the tensors of two adapter folders, and counts them.
func sameTensors(t *testing.T, was, is string) int {
	t.Helper()
	a, b := openFolder(t, was), openFolder(t, is)
	if !slices.Equal(a.Names(), b.Names()) {
		t.Fatalf("tensors %v, want %v", b.Names(), a.Names())
	}
	for _, name := range a.Names() {
		i, _ := a.Info(name)
		j, _ := b.Info(name)
		x, err := a.Bytes(name)
		if err != nil {
			t.Fatal(err)
		}
		y, err := b.Bytes(name)
		if err != nil {
			t.Fatal(err)
		}
		if i.DType != j.DType || !slices.Equal(i.Shape, j.Shape) || !bytes.Equal(x, y) {
			t.Errorf("tensor %q: %s %v, want %s %v and the same bytes", name, j.DType, j.Shape, i.DType, i.Shape)
		}
	}
	return len(a.Names())
}

func openFolder(t *testing.T, dir string) *checkpoint.Checkpoint {
	t.Helper()
	c, err := peft.OpenTensors(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// sameKeys holds every key of one JSON file to be in another with the same value.
func sameKeys(t *testing.T, was, is string) {
	t.Helper()
	var a, b map[string]any
	for _, f := range []struct {
		path string
		to   *map[string]any
	}{{was, &a}, {is, &b}} {
		if err := json.Unmarshal(read(t, f.path), f.to); err != nil {
			t.Fatal(err)
		}
	}
	for key, v := range a {
		if w, ok := b[key]; !ok || !reflect.DeepEqual(v, w) {
			t.Errorf("%s: %s is %v, want %v as before", is, key, w, v)
		}
	}
}

// TestPublishedCounts are the numbers of trainable parameters that papers and repositories state [hu2021, tables 2 and 3].
func TestPublishedCounts(t *testing.T) {
	mnli := lora.New()
	mnli.TargetModules = peft.Names{List: []string{"query", "value"}}
	head := lora.New()
	head.TargetModules, head.Beside.ModulesToSave = mnli.TargetModules, []string{"classifier"}
	medium := lora.New()
	medium.Rank, medium.TargetModules = 4, peft.Names{List: []string{"c_attn"}}
	shares := lora.New()
	if err := shares.Parse([]byte(`{"peft_type": "LORA", "r": 4, "lora_alpha": 32, "target_modules": ["c_attn"], "enable_lora": [true, false, true]}`)); err != nil {
		t.Fatal(err)
	}
	roberta, gpt2 := shaped(t, robertaShape), shaped(t, gpt2MediumShape)
	for _, x := range []struct {
		name string
		m    *model.Model
		c    *lora.Config
		want int64
	}{
		{"RoBERTa-base, r 8, query and value", roberta, mnli, 294_912},
		{"the same with the MNLI head", roberta, head, 887_811},
		{"GPT-2 medium, r 4, c_attn", gpt2, medium, 393_216},
		{"GPT-2 medium, r 4, query and value of c_attn", gpt2, shares, 393_216},
	} {
		a, err := x.c.Attach(x.m, rand.New(rand.NewPCG(1, 2)))
		if err != nil {
			t.Fatal(err)
		}
		if n := peft.NumParams(a); n != x.want {
			t.Errorf("%s: %d parameters, want %d", x.name, n, x.want)
		}
		a.Detach()
	}
}
