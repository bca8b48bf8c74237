package lora

import (
	"math"
	"slices"

	"github.com/graft-ml/graft/internal/op"
	"github.com/graft-ml/graft/peft"
	"github.com/nlpodyssey/spago/nn"
)

// Convert implements peft.Converter: a branch whose start was taken out of the base is stored as plain LoRA of doubled rank over
// the base itself, so that nobody has to decompose the base again to read it.
func (a *Adapter) Convert(c peft.Config) (peft.Config, peft.Adapter) {
	config, ok := c.(*Config)
	if !ok || !slices.ContainsFunc(a.parts, func(p part) bool { l := branchOf(p); return l != nil && l.start != nil }) {
		return c, a
	}
	stored := *a
	stored.parts = make([]part, len(a.parts))
	for i, p := range a.parts {
		stored.parts[i] = doubled(p)
	}
	return config.doubled(), &stored
}

// branchOf is the branch of a linear layer's part, or nil.
func branchOf(p part) *Projection {
	switch p := p.(type) {
	case *Projection:
		return p
	case *dora:
		return p.Projection
	case *biased:
		return p.Projection
	}
	return nil
}

// doubled is the part over the base itself. It is to be stored, not attached.
func doubled(p part) part {
	switch p := p.(type) {
	case *Projection:
		return p.doubled()
	case *dora:
		d := &dora{Projection: p.Projection.doubled(), M: p.M}
		d.norm.w, d.norm.transposed = p.norm.w, p.norm.transposed
		return d
	case *embedding:
		e := &embedding{slot: p.slot, base: p.base, rank: 2 * p.rank, scale: p.scale, both: p.both, M: p.M}
		e.A, e.B = widened(p)
		e.norm.w, e.norm.transposed = p.norm.w, p.norm.transposed
		return e
	}
	return p // biased has no start, and a tied head follows its embedding
}

func (l *Projection) doubled() *Projection {
	d := *l
	a, b := l.factors()
	d.start, d.rank = nil, 2*l.rank
	d.A, d.B = op.NewParam(a.Data, a.Rows, a.Cols), op.NewParam(b.Data, b.Rows, b.Cols)
	return &d
}

// widened pads the factors of an embedding, which has no start, with zeros to the rank that the file states for all.
func widened(e *embedding) (a, b *nn.Param) {
	cols := op.Of(e.A).View().Cols
	wa := make([]float32, 2*e.rank*cols)
	copy(wa, op.Data(e.A))
	m := op.Of(e.B).View()
	wb := make([]float32, m.Rows*2*e.rank)
	for i := range m.Rows {
		copy(wb[i*2*e.rank:], m.Row(i))
	}
	return op.NewParam(wa, 2*e.rank, cols), op.NewParam(wb, m.Rows, 2*e.rank)
}

// doubled are the settings of the stored adapter: ranks doubled, alphas so that the scale stays.
func (c *Config) doubled() *Config {
	d := *c
	factor := 2.0
	if c.UseRSLoRA {
		factor = math.Sqrt2
	}
	d.Rank, d.Alpha, d.Init = 2*c.Rank, factor*c.Alpha, "true"
	d.RankPattern, d.AlphaPattern = scaled(c.RankPattern, 2), scaled(c.AlphaPattern, factor)
	return &d
}

// scaled multiplies the values of a pattern.
func scaled(p peft.Pattern, factor float64) peft.Pattern {
	var list peft.Pattern
	for _, e := range p {
		v, _ := e.Value.Float64() // checked by Validate
		list = append(list, peft.NewEntry(e.Key, v*factor))
	}
	return list
}
