package model

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model/layer"
)

// Source is a checkpoint as a model reads it.
type Source interface {
	Names() []string
	Frozen(name string) (w *kernel.Frozen, shape []int, err error) // in place
	Floats(name string) ([]float32, error)                         // a converted copy
	ReadFile(name string) ([]byte, error)
}

// Load builds the model that the source's config.json describes over the source's tensors. Every tensor of the wrong shape,
// every missing and every unexpected one is in the error.
func Load(src Source) (*Model, error) {
	b, err := src.ReadFile("config.json")
	if err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	c, err := ParseConfig(b)
	if err != nil {
		return nil, err
	}
	return LoadConfig(c, src)
}

// LoadConfig is Load with a config from elsewhere.
func LoadConfig(c *Config, src Source) (*Model, error) {
	src, err := rename(src)
	if err != nil {
		return nil, err
	}
	return assemble(c, &builder{src: src, used: map[string]bool{}})
}

// New builds a model with random weights, as transformers initialises them: matrices N(0, initializer_range), norms 1,
// biases 0. The same rng gives the same weights.
func New(c *Config, rng *rand.Rand) (*Model, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return assemble(c, &builder{rng: rng, std: c.InitializerRange})
}

// assemble puts the parts of a model together.
func assemble(c *Config, b *builder) (*Model, error) {
	arch, err := Lookup(c.ModelType)
	if err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	if err := b.bound(c); err != nil {
		return nil, err
	}
	rope, err := c.rope()
	if err != nil {
		return nil, err
	}
	s := arch.Spec(c)
	m := &Model{Config: c, rope: rope}
	m.Embed = b.embedding("model.embed_tokens", c.VocabSize, c.HiddenSize)
	for i := range c.NumHiddenLayers {
		m.Blocks = append(m.Blocks, b.block(c, s, i))
	}
	m.Norm = b.vector("model.norm.weight", c.HiddenSize)
	m.head = b.head(c, m.Embed)
	if err := b.finish(); err != nil {
		return nil, err
	}
	return m, nil
}

// bound refuses sizes that the source cannot fill or no memory holds, before anything of these sizes is made.
func (b *builder) bound(c *Config) error {
	if b.src != nil {
		if n := len(b.src.Names()); c.NumHiddenLayers > n {
			return fmt.Errorf("model: config.json: num_hidden_layers is %d, the checkpoint has only %d tensors", c.NumHiddenLayers, n)
		}
		return nil
	}
	hidden, heads := float64(c.HiddenSize), float64(c.NumAttentionHeads+c.NumKeyValueHeads)
	perLayer := 2*hidden*heads*float64(c.HeadDim) + 3*hidden*float64(c.IntermediateSize)
	if n := 2*float64(c.VocabSize)*hidden + float64(c.NumHiddenLayers)*perLayer; n > maxRandom {
		return fmt.Errorf("model: config.json: about %.3g parameters, want at most %d for random weights", n, int64(maxRandom))
	}
	return nil
}

// maxRandom bounds the parameters of a model of random weights; in float32 these are 16 GiB.
const maxRandom = 1 << 32

// builder makes parts from a source, or at random, and collects what does not fit.
type builder struct {
	src  Source
	used map[string]bool
	errs []error

	rng *rand.Rand
	std float64
}

func (b *builder) block(c *Config, s Spec, i int) *layer.Block {
	at := fmt.Sprintf("model.layers.%d.", i)
	q, kv := c.NumAttentionHeads*c.HeadDim, c.NumKeyValueHeads*c.HeadDim
	l := &layer.Block{
		Attention: op.AttentionSpec{Heads: op.Heads{Query: c.NumAttentionHeads, KeyValue: c.NumKeyValueHeads, Dim: c.HeadDim},
			Scale: 1 / math.Sqrt(float64(c.HeadDim)), Layer: i},
		Activation: activations[c.HiddenAct],
		Eps:        c.RMSNormEps,
		InputNorm:  b.vector(at+"input_layernorm.weight", c.HiddenSize),
		Query:      b.linear(at+"self_attn.q_proj", c.HiddenSize, q, s.QKVBias),
		Key:        b.linear(at+"self_attn.k_proj", c.HiddenSize, kv, s.QKVBias),
		Value:      b.linear(at+"self_attn.v_proj", c.HiddenSize, kv, s.QKVBias),
		Output:     b.linear(at+"self_attn.o_proj", q, c.HiddenSize, s.OutputBias),
		PostNorm:   b.vector(at+"post_attention_layernorm.weight", c.HiddenSize),
		Gate:       b.linear(at+"mlp.gate_proj", c.HiddenSize, c.IntermediateSize, s.MLPBias),
		Up:         b.linear(at+"mlp.up_proj", c.HiddenSize, c.IntermediateSize, s.MLPBias),
		Down:       b.linear(at+"mlp.down_proj", c.IntermediateSize, c.HiddenSize, s.MLPBias),
	}
	if s.HeadNorm {
		l.QueryNorm = b.vector(at+"self_attn.q_norm.weight", c.HeadDim)
		l.KeyNorm = b.vector(at+"self_attn.k_norm.weight", c.HeadDim)
	}
	if s.Window != nil {
		l.Attention.Window = s.Window(i)
	}
	return l
}

