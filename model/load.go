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
	s := arch.Spec(c)
	b.c, b.s = c, &s
	b.findPrefix()
	m := &Model{Config: c}
	for _, r := range s.Ropes {
		rope, err := r.build(c)
		if err != nil {
			return nil, err
		}
		m.ropes = append(m.ropes, rope)
	}
	m.Stem = b.stem()
	for i := range c.NumHiddenLayers {
		m.Blocks = append(m.Blocks, b.block(i))
	}
	m.Norm = b.norm(s.FinalNorm, c.HiddenSize)
	if s.ProjectOut != "" {
		m.ProjectOut = b.linear(s.ProjectOut, layer.Linear, c.HiddenSize, b.embedDim(), false)
	}
	m.head = b.head(m.Stem.Tokens)
	m.output = m.head
	if s.LogitsScale != 0 || s.LogitsCap != 0 {
		m.output = &op.Score{Projection: m.head, Scale: float32(or(s.LogitsScale, 1)), Cap: float32(s.LogitsCap)}
	}
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
	c    *Config
	s    *Spec
	src  Source
	bare bool // the source's names lack the prefix
	used map[string]bool
	errs []error

	rng *rand.Rand
	std float64
}

// findPrefix notices a file of the bare model, without its head.
func (b *builder) findPrefix() {
	if b.src == nil || b.s.Prefix == "" {
		return
	}
	b.bare = !slices.ContainsFunc(b.src.Names(), func(n string) bool { return strings.HasPrefix(n, b.s.Prefix) })
}

// at is a name with the prefix.
func (b *builder) at(name string) string { return b.s.Prefix + name }

// stored is the name in the source of a tensor.
func (b *builder) stored(name string) string {
	if b.bare {
		return strings.TrimPrefix(name, b.s.Prefix)
	}
	return name
}

func (b *builder) embedDim() int {
	if b.s.EmbedDim != 0 {
		return b.s.EmbedDim
	}
	return b.c.HiddenSize
}

func (b *builder) stem() layer.Stem {
	c, s := b.c, b.s
	t := layer.Stem{Tokens: b.embedding(s.Embed, c.VocabSize, b.embedDim()), Scale: float32(or(s.EmbedScale, 1)), Offset: s.PositionOffset}
	if s.ProjectIn != "" {
		t.Project = b.linear(s.ProjectIn, layer.Linear, b.embedDim(), c.HiddenSize, false)
	}
	if s.Positions != "" {
		t.Positions = b.embedding(s.Positions, c.MaxPositionEmbeddings+s.PositionOffset, c.HiddenSize)
	}
	t.Norm = b.norm(s.EmbedNorm, c.HiddenSize)
	return t
}

func (b *builder) block(i int) *layer.Block {
	spec := b.s.Block
	if b.s.Layer != nil {
		b.s.Layer(i, &spec)
	}
	at := fmt.Sprintf("%s.%d.", b.s.Blocks, i)
	return &layer.Block{
		Parallel: spec.Parallel, FromNorm: spec.FromNorm, Scale: float32(or(spec.Scale, 1)),
		AttentionNorms: b.norms(at, spec.AttentionNorms),
		Attention:      b.attention(at, i, &spec),
		MLPNorms:       b.norms(at, spec.MLPNorms),
		MLP:            b.mlp(at, &spec),
	}
}

func (b *builder) norms(at string, n NormNames) layer.Norms {
	name := func(s string) *layer.Norm {
		if s == "" {
			return nil
		}
		return b.norm(at+s, b.c.HiddenSize)
	}
	return layer.Norms{Before: name(n.Before), Branch: name(n.Branch), After: name(n.After)}
}

func (b *builder) attention(at string, i int, spec *Block) *layer.Attention {
	c, a := b.c, spec.Attention
	heads := op.Heads{Query: c.NumAttentionHeads, KeyValue: c.NumKeyValueHeads, Dim: c.HeadDim, Grouped: a.Grouped}
	l := &layer.Attention{
		AttentionSpec: op.AttentionSpec{Heads: heads, Causal: true, Scale: or(a.Scale, 1/math.Sqrt(float64(c.HeadDim))), Window: a.Window,
			SoftCap: a.SoftCap, Bias: a.Bias, Layer: i},
		Rope: a.Rope,
	}
	if a.NoRope || len(b.s.Ropes) == 0 {
		l.Rope = -1
	}
	widths := []int{heads.Query * heads.Dim, heads.KeyValue * heads.Dim, heads.KeyValue * heads.Dim}
	if len(a.In) == 1 {
		widths = []int{heads.Columns()}
	}
	for j, name := range a.In {
		l.In = append(l.In, b.linear(at+name, spec.slotKind(), c.HiddenSize, widths[j], a.InBias))
	}
	l.Output = b.linear(at+a.Output, spec.slotKind(), heads.Query*heads.Dim, c.HiddenSize, a.OutputBias)
	l.Normed = append(b.headNorms(at, a.QueryNorm, a.NormShape, 0, heads.Query), b.headNorms(at, a.KeyNorm, a.NormShape, heads.Query, heads.KeyValue)...)
	return l
}

