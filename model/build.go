package model

import (
	"fmt"
	"math"
	"slices"

	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/model/layer"
)

// stack builds the stack that a spec describes, with sizes of its own. The first one's input embedding is that of all.
func (b *builder) stack(c *Config, s *Spec) (t Stack, err error) {
	before, beforeSpec := b.c, b.s
	defer func() { b.c, b.s = before, beforeSpec }()
	b.c, b.s, b.distances = c, s, nil
	if err := b.bound(); err != nil {
		return t, err
	}
	for _, r := range s.Ropes {
		rope, err := r.build(c)
		if err != nil {
			return t, err
		}
		t.ropes = append(t.ropes, rope)
	}
	t.Stem = b.stem()
	t.Blocks, t.Conv = b.blocks(), b.conv()
	t.Norm = b.norm(s.FinalNorm, c.HiddenSize)
	return t, nil
}

// words is the input embedding, under whichever of its names the source has it.
func (b *builder) words() *layer.Slot {
	if b.tokens != nil {
		return b.tokens
	}
	stored, copies := "", []string(nil)
	for _, name := range append([]string{b.s.Embed}, b.s.EmbedAlso...) {
		if name = b.stored(b.at(name)); b.src == nil || !slices.Contains(b.src.Names(), name+".weight") {
			continue
		}
		b.used[name+".weight"] = true
		if stored == "" {
			stored = name
		} else {
			b.same(stored+".weight", name+".weight")
			copies = append(copies, name+".weight")
		}
	}
	if stored != "" {
		b.wordsName, b.wordsStored = b.at(b.s.Embed), stored
	}
	b.tokens = b.embedding(b.s.Embed, b.c.VocabSize, b.embedDim())
	b.tokens.Copies = copies
	return b.tokens
}

func (b *builder) stem() layer.Stem {
	c, s := b.c, b.s
	t := layer.Stem{Tokens: b.words(), Scale: float32(or(s.EmbedScale, 1)), Offset: s.PositionOffset, ScaleRows: s.ScaleRows}
	width := b.embedDim() // of sum and norm
	if s.ProjectIn != "" {
		width = c.HiddenSize
		t.Project = b.linear(s.ProjectIn, layer.Linear, b.embedDim(), width, false)
	}
	if s.Positions != "" {
		t.Positions = b.embedding(s.Positions, c.MaxPositionEmbeddings+s.PositionOffset, width)
	}
	if s.Sinusoids {
		t.Sinusoids = &layer.Sinusoids{Dim: width}
	}
	if s.Types != "" {
		t.Types = b.embedding(s.Types, c.TypeVocabSize, width)
	}
	t.Norm = b.norm(s.EmbedNorm, width)
	if s.Widen != "" {
		t.Widen = b.linear(s.Widen, layer.Linear, width, c.HiddenSize, true)
	}
	return t
}

// blocks are the layers; those of one name are one.
func (b *builder) blocks() (list []*layer.Block) {
	made := map[string]*layer.Block{}
	for i := range b.s.numBlocks(b.c) {
		at := b.s.blockName(i)
		if made[at] == nil {
			made[at] = b.block(at+".", i)
		}
		list = append(list, made[at])
	}
	return list
}