// head is lm_head. A stored lm_head.weight counts more than tie_word_embeddings; without one the embedding serves.
func (b *builder) head(c *Config, embed *layer.Slot) *layer.Slot {
	const name = "lm_head"
	stored := b.src != nil && slices.Contains(b.src.Names(), name+".weight")
	if c.TieWordEmbeddings && !stored {
		base := embed.Base
		return &layer.Slot{Name: name, Kind: layer.Head, Tied: true, Projection: base, Base: base}
	}
	s := b.linear(name, c.HiddenSize, c.VocabSize, false)
	s.Kind = layer.Head
	return s
}

func (b *builder) embedding(name string, rows, dim int) *layer.Slot {
	base := &layer.Frozen{W: b.matrix(name+".weight", rows, dim)}
	return &layer.Slot{Name: name, Kind: layer.Embedding, Lookup: &layer.Table{W: base.W}, Base: base}
}

func (b *builder) linear(name string, in, out int, bias bool) *layer.Slot {
	base := &layer.Frozen{W: b.matrix(name+".weight", out, in)}
	if bias {
		base.Bias = b.numbers(name+".bias", out, 0)
	}
	return &layer.Slot{Name: name, Kind: layer.Linear, Projection: base, Base: base}
}

func (b *builder) vector(name string, n int) *op.Vector {
	return &op.Vector{Value: b.numbers(name, n, 1)}
}

// matrix is a weight [rows, cols]: a view of the source, or random numbers.
func (b *builder) matrix(name string, rows, cols int) *kernel.Frozen {
	if b.src == nil {
		w := make([]float32, rows*cols)
		for i := range w {
			w[i] = float32(b.rng.NormFloat64() * b.std)
		}
		return kernel.FrozenF32(w, rows, cols)
	}
	if !b.has(name) {
		return nil
	}
	w, shape, err := b.src.Frozen(name)
	if err != nil {
		b.errs = append(b.errs, err)
		return nil
	}
	if !slices.Equal(shape, []int{rows, cols}) {
		b.errs = append(b.errs, fmt.Errorf("model: tensor %q is %v, want %v by config.json", name, shape, []int{rows, cols}))
		return nil
	}
	return w
}

// numbers is a vector [n] in float32.
func (b *builder) numbers(name string, n int, initial float32) []float32 {
	if b.src == nil {
		return slices.Repeat([]float32{initial}, n)
	}
	if !b.has(name) {
		return nil
	}
	v, err := b.src.Floats(name)
	if err != nil {
		b.errs = append(b.errs, err)
		return nil
	}
	if len(v) != n {
		b.errs = append(b.errs, fmt.Errorf("model: tensor %q has %d numbers, want %d by config.json", name, len(v), n))
		return nil
	}
	return v
}

// has notes a missing tensor.
func (b *builder) has(name string) bool {
	b.used[name] = true
	if _, found := slices.BinarySearch(b.src.Names(), name); found {
		return true
	}
	b.errs = append(b.errs, fmt.Errorf("model: tensor %q is missing", name))
	return false
}

// finish reports everything that was wrong, and tensors that the model has no place for. Position buffers that old versions
// stored are no weights.
func (b *builder) finish() error {
	if b.src != nil {
		for _, name := range b.src.Names() {
			if !b.used[name] && !strings.HasSuffix(name, "rotary_emb.inv_freq") {
				b.errs = append(b.errs, fmt.Errorf("model: tensor %q is unexpected: no part of the model by config.json reads it", name))
			}
		}
	}
	return errors.Join(b.errs...)
}
