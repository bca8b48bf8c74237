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
	"slices"
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

// config is what of a config.json decides the shapes of a model.
type config struct {
	ModelType             string  `json:"model_type"`
	VocabSize             int     `json:"vocab_size"`
	HiddenSize            int     `json:"hidden_size"`
	IntermediateSize      int     `json:"intermediate_size"`
	NumHiddenLayers       int     `json:"num_hidden_layers"`
	NumAttentionHeads     int     `json:"num_attention_heads"`
	NumKeyValueHeads      int     `json:"num_key_value_heads"`
	HeadDim               int     `json:"head_dim"`
	MaxPositionEmbeddings int     `json:"max_position_embeddings"`
	TieWordEmbeddings     bool    `json:"tie_word_embeddings"`
	AttentionBias         bool    `json:"attention_bias"`
	MLPBias               bool    `json:"mlp_bias"`
	InitializerRange      float64 `json:"initializer_range"`

	QKVBias bool `json:"-"` // queries, keys and values have biases whatever attention_bias says
}

// Write writes the folder dir: the config, with its dtype set to bfloat16, and bf16 weights for it. Matrices are nearly
// normal with the config's initializer_range, norms are 1, biases 0. Memory stays small whatever the model's size.
func Write(dir string, configJSON []byte, seed uint64, o Options) error {
	list, err := entries(configJSON, seed)
	if err != nil {
		return err
	}
	return atomicfile.WriteDir(dir, o.Force, func(temp string) error {
		if _, err := checkpoint.WriteShards(temp, list, checkpoint.ShardOptions{MaxShardSize: o.MaxShardSize}); err != nil {
			return err
		}
		return atomicfile.WriteBytes(filepath.Join(temp, "config.json"), checkpoint.SetConfigDType(configJSON, checkpoint.BF16))
	})
}

// entries lists the tensors of the model that a config.json describes, in the order of its layers.
func entries(configJSON []byte, seed uint64) ([]checkpoint.Entry, error) {
	c, f, err := parse(configJSON)
	if err != nil {
		return nil, err
	}
	l := &layout{seed: seed, std: c.InitializerRange}
	f.layout(c, l)
	return l.list, nil
}

// parse reads a config.json over the defaults of its family.
func parse(data []byte) (*config, *family, error) {
	var kind struct {
		ModelType string `json:"model_type"`
	}
	if err := json.Unmarshal(data, &kind); err != nil {
		return nil, nil, fmt.Errorf("synth: config.json: %w", err)
	}
	i := slices.IndexFunc(families, func(f family) bool { return f.modelType == kind.ModelType })
	if i < 0 {
		var names []string
		for _, f := range families {
			names = append(names, f.modelType)
		}
		return nil, nil, fmt.Errorf("synth: config.json: model_type is %q, want one of %s", kind.ModelType, strings.Join(names, ", "))
	}
	f := &families[i]
	c := f.defaults
	data, err := f.translated(data)
	if err == nil {
		err = json.Unmarshal(data, &c)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("synth: config.json: %w", err)
	}
	c.complete(f)
	return &c, f, c.check(f)
}

// translated has the family's words for fields replaced by the fields.
func (f *family) translated(data []byte) ([]byte, error) {
	if len(f.aliases) == 0 {
		return data, nil
	}
	var m map[string]json.RawMessage
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, err
	}
	for _, a := range f.aliases {
		if v, ok := m[a[1]]; ok && string(v) != "null" {
			m[a[0]] = v
		}
	}
	return json.Marshal(m)
}

// complete fills in what follows from other fields.
func (c *config) complete(f *family) {
	if c.NumKeyValueHeads == 0 {
		c.NumKeyValueHeads = c.NumAttentionHeads
	}
	if c.HeadDim == 0 && c.NumAttentionHeads > 0 {
		c.HeadDim = c.HiddenSize / c.NumAttentionHeads
	}
	if c.IntermediateSize == 0 && f.fourfold {
		c.IntermediateSize = 4 * c.HiddenSize
	}
}

func (c *config) check(f *family) error {
	var errs []string
	for _, x := range []struct {
		key string
		n   int
	}{
		{"vocab_size", c.VocabSize}, {"hidden_size", c.HiddenSize}, {"intermediate_size", c.IntermediateSize},
		{"num_hidden_layers", c.NumHiddenLayers}, {"num_attention_heads", c.NumAttentionHeads},
		{"num_key_value_heads", c.NumKeyValueHeads}, {"head_dim", c.HeadDim}, {"max_position_embeddings", c.MaxPositionEmbeddings},
	} {
		if x.key == "max_position_embeddings" && !f.positions {
			continue
		}
		if x.n < 1 || x.n > 1<<24 {
			errs = append(errs, fmt.Sprintf("%s is %d, want 1 to %d", f.word(x.key), x.n, 1<<24))
		}
	}
	if len(errs) > 0 {
		return errors.New("synth: config.json: " + strings.Join(errs, "; "))
	}
	return nil
}

// word is what the family calls a field.
func (f *family) word(field string) string {
	for _, a := range f.aliases {
		if a[0] == field {
			return a[1]
		}
	}
	return field
}

// layout collects tensors.
type layout struct {
	list []checkpoint.Entry
	seed uint64
	std  float64
}

func (l *layout) matrix(name string, rows, cols int) {
	l.list = append(l.list, random(name+".weight", []int{rows, cols}, l.seed, l.std))
}

func (l *layout) linear(name string, out, in int, bias bool) {
	l.matrix(name, out, in)
	if bias {
		l.constant(name+".bias", out, 0)
	}
}

// conv1D is a linear that is stored [in, out].
func (l *layout) conv1D(name string, in, out int) {
	l.matrix(name, in, out)
	l.constant(name+".bias", out, 0)
}

func (l *layout) norm(name string, n int) {
	l.constant(name+".weight", n, 1)
	l.constant(name+".bias", n, 0)
}

func (l *layout) constant(name string, n int, value float32) {
	l.list = append(l.list, constant(name, n, value))
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
	list, err := entries(configJSON, 0)
	if err != nil {
		return 0, err
	}
	n := int64(0)
	for _, e := range list {
		size := int64(2)
		for _, d := range e.Shape {
			size *= int64(d)
		}
		n += size
	}
	return n, nil
}