func (b *builder) block(at string, i int) *layer.Block {
	spec := b.s.Block
	if b.s.Layer != nil {
		b.s.Layer(i, &spec)
	}
	return &layer.Block{
		Parallel: spec.Parallel, FromNorm: spec.FromNorm, Scale: float32(or(spec.Scale, 1)),
		AttentionNorms: b.norms(at, spec.AttentionNorms),
		Attention:      b.attention(at, i, &spec),
		CrossNorms:     b.norms(at, spec.CrossNorms),
		Cross:          b.cross(at, i, &spec),
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

func (b *builder) attention(at string, i int, spec *Block) layer.Branch {
	c, a := b.c, spec.Attention
	if a.Relative != nil {
		return b.disentangled(at, spec)
	}
	heads := op.Heads{Query: c.NumAttentionHeads, KeyValue: c.NumKeyValueHeads, Dim: c.HeadDim, Grouped: a.Grouped}
	l := &layer.Attention{
		AttentionSpec: op.AttentionSpec{Heads: heads, Causal: !a.BothWays, Scale: or(a.Scale, 1/math.Sqrt(float64(c.HeadDim))), Window: a.Window,
			SoftCap: a.SoftCap, Bias: a.Bias, Layer: i, Prefix: b.s.prefixLayer(i, b.c)},
		Rope: a.Rope,
	}
	if d := a.Distances; d != nil {
		if b.distances == nil {
			b.distances = b.embedding(d.Table, d.Rows, c.NumAttentionHeads)
		}
		l.Table, l.Row = b.distances, d.Row
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

// cross is the attention to an encoder's rows, nil if there is none.
func (b *builder) cross(at string, i int, spec *Block) *layer.CrossAttention {
	c, a := b.c, spec.Cross
	if a.In == nil {
		return nil
	}
	heads := op.Heads{Query: c.NumAttentionHeads, KeyValue: c.NumAttentionHeads, Dim: c.HeadDim}
	width := heads.Query * heads.Dim
	in := make([]*layer.Slot, len(a.In))
	for j, name := range a.In {
		in[j] = b.linear(at+name, layer.Linear, c.HiddenSize, width, a.InBias)
	}
	return &layer.CrossAttention{AttentionSpec: op.AttentionSpec{Heads: heads, Scale: or(a.Scale, 1/math.Sqrt(float64(c.HeadDim))), Cross: true, Layer: i},
		Query: in[0], Key: in[1], Value: in[2], Output: b.linear(at+a.Output, layer.Linear, width, c.HiddenSize, a.OutputBias)}
}

func (b *builder) disentangled(at string, spec *Block) *layer.Disentangled {
	c, a, r := b.c, spec.Attention, spec.Attention.Relative
	width := c.NumAttentionHeads * c.HeadDim
	if b.distances == nil {
		b.distances, b.distanceNorm = b.embedding(r.Table, 2*r.Span, c.HiddenSize), b.norm(r.Norm, c.HiddenSize)
	}
	l := &layer.Disentangled{Heads: op.Heads{Query: c.NumAttentionHeads, KeyValue: c.NumAttentionHeads, Dim: c.HeadDim},
		Scale: 1 / math.Sqrt(float64(c.HeadDim*r.Terms)), Table: b.distances, Norm: b.distanceNorm, Row: r.Row}
	for _, name := range a.In {
		l.In = append(l.In, b.linear(at+name, layer.Linear, c.HiddenSize, width, a.InBias))
	}
	l.Output = b.linear(at+a.Output, layer.Linear, width, c.HiddenSize, a.OutputBias)
	of := func(name string, shared *layer.Slot) *layer.Slot {
		if r.Shared {
			return shared
		}
		return b.linear(at+name, layer.Linear, c.HiddenSize, width, a.InBias)
	}
	if r.Keys != "" {
		l.Keys = of(r.Keys, l.In[1])
	}
	if r.Queries != "" {
		l.Queries = of(r.Queries, l.In[0])
	}
	return l
}

// conv is the convolution after the first layer, nil if there is none. It is stored [out, in, Kernel].
func (b *builder) conv() *layer.Conv {
	s := b.s.Conv
	if s == nil {
		return nil
	}
	n, name := b.c.HiddenSize, b.at(s.Weight)
	stored := b.numbers(name+".weight", n*n*s.Kernel, 0)
	w := make([]float32, len(stored))
	for i := range w {
		out, in, k := i/(n*s.Kernel), i/s.Kernel%n, i%s.Kernel
		w[(out*s.Kernel+k)*n+in] = stored[i]
	}
	act, _ := activation(s.Activation)
	l := &layer.Conv{Kernel: s.Kernel, Activation: act, Norm: b.norm(s.Norm, n)}
	if len(w) > 0 {
		l.Weight = &layer.Frozen{W: kernel.FrozenF32(w, n, n*s.Kernel), Bias: b.numbers(name+".bias", n, 0)}
	}
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
	if s.Fused != "" {
		l.Module = b.at(at + s.Fused)
	}
	for e := range s.Experts {
		part := func(name string, in, out int) *layer.Slot {
			return b.linear(at+fmt.Sprintf(name, e), layer.Linear, in, out, false)
		}
		l.Experts = append(l.Experts, layer.Expert{Gate: part(s.In[0], c.HiddenSize, c.IntermediateSize),
			Up: part(s.In[1], c.HiddenSize, c.IntermediateSize), Down: part(s.Down, c.IntermediateSize, c.HiddenSize)})
	}
	return l
}

func (b *builder) embedding(name string, rows, dim int) *layer.Slot {
	name = b.at(name)
	base := &layer.Frozen{W: b.matrix(name+".weight", rows, dim)}
	return &layer.Slot{Name: name, Kind: layer.Embedding, Lookup: &layer.Table{W: base.W}, Base: base, Stored: b.stored(name)}
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
	return &layer.Slot{Name: name, Kind: kind, Projection: base, Base: base, Stored: b.stored(name)}
}

// norm is a norm of n columns, nil without a name.
func (b *builder) norm(name string, n int) *layer.Norm {
	if name == "" {
		return nil
	}
	return b.whole(b.at(name), n)
}

// whole is a norm by its whole name.
func (b *builder) whole(name string, n int) *layer.Norm {
	if name == "" {
		return nil
	}
	s := b.s.Norm
	l := &layer.Norm{Name: name, Stored: b.stored(name), Norm: op.Norm{Kind: s.Kind, Plus: s.Plus, Eps: b.c.NormEps}}
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
