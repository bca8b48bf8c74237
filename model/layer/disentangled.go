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

// Mix implements Branch. Each adapter of a pass has distances of its own.
func (l *Disentangled) Mix(p *op.Pass, h mat.Tensor, _ []op.Angles) (mat.Tensor, op.Projection) {
	if p.Routed() {
		return op.ByGroup(p, h, l.mix), l.Output
	}
	return l.mix(p, h), l.Output
}

// mix looks only rows of distances up that occur.
func (l *Disentangled) mix(p *op.Pass, h mat.Tensor) mat.Tensor {
	longest := 0
	for _, s := range p.Segments {
		longest = max(longest, s.End-s.Start)
	}
	first, last := l.Row(1-longest), l.Row(longest-1)
	rel := l.distances(p, first, last)
	s := op.DisentangledSpec{Heads: l.Heads, Scale: l.Scale, Keys: l.Keys != nil, Queries: l.Queries != nil,
		DistanceRows: func(d int) int { return l.Row(d) - first }}
	if l.shared() {
		return op.Disentangled(p, op.Project(p, op.Stack(p, h, rel), projections(l.In)...), nil, s) // [T+R, C] -> [T, H·D]
	}
	var to []op.Projection
	for _, s := range []*Slot{l.Keys, l.Queries} {
		if s != nil {
			to = append(to, s)
		}
	}
	return op.Disentangled(p, op.Project(p, h, projections(l.In)...), op.Project(p, rel, to...), s)
}

// shared says that distances pass through the projections of the content.
func (l *Disentangled) shared() bool { return l.Keys == l.In[1] || l.Queries == l.In[0] }

// distances are the table's normed rows from first to last.
func (l *Disentangled) distances(p *op.Pass, first, last int) mat.Tensor {
	return shared(p, func() mat.Tensor {
		ids := make([]int32, 0, last-first+1)
		for i := first; i <= last; i++ {
			ids = append(ids, int32(i))
		}
		return l.Norm.apply(p, op.LookUp(p, op.Rows{Table: l.Table.Table(), IDs: ids}))
	})
}

// shared is what all layers of a stack read of a table. While gradients are wanted they read it from one another, so that the
// table gets its gradient at once; otherwise each layer makes it anew, as the arena is emptied between layers.
func shared(p *op.Pass, table func() mat.Tensor) mat.Tensor {
	rel := p.Distances
	if rel == nil {
		rel = table()
	}
	if p.Grad {
		p.Distances = op.Fork(p, rel)
	}
	return rel
}

// allRows is an embedding as a whole.
func allRows(p *op.Pass, s *Slot) mat.Tensor {
	n, _ := s.Lookup.Size()
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32(i)
	}
	return op.LookUp(p, op.Rows{Table: s.Lookup, IDs: ids})
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