// headNorms are the norms of n heads from the first on.
func (b *builder) headNorms(at, name string, shape NormShape, first, n int) (list []layer.HeadNorm) {
	d := b.c.HeadDim
	switch {
	case name == "":
	case shape == HeadAlike:
		list = append(list, layer.HeadNorm{Norm: b.norm(at+name, d), At: first * d, Width: d, Count: n})
	case shape == AllHeads:
		list = append(list, layer.HeadNorm{Norm: b.norm(at+name, n*d), At: first * d, Width: n * d, Count: 1})
	default:
		for j := range n {
			list = append(list, layer.HeadNorm{Norm: b.norm(at+fmt.Sprintf(name, j), d), At: (first + j) * d, Width: d, Count: 1})
		}
	}
	return list
}

func (b *builder) mlp(at string, spec *Block) layer.Branch {
	c, s := b.c, spec.MLP
	act, _ := activation(c.HiddenAct)
	if s.Router != "" {
		return b.mixture(at, s, act)
	}
	l := &layer.MLP{Gated: s.Gated, Activation: act}
	width := c.IntermediateSize
	if s.Gated && len(s.In) == 1 {
		width *= 2
	}
	for _, name := range s.In {
		l.In = append(l.In, b.linear(at+name, spec.slotKind(), c.HiddenSize, width, s.InBias))
	}
	l.Down = b.linear(at+s.Down, spec.slotKind(), c.IntermediateSize, c.HiddenSize, s.OutBias)
	return l
}

func (b *builder) mixture(at string, s MLP, act op.Activation) *layer.Mixture {
	c := b.c
	l := &layer.Mixture{Router: b.linear(at+s.Router, layer.Linear, c.HiddenSize, s.Experts, false), TopK: s.TopK, Activation: act}
	for e := range s.Experts {
		part := func(name string, in, out int) *layer.Slot {
			return b.linear(at+fmt.Sprintf(name, e), layer.Linear, in, out, false)
		}
		l.Experts = append(l.Experts, layer.Expert{Gate: part(s.In[0], c.HiddenSize, c.IntermediateSize),
			Up: part(s.In[1], c.HiddenSize, c.IntermediateSize), Down: part(s.Down, c.IntermediateSize, c.HiddenSize)})
	}
	return l
}

// head is the output embedding. A stored one counts more than tie_word_embeddings; without one the input embedding serves.
func (b *builder) head(embed *layer.Slot) *layer.Slot {
	name := b.s.Head
	stored := b.src != nil && slices.Contains(b.src.Names(), name+".weight")
	if b.c.TieWordEmbeddings && !stored {
		base := &layer.Frozen{W: embed.Base.W}
		if b.s.HeadBias {
			base.Bias = b.numbers(name+".bias", b.c.VocabSize, 0)
		}
		return &layer.Slot{Name: name, Kind: layer.Head, Tied: true, Projection: base, Base: base, Stored: embed.Stored}
	}
	return b.projection(name, layer.Head, b.embedDim(), b.c.VocabSize, b.s.HeadBias)
}

func (b *builder) embedding(name string, rows, dim int) *layer.Slot {
	name = b.at(name)
	base := &layer.Frozen{W: b.matrix(name+".weight", rows, dim)}
	return &layer.Slot{Name: name, Kind: layer.Embedding, Lookup: &layer.Table{W: base.W}, Base: base, Stored: b.stored(name + ".weight")}
}

// linear is a projection below the prefix.
func (b *builder) linear(name string, kind layer.Kind, in, out int, bias bool) *layer.Slot {
	return b.projection(b.at(name), kind, in, out, bias)
}

func (b *builder) projection(name string, kind layer.Kind, in, out int, bias bool) *layer.Slot {
	rows, cols := out, in
	if kind == layer.Conv1D {
		rows, cols = in, out
	}
	base := &layer.Frozen{W: b.matrix(name+".weight", rows, cols), Transposed: kind == layer.Conv1D}
	if bias {
		base.Bias = b.numbers(name+".bias", out, 0)
	}
	return &layer.Slot{Name: name, Kind: kind, Projection: base, Base: base, Stored: b.stored(name + ".weight")}
}

// norm is a norm of n columns, nil without a name.
func (b *builder) norm(name string, n int) *layer.Norm {
	if name == "" {
		return nil
	}
	s := b.s.Norm
	l := &layer.Norm{Name: b.at(name), Norm: op.Norm{Kind: s.Kind, Plus: s.Plus, Eps: b.c.NormEps}}
	if s.Frozen {
		l.Plus = 0
		return l
	}
	l.Weight = &op.Vector{Value: b.numbers(l.Name+".weight", n, 1-s.Plus)}
	if s.Bias {
		l.Bias = &op.Vector{Value: b.numbers(l.Name+".bias", n, 0)}
	}
	return l
}

// or is v, or the fallback if v is 0.
func or(v, fallback float64) float64 {
	if v == 0 {
		return fallback
	}
	return v
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
	if name = b.stored(name); !b.has(name) {
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
	if name = b.stored(name); !b.has(name) {
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

// finish reports everything that was wrong, and tensors that the model has no place for.
func (b *builder) finish() error {
	if b.src != nil {
		for _, name := range b.src.Names() {
			if !b.used[name] && !b.s.buffer(name) {
				b.errs = append(b.errs, fmt.Errorf("model: tensor %q is unexpected: no part of the model by config.json reads it", name))
			}
		}
	}
	return errors.Join(b.errs...)
}

// buffer says that a stored tensor is no weight: positions and masks that old versions of transformers kept in the file.
func (s *Spec) buffer(name string) bool {
	for _, end := range append(s.Buffers, "rotary_emb.inv_freq") {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	return false
}
