package layer

import (
	"github.com/graft-ml/graft/internal/op"
	"github.com/nlpodyssey/spago/mat"
)

// Disentangled is the branch that mixes rows by content and by distance, as DeBERTa does [he2021].
type Disentangled struct {
	In      []*Slot // query, key and value
	Output  *Slot
	Heads   op.Heads
	Scale   float64
	Table   *Slot // embedding of distances, one for all layers
	Norm    *Norm // of its rows, or nil
	Keys    *Slot // from distances to keys, which may be the keys' own projection; nil = no such term
	Queries *Slot // from distances to queries
	Row     func(distance int) int
}

// Mix implements Branch. The table's rows pass through their norm and projections in each layer; only those of distances
// that occur do.
func (l *Disentangled) Mix(p *op.Pass, h mat.Tensor, _ []op.Angles) (mat.Tensor, op.Projection) {
	longest := 0
	for _, s := range p.Segments {
		longest = max(longest, s.End-s.Start)
	}
	first, last := l.Row(1-longest), l.Row(longest-1)
	ids := make([]int32, 0, last-first+1)
	for i := first; i <= last; i++ {
		ids = append(ids, int32(i))
	}
	var to []op.Projection
	for _, s := range []*Slot{l.Keys, l.Queries} {
		if s != nil {
			to = append(to, s)
		}
	}
	rel := op.Project(p, l.Norm.apply(p, op.Embed(p, l.Table.Lookup, ids)), to...) // [R, C] -> [R, ·]
	qkv := op.Project(p, h, projections(l.In)...)
	return op.Disentangled(p, qkv, rel, op.DisentangledSpec{Heads: l.Heads, Scale: l.Scale, Keys: l.Keys != nil, Queries: l.Queries != nil,
		DistanceRows: func(d int) int { return l.Row(d) - first }}), l.Output
}

// Slots implements Branch; the table is listed by every layer.
func (l *Disentangled) Slots() []*Slot {
	list := append([]*Slot{l.Table}, l.In...)
	for _, s := range []*Slot{l.Keys, l.Queries} {
		if s != nil && s != l.In[0] && s != l.In[1] {
			list = append(list, s)
		}
	}
	return append(list, l.Output)
}

// Norms implements Branch.
func (l *Disentangled) Norms() []*Norm { return []*Norm{l.Norm} }
