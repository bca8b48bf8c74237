package model

import (
	"errors"
	"fmt"
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
	c, err := readConfig(src)
	if err != nil {
		return nil, err
	}
	return LoadConfig(c, src)
}

func readConfig(src Source) (*Config, error) {
	b, err := src.ReadFile("config.json")
	if err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	return ParseConfig(b)
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
	return assemble(c, &builder{used: map[string]bool{}, rng: rng, std: c.InitializerRange})
}

// assemble puts the parts of a model together.
func assemble(c *Config, b *builder) (*Model, error) {
	arch, err := Lookup(c.ModelType)
	if err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	s := arch.Spec(c)
	b.c, b.s = c, &s
	b.findPrefix()
	m := &Model{Config: c, origin: b.src}
	if e := s.Encoder; e != nil {
		first, err := b.stack(e.Config, &e.Spec)
		if err != nil {
			return nil, err
		}
		m.Encoder = &first
	}
	if m.Stack, err = b.stack(c, &s); err != nil {
		return nil, err
	}
	if s.ProjectOut != "" {
		m.ProjectOut = b.linear(s.ProjectOut, layer.Linear, c.HiddenSize, b.embedDim(), false)
	}
	m.Kind, m.Top = c.kind(&s), b.top(m.Stem.Tokens)
	m.output = b.scores(m)
	m.Fresh = b.fresh
	if b.bare {
		m.Prefix = s.Prefix
	}
	if err := b.finish(); err != nil {
		return nil, err
	}
	return m, nil
}

// scores is the output with what the model does to its logits, nil of a bare model.
func (b *builder) scores(m *Model) op.Projection {
	s := b.s
	if m.Top.Out == nil {
		return nil
	}
	x := &op.Score{Projection: m.Top.Out, Scale: float32(or(s.LogitsScale, 1)), Cap: float32(s.LogitsCap)}
	if s.LogitsBias != "" && b.src != nil && slices.Contains(b.src.Names(), s.LogitsBias) {
		x.Bias, m.logitsBias = b.numbers(s.LogitsBias, b.c.VocabSize, 0), s.LogitsBias
	}
	if m.Kind != NextToken && m.Kind != TargetToken || x.Scale == 1 && x.Cap == 0 && x.Bias == nil {
		return m.Top.Out
	}
	return x
}

// bound refuses sizes that the source cannot fill or no memory holds, before anything of these sizes is made.
func (b *builder) bound() error {
	c := b.c
	if b.src != nil {
		if n := len(b.src.Names()); c.NumHiddenLayers > n {
			return fmt.Errorf("model: config.json: num_hidden_layers is %d, the checkpoint has only %d tensors", c.NumHiddenLayers, n)
		}
		return nil
	}
	hidden, heads := float64(c.HiddenSize), float64(c.NumAttentionHeads+c.NumKeyValueHeads)
	perLayer := 2*hidden*heads*float64(c.HeadDim) + 3*hidden*float64(c.IntermediateSize)*float64(max(1, b.s.Block.MLP.Experts))
	beside := 2 * float64(c.VocabSize)
	if r := b.s.Block.Attention.Relative; r != nil {
		beside += 2 * float64(r.Span)
	}
	if b.s.Conv != nil {
		beside += hidden * float64(b.s.Conv.Kernel)
	}
	if n := beside*hidden + float64(b.s.numBlocks(c))*perLayer; n > maxRandom {
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

	tokens       *layer.Slot // the input embedding, once it is there
	wordsName    string      // of it
	wordsStored  string      // which of its names the source has
	distances    *layer.Slot // that all layers of a stack share
	distanceNorm *layer.Norm

	head   bool     // what is built is the head's, and drawn by the rng where the source lacks it
	anew   bool     // the output is to be drawn whatever the source has
	redraw bool     // what is built is drawn anew
	fresh  []string // tensors that were drawn although there is a source
	others []string // starts of the names of other heads' tensors
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
	if end, ok := strings.CutPrefix(name, b.wordsName); ok && b.wordsStored != "" && (end == "" || end[0] == '.') {
		return b.wordsStored + end
	}
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

// matrix is a weight [rows, cols]: a view of the source, or random numbers.
func (b *builder) matrix(name string, rows, cols int) *kernel.Frozen {
	if b.drawn(name) {
		return b.random(rows, cols)
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
	if b.drawn(name) {
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

// same reports two tensors that should be one and differ. It looks at some rows only: files are large.
func (b *builder) same(one, other string) {
	x, shape, err := b.src.Frozen(one)
	y, otherShape, err2 := b.src.Frozen(other)
	if err != nil || err2 != nil {
		b.errs = append(b.errs, errors.Join(err, err2))
		return
	}
	equal := slices.Equal(shape, otherShape)
	v, w := make([]float32, x.Cols), make([]float32, y.Cols)
	for i := 0; equal && i < x.Rows; i += 1 + x.Rows/64 {
		x.Row(v, i)
		y.Row(w, i)
		equal = slices.Equal(v, w)
	}
	if !equal {
		b.errs = append(b.errs, fmt.Errorf("model: tensors %q and %q differ, want one embedding of both stacks", one, other))
	}
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
			if !b.used[name] && !b.s.buffer(name) && !b.other(name) {
				b.errs = append(b.errs, fmt.Errorf("model: tensor %q is unexpected: no part of the model by config.json reads it", name))
			}
		}
	}
	return errors.Join(b.errs...)
}

// other says that a stored tensor is of a head that the model does not have: files often hold several.
func (b *builder) other(name string) bool {
	return slices.ContainsFunc(append(b.others, b.s.Others...), func(start string) bool {
		return strings.HasPrefix(name, start+".") || name == start || b.bare && strings.HasPrefix(name, b.stored(start)+".")
	})
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
