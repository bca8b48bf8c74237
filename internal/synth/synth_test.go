package synth

import (
	"context"
	"math"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/model"
)

const small = `{"model_type": "llama", "dtype": "float32", "vocab_size": 300, "hidden_size": 48, "intermediate_size": 88,
 "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "attention_bias": true, "initializer_range": 0.05}`

func folder(t *testing.T, seed uint64, shard int64) *checkpoint.Checkpoint {
	dir := filepath.Join(t.TempDir(), "m")
	if err := Write(dir, []byte(small), seed, Options{MaxShardSize: shard}); err != nil {
		t.Fatal(err)
	}
	c, err := checkpoint.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestWrite(t *testing.T) {
	c := folder(t, 1, 0)
	t.Run("has the tensors of a llama, in bf16", func(t *testing.T) {
		if n := len(c.Names()); n != 3+2*(9+4) {
			t.Errorf("%d tensors: %q", n, c.Names())
		}
		if info, _ := c.Info("model.layers.1.self_attn.k_proj.weight"); info.DType != checkpoint.BF16 || info.Shape[0] != 24 || info.Shape[1] != 48 {
			t.Errorf("k_proj is %+v", info)
		}
		if b, err := c.ReadFile("config.json"); err != nil || !strings.Contains(string(b), `"dtype": "bfloat16"`) {
			t.Errorf("config.json: %s, %v", b, err)
		}
		if n, err := Bytes([]byte(small)); err != nil || n != c.SizeBytes() {
			t.Errorf("Bytes = %d, %v, want %d", n, err, c.SizeBytes())
		}
	})
	t.Run("matrices have the mean and spread that the config asks for", func(t *testing.T) {
		x, err := c.Floats("model.embed_tokens.weight")
		if err != nil {
			t.Fatal(err)
		}
		var sum, squares float64
		for _, v := range x {
			sum, squares = sum+float64(v), squares+float64(v)*float64(v)
		}
		n := float64(len(x)) // 14400 draws: the mean is within 4/√n standard deviations, the spread within 4/√2n
		if mean, std := sum/n, math.Sqrt(squares/n); math.Abs(mean) > 0.05*4/math.Sqrt(n) || math.Abs(std/0.05-1) > 4/math.Sqrt(2*n) {
			t.Errorf("mean %g, standard deviation %g, want 0 and 0.05", mean, std)
		}
	})
	t.Run("the same seed gives the same bytes whatever the threads and shards", func(t *testing.T) {
		hash := func(c *checkpoint.Checkpoint) string {
			h, err := c.Hash(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			return h
		}
		old := runtime.GOMAXPROCS(1)
		again := folder(t, 1, 20_000)
		runtime.GOMAXPROCS(old)
		const want = "25c1314c6e31619d2e40b093d66c5ad89d9844a1dcb54d6e3ee1424c3821cda6"
		if hash(c) != hash(again) || hash(c) != want {
			t.Errorf("hashes %s and %s, want %s", hash(c), hash(again), want)
		}
		if hash(folder(t, 2, 0)) == want {
			t.Error("another seed gives the same bytes")
		}
	})
}

func TestConfigErrors(t *testing.T) {
	for _, c := range []struct{ config, want string }{
		{`{`, "synth: config.json: unexpected end of JSON input"},
		{`{}`, `model_type is "", want one of llama, qwen2, gpt2`},
		{`{"model_type": "llama"}`, `vocab_size is 0, want 1 to 16777216; hidden_size is 0`},
		{`{"model_type": "gpt2", "n_embd": 8}`, `n_layer is 0, want 1 to`},
		{strings.Replace(small, "300", "3000000000", 1), "vocab_size is 3000000000, want 1 to"},
		{strings.Replace(small, "llama", "bert", 1), `model_type is "bert", want one of llama, qwen2, gpt2`},
	} {
		if err := Write(filepath.Join(t.TempDir(), "x"), []byte(c.config), 1, Options{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Write(%s): %v, want …%s", c.config, err, c.want)
		}
	}
}

// tiny configs of the families.
var tiny = map[string]string{
	"llama": small,
	"qwen2": `{"model_type": "qwen2", "vocab_size": 60, "hidden_size": 12, "intermediate_size": 20, "num_hidden_layers": 2, "num_attention_heads": 2,
 "num_key_value_heads": 1, "tie_word_embeddings": true}`,
	"gpt2": `{"model_type": "gpt2", "vocab_size": 60, "n_embd": 12, "n_layer": 2, "n_head": 2, "n_positions": 30, "n_inner": null}`,
}

func TestFamilies(t *testing.T) {
	for _, f := range families {
		t.Run(f.modelType+" has the tensors that the model reads, and no others", func(t *testing.T) {
			h, err := NewHollow([]byte(tiny[f.modelType]))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := model.Load(h); err != nil {
				t.Error(err)
			}
		})
	}
}
