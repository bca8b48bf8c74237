// Package synth makes checkpoints of any size with random weights, for measuring speed and memory where no real model of
// that size is at hand. The same seed gives the same bytes on every machine.
package synth

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"math/rand/v2"
	"path/filepath"
	"strings"

	"github.com/graft-ml/graft/checkpoint"
	"github.com/graft-ml/graft/internal/atomicfile"
	"github.com/graft-ml/graft/internal/kernel"
)

// Options say how the checkpoint is written.
type Options struct {
	MaxShardSize int64 // in bytes; 0 means checkpoint.DefaultShardSize
	Force        bool  // replace an existing folder
}

// config is what of a config.json decides the shapes of a model of the LLaMA family.
type config struct {
	ModelType         string  `json:"model_type"`
	VocabSize         int     `json:"vocab_size"`
	HiddenSize        int     `json:"hidden_size"`
	IntermediateSize  int     `json:"intermediate_size"`
	NumHiddenLayers   int     `json:"num_hidden_layers"`
	NumAttentionHeads int     `json:"num_attention_heads"`
	NumKeyValueHeads  int     `json:"num_key_value_heads"`
	HeadDim           int     `json:"head_dim"`
	TieWordEmbeddings bool    `json:"tie_word_embeddings"`
	AttentionBias     bool    `json:"attention_bias"`
	MLPBias           bool    `json:"mlp_bias"`
	InitializerRange  float64 `json:"initializer_range"`
}

// Llama writes the folder dir: the config, with its dtype set to bfloat16, and bf16 weights for it. Matrices are nearly
// normal with the config's initializer_range, norms are 1, biases 0. Memory stays small whatever the model's size.
func Llama(dir string, configJSON []byte, seed uint64, o Options) error {
	c, err := parse(configJSON)
	if err != nil {
		return err
	}
	return atomicfile.WriteDir(dir, o.Force, func(temp string) error {
		if _, err := checkpoint.WriteShards(temp, c.entries(seed), checkpoint.ShardOptions{MaxShardSize: o.MaxShardSize}); err != nil {
			return err
		}
		return atomicfile.WriteBytes(filepath.Join(temp, "config.json"), checkpoint.SetConfigDType(configJSON, checkpoint.BF16))
	})
}

func parse(data []byte) (*config, error) {
	c := &config{InitializerRange: 0.02}
	if err := json.Unmarshal(data, c); err != nil {
		return nil, fmt.Errorf("synth: config.json: %w", err)
	}
	if c.NumKeyValueHeads == 0 {
		c.NumKeyValueHeads = c.NumAttentionHeads
	}
	if c.HeadDim == 0 && c.NumAttentionHeads > 0 {
		c.HeadDim = c.HiddenSize / c.NumAttentionHeads
	}
	var errs []string
	if c.ModelType != "llama" {
		errs = append(errs, fmt.Sprintf("model_type is %q, want llama", c.ModelType))
	}
	for _, f := range []struct {
		key string
		n   int
	}{
		{"vocab_size", c.VocabSize}, {"hidden_size", c.HiddenSize}, {"intermediate_size", c.IntermediateSize},
		{"num_hidden_layers", c.NumHiddenLayers}, {"num_attention_heads", c.NumAttentionHeads},
		{"num_key_value_heads", c.NumKeyValueHeads}, {"head_dim", c.HeadDim},
	} {
		if f.n < 1 || f.n > 1<<24 {
			errs = append(errs, fmt.Sprintf("%s is %d, want 1 to %d", f.key, f.n, 1<<24))
		}
	}
	if len(errs) > 0 {
		return nil, errors.New("synth: config.json: " + strings.Join(errs, "; "))
	}
	return c, nil
}

// entries lists the model's tensors in the order of its layers.
func (c *config) entries(seed uint64) []checkpoint.Entry {
	var list []checkpoint.Entry
	matrix := func(name string, rows, cols int) {
		list = append(list, random(name+".weight", []int{rows, cols}, seed, c.InitializerRange))
	}
	linear := func(name string, out, in int, bias bool) {
		matrix(name, out, in)
		if bias {
			list = append(list, constant(name+".bias", out, 0))
		}
	}
	h, q, kv := c.HiddenSize, c.NumAttentionHeads*c.HeadDim, c.NumKeyValueHeads*c.HeadDim
	matrix("model.embed_tokens", c.VocabSize, h)
	for l := range c.NumHiddenLayers {
		p := fmt.Sprintf("model.layers.%d.", l)
		linear(p+"self_attn.q_proj", q, h, c.AttentionBias)
		linear(p+"self_attn.k_proj", kv, h, c.AttentionBias)
		linear(p+"self_attn.v_proj", kv, h, c.AttentionBias)
		linear(p+"self_attn.o_proj", h, q, c.AttentionBias)
		linear(p+"mlp.gate_proj", c.IntermediateSize, h, c.MLPBias)
		linear(p+"mlp.up_proj", c.IntermediateSize, h, c.MLPBias)
		linear(p+"mlp.down_proj", h, c.IntermediateSize, c.MLPBias)
		list = append(list, constant(p+"input_layernorm.weight", h, 1), constant(p+"post_attention_layernorm.weight", h, 1))
	}
	list = append(list, constant("model.norm.weight", h, 1))
	if !c.TieWordEmbeddings {
		matrix("lm_head", c.VocabSize, h)
	}
	return list
}

func constant(name string, n int, value float32) checkpoint.Entry {
	x := make([]float32, n)
	for i := range x {
		x[i] = value
	}
	data := make([]byte, 2*n)
	checkpoint.Encode(data, x, checkpoint.BF16)
	return checkpoint.FromBytes(name, checkpoint.BF16, []int{n}, data)
}

// random is a tensor of numbers that depend only on its name, the seed and their place.
func random(name string, shape []int, seed uint64, std float64) checkpoint.Entry {
	const block = 1 << 16
	h := fnv.New64a()
	io.WriteString(h, name)
	stream := h.Sum64()
	return checkpoint.Entry{Name: name, DType: checkpoint.BF16, Shape: shape, Fill: func(w checkpoint.Section) error {
		n := shape[0] * shape[1]
		errs := make([]error, (n+block-1)/block)
		kernel.Split(n, block, func(lo, hi int) {
			x, out := make([]float32, hi-lo), make([]byte, 2*(hi-lo))
			draw(x, rand.NewPCG(seed, stream+uint64(lo)), std)
			checkpoint.Encode(out, x, checkpoint.BF16)
			_, errs[lo/block] = w.WriteAt(out, 2*int64(lo))
		})
		return errors.Join(errs...)
	}}
}

// draw fills x with sums of four uniform numbers, one draw each: near enough to normal, and fast.
func draw(x []float32, rng *rand.PCG, std float64) {
	scale := float32(std / math.Sqrt(4*(65536*65536-1)/12.0))
	const mask = 0x0000_ffff_0000_ffff
	for i := range x {
		u := rng.Uint64()
		u = u&mask + u>>16&mask
		x[i] = float32(int32(uint32(u)+uint32(u>>32))-2*65535) * scale
	}
}

// Bytes is how large the weights for a config are.
func Bytes(configJSON []byte) (int64, error) {
	c, err := parse(configJSON)
	if err != nil {
		return 0, err
	}
	n := int64(0)
	for _, e := range c.entries(0) {
		size := int64(2)
		for _, d := range e.Shape {
			size *= int64(d)
		}
		n += size
	}
	return n, nil
}
