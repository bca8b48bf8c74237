package layer

import (
	"github.com/graft-ml/graft/internal/kernel"
	"github.com/graft-ml/graft/internal/op"
)

// Forward implements op.Projection. In a routed pass the frozen product is computed once for all rows, and each group's rows then
// pass through what its overlay has here, which finds the product there.
func (s *Slot) Forward(p *op.Pass, y kernel.Mat, x *op.Input) any {
	if !p.Routed() {
		return s.Projection.Forward(p, y, x)
	}
	if !s.owned(p) {
		s.Projection.Forward(p, y, x)
	}
	if s.thin(p, y, x) {
		return nil
	}
	for g, q := range p.At(s) {
		part, out := g.Rows(p.Arena, x.Mat), g.Rows(p.Arena, y)
		in := op.NewInput(part)
		in.Know(s.Projection, out)
		q.(op.Projection).Forward(g.Pass, out, in)
		in.Free()
		g.Put(y, out)
		g.Return(p.Arena, part)
		g.Return(p.Arena, out)
	}
	return nil
}

// Linear implements op.Plain. In a routed pass there may be more to a slot.
func (s *Slot) Linear(p *op.Pass, x *op.Input) (kernel.Linear, bool) {
	q, ok := s.Projection.(op.Plain)
	if !ok || p.Routed() {
		return kernel.Linear{}, false
	}
	return q.Linear(p, x)
}

// Thin is a projection that adds a product of two thin factors to what it lies over, of which there is one and the same for all rows:
//
//	y = base(x) + scale·x·Aᵀ·Bᵀ
type Thin interface {
	op.Projection
	// Factors are A [r, in] and B [out, r]; false if there is more to the projection.
	Factors() (a, b kernel.Mat, scale float32, ok bool)
}

// fewRows is up to how many rows of a group the threads take groups rather than parts of one group's products, which then hardly
// pay for their start.
const fewRows = 16

// thin computes the rows of all groups side by side, where each has few rows and thin factors, and says whether it did. The base's
// product is in y. Results are those of each projection's own Forward, but that x·Aᵀ is computed in float32 whatever the mode.
func (s *Slot) thin(p *op.Pass, y kernel.Mat, x *op.Input) bool {
	type part struct {
		*op.Group
		a, b  kernel.Mat
		scale float32
	}
	var list []part
	for g, q := range p.At(s) {
		t, ok := q.(Thin)
		if !ok || g.NumRows(y.Rows) > fewRows {
			return false
		}
		a, b, scale, ok := t.Factors()
		if !ok {
			return false
		}
		list = append(list, part{g, a, b, scale})
	}
	if len(list) < 2 {
		return false
	}
	kernel.Parallel(len(list), func(i int) {
		g := &list[i]
		in, out := g.Rows(p.Arena, x.Mat), g.Rows(p.Arena, y)
		h := kernel.NewMat(p.Arena.Get(in.Rows*g.a.Rows), in.Rows, g.a.Rows)
		kernel.MatMul(h, in, g.a, kernel.MatMulOpts{TransB: true, Serial: true})
		kernel.MatMul(out, h, g.b, kernel.MatMulOpts{TransB: true, Alpha: g.scale, Add: true, Serial: true})
		p.Arena.Put(h.Data)
		g.Put(y, out)
		g.Return(p.Arena, in)
		g.Return(p.Arena, out)
	})
	return true
}

// owned says that no row needs the slot's own product.
func (s *Slot) owned(p *op.Pass) bool {
	for g := range p.Groups() {
		if g.Overlay == nil || !owns(g.At(s)) {
			return false
		}
	}
	return true
}

// owns says that something has a weight of its own rather than lying over the slot's.
func owns(q any) bool {
	if x, ok := q.(interface{ Owns() bool }); ok {
		return x.Owns()
	}
	_, full := q.(*Trainable)
	return full
}

// Table is the slot's embedding as operators read it.
func (s *Slot) Table() op.Lookup { return table{s.Lookup, s} }

// table looks rows up in the slot.
type table struct {
	op.Lookup
	slot *Slot
}

// Look implements op.Lookup; ids are those of the pass's rows.
func (t table) Look(p *op.Pass, y kernel.Mat, ids []int32) {
	t.Lookup.Look(p, y, ids)
	for g, q := range p.At(t.slot) {
		part := g.Rows(p.Arena, y)
		q.(op.Lookup).Look(g.Pass, part, g.IDs(ids))
		g.Put(y, part)
		g.Return(p.Arena, part)
	}
}
