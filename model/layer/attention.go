package layer

import (
	"github.com/graft-ml/graft/internal/op"
	"github.com/nlpodyssey/spago/mat"
)

// Attention is the branch that mixes rows.
type Attention struct {
	op.AttentionSpec
	In     []*Slot // query, key and value, or the one that the checkpoint fused, laid out as Heads says
	Output *Slot
	Normed []HeadNorm // of queries and keys, before they turn
	Table  *Slot      // what distances add to the scores [R, H], one for all layers; nil = nothing. AttentionSpec.Row says which row
	Rope   int        // which of the model's rotary positions; negative = none
	// Beside, if set, is what queries find beside their sequence. A method sets it, and nil when it is done.
	Beside Beside
	// Gate, if set, makes prefixes of this attention alone of those of a pass that has some, by what the attention reads, h [T, C]: op.AttentionSpec's
	// Stacked rows for each segment. It returns what the projections read in the place of h. A method sets it, and nil when it is done.
	Gate func(p *op.Pass, h mat.Tensor) (stacked mat.Tensor, rows int, again mat.Tensor)
}

// Beside changes what an attention found.
type Beside interface {
	// Find changes what l found, y [T, H·D], and its output projection, nil if y is behind it; qkv is packed and turned, and may be read
	// by one operator.
	Find(p *op.Pass, l *Attention, s Seekers, qkv, y mat.Tensor, out op.Projection) (mat.Tensor, op.Projection)
}

// Seekers are the segments whose queries look beside their sequence.
type Seekers struct {
	Of   []bool   // by segment; nil = all
	Pass *op.Pass // for rows that are of no segment
}

// HeadNorm is a norm of some columns of the packed queries, keys and values: Count runs of Width from At on.
type HeadNorm struct {
	*Norm
	At, Width, Count int
}

// Mix implements Branch.
func (l *Attention) Mix(p *op.Pass, h mat.Tensor, a []op.Angles) (mat.Tensor, op.Projection) {
	p, spec, h := l.gated(p, h)
	qkv := op.Project(p, h, projections(l.In)...) // [T, C] -> [T, (H+2K)·D]
	if len(l.Normed) > 0 {
		parts := make([]op.Part, len(l.Normed))
		for i, n := range l.Normed {
			parts[i] = op.Part{Norm: n.Norm.Norm, At: n.At, Width: n.Width, Count: n.Count}
		}
		qkv = normalize(p, qkv, parts...)
	}
	if l.Rope >= 0 {
		qkv = op.Rotary(p, qkv, l.Heads, a[l.Rope])
	}
	if l.Table != nil {
		spec.Distances = shared(p, func() mat.Tensor { return allRows(p, l.Table) })
	}
	y := op.Attention(p, qkv, spec) // [T, H·D]
	var out op.Projection = l.Output
	if l.Beside != nil {
		return l.Beside.Find(p, l, Seekers{Pass: p}, qkv, y, out)
	}
	for g, x := range p.At(l) {
		s := Seekers{Of: make([]bool, len(p.Segments)), Pass: g.Alone()}
		for i, seg := range p.Segments {
			s.Of[i] = g.Of(seg)
		}
		y, out = x.(Beside).Find(p, l, s, qkv, y, out)
	}
	return y, out
}

// gated gives the pass the prefixes that Gate makes of its own.
func (l *Attention) gated(p *op.Pass, h mat.Tensor) (*op.Pass, op.AttentionSpec, mat.Tensor) {
	spec := l.AttentionSpec
	begins := false
	for _, x := range p.Prefixes {
		begins = begins || x != nil
	}
	if l.Gate == nil || !begins {
		return p, spec, h
	}
	own := *p
	own.Prefixes = make([]mat.Tensor, len(p.Prefixes))
	var stacked mat.Tensor
	stacked, spec.Stacked, h = l.Gate(p, h)
	for i, x := range p.Prefixes {
		if x != nil {
			own.Prefixes[i] = stacked
		}
	}
	return &own, spec, h
}

// Slots implements Branch.
func (l *Attention) Slots() []*Slot {
	list := append([]*Slot(nil), l.In...)
	if l.Table != nil { // listed by every layer
		list = append(list, l.Table)
	}
	return append(list, l.Output)
}

// Norms implements Branch.
func (l *Attention) Norms() (list []*Norm) {
	for _, n := range l.Normed {
		list = append(list, n.Norm)
	}
	return list
}

// projections are slots as what operators take.
func projections(slots []*Slot) []op.Projection {
	list := make([]op.Projection, len(slots))
	for i, s := range slots {
		list[i] = s
	}
	return list
}
